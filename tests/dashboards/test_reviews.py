# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.common.time import now, today
from governance.kpis.models import Kpi, KpiNote
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.releases.models import Release
from governance.reviews import services
from governance.reviews.cadence import CHECKLISTS, KINDS, WEEKLY, period_of
from governance.reviews.models import Review
from governance.rollouts import services as rollouts
from governance.rollouts.models import PostMortem, Promotion, Rollback
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.rollouts.conftest import propose, work  # noqa: F401 - propose is a fixture

Login = Callable[[User], Client]
MOST_QUERIES = 25


def week_url() -> str:
    return f"/reviews/weekly/{period_of(WEEKLY, today()).key}/"


def page_of(client: Client, url: str = "/") -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode().replace("\u00a0", " ").replace("\u2212", "-")


@pytest.fixture
def exception(workflow: Workflow) -> ExceptionCase:
    return ExceptionCase.objects.create(
        workflow=workflow,
        kind=ExceptionCase.Kind.UNATTRIBUTED,
        group_key="none",
        severity=ExceptionCase.Severity.HIGH,
        title="Run receipts that name no release",
        receipt_count=4,
        first_at=now() - timedelta(hours=5),
        last_at=now(),
        opened_at=now(),
    )


def test_the_owner_reads_the_week_and_can_decide_without_leaving_it(
    owner: User, measured: None, waiting: Promotion, exception: ExceptionCase, login: Login
) -> None:
    page = page_of(login(owner))
    assert "Every KPI is on track" in page
    assert "10.0 %" in page
    assert "6 m 40 s" in page
    assert f'action="/promotions/{waiting.pk}/approve/"' in page
    assert "Run receipts that name no release" in page
    assert "Adopted as found, acknowledged by Head of Support" in page


def test_the_page_costs_the_same_few_queries_for_everybody(
    owner: User,
    cfo: User,
    measured: None,
    waiting: Promotion,
    exception: ExceptionCase,
    login: Login,
) -> None:
    for person in (owner, cfo):
        client = login(person)
        item = {"key": "drift", "note": "Fine."}
        client.post(f"{week_url()}tick/", item)
        client.get("/")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/")
        assert len(queries) <= MOST_QUERIES, "\n".join(q["sql"][:160] for q in queries)


def test_an_outsider_sees_the_frame_and_nothing_in_it(
    outsider: User,
    cfo: User,
    measured: None,
    waiting: Promotion,
    exception: ExceptionCase,
    login: Login,
) -> None:
    review = services.open_review(WEEKLY, period_of(WEEKLY, today()).key)
    services.tick(review, "drift", actor=cfo, note="Refunds went wrong.")
    page = page_of(login(outsider))
    assert "You see no workflow yet" in page
    for secret in (
        "Refunds went wrong",
        "Escalation rate",
        "Run receipts that name",
        "Support triage",
        waiting.release_id,
    ):
        assert secret not in page


def test_a_stranger_is_sent_to_the_login(client: Client, db: None) -> None:
    for url in ("/", "/reviews/weekly/2026-W40/", "/explorer/1/"):
        response = client.get(url)
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/login/")


def test_only_what_the_person_may_do_is_offered(
    builder: User, auditor: User, measured: None, waiting: Promotion, login: Login
) -> None:
    for person in (builder, auditor):
        page = page_of(login(person))
        assert "approve/" not in page
        assert "sign-off/" not in page


@pytest.mark.parametrize("kind", KINDS)
def test_every_cadence_has_its_page_with_its_checklist(
    kind: str, cfo: User, measured: None, login: Login
) -> None:
    response = login(cfo).get(f"/reviews/{kind}/", follow=True)
    page = response.content.decode()
    assert response.status_code == 200
    for task in CHECKLISTS[kind]:
        assert task.label.replace("&", "&amp;") in page


@pytest.mark.parametrize(
    "path", ["weekly/2026-W99", "weekly/2199-W01", "daily/2026-11-22", "monthly/2026-W40"]
)
def test_a_period_that_does_not_exist_is_not_found(path: str, cfo: User, login: Login) -> None:
    assert login(cfo).get(f"/reviews/{path}/").status_code == 404


def test_ticking_signing_and_the_page_that_stays(
    cfo: User, owner: User, measured: None, kpis: list[Kpi], login: Login
) -> None:
    client = login(cfo)
    for task in CHECKLISTS[WEEKLY]:
        answer = client.post(f"{week_url()}tick/", {"key": task.key, "note": "Read; fine."})
        assert answer.status_code == 302
    assert f'action="{week_url()}sign-off/"' in page_of(client)
    assert client.post(f"{week_url()}sign-off/", {"note": "Agreed."}).status_code == 302

    Kpi.objects.filter(slug="escalation").update(name="Renamed since")
    page = page_of(client, week_url())
    assert "Escalation rate" in page
    assert "Renamed since" not in page
    assert "this page shows what it showed then" in page
    assert "tick/" not in page
    # A KPI owner sees only what is theirs, so for them the page is read anew.
    assert "Renamed since" in page_of(login(owner), week_url())
    # The week is not over: what waits now must stay within reach.
    now_page = page_of(client, "/")
    assert "Renamed since" in now_page
    assert "Signed off" in now_page
    assert "tick/" not in now_page


