"""Named places at which `make faults` stops a process; elsewhere and always else they do nothing.

`FAILPOINT="after the audit row"` kills the process there with -9, as a power cut would. With a
path behind it (`FAILPOINT="before commit:/tmp/here"`) the process makes that file and waits until
it is gone, so that something else can be killed meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

NAMES = (
    "before the lock",
    "after the pointer",
    "after the audit row",
    "before commit",
    "after commit",
    "before the nudge",
)
LONGEST_WAIT = 120  # seconds
# Read once: a process without it pays one comparison.
_NAME, _, _FILE = os.environ.get("FAILPOINT", "").partition(":")


def reach(name: str) -> None:
    """Stop here if this is the place that was named."""
    if name == _NAME:
        _stop()


def _stop() -> None:
    if not _FILE:
        os.kill(os.getpid(), signal.SIGKILL)
    here = Path(_FILE)
    if here.with_suffix(".done").exists():
        return  # once
    here.with_suffix(".done").touch()
    here.touch()
    end = time.monotonic() + LONGEST_WAIT
    while here.exists() and time.monotonic() < end:
        time.sleep(0.01)
