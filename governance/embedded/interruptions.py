"""Noticing that somebody wants everything to stop, `make` included."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.25
SECOND_THOUGHT = 1.0  # seconds; one stop often arrives twice: from a terminal, and through make


class Interruptions:
    """Turns every wish to stop into one KeyboardInterrupt; `hurry` is set by a second one."""

    def __init__(self) -> None:
        self.hurry = False
        self._stopping_since: float | None = None
        self._parent = os.getppid()
        # Only make is watched: a shell that ends under `nohup manage.py up &` changes nothing.
        self._watch_parent = "make" in _command(self._parent)
        self._parent_catches = _catches(self._parent, signal.SIGINT)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen to SIGINT, SIGTERM, SIGHUP, and to how the parent make is doing."""
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._asked) for number in asked}
        if self._watch_parent:
            # A timer, not a thread: children are forked here, which threads do not survive well.
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._look_at_parent)
            signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS, POLL_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def stopping(self) -> None:
        """From here on nothing interrupts: what is being stopped is stopped to the end."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self._stopping_since is None:
            self.stopping()
            raise KeyboardInterrupt
        if time.monotonic() - self._stopping_since > SECOND_THOUGHT:
            self.hurry = True

    def _look_at_parent(self, number: int, frame: FrameType | None) -> None:
        """Stop when make is gone, or was interrupted.

        make passes SIGTERM on to us, but not SIGINT: it counts on the terminal having sent that
        to everybody. After a fatal signal it puts back the default action for the signal and
        waits for its children; a SIGINT that it no longer catches is how that shows.
        """
        if self._stopping_since is not None:
            return
        gone = os.getppid() != self._parent
        told = self._parent_catches and not _catches(self._parent, signal.SIGINT)
        if gone or told:
            self.stopping()
            raise KeyboardInterrupt


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def _catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)
