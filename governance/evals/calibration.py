"""Whether a judge may decide: how well it agrees with people, with intervals.

Good is what people call good. TPR is the share of good answers that the judge calls good, TNR the
share of bad ones that it calls bad. Both lower bounds must reach the judge's bar. A calibration
holds for one fingerprint: another model, prompt, parameter or bar, and nobody has checked it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models.fields.json import KeyTextTransform, KeyTransform

from governance import audit
from governance.common.canonical import digest
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import statistics as st
from governance.evals.actors import edits, lock
from governance.evals.evaluators import JUDGE, current_evaluator
from governance.evals.models import EvalRun, Score
from governance.evals.policy import SCORE
from governance.evals.scorers import fingerprints
from governance.evals.setup_models import Evaluator, HumanLabel, JudgeCalibration
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

CONFIDENCE = 0.95  # of each one-sided bound
LEAST_OF_EACH = 10  # answers that people call good, and bad, before anything is said
MOST_SCORES = 5_000

register_rule("judge.label", edits, "Analysts, builders and the KPI owner check a judge.")


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge of a workflow's current evaluator."""

    name: str
    fingerprint: str
    bar: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How people and a judge agree. Rates are 0 to 1; bounds are one-sided at 95 %."""

    good_good: int  # people say good, the judge too
    good_bad: int  # people say good, the judge bad
    bad_bad: int
    bad_good: int
    bar: float

    @property
    def total(self) -> int:
        return self.good_good + self.good_bad + self.bad_bad + self.bad_good

    @property
    def tpr(self) -> tuple[float, st.Interval, float] | None:
        """The share of good answers called good: estimate, 95 % interval, lower bound."""
        return _rate(self.good_good, self.good_good + self.good_bad)

    @property
    def tnr(self) -> tuple[float, st.Interval, float] | None:
        """The same of bad answers called bad."""
        return _rate(self.bad_bad, self.bad_bad + self.bad_good)

    @property
    def kappa(self) -> tuple[float, st.Interval] | None:
        """Cohen's kappa with its large-sample 95 % interval; None where it is not defined."""
        n = self.total
        if not n:
            return None
        seen = (self.good_good + self.bad_bad) / n
        by_people = (self.good_good + self.good_bad) / n
        by_judge = (self.good_good + self.bad_good) / n
        chance = by_people * by_judge + (1 - by_people) * (1 - by_judge)
        if chance >= 1:
            return None
        kappa = (seen - chance) / (1 - chance)
        half = 1.96 * math.sqrt(seen * (1 - seen) / n) / (1 - chance)
        return kappa, st.Interval(max(-1.0, kappa - half), min(1.0, kappa + half))

    @property
    def missing(self) -> str:
        """What has to be labelled before anything can be said; "" where enough is."""
        good, bad = self.good_good + self.good_bad, self.bad_bad + self.bad_good
        wanted = [
            f"{LEAST_OF_EACH - count} more that people call {word}"
            for count, word in ((good, "good"), (bad, "bad"))
            if count < LEAST_OF_EACH
        ]
        return " and ".join(wanted)

    @property
    def passed(self) -> bool:
        """Both lower bounds reach the bar."""
        tpr, tnr = self.tpr, self.tnr
        if self.missing or tpr is None or tnr is None:
            return False
        return min(tpr[2], tnr[2]) >= self.bar

    def to_content(self) -> dict[str, Any]:
        content: dict[str, Any] = dict(asdict(self))
        for name, rate in (("tpr", self.tpr), ("tnr", self.tnr)):
            if rate is not None:
                value, interval, bound = rate
                content[name] = [value, interval.low, interval.high, bound]
        if self.kappa is not None:
            kappa, interval = self.kappa
            content["kappa"] = [kappa, interval.low, interval.high]
        return content


def _rate(passed: int, total: int) -> tuple[float, st.Interval, float] | None:
    if not total:
        return None
    bound = st.lower_bound(passed, total, confidence=CONFIDENCE)
    return passed / total, st.wilson_interval(passed, total), bound


def judges_of(workflow: Workflow) -> list[Judge]:
    """Return the judges of the evaluator in use."""
    evaluator = current_evaluator(workflow)
    if evaluator is None:
        return []
    marks = fingerprints(evaluator)
    return [
        Judge(entry["name"], marks[entry["name"]], entry["bar"])
        for entry in evaluator.content["scorers"]
        if entry["kind"] == JUDGE
    ]


def judge_named(workflow: Workflow, name: str) -> Judge:
    """Return one judge.

    Raises:
        InvalidInputError: the evaluator in use has no judge of this name.
    """
    for judge in judges_of(workflow):
        if judge.name == name:
            return judge
    raise InvalidInputError("The evaluator in use has no judge of this name.")


def to_label(workflow: Workflow, judge: Judge, user: User, count: int) -> list[Score]:
    """Return graded answers that this person has not labelled, mixed by a fixed shuffle.

    Taken from the newest finished runs that this very judge graded. The order tells nothing about
    the judge's verdict.
    """
    mine = HumanLabel.objects.filter(scorer=judge.name, labelled_by=user).values("score")
    rows = list(
        _graded(workflow, judge).exclude(pk__in=mine).order_by("-run_id", "case__key")
        .values_list("pk", flat=True)[:MOST_SCORES]
    )  # fmt: skip
    rows.sort(key=lambda pk: digest([judge.name, pk]))
    found = Score.objects.select_related("case").in_bulk(rows[:count])
    return [found[pk] for pk in rows[:count]]


def _graded(workflow: Workflow, judge: Judge) -> Any:
    # By key, not by lookup: a judge may be named "contains".
    return (
        Score.objects.filter(run__suite__workflow=workflow, run__state=EvalRun.State.DONE, error="")
        .annotate(
            by=KeyTextTransform(judge.name, "run__scorers"),
            said=KeyTextTransform(judge.name, "metrics"),
        )
        .filter(by=judge.fingerprint, said__isnull=False)
    )


