"""What a gate looks at, and the reasons not to believe it. Pure: no Django."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from governance.evals.policy import METRICS, Comparison, Floor, GatePolicy, SuiteRule

DAY = timedelta(days=1)


@dataclass(frozen=True)
class CaseResult:
    """How one release did on one case.

    `values` holds a number or truth value per metric; None means that the metric does not apply
    to this case. `output` identifies what the release did, so that two releases can be seen to
    act alike. A case with an `error` has no score. Beside the metrics, `passed` says whether
    everything that the case asks for was met. A case that was run several times has a result for
    each `repeat`, from 0: together they are one piece of evidence.
    """

    key: str
    values: Mapping[str, bool | float | None]
    repeat: int = 0
    output: str = ""
    cluster: str = ""
    must_pass: bool = False
    error: str = ""

    @property
    def group(self) -> str:
        """What it is independent of other results by: its cluster, or else its case."""
        return self.cluster or self.key


@dataclass(frozen=True)
class SuiteEvidence:
    """One finished run of one release over one version of a suite."""

    suite: str
    suite_digest: str
    release: str
    evaluator: str
    case_count: int
    results: Sequence[CaseResult]
    sampled_at: datetime | None = None
    repeats: int = 1
    # Metrics that may not decide: scores of judges that nobody has calibrated.
    advisory: frozenset[str] = frozenset()

    @property
    def expected(self) -> int:
        """How many results a whole run has."""
        return self.case_count * self.repeats

    @property
    def errored(self) -> int:
        """Results without a score."""
        return sum(1 for result in self.results if result.error)

    def by_key(self) -> dict[tuple[str, int], CaseResult]:
        """Results by case and repeat."""
        return {(result.key, result.repeat): result for result in self.results}


@dataclass(frozen=True)
class Refusal:
    """One reason why the evidence cannot carry a pass, and what would mend it."""

    code: str
    suite: str
    sentence: str
    remedy: str


Evidence = Mapping[str, SuiteEvidence]


def refusals(
    policy: GatePolicy, candidate: Evidence, baseline: Evidence | None, *, now: datetime
) -> list[Refusal]:
    """Return every reason why this evidence can never be a pass, in the policy's suite order."""
    found: list[Refusal] = []
    for rule in policy.suites:
        found.extend(_alone(policy, rule, candidate.get(rule.kind), "candidate", now))
        if baseline is not None:
            found.extend(_alone(policy, rule, baseline.get(rule.kind), "baseline", now))
            found.extend(_together(rule.kind, candidate.get(rule.kind), baseline.get(rule.kind)))
    found.extend(_one_release(candidate, "candidate"))
    if baseline is not None:
        found.extend(_one_release(baseline, "baseline"))
        found.extend(_no_difference(candidate, baseline))
    return list(dict.fromkeys(found))


