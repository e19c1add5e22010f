"""How `-n 2 --dist loadfile` shares the tests out: whole files, the longest first."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# One whole product for all of them, with one story: they stay together, and in their order.
TOGETHER = "tests/browser/"
# What takes longest begins first, so that both processes end at about the same time.
LONGEST = (
    TOGETHER,
    "tests/faults/",
    "tests/embedded/",
    "tests/audit/test_roles.py",
    "tests/dashboards/test_roles.py",
    "tests/demo/",
    "tests/rollouts/",
)


class Files(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """One file after another to whichever process is free."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # `rank` orders them
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)


def rank(nodeid: str) -> int:
    """Where a test's file stands in line."""
    places = (place for place, start in enumerate(LONGEST) if nodeid.startswith(start))
    return next(places, len(LONGEST))
