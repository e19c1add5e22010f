"""Storing run receipts: each exactly once, with its standing and its share of the roll-ups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from governance.common.errors import InvalidInputError
from governance.common.time import now, true_now
from governance.jobs.services import enqueue
from governance.people.models import ApiToken
from governance.receipts import rows
from governance.receipts.drafts import ReceiptDraft, body_hash, checked
from governance.receipts.models import Receipt
from governance.receipts.observations import observe
from governance.receipts.partitions import ensure_partitions, forget
from governance.receipts.rollups import Sums
from governance.receipts.rows import Row
from governance.releases.models import ReleaseApproval
from governance.workflows.models import Workflow

SCOPE = ApiToken.Scope.RECEIPTS_WRITE


@lru_cache(maxsize=4)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


def redaction_patterns() -> tuple[re.Pattern[str], ...]:
    """The operator's own patterns of personal data, compiled once."""
    return _compiled(tuple(settings.REDACT_PATTERNS))


# A run that began just before a rollback or a promotion still ends on the old release, and the
# sender's clock is not ours.
GRACE_AFTER = timedelta(minutes=10)
# After the kill switch nothing may begin, only end: this much is for clocks that differ.
GRACE_AFTER_SWITCH = timedelta(minutes=1)
GRACE_BEFORE = timedelta(minutes=1)
PER_TRIAGE_JOB = 500  # receipts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One receipt that was not stored, by its position in the request, and why."""

    index: int
    run_id: str
    error: str
    is_conflict: bool = False


@dataclass(slots=True)
class StoreResult:
    """What became of each draft: stored, known already, or refused."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def conflicts(self) -> list[Refusal]:
        return [refusal for refusal in self.refused if refusal.is_conflict]


def store(
    drafts: Sequence[ReceiptDraft], *, token: ApiToken | None = None, triage: bool = True
) -> StoreResult:
    """Store the receipts that are new, in one transaction with their roll-ups.

    A receipt is known by `run_id` within the UTC day of `started_at`. The same body again is a
    duplicate and changes nothing; another body under the same identity is refused.

    Args:
        token: who sent them; its workflow is enforced per receipt. None: Countersign itself.
        triage: wake triage for receipts that somebody must look at.
    """
    result = StoreResult()
    fits = _acceptable(list(enumerate(drafts)), token, result)
    if not fits:
        return result
    ensure_partitions({draft.day for _, draft in fits})
    return with_partitions(
        lambda: _store(fits, token, result, triage), {draft.day for _, draft in fits}
    )


def _store(
    fits: list[tuple[int, ReceiptDraft]],
    token: ApiToken | None,
    before: StoreResult,
    triage: bool,
) -> StoreResult:
    result = StoreResult(refused=list(before.refused))
    received_at = now()
    prepared = prepare([draft for _, draft in fits], token, received_at)
    firsts: dict[tuple[str, date], Row] = {}
    for row in prepared:
        firsts.setdefault(row.key, row)
    inserted = rows.insert(list(firsts.values()))
    bodies = rows.stored_bodies(firsts.keys() - inserted)
    fresh = []
    for (index, draft), row in zip(fits, prepared, strict=True):
        is_first = firsts[row.key] is row
        if is_first and row.key in inserted:
            fresh.append(row)
        elif bodies.get(row.key, firsts[row.key].body_sha256) == row.body_sha256:
            result.duplicates += 1
        else:
            result.refused.append(
                Refusal(
                    index, draft.run_id, "A receipt with this run_id and day is stored already,"
                    " with another content. Nothing was changed.", is_conflict=True,
                )
            )  # fmt: skip
    result.accepted = len(fresh)
    seen = observe(fresh)
    if triage:
        wake_triage(fresh, seen.differing)
    seen.write()
    sums = Sums()
    for row in fresh:
        sums.add(row.counted())
    rows.roll_up(sums)
    result.refused.sort(key=lambda refusal: refusal.index)
    return result


def _acceptable(
    drafts: list[tuple[int, ReceiptDraft]], token: ApiToken | None, result: StoreResult
) -> list[tuple[int, ReceiptDraft]]:
    """Return the drafts that may be stored, checked; the others become refusals."""
    slugs = {str(draft.workflow) for _, draft in drafts if _is_storable(draft.workflow)}
    currencies = dict(Workflow.objects.filter(slug__in=slugs).values_list("slug", "currency"))
    units = kpi_units(slugs)
    moment = true_now()
    fits = []
    for index, draft in drafts:
        try:
            fit = checked(draft, moment, units.get(str(draft.workflow)), redaction_patterns())
            check_workflow(fit, currencies, token)
        except InvalidInputError as error:
            shown = draft.run_id if _is_storable(draft.run_id) else ""
            result.refused.append(Refusal(index, shown[:200], str(error)))
        else:
            fits.append((index, fit))
    return fits


def kpi_units(slugs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the unit of each measure that a KPI of these workflows reads, per workflow."""
    found: dict[str, dict[str, str]] = {}
    for slug, measure, unit in Workflow.objects.filter(
        slug__in=slugs, kpis__isnull=False
    ).values_list("slug", "kpis__measure", "kpis__unit"):
        found.setdefault(slug, {})[measure] = unit
    return found


