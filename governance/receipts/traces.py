"""Storing spans, and assembling one receipt per trace from every span of it that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.people.models import ApiToken
from governance.receipts import rows, span_rows
from governance.receipts.drafts import ReceiptDraft, checked
from governance.receipts.mapping import (
    anchor,
    draft_of,
    is_whole,
    named_workflow,
    slug_candidates,
    workflow_names,
)
from governance.receipts.observations import observe
from governance.receipts.partitions import ensure_partitions
from governance.receipts.rollups import Sums
from governance.receipts.services import (
    SCOPE,
    check_workflow,
    kpi_units,
    prepare,
    redaction_patterns,
    wake_triage,
    with_partitions,
)
from governance.receipts.spans import SpanData
from governance.workflows.models import Workflow

CONFLICT = "Stored already under this id with another content."

Traces = dict[str, list[SpanData]]


@dataclass(slots=True)
class SpanResult:
    """What became of the spans: stored, known already, or rejected, by reason."""

    stored: int = 0
    duplicates: int = 0
    receipts: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def store_spans(spans: Sequence[SpanData], *, token: ApiToken) -> SpanResult:
    """Store the spans that are new, with the receipts they make, in one transaction.

    A span is known by its trace and span id; the same again is a duplicate. A trace's receipt is
    made when the span that stands for the run arrives, and corrected by spans that arrive later.
    A trace whose workflow is not known, or not this token's, is rejected.
    """
    if not spans:
        return SpanResult()
    days = {span.day for span in spans}
    ensure_partitions(days)
    return with_partitions(lambda: _store(spans, token), days)


def _store(spans: Sequence[SpanData], token: ApiToken) -> SpanResult:
    result = SpanResult()
    received_at = now()
    firsts = _firsts(spans, result)
    traces = _by_trace(firsts.values())
    span_rows.lock_traces({key: not is_whole(group) for key, group in traces.items()})
    inserted = span_rows.insert(list(firsts.values()), received_at)
    result.stored = len(inserted)
    if len(inserted) < len(firsts):
        repeated = [span for key, span in firsts.items() if key not in inserted]
        conflicts = span_rows.different(repeated)
        result.duplicates += len(repeated) - len(conflicts)
        if conflicts:
            result.rejected[CONFLICT] += len(conflicts)
        traces = _by_trace(span for key, span in firsts.items() if key in inserted)
    if traces:
        days = [span.day for group in traces.values() for span in group]
        known = rows.stored_traces(list(traces), min(days), max(days))
        drafts = _assemble(traces, known, token, received_at, result)
        result.receipts = _write(drafts, known, token, received_at)
    return result


def _firsts(spans: Sequence[SpanData], result: SpanResult) -> dict[tuple[str, str], SpanData]:
    """Return each span of the request once."""
    firsts: dict[tuple[str, str], SpanData] = {}
    for span in spans:
        first = firsts.setdefault((span.trace_id, span.span_id), span)
        if first is not span:
            if first == span:
                result.duplicates += 1
            else:
                result.rejected["The request holds two different spans with one id."] += 1
    return firsts


def _by_trace(spans: Iterable[SpanData]) -> Traces:
    traces: Traces = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return traces


def _assemble(
    fresh: Traces,
    known: Mapping[str, rows.Known],
    token: ApiToken,
    received_at: datetime,
    result: SpanResult,
) -> list[ReceiptDraft]:
    """Return the receipt of every trace that shows its run; take unusable traces back."""
    stored = span_rows.others(fresh)
    whole = {
        trace_id: sorted(
            (*group, *stored.get(trace_id, ())), key=lambda span: (span.started_at, span.span_id)
        )
        for trace_id, group in fresh.items()
    }
    currencies = _currencies(whole)
    units = kpi_units(currencies)
    strangers = _of_other_workflows(known, token)
    drafts = []
    taken_back: list[SpanData] = []
    for trace_id, spans in whole.items():
        try:
            if trace_id in strangers:
                raise InvalidInputError("This trace belongs to a workflow of another token.")
            draft = _draft(spans, currencies, units, token, received_at)
        except InvalidInputError as error:
            result.rejected[str(error)] += len(fresh[trace_id])
            taken_back.extend(fresh[trace_id])
        else:
            if draft is not None:
                drafts.append(draft)
    span_rows.delete(taken_back)
    result.stored -= len(taken_back)
    return drafts


def _of_other_workflows(known: Mapping[str, rows.Known], token: ApiToken) -> set[str]:
    """Return the traces whose receipts this token may not correct."""
    if not known or not token.workflow_slug:
        return set()
    own = Workflow.objects.filter(slug=token.workflow_slug).values_list("pk", flat=True).first()
    return {trace_id for trace_id, held in known.items() if held.counted.workflow_id != own}


def _draft(
    spans: list[SpanData],
    currencies: dict[str, str],
    units: Mapping[str, Mapping[str, str]],
    token: ApiToken,
    received_at: datetime,
) -> ReceiptDraft | None:
    """Return the receipt of one trace, or None while the span that stands for it is missing."""
    run = anchor(spans)
    workflow = _workflow(spans, currencies, token)
    if not workflow:
        if run is None:
            return None
        raise InvalidInputError(
            "No workflow: set the attribute countersign.workflow, or name the service or agent"
            " like a workflow."
        )
    if not token.allows(SCOPE, workflow):
        raise InvalidInputError(f"This token may not send receipts for {workflow}.")
    if run is None:
        return None
    draft = checked(
        draft_of(spans, run, workflow), received_at, units.get(workflow), redaction_patterns()
    )
    check_workflow(draft, currencies, token)
    return draft


def _currencies(whole: Traces) -> dict[str, str]:
    """Return the currency per workflow that these traces may mean."""
    names: set[str] = set()
    for spans in whole.values():
        named = named_workflow(spans)
        for name in (named,) if named else workflow_names(spans):
            names.update(slug_candidates(name))
    return dict(Workflow.objects.filter(slug__in=names).values_list("slug", "currency"))


def _workflow(spans: list[SpanData], currencies: dict[str, str], token: ApiToken) -> str:
    named = named_workflow(spans)
    if named:
        if named not in currencies:
            raise InvalidInputError(f"There is no workflow {named[:100]}.")
        return named
    for name in workflow_names(spans):
        for slug in slug_candidates(name):
            if slug in currencies:
                return slug
    if token.workflow_slug:  # a token for one workflow names it when nothing else does
        currencies.setdefault(token.workflow_slug, "")
    return token.workflow_slug


def _write(
    drafts: list[ReceiptDraft],
    known: Mapping[str, rows.Known],
    token: ApiToken,
    received_at: datetime,
) -> int:
    """Insert new receipts, correct known ones, and keep the roll-ups exact. Returns how many."""
    if not drafts:
        return 0
    settled = []
    for draft in drafts:
        if draft.run_id in known and known[draft.run_id].day != draft.day:
            # The identity of a stored receipt stays, whatever earlier span arrives later.
            draft = replace(draft, started_at=known[draft.run_id].counted.started_at)
        settled.append(draft)
    made = [
        replace(row, body_sha256=rows.MADE_OF_SPANS + row.body_sha256[: -len(rows.MADE_OF_SPANS)])
        for row in prepare(settled, token, received_at)
    ]
    new = [row for row in made if row.draft.run_id not in known]
    # What was sent as JSON under this id stays as it was sent.
    inserted = rows.insert(new)
    new = [row for row in new if row.key in inserted]
    changed = [
        row for row in made
        if row.draft.run_id in known and known[row.draft.run_id].body_sha256 != row.body_sha256
    ]  # fmt: skip
    rows.replace(changed)
    sums = Sums()
    for row in changed:
        sums.add(known[row.draft.run_id].counted, -1)
    for row in (*new, *changed):
        sums.add(row.counted())
    seen = observe((*new, *changed), [known[row.draft.run_id] for row in changed])
    wake_triage((*new, *changed), seen.differing)
    seen.write()
    rows.roll_up(sums)
    return len(new) + len(changed)
