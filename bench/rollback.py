"""Click on roll back until every one of four web processes serves the last known good."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench._product import Product, Web, at, evaluate, product

WEBS = 4
TRIALS = 200
BETWEEN = 0.002  # seconds between two questions of one watcher


def measure() -> Iterator[str]:
    """Real processes, a database that syncs to disk, one click after the other."""
    with product() as made:
        webs = [made.web(threads=2).start() for _ in range(WEBS)]
        found = measure_rollbacks(made, webs, TRIALS)
    everywhere = [trial.everywhere for trial in found]
    clicks = [trial.answered for trial in found]
    yield (
        f"click until all {WEBS} processes serve it: p50 {1000 * at(0.5, everywhere):.0f} ms,"
        f" p99 {1000 * at(0.99, everywhere):.0f} ms, worst {1000 * max(everywhere):.0f} ms"
        f" ({len(found)} rollbacks)"
    )
    yield (
        f"click until its page answers: p50 {1000 * at(0.5, clicks):.0f} ms,"
        f" p99 {1000 * at(0.99, clicks):.0f} ms"
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds from the click."""

    answered: float
    everywhere: float


def measure_rollbacks(made: Product, webs: list[Web], trials: int) -> list[Trial]:
    """Go forward and click back, again and again, with a watcher at every process."""
    found: list[Trial] = []
    for number in range(trials):
        seq = made.does("forward", release=made.bad)["seq"]
        watchers = [Watcher(web, made.token, made.good, seq) for web in webs]
        for watcher in watchers:
            watcher.watching.wait(10)
        clicked = time.perf_counter()
        answered = made.click_roll_back(webs[number % len(webs)], seq)
        for watcher in watchers:
            watcher.join(30)
            if watcher.seen_at is None:
                raise RuntimeError(f"{watcher.web.url} did not serve it: {watcher.fault}")
        seen = [watcher.seen_at for watcher in watchers if watcher.seen_at is not None]
        found.append(Trial(answered, max(seen) - clicked))
    return found


class Watcher(threading.Thread):
    """Asks one process again and again until it serves the target."""

    def __init__(self, web: Web, token: str, target: str, above: int) -> None:
        super().__init__(daemon=True)
        self.web, self.token, self.target, self.above = web, token, target, above
        self.watching = threading.Event()
        self.seen_at: float | None = None
        self.fault = ""
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=10)
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                value = evaluate(connection, self.token)["value"]
                if value["release"] == self.target and value["seq"] > self.above:
                    self.seen_at = time.perf_counter()
                    return
                self.watching.set()
                time.sleep(BETWEEN)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            self.fault = str(error)
        finally:
            connection.close()
