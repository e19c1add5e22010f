"""Recent suites: a stratified sample of what really ran, frozen with its window."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from django.conf import settings

from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import canonical
from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.evals.cases import Row
from governance.evals.models import SuiteVersion
from governance.evals.scrubbing import scrubbed
from governance.evals.suites import freeze_suite
from governance.receipts.models import Receipt
from governance.receipts.services import redaction_patterns
from governance.workflows.models import Workflow

# Receipts carry no texts, so whoever keeps the cases hands them over: case ids → cases with
# `input` and, where it has a label, `expected`. A case id without a text is left out.
MOST_DAYS = 14
MOST_DRAWN = 2_000
Source = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]


def has_source(workflow: Workflow) -> bool:
    """Whether the settings name a source of case texts for this workflow."""
    return workflow.slug in settings.EVAL_CASE_SOURCES


def texts_of(workflow: Workflow, case_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Ask whoever keeps the texts for these cases; one without a label has no `expected`.

    Raises:
        InvalidInputError: the settings name no source for the workflow.
    """
    return _source(workflow)(case_ids)


def sample_recent_suite(
    workflow: Workflow,
    *,
    actor: Actor | HasActor,
    cases_by_case_id: Mapping[str, Mapping[str, Any]] | None = None,
    days: int = 14,
    size: int = 200,
    seed: str = "",
) -> SuiteVersion:
    """Draw a recent suite from the receipts of the last days and freeze it.

    Args:
        cases_by_case_id: texts and labels; default: asked of the source in the settings.
        days: length of the window that ends now, 1 to 14.
        size: cases to draw, spread over the segments in proportion to their traffic.
        seed: which sample; default the day, so that nobody draws until it looks good.

    Raises:
        InvalidInputError: no source, or nothing that ran in the window has a label.
    """
    drawn = draw(
        workflow, days=days, size=size, seed=seed, cases=cases_by_case_id, only_labelled=True
    )
    if not drawn.rows:
        raise InvalidInputError(f"Nothing that ran in the last {days} days has a label.")
    return freeze_suite(
        workflow, SuiteVersion.Kind.RECENT, drawn.rows, actor=actor, sampled_from=drawn.since,
        sampled_to=drawn.until,
        origin={**drawn.rule, "drawn": len(drawn.rows), "labelled": len(drawn.rows)},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample of what ran between two moments, and the rule that drew it."""

    rows: list[Row]
    since: datetime
    until: datetime
    rule: dict[str, Any]


def draw(
    workflow: Workflow,
    *,
    days: int = MOST_DAYS,
    size: int = 200,
    seed: str = "",
    cases: Mapping[str, Mapping[str, Any]] | None = None,
    only_labelled: bool = False,
) -> Drawn:
    """Draw cases from the receipts of the last days, in proportion to the traffic per segment.

    Each text is drawn once, without personal data. A row without a label has an empty `expected`.

    Raises:
        InvalidInputError: a wrong window, or no source of texts.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInputError(f"A recent suite covers 1 to {MOST_DAYS} days.")
    if not 1 <= size <= MOST_DRAWN:
        raise InvalidInputError(f"A sample has 1 to {MOST_DRAWN:,} cases.")
    until = now()
    since = until - timedelta(days=days)
    ran = (
        Receipt.objects.filter(workflow=workflow, started_at__gte=since, started_at__lt=until)
        .exclude(case_id="")
        .filter(day__gte=since.date(), day__lte=until.date())
        .values_list("segment", "case_id")
        .distinct()
    )
    segments: dict[str, list[str]] = defaultdict(list)
    for segment, case_id in ran:
        segments[segment].append(case_id)
    case_ids = sorted({case_id for ids in segments.values() for case_id in ids})
    known = cases if cases is not None else texts_of(workflow, case_ids)
    if only_labelled:
        known = {case_id: case for case_id, case in known.items() if case.get("expected")}
    usable = _without_repeats(segments, known)
    chosen_seed = seed or until.date().isoformat()
    drawn = _stratified(usable, size, chosen_seed) if usable else []
    of = {
        case_id: segment
        for segment, ids in zip(sorted(usable), drawn, strict=True)
        for case_id in ids
    }
    rows = [_row(case_id, of[case_id], known[case_id]) for case_id in sorted(of)]
    rule = {"kind": "sample", "seed": chosen_seed, "days": days, "size": size}
    return Drawn(rows, since, until, rule)


def _row(case_id: str, segment: str, known: Mapping[str, Any]) -> Row:
    """One case as the source hands it over, named and placed as its receipt is."""
    row = {"expected": {}, "reason": "", **known, "key": case_id}
    row["segment"] = row.get("segment") or segment
    return scrubbed(row, redaction_patterns())


def _without_repeats(
    segments: Mapping[str, list[str]], known: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Keep the known cases per segment, each text once: asking twice tells nothing new."""
    usable: dict[str, list[str]] = {}
    seen: set[str] = set()
    for segment in sorted(segments):
        for case_id in sorted(segments[segment]):
            if case_id in known and (text := canonical(known[case_id]["input"])) not in seen:
                seen.add(text)
                usable.setdefault(segment, []).append(case_id)
    return usable


def _stratified(segments: Mapping[str, list[str]], wanted: int, seed: str) -> list[list[str]]:
    """Take from each segment in proportion to its cases, at least one."""
    total = sum(len(ids) for ids in segments.values())
    drawn = []
    for segment in sorted(segments):
        ids = sorted(segments[segment], key=lambda case_id: _rank(seed, case_id))
        share = round(wanted * len(ids) / total)
        drawn.append(ids[: max(1, share)])
    return drawn


def _rank(seed: str, case_id: str) -> str:
    return hashlib.sha256(f"{seed}\0{case_id}".encode()).hexdigest()


def _source(workflow: Workflow) -> Source:
    name = settings.EVAL_CASE_SOURCES.get(workflow.slug)
    if not name:
        raise InvalidInputError(
            f"EVAL_CASE_SOURCES names no source of case texts for {workflow.slug!r}."
        )
    module_name, _, attribute = name.rpartition(".")
    return getattr(import_module(module_name), attribute)  # type: ignore[no-any-return]
