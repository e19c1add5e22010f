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
from governance.rollouts.emergency import emergency_change, ratify_emergency, revert_unratified
from governance.rollouts.freezes import cancel_freeze, except_from_freeze, set_freeze
from governance.rollouts.pilots import resume_pilot, stop_pilot, write_stop
from governance.rollouts.post_mortems import (
    add_action,
    finish_action,
    finish_post_mortem,
    open_post_mortem,
    write_post_mortem,
)
from governance.rollouts.proposals import (
    ask_gate_again,
    judge_promotion,
    propose_promotion,
    repropose_promotion,
    withdraw_promotion,
)
from governance.rollouts.rolling_back import roll_back
from governance.rollouts.standing import revoke_standing_approval, sign_standing_approval

__all__ = (
    "add_action",
    "adopt_as_found",
    "approve_promotion",
    "ask_gate_again",
    "cancel_freeze",
    "emergency_change",
    "except_from_freeze",
    "finish_action",
    "finish_post_mortem",
    "judge_promotion",
    "open_evidence_pilot",
    "open_post_mortem",
    "promote",
    "propose_promotion",
    "ratify_emergency",
    "reject_promotion",
    "repropose_promotion",
    "resume_pilot",
    "revert_unratified",
    "revoke_standing_approval",
    "roll_back",
    "set_freeze",
    "sign_standing_approval",
    "stop_pilot",
    "withdraw_promotion",
    "write_post_mortem",
    "write_stop",
)
