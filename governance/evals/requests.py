"""Asking for eval runs, and finding the finished ones."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import QuerySet

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import edits, label
from governance.evals.asking import SEEDS
from governance.evals.evaluators import current_evaluator
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.scorers import evaluator_for, fingerprints
from governance.evals.target_content import LARGEST_BUDGET
from governance.evals.targets import Calling, TargetError, content_of, current_target
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import Release
from governance.workflows.models import Workflow

# The purpose of a run that a schedule asked for; such a run alarms when it misses a limit.
SCHEDULED = "schedule"
MOST_REPEATS = 20
MOST_LOOKED_AT = 50  # finished runs of one release on one suite
# The purpose of a run that another tool did; `provenance` says which, and from what file.
IMPORTED = "import"
# The purpose of a run whose release races with others on the same cases.
BAKE_OFF = "bake-off"

register_rule("eval_run.request", edits, "Analysts, builders and the KPI owner ask for evals.")


def request_run(
    release: Release,
    suite: SuiteVersion,
    *,
    actor: Actor | HasActor,
    purpose: str,
    slot: str,
    repeats: int = 1,
    seed: int = 0,
    budget: Decimal | None = None,
) -> EvalRun:
    """Ask for one release on one suite. The same slot is the same run, whoever asks again.

    Args:
        repeats: how often each case is run.
        seed: handed to the target with the repeat, where something is random.
        budget: what the run may spend, in the workflow's currency; by default the target's.

    Raises:
        InvalidInputError: suite and release belong to different workflows, no target exists, or a
            number is out of bounds.
        StateConflictError: the slot names a run of something else.
        NotAllowedError: a person who does not ask for evals.
    """
    if isinstance(actor, User):
        require(actor, "eval_run.request", suite.workflow)
    if release.workflow_id != suite.workflow_id:
        raise InvalidInputError("The suite belongs to another workflow.")
    if not 1 <= repeats <= MOST_REPEATS:
        raise InvalidInputError(f"A case is run 1 to {MOST_REPEATS} times.")
    if not 0 <= seed < SEEDS:
        raise InvalidInputError(f"A seed is a number from 0 to {SEEDS - 1:,}.")
    if budget is not None and not (budget.is_finite() and 0 < budget <= LARGEST_BUDGET):
        raise InvalidInputError("A budget is an amount of money above zero.")
    evaluator = evaluator_for(suite.workflow.slug)
    target, definition = current_target(suite.workflow), current_evaluator(suite.workflow)
    limit = Calling.of(content_of(target)).budget if budget is None else budget
    with audit.atomic():
        run, created = EvalRun.objects.get_or_create(
            slot=slot,
            defaults={
                "release": release,
                "suite": suite,
                "evaluator": evaluator,
                "purpose": purpose,
                "requested_by_label": label(actor),
                "requested_at": now(),
                "cases_total": suite.case_count,
                "repeats": repeats,
                "seed": seed,
                "budget": limit,
                "target": target,
                "definition": definition,
                "scorers": fingerprints(definition) if definition else {},
            },
        )
        asked = (release.pk, suite.pk, repeats, seed)
        is_same = (run.release_id, run.suite_id, run.repeats, run.seed) == asked
        if not is_same or budget not in (None, run.budget):
            raise StateConflictError("Another run was asked for from here. Load the page again.")
        if created:
            audit.record(
                "eval_run.requested", run, actor=actor, workflow=suite.workflow.slug,
                release=release.digest, suite=suite.digest, evaluator=evaluator, purpose=purpose,
                repeats=repeats, target=target.digest if target else "",
            )  # fmt: skip
            facts = {"run": run.pk, "workflow": suite.workflow.slug}
            enqueue("evals.run", f"run {run.pk}", facts)
    return run


def imports_count(workflow: Workflow) -> bool:
    """Whether results of another tool are its evidence: nobody said how the workflow is called."""
    try:
        evaluator_for(workflow.slug)
    except TargetError:
        return True
    return False


def finished_run(release: Release, suite: SuiteVersion) -> EvalRun | None:
    """Return the newest finished run under today's evaluator, or None.

    Where nobody said how this workflow is called, results of another tool are its evidence: then
    the newest imported run.
    """
    return _finished(release, suite).first()


def comparable_runs(
    candidate: Release, base: Release | None, suite: SuiteVersion
) -> tuple[EvalRun | None, EvalRun | None]:
    """Return the newest finished runs of both that ran each case equally often.

    Where no two of them did, those that ran each case once: None for whoever has none of these.
    """
    if base is None:
        return finished_run(candidate, suite), None
    ours, theirs = _by_repeats(candidate, suite), _by_repeats(base, suite)
    repeats = next((often for often in ours if often in theirs), 1)
    return ours.get(repeats), theirs.get(repeats)


def _by_repeats(release: Release, suite: SuiteVersion) -> dict[int, EvalRun]:
    """The newest run for each number of repeats, the newest of all first."""
    found: dict[int, EvalRun] = {}
    for run in _finished(release, suite)[:MOST_LOOKED_AT]:
        found.setdefault(run.repeats, run)
    return found


def _finished(release: Release, suite: SuiteVersion) -> QuerySet[EvalRun]:
    done = EvalRun.objects.filter(state=EvalRun.State.DONE, release=release, suite=suite)
    if imports_count(suite.workflow):
        done = done.filter(purpose=IMPORTED)
    else:
        done = done.filter(evaluator=evaluator_for(suite.workflow.slug))
    return done.order_by("-finished_at", "-pk")
