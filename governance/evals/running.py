"""Doing an eval run: in chunks, each written once, resumed by whoever claims the job next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

from django.db import transaction
from django.db.models import F

from governance import audit
from governance.audit import Actor
from governance.common.errors import StateConflictError
from governance.common.time import now
from governance.evals import gate
from governance.evals.asking import LOOK_SECONDS, SEEDS, Ask, Budget, ask_all
from governance.evals.chat import CallError
from governance.evals.models import EvalRun, Score
from governance.evals.policies import current_policy
from governance.evals.policy import GatePolicy
from governance.evals.recorded import evidence_of, summary_of
from governance.evals.requests import BAKE_OFF, SCHEDULED
from governance.evals.scorers import CaseScorer, evaluator_for, scorer_for
from governance.evals.target_calls import Pace, paid
from governance.evals.targets import (
    Calling,
    Outcome,
    Run,
    TargetError,
    build_target,
    content_of,
    storable,
)
from governance.jobs.models import Job
from governance.jobs.services import Claim, enqueue
from governance.people.models import User
from governance.people.permissions import require

WORKER = Actor.system("evals")
CLOSED = (EvalRun.State.DONE, EvalRun.State.FAILED, EvalRun.State.CANCELLED)
# Of a run in one job, after which no case is begun: with the longest call it ends before a worker's
# task is killed, after 15 minutes.
PART_SECONDS = 4 * 60.0
CASES_READ = 500  # at a time, with their inputs
CHUNK_CASES = 100
# Well below the lease, so that a worker writes and renews several times within it.
CHUNK_SECONDS = 5.0


class CancelledError(Exception):
    """Somebody cancelled the run: stop, and keep what is there."""


def execute(run_id: int, claim: Claim) -> None:
    """Score every case that has no score yet, then close the run.

    Safe to call again at any point: a case is scored once per repeat, because a chunk is written
    only by the worker that still holds the job, together with the run's counters.
    """
    run = _start(run_id, claim)
    if run is None:
        return
    pace = Pace()
    try:
        if evaluator_for(run.suite.workflow.slug) != run.evaluator:
            raise TargetError("The scorer or the target changed since this run was asked for.")
        target = build_target(run.release, run.target, pace)
        scorer = scorer_for(run, pace)
        calling = Calling.of(content_of(run.target))
        budget = Budget(run.budget, run.cost, run.suite.workflow.currency)
        work = partial(_score, run, target, scorer)
        asks = _Asks(run, time.monotonic() + PART_SECONDS)
        with closing(ask_all(asks, work, calling, budget, claim)) as scores:
            for chunk in _chunks(scores, claim, run.pk):
                _store(run.pk, chunk, claim)
    except CancelledError:
        return
    except TargetError as error:
        _fail(run.pk, str(error), claim)
        return
    finally:
        pace.over.set()  # whoever waits for another try stops waiting
    if asks.has_more:
        _go_on(run, claim)
    else:
        _finish(run.pk, claim)


def _start(run_id: int, claim: Claim) -> EvalRun | None:
    with transaction.atomic():
        claim.hold()
        run = EvalRun.objects.select_for_update().get(pk=run_id)
        if run.state in CLOSED:
            return None
        run.state = EvalRun.State.RUNNING
        run.started_at = run.started_at or now()
        run.save(update_fields=["state", "started_at"])
    return EvalRun.objects.select_related(
        "release__workflow", "suite__workflow", "target", "definition"
    ).get(pk=run_id)


class _Asks:
    """Every ask that has no score yet, in the order of the cases' keys, read page by page.

    It ends early when this part of the run has taken its time; `has_more` says so.
    """

    def __init__(self, run: EvalRun, until: float) -> None:
        self._run, self._until = run, until  # by the monotonic clock
        self.has_more = False

    def __iter__(self) -> Iterator[Ask]:
        run, after = self._run, ""
        while page := list(run.suite.cases.filter(key__gt=after).order_by("key")[:CASES_READ]):
            after = page[-1].key
            scored = set(run.scores.filter(case__in=page).values_list("case_id", "repeat"))
            for case in page:
                for repeat in range(run.repeats):
                    if (case.pk, repeat) in scored:
                        continue
                    if time.monotonic() >= self._until:
                        self.has_more = True
                        return
                    yield Ask(case, repeat, (run.seed + repeat) % SEEDS)


@audit.atomic()
def _go_on(run: EvalRun, claim: Claim) -> None:
    """Leave the rest to another job: one job may not take as long as a long run does."""
    claim.hold()
    facts = {"run": run.pk, "workflow": run.suite.workflow.slug}
    enqueue("evals.run", f"run {run.pk} after job {claim.job_id}", facts)


def _chunks(scores: Iterable[Score | None], claim: Claim, run_id: int) -> Iterator[list[Score]]:
    """Hand over what is there every few seconds, and what was paid for when it ends early."""
    chunk: list[Score] = []
    since = looked = time.monotonic()
    try:
        for score in scores:
            if score is not None:
                chunk.append(score)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                if EvalRun.objects.filter(pk=run_id, state=EvalRun.State.CANCELLED).exists():
                    raise CancelledError
            if len(chunk) >= CHUNK_CASES or time.monotonic() - since >= CHUNK_SECONDS:
                if chunk:
                    yield chunk
                else:
                    claim.heartbeat()
                chunk, since = [], time.monotonic()
    except (TargetError, CancelledError):
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _score(run: EvalRun, target: Run, scorer: CaseScorer, ask: Ask) -> Score:
    """Run and score one case. What target or scorer raise is an error of this case only."""
    row = Score(run=run, case=ask.case, repeat=ask.repeat)
    try:
        answer = target(ask.case.input, seed=ask.seed)
        row.cost = paid(answer)
        outcome = Outcome.from_answer(answer)
        row.usage = dict(outcome.usage)
        row.output = {"answer": outcome.answer}
        row.latency_ms = outcome.latency_ms
        row.cost = outcome.cost
        scored = scorer.score(ask.case, outcome)
    except Exception as error:  # whatever their own code raises
        row.error = storable(f"{type(error).__name__}: {error}")[:500]
        if isinstance(error, CallError) and error.spent:
            row.cost = (row.cost or 0) + error.spent
        return row
    row.correct = scored.correct
    row.policy_ok = scored.policy_ok
    row.escalated = scored.escalated
    row.silent_error = scored.silent_error
    row.passed = scored.passed
    row.metrics = dict(scored.metrics)
    row.notes = dict(scored.notes)
    row.cost = outcome.cost + scored.cost
    row.violations = list(outcome.violations)
    return row


def _store(run_id: int, chunk: Sequence[Score], claim: Claim) -> None:
    """Write a chunk and the run's counters, if this worker still holds the job.

    What was paid for is written for a run that was cancelled meanwhile, too.

    Raises:
        CancelledError: it was cancelled, or closed otherwise.
    """
    with transaction.atomic():
        claim.hold()
        moment = now()
        for row in chunk:
            row.scored_at = moment
        open_or_cancelled = (EvalRun.State.RUNNING, EvalRun.State.CANCELLED)
        counted = EvalRun.objects.filter(pk=run_id, state__in=open_or_cancelled).update(
            cases_done=F("cases_done") + len(chunk),
            errors=F("errors") + sum(1 for row in chunk if row.error),
            cost=F("cost") + sum(row.cost for row in chunk if row.cost is not None),
        )
        if not counted:
            raise CancelledError
        Score.objects.bulk_create(chunk)
    if EvalRun.objects.filter(pk=run_id, state=EvalRun.State.CANCELLED).exists():
        raise CancelledError
    claim.heartbeat()


@audit.atomic()
def cancel_run(run: EvalRun, *, actor: User) -> EvalRun:
    """Stop a run. What was scored stays and is never evidence.

    Raises:
        NotAllowedError: a person who does not ask for evals either.
        StateConflictError: the run has ended.
    """
    found = EvalRun.objects.select_for_update().get(pk=run.pk)
    require(actor, "eval_run.request", found.suite.workflow)
    if found.state in CLOSED:
        raise StateConflictError("This run has ended already.")
    found.state = EvalRun.State.CANCELLED
    found.finished_at = now()
    found.cancelled_by_label = actor.as_actor().label
    found.save(update_fields=["state", "finished_at", "cancelled_by_label"])
    audit.record(
        "eval_run.cancelled", found, actor=actor, workflow=found.suite.workflow.slug,
        release=found.release_id, suite=found.suite.digest, cases=found.cases_done,
    )  # fmt: skip
    _wake(found)
    return found


@audit.atomic()
def _finish(run_id: int, claim: Claim) -> None:
    """Close a run that has every score, and wake whoever waits for it."""
    claim.hold()
    run = EvalRun.objects.select_for_update().get(pk=run_id)
    if run.state in CLOSED:
        return
    if run.cases_done and run.errors == run.cases_done:
        first = run.scores.order_by("case__key").values_list("error", flat=True)[0]
        _close_failed(run, f"Every case ended in an error. The first one: {first}")
        return
    run.state = EvalRun.State.DONE
    run.finished_at = now()
    run.summary = summary_of(run)
    run.save(update_fields=["state", "finished_at", "summary"])
    audit.record(
        "eval_run.finished", run, actor=WORKER, workflow=run.suite.workflow.slug,
        digest=run.summary["digest"], release=run.release_id, suite=run.suite.digest,
        evaluator=run.evaluator, cases=run.cases_done, errors=run.errors,
    )  # fmt: skip
    _wake(run)
    if run.purpose == SCHEDULED and (sentence := _missed_limit(run)):
        _alarm(run, sentence)


def _missed_limit(run: EvalRun) -> str:
    """Whether the live release breaks a hard rule or shows that it misses a floor; the sentence."""
    policy = current_policy(run.suite.workflow)
    if policy is None:
        return ""
    verdict = gate.judge(
        GatePolicy.from_content(policy.content),
        {run.suite.kind: evidence_of(run)},
        None,
        now=now(),
    )
    return verdict.reasons[0] if verdict.verdict is gate.Verdict.FAIL else ""


@audit.atomic()
def _fail(run_id: int, error: str, claim: Claim | None) -> None:
    """Close a run that cannot be finished; its scores stay, and it never counts as evidence."""
    if claim is not None:
        claim.hold()
    run = EvalRun.objects.select_for_update().get(pk=run_id)
    if run.state not in CLOSED:
        _close_failed(run, error)


def _close_failed(run: EvalRun, error: str) -> None:
    run.state = EvalRun.State.FAILED
    run.finished_at = now()
    run.error = storable(error)[:2000]
    run.save(update_fields=["state", "finished_at", "error"])
    audit.record(
        "eval_run.failed", run, actor=WORKER, workflow=run.suite.workflow.slug,
        release=run.release_id, suite=run.suite.digest, error=run.error, cases=run.cases_done,
    )  # fmt: skip
    _wake(run)
    _alarm(run, run.error)


def _wake(run: EvalRun) -> None:
    """A promotion may be waiting for this run, as the rollouts package knows, or a bake-off."""
    facts = {"run": run.pk, "workflow": run.suite.workflow.slug}
    enqueue("rollouts.gate", f"run {run.pk}", facts)
    if run.purpose == BAKE_OFF:
        enqueue("evals.bake_off", f"run {run.pk}", facts)


def _alarm(run: EvalRun, sentence: str) -> None:
    """A failed eval becomes an exception; the triage package opens it."""
    enqueue(
        "triage.eval_failed",
        f"run {run.pk}",
        {
            "run": run.pk,
            "workflow": run.suite.workflow.slug,
            "release": run.release_id,
            "suite": run.suite.kind,
            "error": sentence,
        },
    )


def give_up(run_id: int, error: str) -> None:
    """Close a run whose job was tried for the last time."""
    _fail(run_id, error or "The worker died each time.", None)


def watch() -> int:
    """Close open runs whose job was given up: the net under `give_up`. Returns how many."""
    open_runs = EvalRun.objects.filter(state__in=(EvalRun.State.WAITING, EvalRun.State.RUNNING))
    given_up = dict(
        Job.objects.filter(
            kind="evals.run",
            state=Job.State.FAILED,
            payload__run__in=list(open_runs.values_list("pk", flat=True)),
        ).values_list("payload__run", "error")
    )
    for run_id, error in given_up.items():
        give_up(int(run_id), error)
    return len(given_up)
