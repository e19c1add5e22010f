"""Opening exceptions in the background, seconds after what causes them."""

from __future__ import annotations

from datetime import date

from governance import audit
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim
from governance.triage import services
from governance.workflows.models import Workflow


@job_kind("triage.receipts")
def triage_receipts(claim: Claim) -> None:
    """Look at receipts that were stored unattributed, unauthorised or with violations."""
    refs = [(date.fromisoformat(day), run_id) for day, run_id in claim.payload["receipts"]]
    with audit.atomic():
        claim.hold()
        services.triage_receipts(refs)


@job_kind("triage.eval_failed")
def triage_failed_eval(claim: Claim) -> None:
    """Look at an eval that could not finish, missed a limit, or never started."""
    with audit.atomic():
        claim.hold()
        services.triage_failed_eval(
            Workflow.objects.get(slug=claim.payload["workflow"]),
            claim.payload.get("run"),
            str(claim.payload.get("error", "")),
        )
