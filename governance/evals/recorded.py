"""From stored scores to the evidence that a gate judges, and the digest of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from governance.common.canonical import digest
from governance.evals.calibration import advisory_metrics
from governance.evals.evidence import CaseResult, SuiteEvidence
from governance.evals.models import EvalRun, Score
from governance.evals.policy import METRICS, SCORE

MOST_LABEL_PAIRS, LONGEST_LABEL = 5_000, 200


def scores_of(run: EvalRun) -> list[Score]:
    """Every score of a run with its case, in the order of the cases' keys. One query."""
    rows = run.scores.select_related("case").defer("case__input", "notes", "usage")
    return list(rows.order_by("case__key", "repeat"))


def case_result(score: Score) -> CaseResult:
    """Return what a gate reads of one score."""
    must_escalate = bool(score.case.expected.get("must_escalate", False))
    values: dict[str, bool | float | None] = {
        "correct": score.correct,
        "policy_ok": score.policy_ok,
        "escalated": score.escalated,
        "must_escalate_met": score.escalated if must_escalate else None,
        "silent_error": score.silent_error,
        "passed": score.passed,
        "cost": None if score.cost is None else float(score.cost),
        "latency_ms": score.latency_ms,
        **{f"{SCORE}{name}": value for name, value in score.metrics.items()},
    }
    return CaseResult(
        key=score.case.key,
        repeat=score.repeat,
        values=values,
        output=digest([score.output, score.escalated, score.violations]),
        cluster=score.case.cluster,
        must_pass=score.case.must_pass,
        error=score.error,
    )


def evidence_of(run: EvalRun) -> SuiteEvidence:
    """Return a finished run as evidence for a gate."""
    return SuiteEvidence(
        suite=run.suite.kind,
        suite_digest=run.suite.digest,
        release=run.release_id,
        evaluator=run.evaluator,
        case_count=run.suite.case_count,
        repeats=run.repeats,
        advisory=advisory_metrics(run),
        results=[case_result(score) for score in scores_of(run)],
        sampled_at=run.suite.sampled_to,
    )


def summary_of(run: EvalRun) -> dict[str, Any]:
    """Return count and sum per metric, and the digest of everything that was scored."""
    scores = scores_of(run)
    results = [case_result(score) for score in scores if not score.error]
    summary: dict[str, Any] = {}
    names = (*METRICS, "passed", *(f"{SCORE}{name}" for name in sorted(run.scorers)))
    for name in names:
        known = [value for result in results if (value := result.values.get(name)) is not None]
        summary[name] = {"n": len(known), "sum": round(float(sum(known)), 8)}
    labels = label_counts(run, scores)
    if labels:
        summary["labels"] = labels
    summary["digest"] = digest(
        {
            "release": run.release_id,
            "suite": run.suite.digest,
            "evaluator": run.evaluator,
            "scores": [_line(score) for score in scores],
        }
    )
    return summary


def label_scorer(run: EvalRun) -> str:
    """The name of the scorer that compares labels; "" where this run has none."""
    entries = run.definition.content["scorers"] if run.definition is not None else []
    return next((str(entry["name"]) for entry in entries if entry["kind"] == "label"), "")


def label_counts(run: EvalRun, scores: Iterable[Score]) -> list[list[Any]]:
    """Return how often which label was answered where which was expected, most frequent first.

    Each row is expected, answered, whether that is right, and how often. What counts as right is
    one label, however it was written. Counted once, so that no page has to.
    """
    name = label_scorer(run)
    if not name:
        return []
    counts: Counter[tuple[str, str, bool]] = Counter()
    for score in scores:
        is_right = score.metrics.get(name)
        if score.error or not isinstance(is_right, bool):
            continue
        expected = _label(score.case.expected.get("answer"))
        answered = expected if is_right else _label(score.output.get("answer"))
        counts[expected, answered, is_right] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [[*pair, times] for pair, times in ranked[:MOST_LABEL_PAIRS]]


def _label(value: Any) -> str:
    return value[:LONGEST_LABEL] if isinstance(value, str) else ""


def _line(score: Score) -> list[Any]:
    """What the digest of a run covers; what most runs do not have is left out where it is empty."""
    more: list[Any] = [score.repeat] if score.repeat else []
    more += [score.metrics] if score.metrics else []
    return [
        score.case.key,
        score.correct,
        score.policy_ok,
        score.escalated,
        score.silent_error,
        score.passed,
        None if score.cost is None else f"{score.cost:.8f}",
        score.latency_ms,
        score.output,
        score.violations,
        score.error,
        *more,
    ]
