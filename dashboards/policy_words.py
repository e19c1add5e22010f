"""A gate policy in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance.evals.policy import (
    HARD_RULES,
    Comparison,
    Direction,
    GatePolicy,
    Metric,
    PolicyError,
)

EXAMPLE: Mapping[str, Any] = {
    "suites": {
        "golden": {"min_cases": 50},
        "recent": {"min_cases": 50, "max_age_days": 14},
        "adversarial": {"min_cases": 30},
    },
    "primary": {"metric": "correct", "suites": ["golden"], "min_improvement_points": 0},
    "guardrails": [
        {"metric": "silent_error", "suites": ["golden", "recent"], "margin_points": 3},
        {"metric": "escalated", "suites": ["golden", "recent"], "margin_points": 5},
        {"metric": "cost", "suites": ["golden"], "margin_percent": 5},
    ],
    "floors": [{"metric": "silent_error", "suites": ["golden"], "limit_percent": 25}],
    "hard_rules": ["must_pass", "policy_violations"],
    "confidence": 0.95,
    "max_errored_percent": 2,
}


def in_words(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what a policy asks for, line by line."""
    try:
        policy = GatePolicy.from_content(content)
    except PolicyError as error:
        return [("Not readable", str(error))]
    said = [
        ("Suites", "; ".join(
            f"{rule.kind.capitalize()}, at least {rule.min_cases:,} cases"
            + (f", at most {rule.max_age_days} days old" if rule.max_age_days else "")
            for rule in policy.suites
        )),
        ("Has to get better", _primary(policy.primary)),
    ]  # fmt: skip
    said += [("May not get worse", _guardrail(entry)) for entry in policy.guardrails]
    said += [
        (
            "Absolute limit",
            f"{floor.metric.label} {_side(floor.direction)} {floor.percent:g} % on"
            f" {_listed(floor.suites)}",
        )
        for floor in policy.floors
    ]
    rules = ", ".join(HARD_RULES[rule].lower() for rule in policy.hard_rules)
    said += [
        ("Zero tolerance", rules.capitalize() or "nothing"),
        ("Confidence", f"{100 * policy.confidence:g} %, one-sided"),
        ("Cases that may fail to run", f"at most {policy.max_errored_percent:g} %"),
    ]
    if policy.evaluator:
        said.append(("Evaluator", policy.evaluator))
    return said


def _primary(entry: Comparison | None) -> str:
    if entry is None:
        return "nothing: it judges by what may not get worse"
    least = f", by at least {_amount(entry.metric, entry.points)}" if entry.points else ""
    return f"{entry.metric.label} on {_listed(entry.suites)}{least} ({_way(entry.direction)})"


def _guardrail(entry: Comparison) -> str:
    return (
        f"{entry.metric.label} on {_listed(entry.suites)}, by more than"
        f" {_amount(entry.metric, entry.points)} ({_way(entry.direction)})"
    )


def _amount(metric: Metric, points: float) -> str:
    unit = {"percent": " points", "money": " %", "ms": " %"}.get(metric.unit, "")
    return f"{points:,.10g}{unit}"


def _way(direction: Direction) -> str:
    return "more is better" if direction is Direction.HIGHER else "less is better"


def _side(direction: Direction) -> str:
    return "at least" if direction is Direction.HIGHER else "at most"


def _listed(suites: tuple[str, ...]) -> str:
    return " and ".join(suites)
