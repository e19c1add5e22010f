"""The promotion page: evidence, decision, and what stands in its way."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.common.canonical import digest_text
from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.services import propose_promotion, roll_back
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.rollouts.conftest import work

Login = Callable[[User], Client]
Propose = Callable[..., Promotion]
HTMX = {"HX-Request": "true"}


def page_of(client: Client, promotion: Promotion) -> str:
    return client.get(reverse("promotion", args=(promotion.pk,))).content.decode()


def decide(client: Client, promotion: Promotion, act: str, **typed: Any) -> Any:
    data = {"review_round": promotion.review_round, "reason": "The evidence convinces me.", **typed}
    return client.post(reverse(f"promotion-{act}", args=(promotion.pk,)), data)


def test_the_page_shows_everything_that_a_decision_needs(
    propose: Propose, owner: User, login: Login
) -> None:
    promotion = propose(90)
    page = page_of(login(owner), promotion)
    assert "It answers more." in page
    assert "Why this is medium risk" in page
    assert "+40.0\N{NO-BREAK SPACE}pt" in page
    assert "90 / 100" in page
    assert "Better" in page
    assert "the KPI owner (Head of Support)" in page
    assert "Roll back” makes r1 serve again at once" in page
    policy = promotion.gate_policy
    assert policy is not None
    for digest in (
        promotion.release_id,
        promotion.base_id,
        promotion.gate_report_id,
        policy.digest,
    ):
        assert f'data-copy="{digest}"' in page


def test_the_owner_approves_and_it_is_live(
    workflow: Workflow, propose: Propose, owner: User, confirmed: Login
) -> None:
    promotion, client = propose(), confirmed(owner)
    answer = decide(client, promotion, "approve")
    assert (answer.status_code, answer["Location"]) == (302, f"/promotions/{promotion.pk}/")
    assert "is live in Support triage now." in page_of(client, promotion)
    assert LiveRelease.objects.get(workflow=workflow).release_id == promotion.release_id

    again = decide(client, promotion, "approve")
    assert again.status_code == 409
    assert "nothing to decide" in again.content.decode()


def test_rejecting_closes_it_and_changes_nothing_live(
    live: Release, propose: Propose, owner: User, confirmed: Login
) -> None:
    promotion, client = propose(), confirmed(owner)
    assert decide(client, promotion, "reject", reason="Not in the holidays.").status_code == 302
    assert "Not in the holidays." in page_of(client, promotion)
    assert LiveRelease.objects.get().release_id == live.pk


def test_a_high_risk_change_still_needs_a_second_person(
    propose: Propose, owner: User, cfo: User, confirmed: Login
) -> None:
    promotion, client = propose(threshold=0.2), confirmed(owner)
    assert decide(client, promotion, "approve").status_code == 302
    page = page_of(client, promotion)
    assert "Another is needed." in page
    assert "a second approver" in page
    assert "You have decided on this round." in page
    assert decide(client, promotion, "approve").status_code == 409

    assert decide(confirmed(cfo), promotion, "approve").status_code == 302
    assert Promotion.objects.get(pk=promotion.pk).state == Promotion.State.LIVE


def test_refusals_say_why_and_change_nothing(
    propose: Propose, owner: User, builder: User, auditor: User, controller: User,
    confirmed: Login,
) -> None:  # fmt: skip
    promotion = propose()
    assert decide(confirmed(builder), promotion, "approve").status_code == 403
    assert decide(confirmed(auditor), promotion, "reject").status_code == 403
    assert decide(confirmed(controller), promotion, "approve").status_code == 404
    empty = decide(confirmed(owner), promotion, "approve", reason=" ")
    assert empty.status_code == 422
    assert "Write the reason" in empty.content.decode()
    stale = decide(confirmed(owner), promotion, "approve", review_round=7)
    assert stale.status_code == 409
    assert "The evidence convinces me.</textarea>" in stale.content.decode()
    assert confirmed(owner).get(f"/promotions/{promotion.pk}/approve/").status_code == 405
    assert not Approval.objects.filter(promotion=promotion).exists()


def test_who_cannot_decide_sees_no_form_but_why(
    propose: Propose, auditor: User, builder: User, login: Login
) -> None:
    promotion = propose()
    for person in (auditor, builder):
        page = page_of(login(person), promotion)
        assert "Approve promotion" not in page
        assert "You can read everything here" in page


def test_what_went_out_of_date_is_said_before_anybody_approves(
    workflow: Workflow, propose: Propose, approve: Propose, owner: User, confirmed: Login
) -> None:
    approve(propose(80), owner)
    promotion = propose(95)
    roll_back(workflow, actor=owner, reason="worse")
    client = confirmed(owner)
    page = page_of(client, promotion)
    assert "An approval given now would not count." in page
    assert "r1 is live now." in page
    assert "Blocked." in page
    assert "Approve promotion" not in page
    assert decide(client, promotion, "approve").status_code == 409


def test_progress_is_polled_and_the_verdict_loads_the_page_again(
    live: Release, make_release: Callable[..., Release], model: Callable[..., dict[str, Any]],
    builder: User, login: Login,
) -> None:  # fmt: skip
    candidate = make_release(model=model(90))
    promotion = propose_promotion(candidate, actor=builder, rationale="Better.")
    client, url = login(builder), reverse("promotion", args=(promotion.pk,))
    page = client.get(url).content.decode()
    assert 'hx-trigger="every 2s"' in page
    assert "<noscript>" in page
    part = client.get(url, headers=HTMX).content.decode()
    assert part.lstrip().startswith('<div class="card part" id="progress"')
    assert "0 / 100" in part

    work()

    answer = client.get(url, headers=HTMX)
    assert answer["HX-Refresh"] == "true"
    assert 'id="progress"' not in client.get(url).content.decode()


def test_a_refused_promotion_shows_what_was_worse(
    propose: Propose, owner: User, login: Login
) -> None:
    promotion = propose(30)
    page = page_of(login(owner), promotion)
    assert "Refused by the gate" in page
    assert "Worse" in page
    assert "Approve promotion" not in page


def test_the_builder_withdraws_and_asks_again_in_a_new_round(
    propose: Propose, builder: User, owner: User, login: Login
) -> None:
    promotion, client = propose(), login(builder)
    withdraw = reverse("promotion-withdraw", args=(promotion.pk,))
    again = reverse("promotion-ask-again", args=(promotion.pk,))
    assert client.post(withdraw, {}).status_code == 422
    assert login(owner).post(withdraw, {"reason": "no"}).status_code == 403
    assert client.post(withdraw, {"reason": "Too early."}).status_code == 302
    assert client.post(withdraw, {"reason": "Too early."}).status_code == 409
    first = promotion.rationale
    assert client.post(again, {"reason": "Now."}).status_code == 302
    promotion.refresh_from_db()
    assert (promotion.review_round, promotion.state) == (2, Promotion.State.EVALUATING)
    page = client.get(reverse("promotion", args=(promotion.pk,))).content.decode()
    assert "Now." in page
    assert "Asked before: 1 time" in page
    assert page.count(first) == 1  # what was said first is still there


def test_the_gate_report_is_a_page_and_a_file_with_its_digest(
    propose: Propose, auditor: User, controller: User, login: Login
) -> None:
    report = propose(90).gate_report
    assert report is not None
    client = login(auditor)
    page = client.get(reverse("gate-report", args=(report.pk,))).content.decode()
    assert "The digest fits the report" in page
    assert "Has to get better" in page
    assert "Mid-p" in page or "McNemar" in page

    url = reverse("gate-report-json", args=(report.pk,))
    answer = client.get(url)
    assert digest_text(answer.content.decode()) == report.pk
    assert json.loads(answer.content)["verdict"] == "pass"
    assert answer["Cache-Control"] == "no-store"
    assert "attachment" in answer["Content-Disposition"]
    for name in ("gate-report", "gate-report-json"):
        assert login(controller).get(reverse(name, args=(report.pk,))).status_code == 404


def test_an_altered_report_is_called_out(
    propose: Propose, auditor: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = propose(90).gate_report
    assert report is not None
    url = reverse("gate-report", args=(report.pk,))
    assert "The digest fits the report" in login(auditor).get(url).content.decode()
    monkeypatch.setattr("dashboards.views.gates.digest_text", lambda text: "sha256:other")
    assert "Do not rely on it." in login(auditor).get(url).content.decode()


def test_the_list_has_open_ones_first_and_filters_by_query_string(
    propose: Propose, owner: User, login: Login
) -> None:
    propose(30, threshold=0.4)
    waiting, client = propose(90), login(owner)
    page = client.get("/promotions/").content.decode()
    assert page.index(f"/promotions/{waiting.pk}/") < page.index("Refused by the gate</span>")
    refused = client.get("/promotions/?state=refused").content.decode()
    assert f"/promotions/{waiting.pk}/" not in refused


def test_pages_read_in_a_fixed_number_of_queries(
    propose: Propose, owner: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    promotion, client = propose(), login(owner)
    page_of(client, promotion)  # the first request of a session writes it
    with django_assert_max_num_queries(42):
        page_of(client, promotion)
    with django_assert_max_num_queries(11):
        client.get("/promotions/")
    with django_assert_max_num_queries(10):
        client.get(reverse("gate-report", args=(promotion.gate_report_id,)))
