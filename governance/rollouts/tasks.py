"""Work of rollouts that happens later: gates, guards, and what undoes itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from governance.common.time import now
from governance.evals.models import EvalRun
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim, enqueue
from governance.releases.models import LiveRelease
from governance.rollouts import (
    drills,
    guard,
    known_good,
    outcomes,
    post_mortems,
    preflight,
    services,
)
from governance.rollouts.emergency import unratified
from governance.rollouts.models import Promotion
from governance.rollouts.pilots import GUARD_EVERY
from governance.workflows.models import Workflow

WATCH_EVERY = timedelta(minutes=5)


@job_kind("rollouts.gate")
def judge(claim: Claim) -> None:
    """Judge every promotion that waited for this run, or the one that is named."""
    # A pilot that asked its gate again waits too; who does not wait is left as it is.
    waiting = Promotion.objects.filter(
        state__in=(Promotion.State.EVALUATING, Promotion.State.PILOTING)
    )
    if "promotion" in claim.payload:
        waiting = waiting.filter(pk=claim.payload["promotion"])
    else:
        run = EvalRun.objects.select_related("release").get(pk=claim.payload["run"])
        waiting = waiting.filter(workflow=run.release.workflow_id)
    for promotion_id in list(waiting.values_list("pk", flat=True)):
        claim.heartbeat()
        services.judge_promotion(promotion_id)


@job_kind("rollouts.emergency")
def revert_unratified(claim: Claim) -> None:
    """Undo an emergency change that nobody ratified in time."""
    services.revert_unratified(int(claim.payload["promotion"]))


def _look_again(kind: str, promotion_id: int, every: timedelta) -> None:
    at = now() + every
    enqueue(
        kind, f"promotion {promotion_id} {at.isoformat()}", {"promotion": promotion_id}, run_at=at
    )


def _keep_looking(payload: dict[str, Any], slot: str, error: str) -> None:
    """A look that could not be done must not be the last one."""
    _look_again("rollouts.guard", int(payload["promotion"]), GUARD_EVERY)


@job_kind("rollouts.guard", on_failed=_keep_looking)
def guard_pilot(claim: Claim) -> None:
    """Look at a pilot, and again in a minute while it is open."""
    promotion_id = int(claim.payload["promotion"])
    if guard.look(promotion_id):
        _look_again("rollouts.guard", promotion_id, GUARD_EVERY)


@job_kind("rollouts.watch")
def watch_live(claim: Claim) -> None:
    """Look at a release that serves every case, for a week."""
    promotion_id = int(claim.payload["promotion"])
    if guard.watch(promotion_id):
        _look_again("rollouts.watch", promotion_id, WATCH_EVERY)


@job_kind("rollouts.outcome")
def measure_outcome(claim: Claim) -> None:
    """Compare what a change did to its KPI with what was expected of it."""
    outcomes.measure_outcome(int(claim.payload["promotion"]))


@job_kind("rollouts.recall")
def refresh_recall(claim: Claim) -> None:
    """List the cases that a bad release touched, and measure its impact."""
    post_mortems.refresh(int(claim.payload["post_mortem"]))


@job_kind("rollouts.drill")
def watch_drill(claim: Claim) -> None:
    """Measure a running drill and bring it back in time."""
    drill = int(claim.payload["drill"])
    if drills.look(drill):
        at = now() + drills.LOOK_EVERY
        enqueue("rollouts.drill", f"drill {drill} {at.isoformat()}", {"drill": drill}, run_at=at)


@job_kind("rollouts.known_good")
def mark_known_good(claim: Claim) -> None:
    """Mark every live release that has earned it, and finish what a lost job left behind."""
    for workflow_id in LiveRelease.objects.values_list("workflow_id", flat=True):
        claim.heartbeat()
        known_good.mark_by_rule(workflow_id)
    for promotion in unratified():
        services.revert_unratified(promotion.pk)


@job_kind("rollouts.preflight")
def check_targets(claim: Claim) -> None:
    """Check daily that what a rollback returns to could run; and plan the drills that are due.

    Or check only the workflow that somebody asked about.
    """
    if "check" in claim.payload:
        preflight.check_target(Workflow.objects.get(pk=claim.payload["check"]))
        return
    for workflow in Workflow.objects.filter(live__last_known_good__isnull=False):
        claim.heartbeat()
        preflight.check_target(workflow)
    drills.plan_quarterly()
