"""OFREP at 500 requests a second, whether they are answered or not, against two processes.

The requests leave on a timetable (open loop) and the clock starts when each should have left, so a
server that stands still is charged for all that waited. Median of five runs; alone, with Redis and
the workers away, and beside ingestion. Clients, server and database share this machine.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event as Stop

from bench._product import FLAG, NOBODY, Product, at, product
from bench.receipts import BATCH, _batch

RATE = float(os.environ.get("BENCH_OFREP_RATE", "500"))  # requests per second
SECONDS = float(os.environ.get("BENCH_OFREP_SECONDS", "10"))
RUNS = 5
CONNECTIONS = 32
WORKERS = 2
THREADS = int(os.environ.get("BENCH_OFREP_THREADS", "2"))
INGESTED = 4  # batches a second beside it


def measure() -> Iterator[str]:
    """Three situations on one database."""
    with product() as made:
        yield f"alone: {_five_runs(made)}"
        yield f"Redis away, no worker: {_five_runs(made, REDIS_URL=f'redis://{NOBODY}/0')}"
        with _ingesting(made):
            yield (f"beside {INGESTED * BATCH:,} spans/s at another process: {_five_runs(made)}")


def _five_runs(made: Product, **changes: str) -> str:
    web = made.web(workers=WORKERS, threads=THREADS).start(changes)
    try:
        asyncio.run(drive(web.port, made.token, 2.0))  # connections, caches
        runs = [asyncio.run(drive(web.port, made.token, SECONDS)) for _ in range(RUNS)]
    finally:
        web.kill()
    p50 = statistics.median(at(0.50, run) for run in runs)
    p99s = [at(0.99, run) for run in runs]
    answered = sum(map(len, runs))
    return (
        f"p50 {1000 * p50:.1f} ms, p99 {1000 * statistics.median(p99s):.1f} ms"
        f" (runs {', '.join(f'{1000 * p99:.1f}' for p99 in p99s)}),"
        f" {answered:,} of {int(RATE * SECONDS) * RUNS:,} answered with 200"
    )


async def drive(port: int, token: str, seconds: float) -> list[float]:
    """Send on the timetable; returns seconds per answer, from when each should have left."""
    loop = asyncio.get_running_loop()
    idle: deque[_Line] = deque()
    queue: deque[tuple[float, bytes]] = deque()
    latencies: list[float] = []
    open_count = 0

    def done(line: _Line, due: float, status: int) -> None:
        nonlocal open_count
        open_count -= 1
        if status == 200:
            latencies.append(loop.time() - due)
        if queue:
            line.send(*queue.popleft())
        else:
            idle.append(line)

    lines = []
    for _ in range(CONNECTIONS):
        _, line = await loop.create_connection(lambda: _Line(done), "127.0.0.1", port)
        lines.append(line)
        idle.append(line)
    started = loop.time() + 0.05
    for number in range(int(RATE * seconds)):
        due = started + number / RATE
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        request = _request(port, token, f"case-{number % 1000}")
        open_count += 1
        if idle:
            idle.popleft().send(due, request)
        else:
            queue.append((due, request))
    deadline = loop.time() + 10
    while open_count and loop.time() < deadline:
        await asyncio.sleep(0.01)
    for line in lines:
        line.transport.close()
    await asyncio.sleep(0)
    return latencies


def _request(port: int, token: str, case: str) -> bytes:
    body = json.dumps({"context": {"targetingKey": case}})
    return (
        f"POST {FLAG} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class _Line(asyncio.Protocol):
    """One kept connection with one request at a time."""

    transport: asyncio.Transport

    def __init__(self, done: Callable[[_Line, float, int], None]) -> None:
        self._done = done
        self._got = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what TCP gives
        self.transport = transport

    def send(self, due: float, request: bytes) -> None:
        self._due, self._got = due, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:]):
            if name.lower() == b"content-length" and len(body) >= int(value):
                self._done(self, self._due, int(head[9:12]))
                return


class _ingesting:  # noqa: N801 - used like a function
    """A process of its own that sends spans to a web process of its own, at a steady pace."""

    def __init__(self, made: Product) -> None:
        self._made = made

    def __enter__(self) -> None:
        self._web = self._made.web(threads=2).start()
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._sender = context.Process(
            target=_ingest, args=(self._web.port, self._made.token, self._made.good, self._stop)
        )
        self._sender.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sender.join(20)
        self._web.kill()


def _ingest(port: int, token: str, release: str, stop: Stop) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-protobuf"}
    number, started = 0, time.monotonic()
    while not stop.wait(max(0.0, started + number / INGESTED - time.monotonic())):
        connection.request("POST", "/v1/traces", _batch(release, 7, number), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a batch was answered {answer.status}")
        number += 1
