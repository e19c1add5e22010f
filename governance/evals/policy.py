"""What a gate asks for: metrics, margins, floors, hard rules. Pure: no Django."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SUITE_KINDS = ("golden", "recent", "adversarial")
_MARK = re.compile(r"sha256:[\w-]{1,64}\Z", re.ASCII)
HARD_RULES = {
    "must_pass": "Must-pass cases",
    "policy_violations": "Policy violations",
}


class PolicyError(ValueError):
    """A gate policy that says something impossible or unknown, in one sentence."""


class Direction(StrEnum):
    """Which way a metric is meant to go."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Metric:
    """One number a case is scored with."""

    name: str
    label: str
    direction: Direction
    # "percent": true or false per case, compared in points. "money" and "ms": compared as a
    # ratio, with a margin in percent. "number": a score, compared in its own units.
    unit: str = "percent"

    @property
    def margin_key(self) -> str:
        """What a policy calls a guardrail's margin."""
        return MARGINS[self.unit]

    @property
    def improvement_key(self) -> str:
        """What a policy calls the least improvement of a primary metric."""
        return self.margin_key.replace("margin", "min_improvement")


MARGINS = {
    "percent": "margin_points",
    "money": "margin_percent",
    "ms": "margin_percent",
    "number": "margin",
}
# The largest margin, or least improvement, of each unit: above it nothing would be judged.
MOST = {"percent": 99.0, "money": 1_000.0, "ms": 1_000.0, "number": 1_000_000.0}
SCORE = "score:"  # before the name of a scorer of the workflow's evaluator

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("correct", "Correct answers", Direction.HIGHER),
        Metric("policy_ok", "Within policy", Direction.HIGHER),
        Metric("escalated", "Escalated to a person", Direction.LOWER),
        Metric("must_escalate_met", "Sensitive cases handed to a person", Direction.HIGHER),
        Metric("silent_error", "Answered wrong without a person", Direction.LOWER),
        Metric("cost", "Cost per run", Direction.LOWER, unit="money"),
        Metric("latency_ms", "Latency", Direction.LOWER, unit="ms"),
    )
}


@dataclass(frozen=True)
class SuiteRule:
    """What one suite must bring before it counts."""

    kind: str
    min_cases: int
    max_age_days: int | None


@dataclass(frozen=True)
class Comparison:
    """A metric compared with the baseline: the primary one, or a guardrail.

    `points` is the least improvement of a primary metric, or the margin of a guardrail: in
    percentage points of cases, percent of the baseline (money, time), or a score's own units.
    """

    metric: Metric
    direction: Direction
    suites: tuple[str, ...]
    points: float


@dataclass(frozen=True)
class Floor:
    """An absolute limit, judged on the one-sided confidence bound; `percent` of cases."""

    metric: Metric
    direction: Direction
    suites: tuple[str, ...]
    percent: float


@dataclass(frozen=True)
class GatePolicy:
    """Everything a gate judges by, as written in a policy's content."""

    suites: tuple[SuiteRule, ...]
    primary: Comparison | None
    guardrails: tuple[Comparison, ...]
    floors: tuple[Floor, ...]
    hard_rules: tuple[str, ...]
    confidence: float
    max_errored_percent: float
    evaluator: str | None

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> GatePolicy:
        """Read a policy from its JSON content.

        Raises:
            PolicyError: a key is unknown or missing, a number is out of range, a metric is
                named that cannot be judged, or nothing at all would be judged.
        """
        _known(
            content,
            "policy",
            {
                "suites", "primary", "guardrails", "floors", "hard_rules", "confidence",
                "max_errored_percent", "evaluator",
            },
        )  # fmt: skip
        suites = tuple(_suite(kind, rule) for kind, rule in _items(content, "suites"))
        if not suites:
            raise PolicyError("A gate policy needs at least one suite.")
        kinds = tuple(rule.kind for rule in suites)
        primary = content.get("primary")
        hard_rules = _texts(content, "hard_rules", tuple(sorted(HARD_RULES)))
        unknown = set(hard_rules) - set(HARD_RULES)
        if unknown:
            raise PolicyError(f"Unknown hard rule: {', '.join(sorted(unknown))}.")
        evaluator = content.get("evaluator")
        if evaluator is not None and not (isinstance(evaluator, str) and _MARK.match(evaluator)):
            raise PolicyError("The evaluator is named by its fingerprint: it begins with sha256:.")
        policy = cls(
            suites=suites,
            primary=None
            if primary is None
            else _comparison(primary, kinds[:1], is_guardrail=False),
            guardrails=tuple(
                _comparison(entry, kinds, is_guardrail=True)
                for entry in _entries(content, "guardrails")
            ),
            floors=tuple(_floor(entry, kinds) for entry in _entries(content, "floors")),
            hard_rules=hard_rules,
            confidence=_number(content, "confidence", 0.95, 0.8, 0.999),
            max_errored_percent=_number(content, "max_errored_percent", 2.0, 0.0, 20.0),
            evaluator=evaluator,
        )
        judged: list[Comparison | Floor] = [*policy.guardrails, *policy.floors]
        if policy.primary is not None:
            judged.append(policy.primary)
        if not judged:
            raise PolicyError("A gate policy without primary, guardrail or floor judges nothing.")
        named = {suite for entry in judged for suite in entry.suites}
        if extra := named - set(kinds):
            raise PolicyError(f"The policy judges on a suite it does not ask for: {min(extra)}.")
        return policy


