"""Asking a target for many cases: several at a time, at a bounded rate, within a budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from governance.evals.models import Case, Score
from governance.evals.targets import Calling, TargetError
from governance.jobs.services import Claim, LostClaimError

BEAT_SECONDS = 15.0  # between renewals of the lease while nothing is written
LOOK_SECONDS = 2.0  # between looks whether somebody cancelled the run
SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Ask:
    """One case to be run, for the `repeat`-th time (from 0)."""

    case: Case
    repeat: int
    seed: int


Work = Callable[[Ask], Score]  # runs and scores one; what goes wrong with the case is in the score


class BudgetError(TargetError):
    """The next call might cost more than the run may."""


@dataclass
class Budget:
    """Money that a run may spend. Calls under way count as the dearest one so far."""

    limit: Decimal | None
    spent: Decimal
    currency: str
    dearest: Decimal | None = None

    def allows(self, under_way: int) -> bool:
        """Whether one more call fits, beside those under way. The first one is made alone."""
        if self.limit is None:
            return True
        if self.dearest is None:
            return under_way == 0 and self.spent < self.limit
        return self.spent + (under_way + 1) * self.dearest <= self.limit

    def add(self, cost: Decimal | None) -> None:
        if cost is None:
            return
        self.spent += cost
        self.dearest = max(self.dearest or Decimal(0), cost)

    def refusal(self) -> BudgetError:
        limit = (self.limit or Decimal(0)).normalize()
        return BudgetError(
            f"Stopped at its budget of {limit:f} {self.currency}: {self.spent.normalize():f}"
            " is spent, and the next call could cost more than what is left."
        )


def ask_all(
    asks: Iterable[Ask], work: Work, calling: Calling, budget: Budget, claim: Claim
) -> Generator[Score | None]:
    """Yield the score of each ask, in the order in which answers come; None once in a while.

    A callable that is asked one at a time runs in this thread. Everything else is asked from a
    pool of threads, which touch neither the database nor each other.

    Raises:
        BudgetError: the next call might cost too much; what was under way came first.
        TargetError: a call did not come back in time.
        LostClaimError: another worker holds the job.
    """
    if calling.is_callable and calling.concurrency == 1:
        yield from _one_by_one(asks, work, calling, budget, claim)
    else:
        yield from _together(asks, work, calling, budget)


def _one_by_one(
    asks: Iterable[Ask], work: Work, calling: Calling, budget: Budget, claim: Claim
) -> Iterator[Score]:
    with _Beat(claim, calling.seconds) as beat:
        for ask in asks:
            if not budget.allows(0):
                raise budget.refusal()
            beat.begin()
            score = work(ask)
            beat.end()
            budget.add(score.cost)
            yield score


def _together(
    asks: Iterable[Ask], work: Work, calling: Calling, budget: Budget
) -> Iterator[Score | None]:
    every = 60 / calling.per_minute if calling.per_minute else 0.0
    # Tries and pauses are bounded too; beyond that a call is lost, and the run with it.
    longest = 10 * (calling.seconds + 60)
    # A few wait in line, so that nobody is idle while scores are written; not where every call
    # is counted before it is made.
    is_counted = bool(every) or budget.limit is not None
    most = calling.concurrency * (1 if is_counted else 2)
    waiting: dict[Future[Score], float] = {}
    done: SimpleQueue[Future[Score]] = SimpleQueue()
    left = iter(asks)
    ahead = next(left, None)
    next_at = time.monotonic()
    pool = ThreadPoolExecutor(calling.concurrency, thread_name_prefix="eval")
    try:
        while ahead is not None or waiting:
            moment = time.monotonic()
            while (
                ahead is not None
                and len(waiting) < most
                and moment >= next_at
                and budget.allows(len(waiting))
            ):
                future = pool.submit(work, ahead)
                waiting[future] = moment
                future.add_done_callback(done.put)
                next_at = max(next_at, moment - every) + every
                ahead = next(left, None)
            if not waiting:
                if not budget.allows(0):
                    raise budget.refusal()
                time.sleep(max(0.0, next_at - moment))
                continue
            until = LOOK_SECONDS
            if ahead is not None and len(waiting) < most and every:
                until = min(until, max(0.0, next_at - moment))
            try:
                future = done.get(timeout=max(until, 0.001))
            except Empty:
                if moment - min(waiting.values()) > longest:
                    raise TargetError(f"A case did not come back within {longest:.0f} s.") from None
                yield None
                continue
            del waiting[future]
            score = future.result()
            budget.add(score.cost)
            yield score
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Beat:
    """Renews the lease from beside while a slow case holds this thread."""

    def __init__(self, claim: Claim, longest: float) -> None:
        self._claim, self._longest = claim, longest
        self._stop = threading.Event()
        self._begun: float | None = None
        self._thread = threading.Thread(target=self._run, name="eval lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stop.set()
        self._thread.join()

    def begin(self) -> None:
        self._begun = time.monotonic()

    def end(self) -> None:
        self._begun = None

    def _run(self) -> None:
        from django.db import connection

        while not self._stop.wait(BEAT_SECONDS):
            begun = self._begun
            # A case that takes longer than it may is given up: its lease runs out.
            if begun is None or time.monotonic() - begun > self._longest:
                continue
            try:
                self._claim.heartbeat()
            except LostClaimError:
                return  # the next write finds it out
            finally:
                connection.close()
