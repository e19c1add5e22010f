"""A Countersign of its own: private servers, real web processes, somebody who clicks.

For measurements and for the attacks in tests/faults. What happens inside the product is done by an
operator, a second process, so that the caller needs no Django.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._server import private
from bench.start import free_port

PROJECT = Path(__file__).resolve().parent.parent
WORKFLOW = "support-triage"
FLAG = f"/ofrep/v1/evaluate/flags/{WORKFLOW}"
NOBODY = "127.0.0.1:9"  # an address where nobody answers


@dataclass
class Web:
    """One granian on its own port."""

    environment: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    workers: int = 1
    threads: int = 4
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, changes: Mapping[str, str] | None = None, *, ready: bool = True) -> Web:
        """Start it; `changes` are variables of this start only."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own server
                [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--host",
                 "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers),
                 "--blocking-threads", str(self.threads), "governance.wsgi:application"],
                cwd=PROJECT, env={**self.environment, **(changes or {})}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_until_answers(self.port, "/readyz" if ready else "/healthz")
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the server and all of its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """As a crash does it."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
            self._process = None


@dataclass
class Product:
    """Servers that run, a workflow with two releases, tokens, and an operator."""

    data_dir: Path
    environment: dict[str, str]
    good: str = ""
    bad: str = ""
    token: str = ""
    cookie: str = ""
    _operator: subprocess.Popen[str] | None = None
    _webs: list[Web] = field(default_factory=list)

    def web(self, *, workers: int = 1, threads: int = 4) -> Web:
        """A web process of this product, not started yet."""
        made = Web(self.environment, self.data_dir / "web.log", workers=workers, threads=threads)
        self._webs.append(made)
        return made

    def does(self, what: str, **details: Any) -> dict[str, Any]:
        """Have the operator do something; see `bench._operator`."""
        if self._operator is None:
            self._operator = subprocess.Popen(
                [sys.executable, "-m", "bench._operator"], cwd=PROJECT, env=self.environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        pipe, answers = self._operator.stdin, self._operator.stdout
        assert pipe is not None and answers is not None  # noqa: S101, PT018 - asked for above
        pipe.write(json.dumps({"do": what, **details}) + "\n")
        pipe.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the operator ended at {what}")
        done: dict[str, Any] = json.loads(line)
        if "error" in done:
            raise RuntimeError(f"{what}: {done['error']}")
        return done

    def click_roll_back(self, web: Web, seq: int, timeout: float = 30.0) -> float:
        """Press the button as a browser does; returns seconds until its answer."""
        csrf = secrets.token_hex(16)
        body = f"reason=Measured&seq={seq}&csrfmiddlewaretoken={csrf}"
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=timeout)
        started = time.perf_counter()
        try:
            connection.request(
                "POST", f"/workflows/{WORKFLOW}/roll-back/", body,
                {"Content-Type": "application/x-www-form-urlencoded",
                 "Cookie": f"sessionid={self.cookie}; csrftoken={csrf}"},
            )  # fmt: skip
            answer = connection.getresponse()
            answer.read()
            taken = time.perf_counter() - started
        finally:
            connection.close()
        if answer.status != 302 or "/login" in (answer.getheader("Location") or ""):
            raise RuntimeError(f"the rollback was answered {answer.status}")
        return taken

    def stop(self) -> None:
        for web in self._webs:
            web.signal(signal.SIGCONT)
            web.kill()
        if self._operator is not None and self._operator.stdin is not None:
            self._operator.stdin.close()
            self._operator.wait(20)
            assert self._operator.stdout is not None  # noqa: S101 - asked for above
            self._operator.stdout.close()


@contextlib.contextmanager
def product(*, durable: bool = True, **changes: str) -> Iterator[Product]:
    """A migrated product with something live, on its own servers.

    Args:
        durable: whether the database syncs to disk, as in production.
        changes: variables of its web processes and operator, such as a dead REDIS_URL.
    """
    with private(durable=durable, **{"RATE_LIMIT_OFREP": "0", **changes}) as servers:
        made = Product(servers.data_dir, servers.environment)
        try:
            seeded = made.does("seed", workflow=WORKFLOW)
            made.good, made.bad = seeded["good"], seeded["bad"]
            made.token, made.cookie = seeded["token"], seeded["cookie"]
            yield made
        finally:
            made.stop()


def wait_until_answers(port: int, path: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"nothing answered at {path} within {seconds:.0f} s")


@contextlib.contextmanager
def hanging_address() -> Iterator[str]:
    """`host:port` of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def evaluate(
    connection: http.client.HTTPConnection, token: str, case: str = "case-1"
) -> dict[str, Any]:
    """Ask what is live for a case; the whole OFREP answer."""
    connection.request(
        "POST", FLAG, json.dumps({"context": {"targetingKey": case}}),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )  # fmt: skip
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"OFREP answered {answer.status}: {body[:200]!r}")
    found: dict[str, Any] = json.loads(body)
    return found


def at(fraction: float, values: list[float]) -> float:
    """The value below which this fraction lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * fraction))]
