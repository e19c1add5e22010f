"""A workflow's page about going back: where to, by which rule, the switch, pins, drills."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboards.drill_chart import BASE, draw_bars
from governance.common.time import now
from governance.people.models import User
from governance.releases.models import KnownGood, LiveRelease, Pin, Release
from governance.rollouts import services
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.push_models import PushDelivery
from governance.rollouts.recovery_models import Drill, Preflight
from governance.workflows.models import Workflow
from tests.dashboards.reading import words
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.rollouts.conftest import work

Session = Callable[[User], Client]
PAGE = "/workflows/support-triage/"


@pytest.fixture
def promoted(
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], owner: User
) -> Promotion:
    return approve(propose(70), owner)


def post(client: Client, verb: str, **data: Any) -> Any:
    return client.post(reverse(f"workflow-{verb}", args=("support-triage",)), data)


def test_the_page_shows_the_rule_in_numbers_and_where_a_rollback_leads(
    live: Release, promoted: Promotion, owner: User, login: Session
) -> None:
    page = words(login(owner), PAGE)
    assert "no release is marked as known good" in page
    assert "0 run receipts (at least 200), 0.0 days (at least 3), no severe exception" in page
    assert "Nobody has checked r1 yet." in page
    assert "Last drill: none yet" in page


def test_the_owner_chooses_the_way_back_by_hand_and_types_the_reason_once(
    live: Release, promoted: Promotion, owner: User, login: Session, confirmed: Session,
    propose: Callable[..., Promotion], approve: Callable[..., Promotion],
) -> None:  # fmt: skip
    approve(propose(99), owner)
    unproved = login(owner)
    asked = post(unproved, "pin-known-good", act="known-good", release=live.pk, reason="Safest.")
    assert asked["Location"].startswith("/reauthenticate/")
    kept = unproved.get(PAGE).content.decode()
    assert 'value="Safest."' in kept  # the form is open, with what was typed

    client = confirmed(owner)
    assert post(client, "pin-known-good", release=live.pk, reason="").status_code == 422
    wrong = post(client, "pin-known-good", release="sha256:no", reason="Safest.")
    assert "Choose a release of this workflow." in wrong.content.decode()
    assert post(client, "pin-known-good", release=live.pk, reason="Safest.").status_code == 302
    assert LiveRelease.objects.get().last_known_good == live
    assert "chosen by hand by Head of Support" in words(client, PAGE)
    assert KnownGood.objects.get().by == KnownGood.By.HAND


def test_a_check_is_asked_for_and_its_result_appears_by_itself(
    live: Release, promoted: Promotion, builder: User, login: Session
) -> None:
    client = login(builder)
    assert post(client, "check-target").status_code == 302
    assert "Being checked now" in words(client, PAGE)
    assert 'hx-trigger="load delay:2s"' in client.get(PAGE).content.decode()
    work()
    assert Preflight.objects.get().release == live
    page = words(client, PAGE)
    assert "Could run" in page
    assert "It answered case c000." in page
    assert "Being checked now" not in page


def test_the_switch_takes_everything_off_and_only_the_owner_puts_it_on(
    workflow: Workflow, promoted: Promotion, owner: User, analyst: User, login: Session,
    confirmed: Session,
) -> None:  # fmt: skip
    client = login(analyst)
    assert post(client, "switch-off", reason="").status_code == 422
    assert post(client, "switch-off", reason="It tells <b>secrets</b>.").status_code == 302
    assert LiveRelease.objects.get().switched_off
    page = client.get(PAGE).content.decode()
    assert "No release serves any case" in page
    assert "Would run, if it were on" in page
    assert "Switched off" in client.get("/workflows/").content.decode()
    assert "&lt;b&gt;secrets" in page
    assert post(client, "switch-off", reason="Again.").status_code == 409
    assert post(confirmed(analyst), "switch-on", reason="Mine.").status_code == 403
    unproved = login(owner)
    asked = post(unproved, "switch-on", act="switch-on", reason="The prompt is mended.")
    assert asked["Location"].startswith("/reauthenticate/")
    # The form is open when the password is proved, with what was typed.
    assert 'value="The prompt is mended."' in unproved.get(PAGE).content.decode()
    assert post(confirmed(owner), "switch-on", reason="Mended.").status_code == 302
    assert not LiveRelease.objects.get().switched_off
    history = words(client, PAGE)
    assert "Switched on: r2" in history
    assert "Switched off; was r2" in history


def test_cases_are_pinned_and_let_go(
    live: Release, promoted: Promotion, builder: User, auditor: User, login: Session
) -> None:
    client = login(builder)
    data = {"act": "pin", "case": "customer 12", "release": live.pk}
    refused = post(client, "pin-case", **data)
    assert refused.status_code == 422
    assert 'value="customer 12"' in refused.content.decode()
    assert post(client, "pin-case", **data, reason="A dispute.").status_code == 302
    assert Pin.objects.get().release == live
    assert "customer 12 on r1" in words(login(auditor), PAGE)
    assert "Unpin" not in words(login(auditor), PAGE)
    assert post(client, "unpin-case", case="customer 12", reason="Settled.").status_code == 302
    assert not Pin.objects.exists()


def test_the_owner_lets_the_guard_roll_back_and_takes_it_back(
    workflow: Workflow, promoted: Promotion, owner: User, confirmed: Session
) -> None:
    client = confirmed(owner)
    for allowed in ("yes", "no"):
        done = post(client, "set-automatic-rollback", allowed=allowed, reason="Nights.")
        assert done.status_code == 302
        workflow.refresh_from_db()
        assert workflow.automatic_rollback == (allowed == "yes")
    assert post(client, "set-automatic-rollback", allowed="?", reason="x").status_code == 422


def test_an_answer_of_the_pipeline_is_not_a_confirmation(
    workflow: Workflow, promoted: Promotion, owner: User, login: Session
) -> None:
    Workflow.objects.update(mode=Workflow.Mode.PUSH, push_url="https://pipeline.example/hook")
    change = LiveChange.objects.get(seq=2)
    PushDelivery.objects.create(
        workflow=workflow, change=change, state="delivered", attempts=2, asked_at=now(),
        delivered_at=now(),
    )  # fmt: skip
    page = words(login(owner), PAGE)
    assert "Countersign tells its pipeline" in page
    assert "Delivered, not confirmed" in page
    assert "No run receipt says yet what it runs." in page


def test_every_page_that_shows_the_workflow_offers_the_way_back_to_those_who_may(
    workflow: Workflow, live: Release, promoted: Promotion, builder: User, auditor: User,
    login: Session,
) -> None:  # fmt: skip
    way = reverse("workflow-roll-back", args=(workflow.slug,))
    pages = (
        PAGE, "/", f"/promotions/{promoted.pk}/", f"/releases/{promoted.release_id}/",
        "/exceptions/", "/receipts/",
    )  # fmt: skip
    for url in pages:
        offered = login(builder).get(url, follow=True).content.decode()
        assert f'action="{way}"' in offered, url
        assert 'name="preset"' in offered, url
        assert f'action="{way}"' not in login(auditor).get(url, follow=True).content.decode(), url


def test_a_drill_is_planned_signed_run_and_its_time_shown(
    workflow: Workflow, live: Release, promoted: Promotion, owner: User, builder: User,
    login: Session, confirmed: Session,
) -> None:  # fmt: skip
    client = login(builder)
    bad = client.post(reverse("drill-plan"), {"workflow": workflow.slug, "planned_for": "soon"})
    assert bad.status_code == 422
    client.post(
        reverse("drill-plan"), {"workflow": workflow.slug, "planned_for": "2099-01-01T14:00"}
    )
    drill = Drill.objects.get()
    assert "waits for the signature of Head of Support" in words(client, "/drills/")
    start = reverse("drill-start", args=(drill.pk,))
    assert client.post(start).status_code == 409  # nobody signed it
    sign = reverse("drill-sign", args=(drill.pk,))
    assert login(owner).post(sign, {"reason": "Quiet."})["Location"].startswith("/reauthenticate/")
    assert confirmed(owner).post(sign, {"reason": "Quiet."}).status_code == 302
    assert client.post(start).status_code == 302
    running = client.get("/drills/", headers={"HX-Request": "true"}).content.decode()
    assert "Waiting for a run receipt" in running
    assert "A rollback drill is running." in words(client, PAGE)
    Drill.objects.update(seconds_to_restore=3.2, confirmed_at=now())
    assert client.post(reverse("drill-return", args=(drill.pk,))).status_code == 302
    assert "3.2 s" in words(client, "/drills/")
    assert "Last drill: 3.2 s to restore on" in words(client, PAGE)
    over = client.get("/drills/", headers={"HX-Request": "true"})
    assert over["HX-Refresh"] == "true"  # the page that waited loads itself anew


def test_after_a_drill_what_came_by_a_rollback_still_says_so(
    workflow: Workflow, live: Release, measured: None, promoted: Promotion, owner: User,
    builder: User,
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], login: Session,
) -> None:  # fmt: skip
    approve(propose(99), owner)
    services.roll_back(workflow, actor=builder, reason="Worse.")
    drill = services.plan_drill(workflow, actor=builder, planned_for=now())
    services.sign_drill(drill.pk, actor=owner, reason="Quiet.", authenticated_at=now())
    services.start_drill(drill.pk, actor=builder, clicked_at=now())
    services.return_from_drill(drill.pk, actor=builder)
    row = LiveRelease.objects.get()
    assert (row.release, row.stage) == (promoted.release, LiveRelease.Stage.ROLLED_BACK)
    page = words(login(owner), PAGE)
    assert "After a rollback" in page
    assert "Rolled back by Builder" in page
    week = words(login(owner), "/reviews/weekly/")
    assert "r3 was rolled back to r2" in week
    assert "r1 went live" not in week  # a drill is practice


def test_a_drill_without_a_receipt_is_a_bar_without_height() -> None:
    bars = draw_bars("Triage", [("1 Nov", 4.0), ("2 Nov", None), ("3 Nov", 2.0)])
    assert bars is not None
    assert [bar.height for bar in bars.bars] == [70.0, 0.0, 35.0]
    assert all(bar.y + bar.height == BASE for bar in bars.bars)
    assert bars.sentence.replace("\u00a0", " ") == (
        "Triage: 3 drills, last 2.0 s, slowest 4.0 s, fastest 2.0 s."
    )
    assert draw_bars("Triage", [("1 Nov", None)]) is None


def test_a_long_history_comes_in_pages_and_costs_no_more_queries(
    workflow: Workflow, promoted: Promotion, owner: User, login: Session, confirmed: Session,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    for _ in range(8):
        services.switch_off(workflow, actor=owner, reason="Off.")
        services.switch_on(workflow, actor=owner, reason="On.", authenticated_at=now())
    client = login(owner)
    client.get(PAGE)
    with django_assert_max_num_queries(35):
        first = words(client, PAGE)
    assert "1–12 of 18" in first
    assert "Adopted as found" not in first
    assert "Adopted as found" in words(client, f"{PAGE}?page=2")
