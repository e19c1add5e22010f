"""Working through a review: ticking its items, opening them again, signing it off."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db.models import Min, Prefetch

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now, today
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.receipts.models import RollUp
from governance.reviews.cadence import (
    ANALYST,
    CHECKLISTS,
    OWNER,
    PERIOD_WORD,
    Period,
    Task,
    parse_period,
)
from governance.reviews.left_over import left_over
from governance.reviews.models import ChecklistItem, Review
from governance.workflows.models import Workflow

NOTE_LENGTH = 500  # characters


def answers_for_something(user: User) -> bool:
    """Whether this person owns a workflow or a KPI."""
    return Workflow.objects.filter(owner=user).exists() or Kpi.objects.filter(owner=user).exists()


def _may_tick(user: User, task: Task) -> bool:
    if user.role == User.Role.EXECUTIVE:
        return True
    if ANALYST in task.whose and user.role == User.Role.ANALYST:
        return True
    return OWNER in task.whose and answers_for_something(user)


register_rule(
    "review.tick", _may_tick, "An executive, or the people whose item this is, tick it off."
)
register_rule(
    "review.sign_off",
    lambda user, _: user.role == User.Role.EXECUTIVE,
    "Only an executive signs a review off.",
)


def find_review(kind: str, key: str) -> Review | None:
    """Return the review of a period if anybody has worked on it yet."""
    return (
        Review.objects.select_related("signed_off_by")
        .prefetch_related(
            Prefetch("items", queryset=ChecklistItem.objects.select_related("done_by"))
        )
        .filter(kind=kind, period=key)
        .first()
    )


def open_review(kind: str, key: str) -> Review:
    """Return the review of a period, with its checklist; made when first needed.

    Raises:
        InvalidInputError: there is no such period.
    """
    period = _parsed(kind, key)
    # Not audited: nobody decided anything yet. Two people may come here at the same moment.
    with audit.atomic():
        review, _ = Review.objects.get_or_create(
            kind=kind,
            period=period.key,
            defaults={"starts_on": period.starts_on, "ends_on": period.ends_on},
        )
        ChecklistItem.objects.bulk_create(
            [
                ChecklistItem(review=review, key=task.key, position=position)
                for position, task in enumerate(CHECKLISTS[kind])
            ],
            ignore_conflicts=True,
        )
    return review


def first_day() -> date | None:
    """Return the day of the first workflow or the first run receipt; None before both."""
    made = Workflow.objects.aggregate(first=Min("created_at"))["first"]
    days = RollUp.objects.filter(grain=RollUp.Grain.DAY)
    measured = days.aggregate(first=Min("starts_at"))["first"]
    return min((moment.date() for moment in (made, measured) if moment), default=None)


def why_not_worked_through(period: Period) -> str:
    """Say why a period has nothing to tick off; empty when it has."""
    word = PERIOD_WORD[period.kind]
    if period.starts_on > today():
        return f"This {word} has not begun."
    first = first_day()
    if first is None or period.ends_on < first:
        return f"There is nothing to review: this {word} was over before the first workflow."
    return ""


@audit.atomic()
def tick_off(kind: str, key: str, item: str, *, actor: User, note: str) -> ChecklistItem:
    """Tick one item of a period off. A refused attempt leaves nothing behind, not even a review."""
    period = _parsed(kind, key)
    require(actor, "review.tick", _task(kind, item))
    if why_not := why_not_worked_through(period):
        raise StateConflictError(why_not)
    return tick(open_review(kind, period.key), item, actor=actor, note=note)


@audit.atomic()
def tick(review: Review, key: str, *, actor: User, note: str) -> ChecklistItem:
    """Tick one item off, with what was found."""
    found = _locked(review)
    task = _task(found.kind, key)
    require(actor, "review.tick", task)
    item = ChecklistItem.objects.select_for_update().get(review=found, key=key)
    if item.done_at is not None:
        raise StateConflictError("Somebody ticked this off already.")
    said = " ".join(note.split())
    if not said or len(said) > NOTE_LENGTH:
        raise InvalidInputError(f"Say what was found, in 1 to {NOTE_LENGTH} characters.")
    item.done_by, item.done_at, item.note = actor, now(), said
    item.save(update_fields=["done_by", "done_at", "note"])
    audit.record("review.item_ticked", found, actor=actor, item=task.label, note=said)
    return item


@audit.atomic()
def reopen(review: Review, key: str, *, actor: User, reason: str) -> ChecklistItem:
    """Take a tick back, with the reason; the audit keeps both."""
    found = _locked(review)
    task = _task(found.kind, key)
    require(actor, "review.tick", task)
    item = ChecklistItem.objects.select_for_update().get(review=found, key=key)
    if item.done_at is None:
        raise StateConflictError("This item is open.")
    if not reason.strip():
        raise InvalidInputError("Give a reason: it stays in the record.")
    item.done_by, item.done_at, item.note = None, None, ""
    item.save(update_fields=["done_by", "done_at", "note"])
    audit.record("review.item_reopened", found, actor=actor, item=task.label, reason=reason.strip())
    return item


def review_to_sign(kind: str, key: str, *, actor: User) -> Review:
    """Return the review that this person is about to sign; makes none."""
    require(actor, "review.sign_off")
    found = find_review(kind, key)
    if found is None:
        raise StateConflictError("Nothing is ticked off yet. Tick everything off, then sign.")
    return found


@audit.atomic()
def sign_off(
    review: Review,
    *,
    actor: User,
    note: str = "",
    frozen: dict[str, Any] | None = None,
    seen: str | None = None,
) -> Review:
    """Close a review.

    What is left open holds nothing up, but it takes a note that says why, and both stay in the
    record.

    Args:
        frozen: what its page showed, kept as it was.
        seen: the mark of what was left over when the person looked; None where nobody was shown.
    """
    found = _locked(review)
    require(actor, "review.sign_off", found)
    word = PERIOD_WORD[found.kind]
    if found.starts_on > today():
        raise StateConflictError(f"This {word} has not begun.")
    open_items = found.items.filter(done_at=None).count()
    if open_items:
        raise StateConflictError(
            f"{open_items} of the checklist {'is' if open_items == 1 else 'are'} open."
            " Tick everything off, then sign."
        )
    over = left_over(_parsed(found.kind, found.period), actor)
    if seen is not None and seen != over.mark:
        raise StateConflictError(
            "What is left open is not what this page showed you. Look at it again, then sign."
        )
    if over and not note.strip():
        raise InvalidInputError("Something is left open: say in the note why you sign off over it.")
    found.signed_off_by, found.signed_off_at = actor, now()
    found.sign_off_note = note.strip()[:2_000]
    # A review that kept nothing of its page keeps nothing here: the audit has it all the same.
    found.frozen = {**frozen, "signed_over": over.facts()} if frozen and over else frozen or {}
    found.save(update_fields=["signed_off_by", "signed_off_at", "sign_off_note", "frozen"])
    details: dict[str, Any] = {"kind": found.kind, "period": found.period}
    if over:
        details["signed_over"] = over.facts()
    audit.record("review.signed_off", found, actor=actor, reason=found.sign_off_note, **details)
    return found


def _locked(review: Review) -> Review:
    """Lock the review; a signed-off one takes no more changes."""
    found = Review.objects.select_for_update(of=("self",)).get(pk=review.pk)
    if found.signed_off_at is not None:
        raise StateConflictError("This review is signed off: it keeps what it showed.")
    return found


def _parsed(kind: str, key: str) -> Period:
    try:
        return parse_period(kind, key)
    except ValueError as problem:
        raise InvalidInputError(f"There is no such period: {problem}.") from problem


def _task(kind: str, key: str) -> Task:
    for task in CHECKLISTS[kind]:
        if task.key == key:
            return task
    raise InvalidInputError("There is no such item on this checklist.")
