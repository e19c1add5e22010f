"""Exceptions: opening and joining groups, and what people do about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import IntegrityError, connection, transaction

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.models import EvalRun
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.receipts.drafts import clean
from governance.triage.grouping import Ref, groups_of
from governance.triage.models import ExceptionCase
from governance.triage.severity import severity
from governance.workflows.models import Workflow

ACTOR = Actor.system("triage")
LONGEST_COMMENT = 4_000  # characters

Kind = ExceptionCase.Kind
State = ExceptionCase.State


def _works_on(user: User, exception: ExceptionCase | None) -> bool:
    if user.role == User.Role.ANALYST:
        return True
    return exception is not None and exception.workflow.owner_id == user.pk


register_rule(
    "triage.work",
    _works_on,
    "Only an analyst or the KPI owner of this workflow works on its exceptions.",
)


@audit.atomic()
def open_or_join(
    workflow: Workflow,
    kind: str,
    group_key: str,
    *,
    title: str,
    moments: dict[Ref, datetime] | None = None,
    release_digest: str = "",
    eval_run_id: int | None = None,
    at: datetime | None = None,
) -> ExceptionCase | None:
    """Add receipts to the open exception of their group, or open one.

    Receipts that stand behind an exception of this group already are left where they are, so the
    same call again changes nothing.

    Args:
        moments: when each receipt's run started, by (UTC day, run id).
        at: when it happened, where there are no receipts.

    Returns:
        The open exception, or None when all the receipts were known.
    """
    sent = moments or {}
    moments = _unknown(workflow, kind, group_key, sent)
    if sent and not moments:
        return None
    times = list(moments.values()) or [at or now()]
    exception = _lock_or_open(
        workflow, kind, group_key,
        {
            "title": clean(title)[:200], "release_digest": release_digest,
            "severity": severity(kind, len(moments)), "eval_run_id": eval_run_id,
            "first_at": min(times), "last_at": max(times), "opened_at": now(),
        },
    )  # fmt: skip
    linked = _link(exception, moments)
    exception.receipt_count += linked
    exception.first_at = min(exception.first_at, *times)
    exception.last_at = max(exception.last_at, *times)
    # A group that grew may have become worse; it never becomes better by itself.
    exception.severity = min(exception.severity, severity(kind, exception.receipt_count))
    exception.eval_run_id = eval_run_id or exception.eval_run_id
    exception.save(
        update_fields=["receipt_count", "first_at", "last_at", "severity", "eval_run_id"]
    )
    return exception


def _lock_or_open(
    workflow: Workflow, kind: str, group_key: str, values: dict[str, object]
) -> ExceptionCase:
    """Lock the open exception of this group. Only one of two that come at once opens it."""
    group = ExceptionCase.objects.open().filter(workflow=workflow, kind=kind, group_key=group_key)
    found = group.select_for_update(of=("self",)).first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            exception = ExceptionCase.objects.create(
                workflow=workflow, kind=kind, group_key=group_key, **values
            )
    except IntegrityError:
        return group.select_for_update(of=("self",)).get()
    audit.record(
        "exception.opened", exception, actor=ACTOR, workflow=workflow.slug,
        digest=exception.release_digest, kind=kind,
    )  # fmt: skip
    return exception


def _unknown(
    workflow: Workflow, kind: str, group_key: str, moments: dict[Ref, datetime]
) -> dict[Ref, datetime]:
    """Leave out receipts that an exception of this group, open or closed, has already."""
    if not moments:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT link.day, link.run_id FROM governance_exceptionreceipt AS link"
            " JOIN governance_exceptioncase AS held ON held.id = link.exception_id"
            " WHERE held.workflow_id = %s AND held.kind = %s AND held.group_key = %s"
            " AND link.day = ANY(%s) AND link.run_id = ANY(%s)",
            [
                workflow.pk, kind, group_key, sorted({day for day, _ in moments}),
                [run_id for _, run_id in moments],
            ],
        )  # fmt: skip
        known = set(cursor.fetchall())
    return {ref: moment for ref, moment in moments.items() if ref not in known}


def _link(exception: ExceptionCase, refs: Iterable[Ref]) -> int:
    """Put the receipts behind the exception; returns how many were not there yet."""
    ordered = sorted(refs)
    if not ordered:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO governance_exceptionreceipt (exception_id, day, run_id)"
            " SELECT %s, day, run_id FROM unnest(%s::date[], %s::text[]) AS new(day, run_id)"
            " ON CONFLICT (exception_id, day, run_id) DO NOTHING",
            [exception.pk, [day for day, _ in ordered], [run_id for _, run_id in ordered]],
        )
        linked: int = cursor.rowcount
    return linked


@audit.atomic()
def triage_receipts(refs: Sequence[Ref]) -> list[ExceptionCase]:
    """Open or join the exceptions of these receipts, as they stand now. Safe to repeat."""
    groups = groups_of(refs)
    workflows = Workflow.objects.in_bulk({group.workflow_id for group in groups})
    opened = [
        open_or_join(
            workflows[group.workflow_id], group.kind, group.key, title=group.title,
            moments=group.moments, release_digest=group.release,
        )
        for group in groups
    ]  # fmt: skip
    return [exception for exception in opened if exception is not None]


@audit.atomic()
def triage_failed_eval(
    workflow: Workflow, eval_run_id: int | None, sentence: str
) -> ExceptionCase | None:
    """Open or join the exception of an eval that failed. Safe to repeat.

    Args:
        eval_run_id: the run that could not finish or missed a limit; None when a scheduled run
            could not even be asked for.
        sentence: what went wrong.
    """
    if eval_run_id is None:
        return open_or_join(
            workflow, Kind.EVAL_FAILED, "schedule",
            title=f"A scheduled eval could not start: {sentence}",
        )  # fmt: skip
    run = EvalRun.objects.select_related("release", "suite").get(pk=eval_run_id)
    if ExceptionCase.objects.filter(
        workflow=workflow, kind=Kind.EVAL_FAILED, eval_run_id=run.pk
    ).exists():
        return None
    subject = f"{run.suite} on {run.release.name}"
    title = f"{subject}: {sentence}"
    if run.state == EvalRun.State.FAILED:
        title = f"The eval of {subject} could not finish"
    return open_or_join(
        workflow, Kind.EVAL_FAILED, f"{run.suite.kind} {run.release_id}", title=title,
        release_digest=run.release_id, eval_run_id=run.pk, at=run.finished_at,
    )  # fmt: skip


@audit.atomic()
def take(pk: int, *, actor: User) -> ExceptionCase:
    """Say that this person looks after it."""
    exception = _locked(pk, actor)
    if exception.state == State.TAKEN:
        if exception.taken_by_id == actor.pk:
            return exception
        raise StateConflictError(f"{exception.taken_by} has taken this exception already.")
    exception.state = State.TAKEN
    exception.taken_by = actor
    exception.taken_at = now()
    exception.save(update_fields=["state", "taken_by", "taken_at"])
    audit.record("exception.taken", exception, actor=actor, workflow=exception.workflow.slug)
    return exception


@audit.atomic()
def resolve(pk: int, *, actor: User, comment: str) -> ExceptionCase:
    """Close it: something was done about it, and what."""
    return _close(pk, State.RESOLVED, actor, comment, "Say what was done about it.")


@audit.atomic()
def dismiss(pk: int, *, actor: User, comment: str) -> ExceptionCase:
    """Close it: nothing needs to be done, and why."""
    return _close(pk, State.DISMISSED, actor, comment, "Say why nothing needs to be done.")


def _locked(pk: int, actor: User) -> ExceptionCase:
    """Lock an exception that this person may work on and that is not closed."""
    exception = (
        ExceptionCase.objects.select_for_update(of=("self",))
        .select_related("workflow", "taken_by")
        .get(pk=pk)
    )
    require(actor, "triage.work", exception)
    if exception.state not in (State.OPEN, State.TAKEN):
        raise StateConflictError(f"Already {exception.get_state_display().lower()}.")
    return exception


def _close(
    pk: int, state: ExceptionCase.State, actor: User, comment: str, question: str
) -> ExceptionCase:
    exception = _locked(pk, actor)
    said = clean(comment).strip()
    if not said:
        raise InvalidInputError(question)
    if len(said) > LONGEST_COMMENT:
        raise InvalidInputError(f"The comment is longer than {LONGEST_COMMENT} characters.")
    exception.state = state
    exception.comment = said
    exception.closed_by = actor
    exception.closed_at = now()
    exception.save(update_fields=["state", "comment", "closed_by", "closed_at"])
    audit.record(
        f"exception.{state}", exception, actor=actor, workflow=exception.workflow.slug,
        reason=said, receipts=exception.receipt_count,
    )  # fmt: skip
    return exception
