"""The weekly page and OFREP beside a whole `make up`: milliseconds, queries, bytes."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.start import free_port, running
from governance.embedded import postgres_home

PAGES = 200
QUESTIONS = 2_000


def measure() -> Iterator[str]:
    """One client that keeps its connection, beside the demo's own traffic."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        with running(Path(folder), port):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            yield from _weekly(connection, Path(folder))
            yield from _ofrep(connection, Path(folder))
        postgres_home.forget_home(Path(folder))


def _weekly(connection: http.client.HTTPConnection, data_dir: Path) -> Iterator[str]:
    cookie, queries = _log_in(data_dir)
    headers = {"Cookie": cookie, "Accept-Encoding": "gzip"}
    took, size = [], 0
    for _ in range(PAGES):
        start = time.perf_counter()
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        size = len(answer.read())
        took.append(1_000 * (time.perf_counter() - start))
        if answer.status != 200:
            raise RuntimeError(f"the weekly page answered {answer.status}")
    yield f"weekly page: {_spread(took)}, {queries} queries, {size:,} bytes (gzip)"


def _log_in(data_dir: Path) -> tuple[str, int]:
    """Return a session cookie, and how many queries the page takes."""
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        os.environ.pop(name, None)
    os.environ.update(DATA_DIR=str(data_dir), DJANGO_SETTINGS_MODULE="governance.settings")
    import django

    django.setup()
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from governance.people.models import User

    client = Client(headers={"host": "localhost"})
    user = User.objects.get(username="head-of-support")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/")
    with CaptureQueriesContext(connection) as captured:
        client.get("/")
    return f"sessionid={client.cookies['sessionid'].value}", len(captured)


def _ofrep(connection: http.client.HTTPConnection, data_dir: Path) -> Iterator[str]:
    token = (data_dir / "demo-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"context": {"targetingKey": "case-1"}})
    took = []
    for _ in range(QUESTIONS):
        start = time.perf_counter()
        connection.request("POST", "/ofrep/v1/evaluate/flags/support-triage", body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(1_000 * (time.perf_counter() - start))
        if answer.status != 200:
            raise RuntimeError(f"OFREP answered {answer.status}")
    yield f"OFREP evaluation, one client: {_spread(took)}"


def _spread(took: list[float]) -> str:
    marks = statistics.quantiles(took, n=100)
    return f"median {marks[49]:.1f} ms, p95 {marks[94]:.1f} ms, p99 {marks[98]:.1f} ms"
