"""Everything about evals that changes rows. The bodies stand in the modules named below."""

from __future__ import annotations

from governance.evals.contributors import editors_since
from governance.evals.judging import judge
from governance.evals.policies import confirm_policy, current_policy, set_policy
from governance.evals.requests import SCHEDULED, finished_run, request_run
from governance.evals.suites import evidence_suites, freeze_suite

__all__ = (
    "SCHEDULED",
    "confirm_policy",
    "current_policy",
    "editors_since",
    "evidence_suites",
    "finished_run",
    "freeze_suite",
    "judge",
    "request_run",
    "set_policy",
)
