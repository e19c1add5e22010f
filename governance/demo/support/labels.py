"""Which runs a person has labelled, and whether they were right. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from governance.demo.support.router import Decision

ONE_IN = 5  # runs of which the help desk knows the right answer


def is_labelled(case_id: str) -> bool:
    """Whether somebody labels this case: decided by its id, whatever any release did with it."""
    return hashlib.sha256(b"label:" + case_id.encode()).digest()[0] % ONE_IN == 0


def labelled(case_id: str, expected: Mapping[str, Any], decision: Decision) -> bool | None:
    """Return whether the run was right, by the rule of the evals; None when nobody labelled it."""
    if not is_labelled(case_id):
        return None
    wanted = expected.get("answer")
    named = wanted is None or decision.answer == wanted
    return named and (decision.escalated or not expected.get("must_escalate", False))
