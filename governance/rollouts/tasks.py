"""Work of rollouts that happens later: judging a gate once its eval runs have ended."""

from __future__ import annotations

from governance.evals.models import EvalRun
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim
from governance.rollouts import services
from governance.rollouts.models import Promotion


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
