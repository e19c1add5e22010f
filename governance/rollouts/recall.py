"""The recall list: every case that a bad release touched, and what is done about each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection
from django.db.models import Max, Q

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import require
from governance.rollouts.models import LiveChange, PostMortem, Rollback
from governance.rollouts.recovery_models import RecallRow

State = RecallRow.State
LONGEST_LISTED = 100  # cases named in one audit event


def fill(post_mortem: PostMortem) -> int:
    """List every case of the bad release of the time this rollback ended. Decisions are kept.

    One statement, whatever the size. Runs without a case are listed by their run.

    Returns:
        How many cases the list holds now.
    """
    rollback = post_mortem.rollback
    since, until = served_between(rollback)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO governance_recallrow AS kept (post_mortem_id, case_id, runs, first_at,"
            " last_at, amount, outcome, escalated, state, note)"
            " SELECT %(post_mortem)s, touched.key, count(*), min(started_at), max(started_at),"
            " max(amount), (array_agg(outcome ORDER BY started_at DESC))[1],"
            " bool_or(escalated), 'undecided', ''"
            " FROM (SELECT CASE WHEN case_id = '' THEN left('run ' || run_id, 200) ELSE case_id END"
            " AS key, * FROM governance_receipt WHERE workflow_id = %(workflow)s"
            " AND day >= %(day)s AND started_at >= %(since)s"
            " AND (%(until)s::timestamptz IS NULL OR started_at < %(until)s)"
            " AND release_digest = %(bad)s) AS touched"
            " GROUP BY touched.key"
            " ON CONFLICT (post_mortem_id, case_id) DO UPDATE SET runs = excluded.runs,"
            " first_at = excluded.first_at, last_at = excluded.last_at, amount = excluded.amount,"
            " outcome = excluded.outcome, escalated = excluded.escalated",
            {
                "post_mortem": post_mortem.pk, "workflow": rollback.workflow_id,
                "day": since.date(), "since": since, "until": until,
                "bad": rollback.from_release_id,
            },
        )  # fmt: skip
    return RecallRow.objects.filter(post_mortem=post_mortem).count()


def served_between(rollback: Rollback) -> tuple[datetime, datetime | None]:
    """From when to when runs on the bad release belong to this rollback.

    From the first time it served, as pilot or for every case, that no earlier rollback of it
    covers; until it was let serve again after this one. None while it was not: runs that were
    under way, or that went on against the decision, belong to it too.
    """
    bad = rollback.from_release_id
    seq = rollback.change.seq
    serves = LiveChange.objects.filter(
        Q(to_release=bad) | Q(pilot_release=bad), workflow=rollback.workflow_id
    ).order_by("seq")
    earlier = (
        Rollback.objects.filter(
            workflow=rollback.workflow_id, from_release=bad, change__seq__lt=seq
        ).aggregate(seq=Max("change__seq"))["seq"]
        or 0
    )
    times = serves.values_list("changed_at", flat=True)
    since = times.filter(seq__gt=earlier, seq__lt=seq).first()
    return since if since is not None else rollback.done_at, times.filter(seq__gt=seq).first()


@audit.atomic()
def decide(
    post_mortem_id: int,
    *,
    actor: User,
    state: str,
    cases: Sequence[str] | None,
    note: str = "",
) -> int:
    """Say what is done about these cases; None is every undecided one.

    Returns:
        How many rows were decided.
    """
    post_mortem = (
        PostMortem.objects.select_for_update(of=("self",))
        .select_related("rollback__workflow__owner")
        .get(pk=post_mortem_id)
    )
    require(actor, "post_mortem.edit", post_mortem)
    if post_mortem.finished_at is not None:
        raise StateConflictError("This post-mortem is finished; it is not changed any more.")
    if state not in State.values or state == State.UNDECIDED:
        raise InvalidInputError("Say what was done: nothing needed, run again, or contacted.")
    rows = RecallRow.objects.filter(post_mortem=post_mortem)
    if cases is None:
        rows = rows.filter(state=State.UNDECIDED)
    else:
        rows = rows.filter(case_id__in=list(cases))
    touched = list(rows.values_list("case_id", flat=True)[: LONGEST_LISTED + 1])
    if not touched:
        raise InvalidInputError("Choose at least one case.")
    count = rows.update(state=state, decided_by=actor, decided_at=now(), note=note.strip()[:300])
    audit.record(
        "recall.decided", post_mortem, actor=actor, workflow=post_mortem.rollback.workflow.slug,
        reason=note.strip()[:300], state=state, count=count, cases=touched[:LONGEST_LISTED],
        every_undecided=cases is None,
    )  # fmt: skip
    return count


def undecided(post_mortem: PostMortem) -> int:
    return RecallRow.objects.filter(post_mortem=post_mortem, state=State.UNDECIDED).count()


def refuse_undecided(post_mortem: PostMortem) -> None:
    """Raise while a row waits for its decision."""
    left = undecided(post_mortem)
    if left:
        raise StateConflictError(
            f"{left:,} case{'s' if left > 1 else ''} of the recall list"
            f" {'wait' if left > 1 else 'waits'} for a decision."
        )
