"""What a review is signed off over: said plainly, asked about, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from html import unescape

import pytest
from django.test import Client

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now, story_time, today
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.releases.models import Release
from governance.reviews import services
from governance.reviews.cadence import CHECKLISTS, WEEKLY, Period, period_of
from governance.reviews.left_over import left_over
from governance.reviews.models import Review
from governance.rollouts import services as rollouts
from governance.triage import services as triage
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

DAY = timedelta(days=1)
Login = Callable[[User], Client]


@pytest.fixture
def week(db: None) -> Period:
    """The week before this one: all of its days are over."""
    return period_of(WEEKLY, today()).previous()


@pytest.fixture
def serving(
    workflow: Workflow, owner: User, make_release: Callable[..., Release], week: Period
) -> Release:
    """A release that serves since before that week, with receipts on every day but two."""
    release = make_release()
    with story_time(datetime.combine(week.starts_on, time(12), UTC) - 3 * DAY):
        rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    RollUp.objects.bulk_create(
        RollUp(
            workflow=workflow, grain="day", measure="runs", n=3, total=3, total_squares=3,
            starts_at=datetime.combine(week.starts_on + number * DAY, time(), UTC),
        )
        for number in (0, 1, 2, 3, 4)
    )  # fmt: skip
    return release


@pytest.fixture
def severe(workflow: Workflow, week: Period) -> ExceptionCase:
    moment = datetime.combine(week.starts_on, time(9), UTC)
    return ExceptionCase.objects.create(
        workflow=workflow, kind=ExceptionCase.Kind.UNAUTHORISED, group_key="r9",
        severity=ExceptionCase.Severity.HIGH, title="Runs of r9, unapproved", first_at=moment,
        last_at=moment, opened_at=moment,
    )  # fmt: skip


def ticked(week: Period, actor: User) -> Review:
    review = services.open_review(week.kind, week.key)
    for task in CHECKLISTS[week.kind]:
        services.tick(review, task.key, actor=actor, note="Read and fine.")
    return review


def test_days_without_receipts_and_severe_exceptions_that_nobody_took_are_left_over(
    serving: Release, severe: ExceptionCase, week: Period, cfo: User, analyst: User, outsider: User
) -> None:
    saturday, sunday = week.ends_on - DAY, week.ends_on
    span = f"Sat {saturday.day}" + (f" {saturday:%b}" if saturday.month != sunday.month else "")
    assert left_over(week, cfo).sentences() == (
        "Nobody took “Runs of r9, unapproved” (Support triage), High.",
        f"Support triage sent no run receipt on {span} to Sun {sunday.day} {sunday:%b}.",
    )
    assert not left_over(week, outsider)
    # Before its first release served, nothing could come; today is not over yet.
    assert not left_over(week.previous(), cfo).untaken
    (before,) = left_over(week.previous(), cfo).silent
    assert before.days == (week.starts_on - 2 * DAY, week.starts_on - DAY)
    assert not left_over(period_of(WEEKLY, today() + 7 * DAY), cfo).silent

    triage.take(severe.pk, actor=analyst)
    assert not left_over(week, cfo).untaken


def test_signing_over_what_is_left_open_takes_a_reason_and_both_are_kept(
    serving: Release, severe: ExceptionCase, week: Period, cfo: User
) -> None:
    review = ticked(week, cfo)
    over = left_over(week, cfo)
    with pytest.raises(InvalidInputError, match="say in the note why"):
        services.sign_off(review, actor=cfo, frozen={"page": 1}, seen=over.mark)
    with pytest.raises(StateConflictError, match="not what this page showed you"):
        services.sign_off(review, actor=cfo, note="Fine.", frozen={"page": 1}, seen="")

    signed = services.sign_off(
        review, actor=cfo, note="Closed at weekends; r9 is known.", frozen={"page": 1},
        seen=over.mark,
    )  # fmt: skip

    assert signed.frozen == {"page": 1, "signed_over": over.facts()}
    event = AuditEvent.objects.get(verb="review.signed_off")
    assert event.reason == "Closed at weekends; r9 is known."
    assert json.dumps(over.facts()["untaken_total"]) in event.body
    assert "Runs of r9, unapproved" in event.body


def test_a_calm_week_is_signed_without_a_word(workflow: Workflow, week: Period, cfo: User) -> None:
    RollUp.objects.create(
        workflow=workflow, grain="day", starts_at=datetime.combine(week.starts_on, time(), UTC),
        measure="runs", n=1, total=1, total_squares=1,
    )  # fmt: skip
    signed = services.sign_off(ticked(week, cfo), actor=cfo, frozen={"page": 1}, seen="")
    assert signed.frozen == {"page": 1}


def test_the_page_lists_it_asks_why_and_shows_it_once_signed(
    serving: Release, severe: ExceptionCase, week: Period, cfo: User, owner: User, analyst: User,
    login: Login,
) -> None:  # fmt: skip
    ticked(week, cfo)
    client, url = login(cfo), f"/reviews/weekly/{week.key}/"
    page = unescape(client.get(url).content.decode())
    assert "Left open" in page
    assert "Nobody took “Runs of r9, unapproved” (Support triage), High." in page
    assert "Support triage sent no run receipt on Sat" in page
    assert "Why is it signed off over what is open?" in page
    mark = left_over(week, cfo).mark
    assert f'<input type="hidden" name="seen" value="{mark}">' in page
    assert "Left open" in unescape(login(owner).get(url).content.decode())

    silent = client.post(f"{url}sign-off/", {"seen": mark, "note": ""})
    assert silent.status_code == 422
    assert "say in the note why you sign off over it" in silent.content.decode()
    assert client.post(f"{url}sign-off/", {"seen": "", "note": "Fine."}).status_code == 409
    done = client.post(f"{url}sign-off/", {"seen": mark, "note": "Closed at weekends."})
    assert done.status_code == 302

    triage.take(severe.pk, actor=analyst)  # what comes after changes nothing in the record
    page = unescape(client.get(url).content.decode())
    assert "Signed off over what was open" in page
    assert "Nobody took “Runs of r9, unapproved” (Support triage), High." in page
    assert "Closed at weekends." in page
