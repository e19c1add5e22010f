"""I1: nothing becomes live without a valid quorum on exactly those bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.arena import EveryTarget
from tests.faults.machine import ChangeControl

pytestmark = pytest.mark.django_db(transaction=True)
OFTEN = {
    "_approve", "_judge", "drill", "edit_suite", "emergency", "freeze", "go_all_the_way",
    "guard_looks", "pin", "propose", "ratify", "repropose", "roll_back", "switch_off",
}  # fmt: skip
SHORT, FULL = 2_000, 100_000


def test_nothing_becomes_live_without_a_valid_quorum_on_exactly_those_bytes(
    settings: Any, full: bool, figure: Callable[..., None]
) -> None:
    settings.EVAL_TARGETS = EveryTarget()
    wanted = FULL if full else SHORT
    began, seed = time.monotonic(), 0
    ChangeControl.steps = 0
    try:
        while ChangeControl.steps < wanted:
            seed += 1
            _run(seed, examples=10)
    finally:
        print(f"{ChangeControl.steps:,} steps, last seed {seed}")
    seconds = time.monotonic() - began
    acts = ChangeControl.acts
    figure(
        "I1", steps=ChangeControl.steps, violations=0, seconds=round(seconds),
        allowed=sum(allowed for allowed, _ in acts.values()),
        refused=sum(refused for _, refused in acts.values()),
        kinds=dict(sorted(acts.items())),
    )  # fmt: skip
    # An act that never succeeded attacked nothing.
    never = {name for name, (allowed, _) in acts.items() if not allowed}
    assert not never & ({*acts} if full else OFTEN)


def _run(seed: int, examples: int) -> None:
    ChangeControl._hypothesis_internal_use_seed = seed
    run_state_machine_as_test(
        ChangeControl,
        settings=settings(
            max_examples=examples, stateful_step_count=100, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), print_blob=True,
            phases=(Phase.generate,), report_multiple_bugs=False,
        ),
    )  # fmt: skip