def _is_storable(text: object) -> bool:
    return isinstance(text, str) and "\0" not in text and text.isprintable()


def check_workflow(draft: ReceiptDraft, currencies: dict[str, str], token: ApiToken | None) -> None:
    """Refuse a workflow that does not exist, that this token is not for, or another currency."""
    if token is not None and not token.allows(SCOPE, draft.workflow):
        raise InvalidInputError(f"This token may not send receipts for {draft.workflow}.")
    if draft.workflow not in currencies:
        raise InvalidInputError(f"There is no workflow {draft.workflow}.")
    if draft.cost is not None and draft.currency not in ("", currencies[draft.workflow]):
        raise InvalidInputError(
            f"{draft.workflow} keeps its cost in {currencies[draft.workflow]},"
            f" not in {draft.currency}."
        )


def prepare(
    drafts: Sequence[ReceiptDraft],
    token: ApiToken | None,
    received_at: datetime,
) -> list[Row]:
    """Decide the standing of each checked draft. Two queries, however many drafts."""
    workflow_ids = dict(
        Workflow.objects.filter(slug__in={draft.workflow for draft in drafts}).values_list(
            "slug", "pk"
        )
    )
    windows = _approvals(drafts)
    return [
        Row(
            draft=draft,
            day=draft.day,
            workflow_id=workflow_ids[draft.workflow],
            standing=_standing(
                draft, windows.get((workflow_ids[draft.workflow], draft.release), ())
            ),
            body_sha256=body_hash(draft),
            received_at=received_at,
            token_id=token.pk if token is not None else None,
        )
        for draft in drafts
    ]


# From when, until when with the time that runs get to end.
Window = tuple[datetime, datetime | None]


def _approvals(drafts: Sequence[ReceiptDraft]) -> dict[tuple[int, str], list[Window]]:
    """Return when each claimed release was allowed to serve, per workflow."""
    claimed = {draft.release for draft in drafts if draft.release}
    found: dict[tuple[int, str], list[Window]] = {}
    if claimed:
        earliest = min(draft.started_at for draft in drafts)
        for workflow_id, release, start, end, switched_off in ReleaseApproval.objects.filter(
            Q(valid_to=None) | Q(valid_to__gte=earliest - GRACE_AFTER), release_id__in=claimed
        ).values_list("workflow_id", "release_id", "valid_from", "valid_to", "switched_off"):
            grace = GRACE_AFTER_SWITCH if switched_off else GRACE_AFTER
            window = (start - GRACE_BEFORE, None if end is None else end + grace)
            found.setdefault((workflow_id, release), []).append(window)
    return found


def _standing(draft: ReceiptDraft, windows: Iterable[Window]) -> Receipt.Standing:
    if not draft.release:
        return Receipt.Standing.UNATTRIBUTED
    for start, end in windows:
        if start <= draft.started_at and (end is None or draft.started_at <= end):
            return Receipt.Standing.AUTHORISED
    return Receipt.Standing.UNAUTHORISED


def wake_triage(stored: Iterable[Row], differing: AbstractSet[tuple[str, date]]) -> None:
    """Write the job that opens exceptions, in the transaction that stores the receipts.

    Args:
        differing: the identities of receipts that show something else than their release declares.
    """
    questionable = [
        [row.day.isoformat(), row.draft.run_id]
        for row in stored
        if row.standing != Receipt.Standing.AUTHORISED
        or row.draft.violations
        or row.key in differing
    ]
    for start in range(0, len(questionable), PER_TRIAGE_JOB):
        enqueue(
            "triage.receipts",
            uuid4().hex,  # written once with its receipts, so the work is this row's alone
            {"receipts": questionable[start : start + PER_TRIAGE_JOB]},
            due_within=timedelta(minutes=5),
        )


def with_partitions(write: Callable[[], T], days: set[date]) -> T:
    """Write in one transaction, once more when a partition that was remembered is gone."""
    try:
        with transaction.atomic():
            return write()
    except IntegrityError as error:
        if "no partition of relation" not in str(error):
            raise
        forget()
        ensure_partitions(days)
        with transaction.atomic():
            return write()