def test_a_refused_sign_off_says_why_and_changes_nothing(
    cfo: User, owner: User, measured: None, login: Login
) -> None:
    early = login(cfo).post(f"{week_url()}sign-off/", {"note": ""})
    assert early.status_code == 409
    assert "Tick everything off" in early.content.decode()
    mine = login(owner).post(f"{week_url()}sign-off/", {"note": ""})
    assert mine.status_code in (403, 409)
    assert not Review.objects.exclude(signed_off_at=None).exists()


def test_a_second_tick_is_a_conflict(cfo: User, measured: None, login: Login) -> None:
    client = login(cfo)
    item = {"key": "drift", "note": "Fine."}
    assert client.post(f"{week_url()}tick/", item).status_code == 302
    assert client.post(f"{week_url()}tick/", item).status_code == 409
    assert client.get(f"{week_url()}tick/").status_code == 405


def test_the_owner_writes_a_note_and_nobody_else(
    owner: User, analyst: User, measured: None, kpis: list[Kpi], login: Login
) -> None:
    url = f"/kpis/{kpis[1].pk}/note/"
    said = {"period": period_of(WEEKLY, today()).key, "text": "Holiday mail <b>up</b>."}
    assert login(analyst).post(url, said).status_code == 403
    assert login(owner).post(url, said).status_code == 302
    assert KpiNote.objects.get().text == "Holiday mail <b>up</b>."
    assert "Holiday mail &lt;b&gt;up&lt;/b&gt;." in page_of(login(owner))


def test_the_explorer_sends_numbers_and_no_markup(
    owner: User, controller: User, measured: None, kpis: list[Kpi], login: Login
) -> None:
    url = f"/explorer/{kpis[1].pk}/"
    figure = json.loads(login(owner).get(url).content)
    assert figure["data"][-1]["y"][-1] == pytest.approx(0.1)
    assert "13 * 7" not in figure["sentence"]
    assert login(controller).get(url).status_code == 404


def test_a_rollback_is_offered_from_the_page_and_told_by_the_headline(
    owner: User, cfo: User, measured: None, waiting: Promotion, live: Release, login: Login
) -> None:
    rollouts.approve_promotion(
        waiting.pk, actor=owner, review_round=1, reason="Better.", authenticated_at=now()
    )
    waiting.refresh_from_db()
    page = page_of(login(owner))
    assert "Approved by Head of Support" in page
    assert f"Roll back to {live.name}" in page
    rollouts.roll_back(waiting.workflow, actor=owner, reason="Precaution.")
    page = page_of(login(owner))
    assert f"{waiting.release.name} was rolled back to {live.name}" in page


def test_a_review_signed_without_a_picture_shows_the_numbers_as_they_are(
    cfo: User, measured: None, login: Login
) -> None:
    review = services.open_review(WEEKLY, period_of(WEEKLY, today()).key)
    for task in CHECKLISTS[WEEKLY]:
        services.tick(review, task.key, actor=cfo, note="Fine.")
    services.sign_off(review, actor=cfo, frozen=None)
    page = page_of(login(cfo), week_url())
    assert "10.0 %" in page
    assert "signed before figures were kept: those below are computed again" in page


def test_a_promotion_that_is_out_of_date_is_not_offered_for_approval(
    owner: User,
    builder: User,
    workflow: Workflow,
    measured: None,
    waiting: Promotion,
    make_release: Callable[..., Release],
    model: Callable[..., dict[str, Any]],
    login: Login,
) -> None:
    rollouts.approve_promotion(
        waiting.pk, actor=owner, review_round=1, reason="Better.", authenticated_at=now()
    )
    later = rollouts.propose_promotion(
        make_release(model=model(95)), actor=builder, rationale="Better still."
    )
    work()
    assert f"/promotions/{later.pk}/approve/" in page_of(login(owner))
    rollouts.roll_back(workflow, actor=owner, reason="Precaution.")
    post_mortem = PostMortem.objects.get()

    page = page_of(login(owner))
    assert "Out of date." in page
    assert "An approval given now would not count." in page
    assert f'<a href="/post-mortems/{post_mortem.pk}/">{post_mortem.title}</a>' in page
    assert "1 waiting, 1 cannot be approved now" in page
    assert f"/promotions/{later.pk}/approve/" not in page
    assert f'action="/promotions/{later.pk}/reject/"' in page
    assert "1 unfinished post-mortem blocks the next promotion." in page
    assert "<b>1</b>post-mortem unfinished<" in page
    PostMortem.objects.update(due_at=now() - timedelta(days=1))
    assert "<b>1</b>post-mortem unfinished, 1 overdue<" in page_of(login(owner))


def test_an_executive_reads_whom_a_decision_waits_for(
    cfo: User, owner: User, waiting: Promotion, measured: None, login: Login
) -> None:
    page = page_of(login(cfo))
    assert "Waits for the KPI owner (Head of Support)." in page
    assert "approve/" not in page


