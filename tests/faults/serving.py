"""I6: a rollback works with Redis, workers, mail and eval targets down. I9: shares are kept.

`run` works without pytest and returns figures.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

from bench._product import NOBODY, PROJECT, Product, at, hanging_address, product
from bench.rollback import measure_rollbacks
from governance.rollouts.assignment import WHOLE, bucket

KEYS = 100_000
WEBS = 2
SHARES = (100, 500, 1_000, 2_500, 5_000)  # basis points


def without(redis: str) -> dict[str, str]:
    """The variables of a product whose neighbours are all away. No worker is ever started."""
    return {
        "REDIS_URL": f"redis://{redis}/0",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": "9",
        "EVAL_TARGETS": "support-triage=tests.faults.away.build",
    }


def run(seconds: float = 60.0, made: Product | None = None) -> dict[str, Any]:
    """Roll back while Redis refuses, and while it hangs; then the arithmetic of shares."""
    trials = max(5, int(seconds / 2))
    with contextlib.ExitStack() as stack:
        if made is None:
            made = stack.enter_context(product(durable=False, **without(NOBODY)))
        refused = rollbacks(made, without(NOBODY), trials)
        hanging = stack.enter_context(hanging_address())
        hangs = rollbacks(made, without(hanging), trials)
    return {
        **{f"refused_{name}": value for name, value in refused.items()},
        **{f"hanging_{name}": value for name, value in hangs.items()},
        **shares(),
    }


def rollbacks(made: Product, neighbours: dict[str, str], trials: int) -> dict[str, Any]:
    """Click and watch what is served, `trials` times."""
    webs = [made.web(threads=2).start(neighbours) for _ in range(WEBS)]
    try:
        found = measure_rollbacks(made, webs, trials)
    finally:
        for web in webs:
            web.kill()
    served = [trial.everywhere for trial in found]
    return {
        "rollbacks": len(found),
        "served_p50_s": round(at(0.5, served), 3),
        "served_p95_s": round(at(0.95, served), 3),
        "answered_p95_s": round(at(0.95, [trial.answered for trial in found]), 3),
    }


def shares(keys: int = KEYS) -> dict[str, Any]:
    """How far each asked share is off, and whether widening moved a case inwards."""
    buckets = [bucket("support-triage", "salt", f"case-{number}") for number in range(keys)]
    deviation, inward = 0.0, 0
    before: set[int] = set()
    for share in SHARES:
        inside = {number for number, place in enumerate(buckets) if place < share}
        deviation = max(deviation, abs(len(inside) / keys - share / WHOLE))
        inward += len(before - inside)
        before = inside
    return {
        "keys": keys,
        "largest_deviation_points": round(100 * deviation, 3),
        "moved_inward": inward,
        "moved_by_restart": moved_by_restart(buckets),
    }


def moved_by_restart(buckets: list[int]) -> int:
    """Count the cases that another process, server's or client's, puts into another bucket."""
    moved = 0
    for module in ("governance.rollouts.assignment", "countersign.assignment"):
        code = (
            f"import json, sys; sys.path.insert(0, 'clients/python/src')\n"
            f"from {module} import bucket\n"
            f"print(json.dumps([bucket('support-triage', 'salt', f'case-{{n}}')"
            f" for n in range({len(buckets)})]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
        )
        moved += sum(
            mine != its for mine, its in zip(buckets, json.loads(done.stdout), strict=True)
        )
    return moved
