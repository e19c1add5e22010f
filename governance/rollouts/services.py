"""The only doors to production. Each locks the workflow first, then checks, changes, records.

The bodies stand in the modules named below; everybody outside `rollouts` imports them from here.
"""

from __future__ import annotations

from governance.rollouts.approvals import (
    adopt_as_found,
    approve_promotion,
    open_evidence_pilot,
    promote,
    reject_promotion,
)
from governance.rollouts.drills import (
    cancel_drill,
    plan_drill,
    return_from_drill,
    sign_drill,
    start_drill,
)
from governance.rollouts.emergency import emergency_change, ratify_emergency, revert_unratified
from governance.rollouts.freezes import cancel_freeze, except_from_freeze, set_freeze
from governance.rollouts.known_good import pin_known_good
from governance.rollouts.pilots import resume_pilot, stop_pilot, write_stop
from governance.rollouts.pins import pin_case, unpin_case
from governance.rollouts.post_mortems import (
    add_action,
    add_to_timeline,
    finish_action,
    finish_post_mortem,
    note_asked,
    open_post_mortem,
    return_post_mortem,
    submit_post_mortem,
    write_post_mortem,
)
from governance.rollouts.preflight import ask_check
from governance.rollouts.proposals import (
    ask_gate_again,
    judge_promotion,
    propose_promotion,
    repropose_promotion,
    withdraw_promotion,
)
from governance.rollouts.proposing_once import propose_once
from governance.rollouts.push import set_mode
from governance.rollouts.recall import decide as decide_recall
from governance.rollouts.rolling_back import roll_back
from governance.rollouts.standing import revoke_standing_approval, sign_standing_approval
from governance.rollouts.switch import set_automatic_rollback, switch_off, switch_on

__all__ = (
    "add_action",
    "add_to_timeline",
    "adopt_as_found",
    "approve_promotion",
    "ask_check",
    "ask_gate_again",
    "cancel_drill",
    "cancel_freeze",
    "decide_recall",
    "emergency_change",
    "except_from_freeze",
    "finish_action",
    "finish_post_mortem",
    "judge_promotion",
    "note_asked",
    "open_evidence_pilot",
    "open_post_mortem",
    "pin_case",
    "pin_known_good",
    "plan_drill",
    "promote",
    "propose_once",
    "propose_promotion",
    "ratify_emergency",
    "reject_promotion",
    "repropose_promotion",
    "resume_pilot",
    "return_from_drill",
    "return_post_mortem",
    "revert_unratified",
    "revoke_standing_approval",
    "roll_back",
    "set_automatic_rollback",
    "set_freeze",
    "set_mode",
    "sign_drill",
    "sign_standing_approval",
    "start_drill",
    "stop_pilot",
    "submit_post_mortem",
    "switch_off",
    "switch_on",
    "unpin_case",
    "withdraw_promotion",
    "write_post_mortem",
    "write_stop",
)
