"""Evidence made by hand: two releases that did such and such on so many cases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from governance.evals.evidence import CaseResult, SuiteEvidence
from governance.evals.policy import GatePolicy

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

POLICY: dict[str, Any] = {
    "suites": {"golden": {"min_cases": 20}},
    "primary": {"metric": "correct"},
    "guardrails": [{"metric": "escalated", "margin_points": 10}],
    "floors": [{"metric": "correct", "limit_percent": 50}],
}


def policy(**changes: Any) -> GatePolicy:
    """The usual policy with some keys replaced."""
    return GatePolicy.from_content({**POLICY, **changes})


def result(index: int, correct: bool, *, escalated: bool = False, **more: Any) -> CaseResult:
    """One scored case; what was right or wrong is what was put out."""
    values: dict[str, Any] = {
        "correct": correct,
        "policy_ok": True,
        "escalated": escalated,
        "must_escalate_met": None,
        "silent_error": not correct and not escalated,
        "passed": correct,
        "cost": 0.01,
        "latency_ms": 12.0,
    }
    values.update(more.pop("values", {}))
    output = more.pop("output", f"{index} {correct} {escalated}")
    return CaseResult(key=f"case-{index}", values=values, output=output, **more)


def run(results: Sequence[CaseResult], **changes: Any) -> SuiteEvidence:
    """A finished run over these results."""
    facts: dict[str, Any] = {
        "suite": "golden",
        "suite_digest": "sha256:suite",
        "release": "sha256:candidate",
        "evaluator": "sha256:evaluator",
        "case_count": len(results),
        "results": list(results),
        "sampled_at": NOW - timedelta(days=3),
    }
    return SuiteEvidence(**{**facts, **changes})


def pair(
    mended: int, broken: int, good: int, bad: int, **changes: Any
) -> tuple[dict[str, SuiteEvidence], dict[str, SuiteEvidence]]:
    """Candidate and baseline that differ in correctness on `mended` and `broken` cases."""
    truth = [(True, False)] * mended + [(False, True)] * broken
    truth += [(True, True)] * good + [(False, False)] * bad
    candidate = [result(index, mine) for index, (mine, _) in enumerate(truth)]
    baseline = [result(index, theirs) for index, (_, theirs) in enumerate(truth)]
    return (
        {"golden": run(candidate, **changes)},
        {"golden": run(baseline, **{**changes, "release": "sha256:baseline"})},
    )
