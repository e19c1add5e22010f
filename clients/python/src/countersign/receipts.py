"""Run receipts: collected, sent in batches, sent again while the server is away."""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import Any

from countersign.answers import Answer
from countersign.errors import UnreachableError
from countersign.transport import Transport

log = logging.getLogger("countersign")
PATH = "/api/v1/receipts"
BATCH = 500  # the server takes up to 5,000
MOST_WAITING = 20_000
EVERY = 1.0  # seconds until a batch that is not full goes out
LONGEST_PAUSE = 30.0  # seconds
AGAIN = (429, 502, 503, 504)
TIMEOUT = 15.0
SOON = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the receipts so far."""

    stored: int = 0  # the server has them, some perhaps twice sent
    refused: int = 0  # the server said why, the log too
    dropped: int = 0  # the queue was full, or the process ended first
    waiting: int = 0


class Receipts:
    """A queue with a bounded length and one sending thread."""

    def __init__(
        self, transport: Transport, workflow: str, *, most_waiting: int = MOST_WAITING,
        every: float = EVERY,
    ) -> None:  # fmt: skip
        self._transport = transport
        self._workflow = workflow
        self._most_waiting = most_waiting
        self._every = every
        self._most = BATCH
        self._stored = self._refused = self._dropped = 0
        self._begin()

    def _begin(self) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._in_hand = 0  # being sent just now
        self._condition = Condition()
        self._thread: Thread | None = None
        self._closed = self._flushing = False

    def after_fork(self) -> None:
        """The parent sends what waited before the fork; the child starts empty."""
        self._stored = self._refused = self._dropped = 0
        self._begin()

    def add(self, receipt: Mapping[str, Any] | None = None, /, **fields: Any) -> str:
        """Queue one receipt and return its `run_id`; never waits, never raises for the network.

        Fields are those of `POST /api/v1/receipts`. `answer` may be the Answer that the run
        followed: it gives `release`. `run_id`, `workflow` and `started_at` (now) are filled in
        when they are missing.
        """
        whole = {**(receipt or {}), **fields}
        answer = whole.pop("answer", None)
        if isinstance(answer, Answer):
            whole.setdefault("release", answer.digest)
        whole.setdefault("run_id", uuid.uuid4().hex)
        whole.setdefault("workflow", self._workflow)
        started = whole.setdefault("started_at", datetime.now(UTC))
        if isinstance(started, datetime):
            if started.tzinfo is None:
                raise ValueError("started_at needs its time zone.")
            whole["started_at"] = started.isoformat()
        json.dumps(whole, allow_nan=False)  # what is no JSON fails here, at the caller
        with self._condition:
            if self._closed or len(self._waiting) >= self._most_waiting:
                if self._dropped % 1_000 == 0:
                    log.warning("A receipt was dropped: %d wait already", len(self._waiting))
                self._dropped += 1
                return str(whole["run_id"])
            self._waiting.append(whole)
            if self._thread is None:
                self._thread = Thread(target=self._run, daemon=True, name="countersign receipts")
                self._thread.start()
            if len(self._waiting) >= BATCH:
                self._condition.notify_all()
        return str(whole["run_id"])

    @property
    def counts(self) -> Counts:
        with self._condition:
            return Counts(
                self._stored, self._refused, self._dropped, len(self._waiting) + self._in_hand
            )

    def flush(self, timeout: float = 5.0) -> bool:
        """Send what waits; returns whether everything went out within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._condition:
            self._flushing = True
            self._condition.notify_all()
            while self._waiting or self._in_hand:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    break
                self._condition.wait(left)
            self._flushing = False
            return not self._waiting and not self._in_hand

    def close(self, timeout: float = 5.0) -> None:
        """Flush, then take no more. What could not be sent counts as dropped."""
        with self._condition:
            if self._closed:
                return
        whole = self.flush(timeout)
        with self._condition:
            self._closed = True
            left = len(self._waiting) + self._in_hand
            self._dropped += left
            self._waiting.clear()
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(max(timeout, 0.0))
        if not whole:
            log.warning("%d receipts could not be sent before the end", left)

    # -- the sending thread ----------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            with self._condition:
                if not self._waiting and not self._closed:
                    self._condition.wait()
                if self._waiting and len(self._waiting) < BATCH and not self._flushing:
                    self._condition.wait(self._every)
                if self._closed:
                    return
                batch = [
                    self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))
                ]
                self._in_hand = len(batch)
            if not batch:
                continue
            pause = self._send(batch, failures)
            failures = failures + 1 if pause else 0
            if pause:
                self._put_back(batch, pause)

    def _put_back(self, batch: list[dict[str, Any]], pause: float) -> None:
        with self._condition:
            if self._closed:
                return
            self._waiting.extendleft(reversed(batch))
            self._in_hand = 0
            deadline = time.monotonic() + pause
            while not self._closed and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(min(left, 0.2) if self._flushing else left)

    def _send(self, batch: list[dict[str, Any]], failures: int) -> float:
        """Send one batch; returns 0.0, or after how many seconds to send it again."""
        try:
            reply = self._transport.send(
                "POST", PATH, json.dumps({"receipts": batch}).encode(), timeout=TIMEOUT
            )
        except UnreachableError as error:
            return self._pause(failures, 0.0, str(error))
        if reply.status in AGAIN:
            return self._pause(failures, reply.retry_after, f"The server answered {reply.status}.")
        if reply.status == 413 and len(batch) > 1:
            self._most = len(batch) // 2
            return SOON
        try:
            said: Any = json.loads(reply.body)
            refused = list(said.get("refused") or [])
        except (ValueError, AttributeError, TypeError):
            said, refused = {}, []
        if reply.status == 200:
            stored, lost = len(batch) - len(refused), len(refused)
        else:
            # 400, 401, 403, 422: the same request fails again, so it is not sent again.
            refused = refused or [{"error": said.get("error") if isinstance(said, dict) else ""}]
            stored, lost = 0, len(batch)
        if refused:
            first = refused[0]
            log.warning(
                "%d receipts were refused (%s). The first: %s %s",
                lost, reply.status, first.get("run_id", ""), first.get("error", ""),
            )  # fmt: skip
        # Counted last: who waits for the count finds everything said.
        self._count(stored, lost)
        return 0.0

    def _pause(self, failures: int, asked: float, why: str) -> float:
        if failures == 0:
            log.warning("Receipts wait: %s", why)
        wanted = min(LONGEST_PAUSE, 0.5 * 2 ** min(failures, 8)) * random.uniform(0.75, 1.25)  # noqa: S311
        return float(max(wanted, asked))

    def _count(self, stored: int, refused: int) -> None:
        with self._condition:
            self._stored += stored
            self._refused += refused
            self._in_hand = max(0, self._in_hand - stored - refused)
            self._condition.notify_all()