def test_where_the_risk_is_high_a_second_approver_is_asked_too(
    cfo: User, owner: User, propose: Callable[..., Promotion], measured: None, login: Login
) -> None:
    promotion = propose(threshold=0.3)
    assert promotion.risk == Promotion.Risk.HIGH
    assert "approve/" in page_of(login(cfo))
    rollouts.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Better.", authenticated_at=now()
    )
    assert "You have decided. Waits for a second approver." in page_of(login(owner))


def test_runs_that_name_no_approved_release_are_told_with_the_way_to_them(
    owner: User, workflow: Workflow, live: Release, kpis: list[Kpi], login: Login
) -> None:
    assert 'id="coverage"' not in page_of(login(owner))
    hour = now().replace(minute=0, second=0, microsecond=0)
    rows = [
        RollUp(
            workflow=workflow, grain="hour", starts_at=hour, release_digest=digest,
            measure="runs", n=n, total=n, total_squares=n,
        )
        for digest, n in ((live.pk, 990), ("", 8), ("sha256:unknown", 2))
    ]  # fmt: skip
    rows[0].save()
    assert "All 990 runs of this week name an approved release" in page_of(login(owner))
    RollUp.objects.bulk_create(rows[1:])
    page = page_of(login(owner))
    assert "10 of 1,000 runs of this week name no approved release (coverage 99.0 %)" in page
    week = period_of(WEEKLY, today())
    for standing, words in (
        ("unattributed", "8 with no release named"),
        ("unauthorised", "2 with release not approved"),
    ):
        url = f"/receipts/?standing={standing}&amp;from={week.starts_on}&amp;to={today()}"
        assert f'<a href="{url}">{words}</a>' in page


def test_the_money_figures_say_what_they_are(
    owner: User, workflow: Workflow, measured: None, login: Login
) -> None:
    Workflow.objects.update(cost_note="CPU plus people.")
    page = page_of(login(owner))
    days = today().weekday() + 1
    assert "AI spend" not in page
    assert f"<dt>Cost of handling</dt><dd>${20 * days}" in page
    # 20 cents a run, 93 of 100 judged right.
    assert "<dt>Cost per right outcome</dt><dd>$0.22<span>93.0 % of runs end in one</span>" in page
    assert "CPU plus people. Cost of handling is everything that run receipts report." in page
    RollUp.objects.filter(measure="correct").delete()
    assert "no outcome is judged" in page_of(login(owner))


def test_a_rollback_says_what_it_was_looking_at(
    owner: User, auditor: User, workflow: Workflow, measured: None, waiting: Promotion, login: Login
) -> None:
    rollouts.approve_promotion(
        waiting.pk, actor=owner, review_round=1, reason="Better.", authenticated_at=now()
    )
    url = f"/workflows/{workflow.slug}/roll-back/"
    for seq in ({}, {"seq": ""}, {"seq": "0"}, {"seq": "now"}):
        answer = login(owner).post(url, {"reason": "Precaution.", **seq})
        assert answer.status_code == 422
        assert "Load this page again" in answer.content.decode()
    assert login(auditor).post(url, {"reason": "Precaution."}).status_code == 403
    assert not Rollback.objects.exists()
    assert '<input type="hidden" name="seq" value="2">' in page_of(login(owner))
    assert login(owner).post(url, {"reason": "Precaution.", "seq": "2"}).status_code == 302
    assert Rollback.objects.count() == 1


def test_a_refused_tick_leaves_nothing_and_old_weeks_offer_none(
    outsider: User, analyst: User, cfo: User, measured: None, login: Login
) -> None:
    item = {"key": "drift", "note": "Fine."}
    assert login(outsider).post(f"{week_url()}tick/", item).status_code == 403
    assert login(analyst).post("/reviews/weekly/2024-W10/tick/", item).status_code == 409
    assert login(analyst).post(f"{week_url()}sign-off/", {"note": ""}).status_code == 403
    assert not Review.objects.exists()
    assert "tick/" not in page_of(login(cfo), "/reviews/weekly/2024-W10/")
    last_week = period_of(WEEKLY, today()).previous().key
    assert "tick/" in page_of(login(cfo), f"/reviews/weekly/{last_week}/")


def test_the_current_week_says_what_changed_whether_or_not_a_decision_waits(
    cfo: User, measured: None, waiting: Promotion, login: Login
) -> None:
    page = page_of(login(cfo))
    assert page.count("What changed") == 1
    assert "adopted as found" in page.split("What changed")[1]
    Promotion.objects.filter(pk=waiting.pk).update(state=Promotion.State.WITHDRAWN, closed_at=now())
    page = page_of(login(cfo))
    assert "No decision waits" in page
    assert page.count("What changed") == 1


def test_a_week_that_is_over_tells_what_happened_and_offers_no_decision(
    cfo: User, measured: None, waiting: Promotion, login: Login
) -> None:
    last = period_of(WEEKLY, today()).previous()
    page = page_of(login(cfo), f"/reviews/weekly/{last.key}/")
    assert "What changed" in page
    assert "approve/" not in page
    assert "no release had been adopted" in page  # adopted this week, so not yet then
    assert "10.0 %" in page
