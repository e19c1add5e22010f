"""A small real target: it knows the answers of even numbers, and escalates what it doubts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

calls: list[int] = []
die_at: set[int] = set()
on_call: list[Callable[[int], None]] = []


class WorkerDied(BaseException):
    """Stands for kill -9: nothing that handles errors gets to see it."""


def build(components: Mapping[str, dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Build the target from the guardrails' threshold and the routing's skills."""
    guardrails = components["guardrails"]
    if guardrails.get("refuse"):
        raise ValueError("these guardrails cannot run")
    threshold = guardrails["escalation_threshold"]
    pause = float(os.environ.get("TARGET_PAUSE", "0"))

    def run(case: dict[str, Any]) -> dict[str, Any]:
        number = case["number"]
        for hook in on_call:
            hook(number)
        if number in die_at:
            die_at.discard(number)
            raise WorkerDied
        calls.append(number)
        time.sleep(pause)
        if case.get("broken"):
            raise RuntimeError(f"cannot read number {number}")
        sure = 0.1 if number % 5 == 0 else 0.9
        known = number % 100 >= 100 * guardrails.get("gap", 0.3)
        return {
            "answer": f"answer {number}" if known else "no idea",
            "escalated": sure < threshold or case.get("sensitive", False),
            "violations": ["promise"] if case.get("tempting") and threshold < 0.05 else [],
            "cost": "0.002",
            "latency_ms": 1.5,
        }

    return run
