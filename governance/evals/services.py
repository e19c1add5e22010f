"""Everything about evals that changes rows. The bodies stand in the modules named below."""

from __future__ import annotations

from governance.evals.bake_offs import cancel_bake_off, request_bake_off
from governance.evals.calibration import calibrate, label_answer
from governance.evals.case_import import import_as_version, import_into_draft
from governance.evals.contributors import editors_since
from governance.evals.drafts import drop_edits, freeze_draft, put_case, remove_case
from governance.evals.evaluators import confirm_evaluator, current_evaluator, set_evaluator
from governance.evals.judging import judge, outdated
from governance.evals.labelling import draw_sample, freeze_sample, label_case
from governance.evals.policies import (
    confirm_policy,
    current_policy,
    set_policy,
    withdraw_policy,
)
from governance.evals.requests import SCHEDULED, comparable_runs, finished_run, request_run
from governance.evals.result_import import import_results
from governance.evals.running import cancel_run
from governance.evals.suites import confirm_suite, evidence_suites, freeze_suite
from governance.evals.target_versions import confirm_target, set_target
from governance.evals.targets import current_target
from governance.evals.waivers import ended_waiver, grant_waiver, revoke_waiver

__all__ = (
    "SCHEDULED",
    "calibrate",
    "cancel_bake_off",
    "cancel_run",
    "comparable_runs",
    "confirm_evaluator",
    "confirm_policy",
    "confirm_suite",
    "confirm_target",
    "current_evaluator",
    "current_policy",
    "current_target",
    "draw_sample",
    "drop_edits",
    "editors_since",
    "ended_waiver",
    "evidence_suites",
    "finished_run",
    "freeze_draft",
    "freeze_sample",
    "freeze_suite",
    "grant_waiver",
    "import_as_version",
    "import_into_draft",
    "import_results",
    "judge",
    "label_answer",
    "label_case",
    "outdated",
    "put_case",
    "remove_case",
    "request_bake_off",
    "request_run",
    "revoke_waiver",
    "set_evaluator",
    "set_policy",
    "set_target",
    "withdraw_policy",
)
