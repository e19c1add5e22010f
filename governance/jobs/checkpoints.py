"""The work that keeps the audit's checkpoints coming, and leaving the database."""

from __future__ import annotations

from datetime import timedelta

from governance.audit import checkpoints, sinks
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim


@job_kind("audit.checkpoint", lease=timedelta(minutes=10), every=timedelta(minutes=1))
def keep_checkpoints(claim: Claim) -> None:
    """Make a checkpoint when one is due, and deliver what waits. Safe to repeat.

    Delivery does not wait for a key: what was signed before still has to leave.
    """
    try:
        checkpoints.make_if_due()
    finally:
        sinks.deliver_due()
