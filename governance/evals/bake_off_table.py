"""The table of a bake-off: how each release did, alone and against the reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.db.models.fields.json import KeyTextTransform

from governance.common.errors import InvalidInputError
from governance.evals import racing
from governance.evals.decision_models import BakeOff
from governance.evals.evidence import SuiteEvidence
from governance.evals.models import EvalRun
from governance.evals.policy import SCORE, Metric, metric_named
from governance.evals.recorded import evidence_of

BETTER, WORSE, EVEN, UNTESTED = "better", "worse", "even", "untested"


def table_of(bake_off: BakeOff) -> dict[str, Any]:
    """Return the table as JSON data: one line per release, the reference first.

    Two runs are held in memory at a time, however many releases race.
    """
    runs = list(
        bake_off.runs.select_related("release__workflow", "suite__workflow", "definition").order_by(
            "release__number"
        )
    )
    runs.sort(key=lambda run: run.release_id != bake_off.reference_id)
    done = [run for run in runs if run.state == EvalRun.State.DONE]
    metric = _metric(bake_off, done)
    lines = {run.pk: _line(run) for run in runs}
    reference: SuiteEvidence | None = None
    tested: dict[int, racing.Against] = {}
    standings: dict[int, racing.Standing] = {}
    for run in done:
        evidence = evidence_of(run)
        standings[run.pk] = racing.standing(evidence, metric)
        if run.release_id == bake_off.reference_id:
            reference = evidence
        elif reference is not None and run.evaluator == reference.evaluator:
            tested[run.pk] = racing.against(evidence, reference, metric)
    for run_id, standing in standings.items():
        lines[run_id]["standing"] = _rounded(asdict(standing))
    for run_id, words in _verdicts(tested).items():
        lines[run_id]["against"] = words
    axes = _axes(standings.values())
    points = {
        run.release_id: point
        for run in done
        if (point := _point(standings[run.pk], metric, axes)) is not None
    }
    over, fronts = racing.dominated_by(points), _fronts(points, axes)
    for run in done:
        lines[run.pk]["dominated_by"] = over.get(run.release_id)
        lines[run.pk]["in_front"] = [
            axis for axis, names in fronts.items() if run.release_id in names
        ]
    return {
        "schema": 1,
        "title": bake_off.title,
        "workflow": bake_off.workflow.slug,
        "suite": {
            "kind": bake_off.suite.kind,
            "version": bake_off.suite.version,
            "digest": bake_off.suite.digest,
            "cases": bake_off.suite.case_count,
        },
        "repeats": bake_off.repeats,
        "metric": {
            "name": metric.name, "label": metric.label, "unit": metric.unit,
            "direction": metric.direction.value,
        },
        "currency": bake_off.workflow.currency,
        "confidence": racing.CONFIDENCE,
        "comparisons": len([one for one in tested.values() if one.better_p is not None]),
        "axes": axes,
        "releases": [lines[run.pk] for run in runs],
    }  # fmt: skip


def _line(run: EvalRun) -> dict[str, Any]:
    return {
        "release": run.release_id,
        "name": run.release.name,
        "title": run.release.title,
        "run": run.pk,
        "state": run.state,
        "error": run.error,
        "evaluator": run.evaluator,
        "results": run.cases_done,
        "spent": f"{run.cost:.8f}",
        "standing": None,
        "against": None,
        "dominated_by": None,
        "in_front": [],
    }


def _metric(bake_off: BakeOff, done: Sequence[EvalRun]) -> Metric:
    """What they race for; a scorer's values are numbers unless each of them is true or false."""
    metric = metric_named(bake_off.metric)
    if metric is None:
        raise InvalidInputError(f"No such metric: {bake_off.metric}.")
    if not bake_off.metric.startswith(SCORE):
        return metric
    name = bake_off.metric.removeprefix(SCORE)
    values = (
        # By key, not by lookup: a scorer may be named "contains".
        run.scores.filter(error="", metrics__has_key=name)
        .annotate(value=KeyTextTransform(name, "metrics"))
        .exclude(value__in=["true", "false", "0", "1", "0.0", "1.0"])
        .filter(value__isnull=False)
        for run in done
    )
    is_number = any(rows.exists() for rows in values)
    return metric_named(bake_off.metric, as_number=is_number) or metric


def _verdicts(tested: Mapping[int, racing.Against]) -> dict[int, dict[str, Any]]:
    """Say of each contender whether it is better or worse, corrected for how many there are."""
    # Either could be found, so both directions share the chance of being wrong: doubled.
    both = {
        pk: min(1.0, 2 * min(one.better_p, one.worse_p))
        for pk, one in tested.items()
        if one.better_p is not None and one.worse_p is not None
    }
    corrected = dict(zip(both, racing.holm(list(both.values())), strict=True))
    found = {}
    for pk, one in tested.items():
        p, verdict = corrected.get(pk), UNTESTED
        is_better = (one.better_p or 0.0) <= (one.worse_p or 0.0)
        if p is not None:
            verdict = EVEN if p > racing.ALPHA else BETTER if is_better else WORSE
        found[pk] = _rounded(
            {
                **asdict(one),
                "better_holm": p if p is None or is_better else 1.0,
                "worse_holm": p if p is None or not is_better else 1.0,
                "verdict": verdict,
            }
        )
    return found


def _axes(every: Collection[racing.Standing]) -> list[str]:
    """What the front is drawn over: quality, and what every release reported."""
    beside = [
        name
        for name in ("cost", "latency")
        if every and all(getattr(standing, name) is not None for standing in every)
    ]
    return ["quality", *beside]


def _fronts(points: Mapping[str, Sequence[float]], axes: Sequence[str]) -> dict[str, set[str]]:
    """Return who is in front in quality and each of the other axes alone."""
    found = {}
    for index, axis in enumerate(axes[1:], start=1):
        pairs = {name: (point[0], point[index]) for name, point in points.items()}
        found[axis] = {name for name, over in racing.dominated_by(pairs).items() if not over}
    return found


def _point(standing: racing.Standing, metric: Metric, axes: Sequence[str]) -> list[float] | None:
    if standing.quality is None:
        return None
    best = racing.goal(standing.quality.value, metric.direction)
    rest = [getattr(standing, name).value for name in axes if name != "quality"]
    return [best, *rest]


def _rounded(value: Any) -> Any:
    """Ten decimals are finer than any suite can see."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 10) if isinstance(value, float) else value
