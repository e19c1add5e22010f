"""Pilots on the promotion's page: progress, what the guard saw, and what people do about them."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboards.pilot_page import evidence_rows, rule_in_words
from governance import audit
from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts import guard, pilots, services
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.pilot_models import Pilot
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.rollouts.conftest import work
from tests.rollouts.test_guard import report

Login = Callable[[User], Client]
HTMX = {"HX-Request": "true"}
STEPS = [{"share": 500, "minutes": 0, "runs": 100}, {"share": 2500, "minutes": 90, "runs": 300}]


def page_of(client: Client, promotion: Promotion) -> str:
    return client.get(reverse("promotion", args=(promotion.pk,))).content.decode()


@pytest.fixture
def piloting(
    live: Release, owner: User, builder: User, make_release: Callable[..., Release], model: Any
) -> Promotion:
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    return services.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Go on.", authenticated_at=now()
    )


@pytest.fixture
def paused(piloting: Promotion) -> Promotion:
    with audit.atomic():
        pilots.pause(
            Pilot.objects.get(), why="Paused: error is 24.0 % against 1.0 %.", actor=guard.ACTOR
        )
    return piloting


@pytest.fixture
def unsure(propose: Callable[..., Promotion]) -> Promotion:
    """A promotion whose gate could not tell."""
    return propose(52)


def test_a_running_pilot_shows_its_steps_and_what_the_guard_sees_now(
    piloting: Promotion, live: Release, workflow: Workflow, owner: User, login: Login
) -> None:
    report(live.pk, workflow, 900, silent=60)
    report(piloting.release_id, workflow, 80, silent=5)
    assert guard.look(piloting.pk)
    page = page_of(login(owner), piloting)
    assert "r2 serves 5 % of the cases, r1 the others." in page
    assert "80 of 100 runs" in page
    assert "at least 90 min" in page
    assert "6.2\N{NO-BREAK SPACE}% of 80" in page
    assert "stable 6.7\N{NO-BREAK SPACE}% of 900" in page
    assert "Went on" in page
    assert "more than 5 points worse rolls back (guardrail silent_error)" in page
    assert "Stop the pilot…" in page
    assert "Go on…" not in page


def test_the_fragment_refreshes_itself_and_loads_the_page_when_the_pilot_moved_on(
    piloting: Promotion,
    owner: User,
    login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client, url = login(owner), reverse("promotion-pilot", args=(piloting.pk,))
    part = client.get(f"{url}?seen=running-0", headers=HTMX)
    assert part.content.decode().lstrip().startswith('<div id="pilot-status"')
    with django_assert_max_num_queries(22):
        client.get(f"{url}?seen=running-0", headers=HTMX)
    with audit.atomic():
        pilots.pause(Pilot.objects.get(), why="A signal.", actor=guard.ACTOR)
    assert client.get(f"{url}?seen=running-0", headers=HTMX)["HX-Refresh"] == "true"
    assert client.get(url)["Location"] == f"/promotions/{piloting.pk}/"


def test_the_owner_lets_a_paused_pilot_go_on_and_says_why(
    paused: Promotion, owner: User, builder: User, confirmed: Login, login: Login
) -> None:
    page = page_of(login(owner), paused)
    assert "until somebody decides. Paused: error is 24.0 % against 1.0 %." in page
    assert "Only the guard widens it." in page
    url = reverse("pilot-resume", args=(paused.pk,))
    assert "Go on…" not in page_of(login(builder), paused)
    assert confirmed(builder).post(url, {"reason": "fine"}).status_code == 403
    assert confirmed(owner).post(url, {"reason": " "}).status_code == 422

    assert confirmed(owner).post(url, {"reason": "One bad hour."}).status_code == 302

    assert Pilot.objects.get().state == Pilot.State.RUNNING
    event = AuditEvent.objects.get(verb="pilot.resumed")
    assert event.reason == "One bad hour."
    assert confirmed(owner).post(url, {"reason": "again"}).status_code == 409


def test_what_was_typed_survives_the_password_and_opens_its_form_again(
    paused: Promotion, owner: User, login: Login
) -> None:
    client = login(owner)
    answer = client.post(
        reverse("pilot-resume", args=(paused.pk,)), {"act": "resume", "reason": "One bad hour."}
    )
    assert answer["Location"].startswith("/reauthenticate/?")
    page = page_of(client, paused)
    assert '<details class="act" open><summary class="button primary">' in page
    assert "One bad hour.</textarea>" in page


def test_one_click_stops_a_pilot_and_the_two_lines_are_written_later(
    piloting: Promotion, live: Release, builder: User, auditor: User, login: Login
) -> None:
    stop, explain = (reverse(name, args=(piloting.pk,)) for name in ("pilot-stop", "pilot-explain"))
    assert login(auditor).post(stop, {"reason": "x"}).status_code == 403
    assert login(builder).post(stop, {"reason": ""}).status_code == 422
    assert login(builder).post(stop, {"reason": "It is rude."}).status_code == 302
    row = LiveRelease.objects.get()
    assert (row.release_id, row.pilot_share) == (live.pk, 0)
    assert login(builder).post(stop, {"reason": "again"}).status_code == 409

    page = page_of(login(builder), piloting)
    assert "Two-line post-mortem" in page
    assert "Not written yet" in page
    half = login(builder).post(explain, {"what_happened": "It was rude."})
    assert half.status_code == 422
    lines = {"what_happened": "It was rude.", "what_next": "Soften it."}
    assert login(builder).post(explain, lines).status_code == 302
    assert "Soften it." in page_of(login(auditor), piloting)


def test_the_owner_opens_a_pilot_after_not_enough_evidence_only(
    unsure: Promotion, live: Release, owner: User, builder: User, confirmed: Login, login: Login
) -> None:
    assert "Open a pilot…" in page_of(login(owner), unsure)
    assert "Open a pilot…" not in page_of(login(builder), unsure)
    url = reverse("pilot-open", args=(unsure.pk,))
    typed = {"review_round": 1, "share": 5, "days": 7, "reason": "Drafts only."}
    client = confirmed(owner)
    wide = client.post(url, {**typed, "share": 11})
    assert wide.status_code == 422
    assert "at most 10 % of the cases." in wide.content.decode()
    assert client.post(url, {**typed, "days": 15}).status_code == 422
    assert client.post(url, {**typed, "review_round": 2}).status_code == 409
    assert client.post(url, typed).status_code == 302

    pilot = Pilot.objects.get()
    assert pilot.steps == [{"share": 500, "minutes": 0, "runs": 0}]
    assert pilot.ends_at is not None
    assert timedelta(days=6) < pilot.ends_at - now() <= timedelta(days=7)
    approval = Approval.objects.get(promotion=unsure, meaning="pilot")
    assert approval.authenticated_by == "session"
    page = page_of(client, unsure)
    assert "stops by itself" in page
    assert "I open a pilot to gather evidence" in page


def test_the_gate_of_a_pilot_that_gathers_evidence_is_asked_again(
    unsure: Promotion, owner: User, confirmed: Login
) -> None:
    client = confirmed(owner)
    typed = {"review_round": 1, "share": 5, "days": 7, "reason": "Drafts only."}
    client.post(reverse("pilot-open", args=(unsure.pk,)), typed)
    assert "Ask the gate again" in page_of(client, unsure)
    url = reverse("pilot-ask-gate", args=(unsure.pk,))
    assert client.post(url).status_code == 302
    unsure.refresh_from_db()
    assert (unsure.review_round, unsure.state) == (2, Promotion.State.PILOTING)


def test_a_pilot_is_not_offered_where_it_could_not_be_opened(
    unsure: Promotion, make_release: Callable[..., Release], model: Any, owner: User,
    builder: User, login: Login,
) -> None:  # fmt: skip
    services.propose_promotion(
        make_release(model=model(95)), actor=builder, rationale="Another one."
    )
    page = page_of(login(owner), unsure)
    assert "Open a pilot…" not in page
    assert "Another promotion of this workflow is open: decide it first." in page


def test_evidence_is_shown_in_the_sense_of_its_measure() -> None:
    """Stored differences are positive where the pilot is better; more failures read as more."""
    (row,) = evidence_rows(
        [
            {
                "measure": "error", "level": "signal", "margin_points": 5.0, "verdict": "fail",
                "pilot_runs": 280, "stable_runs": 900, "pilot": 0.243, "stable": 0.012,
                "difference": -0.231, "low": -0.322, "high": -0.139,
            }
        ]
    )  # fmt: skip
    assert row.name == "Failed runs"
    assert row.change == "+23.1\N{NO-BREAK SPACE}pt"
    assert row.interval == "+13.9\N{NO-BREAK SPACE}pt to +32.2\N{NO-BREAK SPACE}pt"
    assert row.bar is not None
    assert row.bar.margin is not None
    assert row.bar.zero < row.bar.margin < row.bar.dot  # beyond what is allowed, on the worse side
    (unknown,) = evidence_rows([{"measure": "quality", "verdict": "no_data", "stable_runs": 0}])
    assert (unknown.change, unknown.bar, unknown.verdict.word) == ("Not compared", None, "No data")


def test_a_rule_says_what_it_does() -> None:
    rule = {"measure": "error", "level": "signal", "margin_points": 5.0, "from": "always watched"}
    assert rule_in_words(rule) == (
        "Rule: Failed runs more than 5 points worse pauses and asks (always watched)."
    )


def test_a_few_runs_are_not_compared_and_no_rate_changes_by_more_than_everything() -> None:
    line = {
        "measure": "error", "level": "signal", "margin_points": 5.0, "verdict": "inconclusive",
        "pilot_runs": 49, "stable_runs": 900, "pilot": 0.5, "stable": 0.0,
        "difference": -0.5, "low": -1.4, "high": 0.4,
    }  # fmt: skip
    few, enough = evidence_rows([line, {**line, "pilot_runs": 50}])
    assert few.interval == "too few runs to compare yet"
    assert few.bar is None
    assert enough.interval.endswith("to +100.0\N{NO-BREAK SPACE}pt")
