"""How many cases it takes to see a change, for what the policy in force judges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from django.http import QueryDict

from governance.evals import flips
from governance.evals import statistics as st
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.policy import SUITE_KINDS, Comparison, GatePolicy
from governance.evals.requests import IMPORTED, imports_count
from governance.evals.services import current_policy, evidence_suites
from governance.workflows.models import Workflow

USUAL_DISCORDANCE = 0.15  # where no two releases were run on the same cases yet


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants to see, from the address. Points are percentage points."""

    points: float | None  # None: each guardrail's own margin
    discordance: float | None  # 0 to 1; None: as seen in the last runs
    confidence: float
    power: float


@dataclass(frozen=True, slots=True)
class Line:
    """One metric on one suite."""

    suite: str
    metric: str
    role: str
    points: float
    is_assumed: bool  # the points, because the policy asks for any gain
    discordance: float
    is_seen: bool  # the discordance comes from runs
    have: int
    need: int | None
    visible: float  # the smallest regression that these cases show, in points

    @property
    def is_enough(self) -> bool:
        return self.need is not None and self.have >= self.need

    @property
    def missing(self) -> int:
        return max(0, (self.need or 0) - self.have)


def asked_of(query: QueryDict) -> Asked:
    """Read the address; what is missing or out of bounds is as usual."""
    points = _number(query, "points", 0.1, 50)
    discordance = _number(query, "differ", 1, 100)
    return Asked(
        points=points,
        discordance=None if discordance is None else discordance / 100,
        confidence=(_number(query, "confidence", 80, 99.9) or 95.0) / 100,
        power=(_number(query, "power", 50, 99) or 80.0) / 100,
    )


def _number(query: QueryDict, name: str, least: float, most: float) -> float | None:
    try:
        value = float(query.get(name, "").replace(",", "."))
    except ValueError:
        return None
    return value if least <= value <= most else None


def lines(workflow: Workflow, asked: Asked) -> list[Line]:
    """Return a line for each share of cases that the policy in force compares."""
    found = current_policy(workflow)
    if found is None:
        return []
    policy = GatePolicy.from_content(found.content)
    suites = evidence_suites(workflow)
    least = {rule.kind: rule.min_cases for rule in policy.suites}
    seen = {kind: _discordances(suite) for kind, suite in suites.items()}
    entries: list[tuple[str, Comparison]] = [("guardrail", entry) for entry in policy.guardrails]
    if policy.primary is not None:
        entries.insert(0, ("primary", policy.primary))
    return [
        _line(role, entry, kind, suites.get(kind), seen.get(kind, {}), asked, least[kind])
        for role, entry in entries
        if entry.metric.unit == "percent"
        for kind in SUITE_KINDS
        if kind in entry.suites
    ]


def _line(
    role: str, entry: Comparison, kind: str, suite: SuiteVersion | None,
    seen: Mapping[str, float], asked: Asked, least: int,
) -> Line:  # fmt: skip
    have = suite.case_count if suite else 0
    points = asked.points or entry.points or 5.0
    given = asked.discordance or seen.get(entry.metric.name)
    discordance = max(given or USUAL_DISCORDANCE, points / 100 if role == "primary" else 0.0)
    change, null = (points / 100, 0.0) if role == "primary" else (0.0, -points / 100)
    need = st.cases_needed(
        discordance=discordance, change=change, null=null, confidence=asked.confidence,
        power=asked.power,
    )  # fmt: skip
    visible = st.smallest_visible_regression(
        have, discordance=discordance, confidence=asked.confidence, power=asked.power
    )
    if need is not None:
        need = max(need, least)  # with fewer the gate does not look at all
    return Line(
        suite=kind, metric=entry.metric.label, role=role, points=points,
        is_assumed=not (asked.points or entry.points), discordance=discordance,
        is_seen=asked.discordance is None and given is not None, have=have, need=need,
        visible=100 * visible if math.isfinite(visible) else 100.0,
    )  # fmt: skip


def _discordances(suite: SuiteVersion) -> dict[str, float]:
    """The share of cases on which the two newest finished releases differed, per metric."""
    done = EvalRun.objects.filter(suite=suite, state=EvalRun.State.DONE)
    if not imports_count(suite.workflow):
        done = done.exclude(purpose=IMPORTED)
    runs = list(done.order_by("-finished_at", "-pk").select_related("suite")[:20])
    if not runs:
        return {}
    newest = runs[0]
    other = next(
        (
            run
            for run in runs[1:]
            if run.release_id != newest.release_id and run.evaluator == newest.evaluator
        ),
        None,
    )
    if other is None:
        return {}
    found = {}
    for column in ("correct", "policy_ok", "escalated", "silent_error"):
        counted = flips.counts(newest, other, flips.Asked(column=column))
        known = sum(counted.values()) - counted[flips.UNKNOWN]
        if known:
            differing = counted[flips.BROKE] + counted[flips.MENDED]
            found[column] = (differing + 1) / (known + 2)  # never quite zero: one more might
    return found
