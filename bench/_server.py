"""A private PostgreSQL that syncs to disk, and a web process in front of it, to be measured."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.start import NOT_OURS
from governance.embedded import postgres_home
from governance.embedded.servers import Servers, running

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Served:
    """Where the web process answers, and what the seed printed."""

    port: int
    seeded: list[str]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Private:
    """Servers of our own, migrated, and the environment of processes that use them."""

    data_dir: Path
    servers: Servers
    environment: dict[str, str]


@contextmanager
def private(*, durable: bool = True, **changes: str) -> Iterator[Private]:
    """Start a PostgreSQL and a Valkey that nobody else uses, until the block ends.

    Args:
        durable: whether the database syncs to disk, as in production.
        changes: more variables of the environment; they win.
    """
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        data_dir = Path(folder)
        try:
            with running(data_dir, durable=durable) as servers:
                environment = {
                    **{name: text for name, text in os.environ.items() if name not in NOT_OURS},
                    "DATA_DIR": folder, "SECRET_KEY": servers.secret_key,
                    "DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url,
                    "DJANGO_SETTINGS_MODULE": "governance.settings", **changes,
                }  # fmt: skip
                owner = {**environment, "DATABASE_URL": servers.owner_database_url}
                manage(owner, "migrate", "-v0")
                yield Private(data_dir, servers, environment)
        finally:
            if durable:
                postgres_home.forget_home(data_dir)


@contextmanager
def serving(seed: str, *, workers: int = 2, threads: int = 2) -> Iterator[Served]:
    """Migrate, run `seed` as Python inside Django, and serve until the block ends."""
    with private() as made:
        seeded = run_python(made.environment, seed).split()
        with _web(made.environment, workers, threads) as port:
            yield Served(port, seeded, made.environment)


@contextmanager
def _web(environment: dict[str, str], workers: int, threads: int) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    web = subprocess.Popen(  # noqa: S603 - our own server
        [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--port", str(port),
         "--workers", str(workers), "--blocking-threads", str(threads),
         "governance.wsgi:application"],
        cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_until_ready(port)
        yield port
    finally:
        web.terminate()
        web.wait(20)


def run_python(environment: dict[str, str], code: str) -> str:
    """Run code inside Django in a process of its own; returns what it printed."""
    return manage(environment, "shell", "-v0", "-c", code)


def manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the web server did not answer within a minute")