def _alone(
    policy: GatePolicy, rule: SuiteRule, run: SuiteEvidence | None, whose: str, now: datetime
) -> Iterator[Refusal]:
    """Reasons that lie in one run."""
    kind = rule.kind
    if run is None:
        yield Refusal(
            "missing_suite", kind, f"The {kind} suite was not run for the {whose}.",
            f"Run the {kind} suite.",
        )  # fmt: skip
        return
    keys = [(result.key, result.repeat) for result in run.results]
    if len(set(keys)) != len(keys):
        yield Refusal(
            "duplicate_cases", kind, f"The {whose}'s {kind} run counts a case twice.",
            f"Run the {kind} suite again, each case once.",
        )  # fmt: skip
    if len(set(keys)) != run.expected:
        yield Refusal(
            "unfinished", kind,
            f"The {whose}'s {kind} run has {len(set(keys))} of {run.expected} cases.",
            f"Let the {kind} run finish.",
        )  # fmt: skip
    if run.case_count < rule.min_cases:
        yield Refusal(
            "too_few_cases", kind,
            f"The {kind} suite has {run.case_count} cases; the policy asks for {rule.min_cases}.",
            f"Add {rule.min_cases - run.case_count} cases to the {kind} suite.",
        )  # fmt: skip
    if run.errored * 100 > policy.max_errored_percent * max(1, run.expected):
        yield Refusal(
            "errored", kind,
            f"{run.errored} of {run.expected} {kind} cases of the {whose} ended in an error; "
            f"the policy allows {policy.max_errored_percent:g} %.",
            "Mend what failed and run the suite again.",
        )  # fmt: skip
    if any(not _usable(name, value) for r in run.results for name, value in r.values.items()):
        yield Refusal(
            "not_a_number", kind, f"The {whose}'s {kind} run holds a score that is not a number.",
            "Mend the scorer and run the suite again.",
        )  # fmt: skip
    for label in _judged_by_an_advisory(policy, kind, run.advisory):
        yield Refusal(
            "uncalibrated", kind,
            f"{label} is a judge's word, and nobody has checked this judge against people.",
            "Calibrate the judge, or let the policy judge something else.",
        )  # fmt: skip
    if policy.evaluator is not None and run.evaluator != policy.evaluator:
        yield Refusal(
            "evaluator", kind, f"The {whose}'s {kind} run was scored by another evaluator than "
            "the policy names.", "Score it again with the evaluator of the policy.",
        )  # fmt: skip
    if rule.max_age_days is not None:
        if run.sampled_at is None:
            yield Refusal(
                "stale", kind, f"Nobody knows when the {kind} suite was sampled.",
                f"Sample a new {kind} suite.",
            )  # fmt: skip
        elif not timedelta(0) <= now - run.sampled_at <= rule.max_age_days * DAY:
            yield Refusal(
                "stale", kind,
                f"The {kind} suite was sampled {(now - run.sampled_at) / DAY:.0f} days ago; "
                f"the policy allows {rule.max_age_days}.",
                f"Sample a new {kind} suite.",
            )  # fmt: skip


def _judged_by_an_advisory(
    policy: GatePolicy, kind: str, advisory: frozenset[str]
) -> Iterator[str]:
    """The labels of what the policy judges on this suite although it may not decide."""
    judged: list[Comparison | Floor] = [*policy.guardrails, *policy.floors]
    if policy.primary is not None:
        judged.append(policy.primary)
    for entry in judged:
        if kind in entry.suites and entry.metric.name in advisory:
            yield entry.metric.label


def _together(
    kind: str, candidate: SuiteEvidence | None, baseline: SuiteEvidence | None
) -> Iterator[Refusal]:
    """Reasons why two runs cannot be laid side by side."""
    if candidate is None or baseline is None:
        return
    same_cases = candidate.by_key().keys() == baseline.by_key().keys()
    if candidate.suite_digest != baseline.suite_digest or not same_cases:
        yield Refusal(
            "different_cases", kind, f"The two {kind} runs answered different cases.",
            "Run the baseline on the same version of the suite, as often.",
        )  # fmt: skip
    if candidate.evaluator != baseline.evaluator:
        yield Refusal(
            "evaluator", kind, f"The two {kind} runs were scored by different evaluators.",
            "Score the baseline again with today's evaluator.",
        )  # fmt: skip


def _one_release(runs: Evidence, whose: str) -> Iterator[Refusal]:
    if len({run.release for run in runs.values()}) > 1:
        yield Refusal(
            "mixed_releases", "", f"The {whose}'s runs are not all of the same release.",
            "Run every suite on one release.",
        )  # fmt: skip


def _no_difference(candidate: Evidence, baseline: Evidence) -> Iterator[Refusal]:
    """Identical acts on every case: whatever changed, it cannot be what improves anything."""
    outputs = [
        (mine.output, theirs.output)
        for kind in candidate.keys() & baseline.keys()
        for mine, theirs in pair_up(candidate[kind], baseline[kind])
        if not (mine.error or theirs.error)
    ]
    if outputs and all(mine == theirs for mine, theirs in outputs):
        yield Refusal(
            "no_difference", "", "No behavioural difference: both releases did the same on every "
            "case.", "Add cases that the change is meant to affect.",
        )  # fmt: skip


def pair_up(
    candidate: SuiteEvidence, baseline: SuiteEvidence
) -> list[tuple[CaseResult, CaseResult]]:
    """Pair the results of the same case, in the candidate's order."""
    theirs = baseline.by_key()
    found = [(mine, theirs.get((mine.key, mine.repeat))) for mine in candidate.results]
    return [(mine, other) for mine, other in found if other is not None]


def _usable(metric: str, value: bool | float | None) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if not math.isfinite(value):
        return False
    known = METRICS.get(metric)
    return known is None or known.unit != "percent" or value in (0, 1)
