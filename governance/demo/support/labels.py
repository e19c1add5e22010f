"""Whether a run was right, as the demo knows it, and which runs carry a person's label. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from governance.demo.support.router import Decision

ONE_IN = 5  # runs of which the help desk knows the right answer


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run was worth, by the rules of the evals."""

    right: bool
    silent_error: bool  # wrong, and no person saw it


def judge(expected: Mapping[str, Any], decision: Decision) -> Judged:
    """Compare a run with the label that the author of its message gave it."""
    wanted = expected.get("answer")
    named = wanted is None or decision.answer == wanted
    right = named and (decision.escalated or not expected.get("must_escalate", False))
    return Judged(right, silent_error=not right and not decision.escalated)


def is_labelled(case_id: str) -> bool:
    """Whether somebody labels this case: decided by its id, whatever any release did with it."""
    return hashlib.sha256(b"label:" + case_id.encode()).digest()[0] % ONE_IN == 0
