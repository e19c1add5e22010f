"""I7: applications keep the last known good when Countersign is away, and run nothing else.

Real clients under load against a real web process that is killed, stopped, and left without its
database. `run` works without pytest and returns figures.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from countersign import Client, NoAnswerError
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from bench._product import NOBODY, WORKFLOW, Product, Web, product

LOG = "countersign"
PAUSE = 0.004  # seconds between two calls of one caller: many callers on few processors
WAIT = 1.0  # seconds that a client waits for a server which does not answer


def run(seconds: float = 60.0, made: Product | None = None) -> dict[str, Any]:
    """Attack for `seconds`; returns figures, of which `failed` and `unapproved` must be 0."""
    with contextlib.ExitStack() as stack:
        silence = logging.getLogger(LOG)
        before = silence.level
        silence.setLevel(logging.CRITICAL)  # not the attribute: what is enabled is remembered
        stack.callback(silence.setLevel, before)
        if made is None:
            made = stack.enter_context(product(durable=False))
        web = made.web(threads=4).start()
        stack.callback(web.kill)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tries = max(20, min(200, int(4 * seconds)))
        return {**outage(made, web, folder, seconds), **corruption(made, web, folder, tries)}


class Caller(threading.Thread):
    """An application that asks for one case after the other, and counts what it is told."""

    def __init__(self, client: Client, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._end = client, stop
        self.calls = self.failed = self.cached = 0
        self.slowest = 0.0
        self.faults: Counter[str] = Counter()
        self.seen: list[tuple[float, str, int]] = []  # first sight of each digest and number
        self.start()

    def run(self) -> None:
        last: tuple[str, int] | None = None
        while not self._end.wait(PAUSE):
            started = time.perf_counter()
            self.calls += 1
            try:
                answer = self._client.release_for(f"case-{self.calls % 500}")
            except Exception as error:
                self.failed += 1
                self.faults[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            self.slowest = max(self.slowest, time.perf_counter() - started)
            self.cached += answer.cached
            if last != (answer.digest, answer.seq):
                last = (answer.digest, answer.seq)
                self.seen.append((time.perf_counter(), *last))


class Plain(threading.Thread):
    """The ordinary OpenFeature client, which has no memory: what would happen without ours."""

    def __init__(self, url: str, token: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._provider = OFREPProvider(
            url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}, timeout=WAIT
        )
        self._end = stop
        self.calls = self.defaults = 0
        self.digests: set[str] = set()
        self.start()

    def run(self) -> None:
        try:
            while not self._end.wait(10 * PAUSE):
                self.calls += 1
                try:
                    found = self._provider.resolve_object_details(
                        WORKFLOW, {}, EvaluationContext(f"case-{self.calls % 500}")
                    )
                    self.digests.add(str(found.variant))
                except (OpenFeatureError, OSError):
                    self.defaults += 1
        finally:
            self._provider.session.close()


def outage(made: Product, web: Web, folder: Path, seconds: float) -> dict[str, Any]:
    """Kill, starve and stop the web process under load; roll back while it is away."""
    start = made.does("live")
    bad = made.does("forward", release=made.bad) if start["release"] == made.good else start
    stop = threading.Event()
    clients = [
        Client(web.url, made.token, WORKFLOW, folder / mode, ask=mode, refresh_seconds=0.5,
               timeout=WAIT)
        for mode in ("each", "background")
    ]  # fmt: skip
    callers = [Caller(client, stop) for client in clients for _ in range(2)]
    plain = Plain(web.url, made.token, stop)
    phase = max(seconds / 6, 1.0)
    try:
        time.sleep(phase)
        web.kill()  # nobody listens
        time.sleep(phase)
        back = made.does("roll_back")  # decided while no application can hear it
        time.sleep(phase)
        # The process answers, its database does not: 503.
        nowhere = f"postgresql://cs_app:x@{NOBODY}/countersign"
        web.start({"DATABASE_URL": nowhere}, ready=False)
        time.sleep(phase)
        web.kill()
        web.start()
        heard_at = time.perf_counter()
        time.sleep(phase)
        web.signal(signal.SIGSTOP)  # takes connections, never answers
        time.sleep(phase)
        web.signal(signal.SIGCONT)
        time.sleep(1.5 * WAIT)
    finally:
        stop.set()
        for thread in (*callers, plain):
            thread.join(30)
        for client in clients:
            client.close(1.0)
    approved = {made.good, made.bad}
    seen = {digest for caller in callers for _, digest, _ in caller.seen}
    late = [
        digest
        for caller in callers
        for at, digest, seq in caller.seen
        if seq >= back["seq"] and digest != made.good
    ]
    first = [
        min((at for at, _, seq in caller.seen if seq == back["seq"]), default=float("inf"))
        for caller in callers
    ]
    return {
        "calls": sum(caller.calls for caller in callers),
        "failed": sum(caller.failed for caller in callers),
        "faults": dict(sum((caller.faults for caller in callers), Counter())),
        "from_memory": sum(caller.cached for caller in callers),
        "unapproved": len(seen - approved) + len(plain.digests - approved) + len(late),
        "rollback_seq": (bad["seq"], back["seq"]),
        "rollback_heard_s": round(max(first) - heard_at, 2),
        "slowest_call_s": round(max(caller.slowest for caller in callers), 2),
        "openfeature_calls": plain.calls,
        "openfeature_defaults": plain.defaults,
    }


def corruption(made: Product, web: Web, folder: Path, tries: int) -> dict[str, Any]:
    """Start from a cache that somebody damaged, while nobody answers."""
    source = folder / "whole"
    with Client(web.url, made.token, WORKFLOW, source, ask="each", timeout=10.0) as client:
        live = client.release_for("x").digest
        client.content(live)
    kept = source / WORKFLOW / "answer.json"
    whole = kept.read_bytes()
    contents = next((source / WORKFLOW / "releases").glob("*.json"))
    content = contents.read_bytes()
    web.kill()
    chance = random.Random(7)
    unapproved = ignored = 0
    for _ in range(tries):
        copy = folder / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        (copy / WORKFLOW / "answer.json").write_bytes(damaged(whole, chance))
        (copy / WORKFLOW / "releases" / contents.name).write_bytes(damaged(content, chance))
        with Client(web.url, made.token, WORKFLOW, copy, timeout=0.2) as client:
            try:
                answer = client.release_for("x")
            except NoAnswerError:
                ignored += 1
            else:
                unapproved += answer.digest != live
            with contextlib.suppress(Exception):
                found = client.content(live)
                unapproved += found.slots["model"] != {"provider": "own", "id": "good"}
    return {
        "damaged_caches": tries,
        "damaged_ignored": ignored,
        "unapproved_from_damage": unapproved,
    }


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """The file with a few bytes changed, cut short, doubled, or with digits exchanged."""
    kind = chance.randrange(4)
    if kind == 0:
        return whole[: chance.randrange(len(whole))]
    if kind == 1:
        return whole + whole
    changed = bytearray(whole)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed))
        changed[at] = chance.choice(b"0123456789abcdef") if kind == 2 else chance.randrange(256)
    return bytes(changed) if bytes(changed) != whole else whole[:-1]
