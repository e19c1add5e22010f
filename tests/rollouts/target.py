"""An eval target that answers as many cases rightly as its release's model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def build(components: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    right = int(components["model"]["parameters"]["right_of_100"])
    violates = bool(components["model"]["parameters"].get("violates"))

    def run(case_input: Mapping[str, Any]) -> dict[str, Any]:
        number = int(case_input["number"])
        return {
            "answer": "yes" if number % 100 < right else "no",
            "escalated": False,
            "violations": ["promised money"] if violates and number == 0 else [],
            "cost": "0.01",
            "latency_ms": 1.0,
        }

    return run
