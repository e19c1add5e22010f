from __future__ import annotations

from datetime import UTC, datetime
from threading import Barrier, Thread

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import today
from governance.people.models import User
from governance.people.permissions import can
from governance.receipts.models import RollUp
from governance.reviews import services
from governance.reviews.cadence import CHECKLISTS, WEEKLY, period_of
from governance.reviews.models import ChecklistItem, Review
from governance.workflows.models import Workflow

WEEK = "2026-W40"


@pytest.fixture
def review(db: None) -> Review:
    return services.open_review(WEEKLY, WEEK)


def tick_everything(review: Review, actor: User) -> None:
    for task in CHECKLISTS[review.kind]:
        services.tick(review, task.key, actor=actor, note="Read and fine.")


def test_opening_a_review_twice_gives_the_same_checklist(review: Review) -> None:
    again = services.open_review(WEEKLY, WEEK)
    assert again.pk == review.pk
    assert [item.key for item in again.items.all()] == ["drift", "exceptions", "decide"]


def test_a_period_that_does_not_exist_opens_nothing(db: None) -> None:
    with pytest.raises(InvalidInputError):
        services.open_review(WEEKLY, "2026-W99")
    assert not Review.objects.exists()


def test_a_tick_keeps_who_when_and_what_was_found(
    review: Review, owner: User, workflow: Workflow
) -> None:
    item = services.tick(review, "drift", actor=owner, note="Quality dip is r5.")
    assert (item.done_by, item.note) == (owner, "Quality dip is r5.")
    event = AuditEvent.objects.filter(verb="review.item_ticked").get()
    assert "Quality dip is r5." in event.body
    with pytest.raises(StateConflictError):
        services.tick(review, "drift", actor=owner, note="Again.")


def test_refused_ticks_change_nothing(
    review: Review, owner: User, workflow: Workflow, builder: User, analyst: User
) -> None:
    with pytest.raises(NotAllowedError):
        services.tick(review, "drift", actor=builder, note="Not mine.")
    with pytest.raises(NotAllowedError):
        services.tick(review, "decide", actor=analyst, note="The owner decides.")
    with pytest.raises(InvalidInputError):
        services.tick(review, "drift", actor=owner, note="   ")
    with pytest.raises(InvalidInputError):
        services.tick(review, "no-such", actor=owner, note="x")
    assert not ChecklistItem.objects.exclude(done_at=None).exists()
    assert not AuditEvent.objects.filter(verb__startswith="review.").exists()


def test_only_an_executive_signs_and_only_a_finished_checklist(
    review: Review, owner: User, workflow: Workflow, cfo: User
) -> None:
    with pytest.raises(StateConflictError):
        services.sign_off(review, actor=cfo, frozen={"page": 1})
    tick_everything(review, cfo)
    with pytest.raises(NotAllowedError):
        services.sign_off(review, actor=owner, frozen={"page": 1})
    signed = services.sign_off(review, actor=cfo, note="Good week.", frozen={"page": 1})
    assert (signed.signed_off_by, signed.frozen) == (cfo, {"page": 1})
    assert AuditEvent.objects.filter(verb="review.signed_off").get().reason == "Good week."


def test_a_signed_review_takes_no_more_changes(review: Review, cfo: User) -> None:
    tick_everything(review, cfo)
    services.sign_off(review, actor=cfo, frozen={"page": 1})
    with pytest.raises(StateConflictError):
        services.sign_off(review, actor=cfo, frozen={"page": 2})
    with pytest.raises(StateConflictError):
        services.reopen(review, "drift", actor=cfo, reason="Wait.")
    review.refresh_from_db()
    assert review.frozen == {"page": 1}


def test_a_tick_can_be_taken_back_with_a_reason(review: Review, cfo: User) -> None:
    services.tick(review, "drift", actor=cfo, note="Fine.")
    with pytest.raises(InvalidInputError):
        services.reopen(review, "drift", actor=cfo, reason=" ")
    item = services.reopen(review, "drift", actor=cfo, reason="Wrong week.")
    assert (item.done_by, item.done_at, item.note) == (None, None, "")


def test_a_week_that_has_not_begun_is_not_signed(db: None, cfo: User) -> None:
    future = services.open_review(WEEKLY, "2199-W10")
    tick_everything(future, cfo)
    with pytest.raises(StateConflictError, match="not begun"):
        services.sign_off(future, actor=cfo, frozen={})


def test_a_refused_attempt_leaves_no_review_behind(
    workflow: Workflow, builder: User, analyst: User, cfo: User
) -> None:
    this_week = period_of(WEEKLY, today()).key
    for actor, week, item, note, refusal in (
        (builder, this_week, "drift", "Not mine.", NotAllowedError),
        (analyst, "2024-W10", "drift", "Before anything was.", StateConflictError),
        (analyst, "2199-W10", "drift", "Not begun.", StateConflictError),
        (analyst, this_week, "drift", " ", InvalidInputError),
        (analyst, this_week, "no-such", "x", InvalidInputError),
        (analyst, "2026-W99", "drift", "x", InvalidInputError),
    ):
        with pytest.raises(refusal):
            services.tick_off(WEEKLY, week, item, actor=actor, note=note)
    for actor, refusal in ((builder, NotAllowedError), (cfo, StateConflictError)):
        with pytest.raises(refusal):
            services.review_to_sign(WEEKLY, this_week, actor=actor)
    assert not Review.objects.exists()
    assert services.tick_off(WEEKLY, this_week, "drift", actor=analyst, note="Fine.").done_at


def test_weeks_with_receipts_from_before_the_workflow_can_be_worked_through(
    workflow: Workflow, analyst: User
) -> None:
    RollUp.objects.create(
        workflow=workflow, grain="day", starts_at=datetime(2026, 9, 30, tzinfo=UTC),
        measure="runs", n=1, total=1, total_squares=1,
    )  # fmt: skip
    assert services.tick_off(WEEKLY, WEEK, "drift", actor=analyst, note="Fine.").done_at
    with pytest.raises(StateConflictError, match="nothing to review"):
        services.tick_off(WEEKLY, "2026-W39", "drift", actor=analyst, note="Fine.")


def test_signing_asks_for_the_role_alone(cfo: User, owner: User, analyst: User) -> None:
    assert can(cfo, "review.sign_off", None)
    assert not can(owner, "review.sign_off", None)
    assert not can(analyst, "review.sign_off", None)


@pytest.mark.django_db(transaction=True)
def test_two_people_who_tick_at_once_leave_one_tick(cfo: User, analyst: User) -> None:
    review = services.open_review(WEEKLY, WEEK)
    together, refused = Barrier(2), []

    def tick(actor: User) -> None:
        together.wait()
        try:
            services.tick(review, "drift", actor=actor, note=f"By {actor.username}.")
        except StateConflictError as conflict:
            refused.append(conflict)
        finally:
            connection.close()

    threads = [Thread(target=tick, args=(actor,)) for actor in (cfo, analyst)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert AuditEvent.objects.filter(verb="review.item_ticked").count() == 1