def usual_age(kind: str) -> int | None:
    """The oldest a suite may be, in days, where the policy does not say."""
    return 14 if kind == "recent" else None


def _suite(kind: str, rule: Mapping[str, Any]) -> SuiteRule:
    if kind not in SUITE_KINDS:
        raise PolicyError(f"Unknown suite: {kind}.")
    _known(rule, kind, {"min_cases", "max_age_days"})
    age = rule.get("max_age_days", usual_age(kind))
    if age is not None and (not _whole(age) or age < 1):
        raise PolicyError(f"The age limit of {kind} is a whole number of days.")
    if kind == "recent" and (age is None or age > 14):
        raise PolicyError("A recent suite is at most 14 days old.")
    least = rule.get("min_cases", 1)
    if not _whole(least) or least < 1:
        raise PolicyError(f"The least number of cases of {kind} is a whole number from 1.")
    return SuiteRule(kind, least, age)


def _comparison(
    entry: Mapping[str, Any], default: tuple[str, ...], *, is_guardrail: bool
) -> Comparison:
    metric, direction, suites = _metric(entry, default)
    key = metric.margin_key if is_guardrail else metric.improvement_key
    _known(entry, "guardrail" if is_guardrail else "primary",
           {"metric", "direction", "suites", "as_number", key})  # fmt: skip
    if is_guardrail and key not in entry:
        raise PolicyError(f"The guardrail {metric.label!r} needs its {key}.")
    least = 0.01 if is_guardrail and metric.unit != "number" else 0.0
    amount = _number(entry, key, 0.0, least, MOST[metric.unit])
    if is_guardrail and amount <= 0:
        raise PolicyError(f"The margin of {metric.label!r} is above zero.")
    return Comparison(metric, direction, suites, amount)


def _floor(entry: Mapping[str, Any], default: tuple[str, ...]) -> Floor:
    _known(entry, "floor", {"metric", "direction", "suites", "limit_percent"})
    metric, direction, suites = _metric(entry, default)
    if metric.unit != "percent":
        raise PolicyError(f"{metric.label} has no floor: only shares of cases have one.")
    if "limit_percent" not in entry:
        raise PolicyError(f"The floor of {metric.label!r} needs its limit in percent.")
    return Floor(metric, direction, suites, _number(entry, "limit_percent", 0.0, 0.0, 100.0))


def _metric(
    entry: Mapping[str, Any], default: tuple[str, ...]
) -> tuple[Metric, Direction, tuple[str, ...]]:
    if not isinstance(entry, Mapping):
        raise PolicyError("What is judged is an object with a metric.")
    metric = metric_named(str(entry.get("metric")), as_number=entry.get("as_number") is True)
    if metric is None:
        raise PolicyError(f"Unknown metric: {entry.get('metric')}.")
    suites = _texts(entry, "suites", default)
    if not suites or len(set(suites)) != len(suites):
        raise PolicyError(f"{metric.label}: name each suite once.")
    try:
        return metric, Direction(entry.get("direction", metric.direction)), suites
    except ValueError:
        raise PolicyError(f"{metric.label}: the direction is higher or lower.") from None


def metric_named(name: str, *, as_number: bool = False) -> Metric | None:
    """Return a metric, also one of a workflow's own scorers (`score:<name>`).

    Args:
        as_number: the scorer's value is a number and compared as one, not true or false.
    """
    scorer = name.removeprefix(SCORE)
    if name.startswith(SCORE) and scorer.isidentifier() and len(scorer) <= 40:
        label = scorer.replace("_", " ").capitalize()
        unit = "number" if as_number else "percent"
        return Metric(name, label, Direction.HIGHER, unit)
    return None if as_number else METRICS.get(name)


def _known(entry: Mapping[str, Any], where: str, keys: set[str]) -> None:
    if not isinstance(entry, Mapping):
        raise PolicyError(f"{where}: expected an object.")
    if unknown := set(entry) - keys:
        raise PolicyError(f"{where}: unknown key {min(unknown)!r}.")


def _items(content: Mapping[str, Any], key: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    found = content.get(key)
    if not isinstance(found, Mapping):
        raise PolicyError(f"{key}: expected an object.")
    # In the order of design: golden first, whatever order the JSON came in.
    return sorted(found.items(), key=lambda item: (*SUITE_KINDS, item[0]).index(item[0]))


def _entries(content: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = content.get(key, [])
    if not isinstance(found, list):
        raise PolicyError(f"{key}: expected a list.")
    return found


def _texts(entry: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = entry.get(key, default)
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise PolicyError(f"{key}: expected a list of names.")
    return tuple(found)


def _number(entry: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise PolicyError(f"{key} is a number from {least:g} to {most:,.10g}, not {value!r}.")
    return float(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
