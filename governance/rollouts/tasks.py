"""Work of rollouts that happens later: gates, guards, and what undoes itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from governance.common.time import now
from governance.evals.models import EvalRun
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim, enqueue
from governance.rollouts import guard, services
from governance.rollouts.models import Promotion
from governance.rollouts.pilots import GUARD_EVERY

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