@audit.atomic()
def label_answer(
    score: Score, judge: Judge, *, good: bool, actor: User, note: str = ""
) -> HumanLabel:
    """Keep a person's own verdict on one answer.

    Raises:
        StateConflictError: this person labelled it already.
        InvalidInputError: this judge did not grade it.
    """
    workflow = score.run.suite.workflow
    require(actor, "judge.label", workflow)
    if not _graded(workflow, judge).filter(pk=score.pk).exists():
        raise InvalidInputError("This judge did not grade this answer.")
    made, created = HumanLabel.objects.get_or_create(
        score=score, scorer=judge.name, labelled_by=actor,
        defaults={
            "good": good, "note": note[:500], "labelled_by_label": actor.as_actor().label,
            "labelled_at": now(),
        },
    )  # fmt: skip
    if not created:
        raise StateConflictError("You labelled this answer already.")
    audit.record(
        "judge.labelled", made, actor=actor, workflow=workflow.slug, digest=judge.fingerprint,
        case=score.case.key, run=score.run_id, good=good, label=f"{judge.name} on {score.case.key}",
    )  # fmt: skip
    return made


def agreement(workflow: Workflow, judge: Judge) -> Agreement:
    """Lay the labels of people beside the judge's verdicts; where people disagree, most decide."""
    rows = HumanLabel.objects.filter(
        scorer=judge.name, score__in=_graded(workflow, judge)
    ).values_list(
        "score__case_id", "score__output", "good", KeyTransform(judge.name, "score__metrics")
    )
    # The same answer to the same case is one piece of evidence, however often it was given.
    votes: dict[str, list[bool]] = {}
    said: dict[str, bool] = {}
    for case, output, good, verdict in rows:
        answer = digest([case, output.get("answer", "")])
        votes.setdefault(answer, []).append(good)
        said[answer] = bool(verdict)
    decided = [
        (sum(ballots) * 2 > len(ballots), said[answer])
        for answer, ballots in votes.items()
        if sum(ballots) * 2 != len(ballots)
    ]
    return count(decided, judge.bar)


def count(pairs: Sequence[tuple[bool, bool]], bar: float) -> Agreement:
    """Count (people say good, the judge says good)."""
    return Agreement(
        good_good=sum(people and judge for people, judge in pairs),
        good_bad=sum(people and not judge for people, judge in pairs),
        bad_bad=sum(not people and not judge for people, judge in pairs),
        bad_good=sum(not people and judge for people, judge in pairs),
        bar=bar,
    )


@audit.atomic()
def calibrate(workflow: Workflow, name: str, *, actor: User) -> JudgeCalibration:
    """Write down how well the judge agrees with people now; passed, its scores may decide.

    Raises:
        InvalidInputError: too few labels, or no such judge.
        StateConflictError: no label is newer than the last calibration.
        NotAllowedError: a person who does not check judges.
    """
    require(actor, "judge.label", workflow)
    judge = judge_named(workflow, name)
    found = agreement(workflow, judge)
    if found.missing:
        raise InvalidInputError(f"Too few labels: {found.missing}.")
    labellers = sorted(
        set(
            HumanLabel.objects.filter(
                scorer=name, score__in=_graded(workflow, judge)
            ).values_list("labelled_by_label", flat=True)
        )
    )  # fmt: skip
    if set(labellers) <= {_author(workflow, judge)}:
        raise NotAllowedError("Somebody else than the author of the judge has to label too.")
    lock(workflow)
    content = {**found.to_content(), "labellers": labellers}
    before = calibrated(workflow, judge)
    if before is not None and digest(before.content) == digest(content):
        raise StateConflictError("Nothing was labelled since it was checked last.")
    made = JudgeCalibration.objects.create(
        workflow=workflow, scorer=name, fingerprint=judge.fingerprint, content=content,
        passed=found.passed,
        calibrated_by=actor, calibrated_by_label=actor.as_actor().label, calibrated_at=now(),
    )  # fmt: skip
    audit.record(
        "judge.calibrated", made, actor=actor, workflow=workflow.slug, digest=judge.fingerprint,
        passed=made.passed, labels=found.total,
    )  # fmt: skip
    return made


def _author(workflow: Workflow, judge: Judge) -> str:
    """Who made this judge what it is: the author of the first version that holds it unchanged."""
    author = ""
    for version in Evaluator.objects.filter(workflow=workflow).order_by("-version"):
        if fingerprints(version).get(judge.name) != judge.fingerprint:
            break
        author = version.created_by_label
    return author


def calibrated(workflow: Workflow, judge: Judge) -> JudgeCalibration | None:
    """Return the newest calibration of exactly this judge."""
    rows = JudgeCalibration.objects.filter(workflow=workflow, scorer=judge.name)
    return rows.filter(fingerprint=judge.fingerprint).first()


def advisory_metrics(run: EvalRun) -> frozenset[str]:
    """Return the metrics of a run that may not decide: those of judges that nobody calibrated."""
    if run.definition is None:
        return frozenset()
    names = [e["name"] for e in run.definition.content["scorers"] if e["kind"] == JUDGE]
    if not names:
        return frozenset()
    newest: dict[tuple[str, str], bool] = {}
    rows = JudgeCalibration.objects.filter(workflow=run.suite.workflow_id, scorer__in=names)
    for name, mark, passed in rows.order_by("calibrated_at", "pk").values_list(
        "scorer", "fingerprint", "passed"
    ):
        newest[name, mark] = passed
    return frozenset(
        f"{SCORE}{name}" for name in names if not newest.get((name, run.scorers.get(name, "")))
    )
