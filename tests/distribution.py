"""How `make test` shares the tests out: whole files, the longest first, the browser apart."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# One whole product for all of them, with one story: they stay together, and in their order. They
# have a process to themselves, because Playwright keeps an event loop running in it, under which
# Django refuses a database.
BROWSER = "tests/browser/"
# What takes longest begins first, so that all processes end at about the same time.
LONGEST = (
    BROWSER,
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
        return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)

    def _reschedule(self, node: Any) -> None:
        if BROWSER in self.assigned_work[node]:
            node.shutdown()  # when it has done what it has
        else:
            super()._reschedule(node)


def rank(nodeid: str) -> int:
    """Where a test's file stands in line."""
    places = (place for place, start in enumerate(LONGEST) if nodeid.startswith(start))
    return next(places, len(LONGEST))
