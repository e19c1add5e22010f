"""What `make up` runs: the servers, then the product's own processes, until somebody stops it."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from governance.embedded import reachable
from governance.embedded.interruptions import Interruptions
from governance.embedded.processes import Child, Processes, StartError
from governance.embedded.servers import Servers, hold, start_private

READY_SECONDS = 90
WEB_WORKERS = 2
WEB_THREADS = 4  # each of them holds one database connection
ACCOUNTS = (
    "cfo, coo, head-of-ar, controller, head-of-support, analyst, builder, auditor, admin, outsider"
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one `make up` was asked to do."""

    project: Path
    data_dir: Path
    port: int
    bind: str
    database_url: str
    owner_database_url: str
    redis_url: str
    demo: bool

    @classmethod
    def from_environment(cls, project: Path, data_dir: Path, env: Mapping[str, str]) -> Plan:
        """Read the environment; an empty variable counts as none."""
        port = env.get("PORT") or "8000"
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            raise StartError(f"PORT must be a number from 1 to 65535, not {port!r}")
        demo = env.get("DEMO") or "true"
        if demo not in ("true", "false"):
            raise StartError(f"DEMO must be 'true' or 'false', not {demo!r}")
        return cls(
            project=project,
            data_dir=data_dir.resolve(),
            port=int(port),
            bind=env.get("BIND") or "127.0.0.1",
            database_url=env.get("DATABASE_URL") or "",
            owner_database_url=env.get("OWNER_DATABASE_URL") or "",
            redis_url=env.get("REDIS_URL") or "",
            demo=demo == "true",
        )

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.bind in ("0.0.0.0", "::") else self.bind  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class Supervisor:
    """One run, from the first server to the last one stopped."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._interruptions = Interruptions()
        self._demo_said: list[str] = []

    def run(self) -> int:
        """Start everything, wait for a reason to stop, stop everything; return the exit code."""
        with self._interruptions.watched():
            try:
                with hold(self.plan.data_dir):
                    self._run_holding()
            except KeyboardInterrupt:
                say("Stopped. The data is kept.")
                return 0
            except StartError as error:
                print(f"Countersign: {error}", file=sys.stderr, flush=True)
                return 2
            except OSError as error:
                # Only what a person can act on; anything else is our mistake, and shows itself.
                if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                print(f"Countersign: {_disk_sentence(error)}", file=sys.stderr, flush=True)
                return 2
        return 0

    def _run_holding(self) -> None:
        interruptions = self._interruptions
        with Processes(self.plan.data_dir, say=say, hurry=lambda: interruptions.hurry) as processes:
            try:
                self._start(processes)
                self._wait(processes)
            finally:
                interruptions.stopping()
                say("Stopping")
                processes.stop()

    def _start(self, processes: Processes) -> None:
        plan = self.plan
        _check_port(plan)
        if plan.database_url:
            reachable.check_database(plan.owner_database_url or plan.database_url)
        if plan.redis_url:
            reachable.check_redis(plan.redis_url)
        servers = start_private(
            processes,
            plan.data_dir,
            database_url=plan.database_url,
            owner_database_url=plan.owner_database_url,
            redis_url=plan.redis_url,
            port=plan.port,
        )
        self._migrate(processes, servers)
        if plan.database_url:
            reachable.check_login(plan.database_url)
        has_demo = plan.demo and self._seed(processes)
        self._start_product(processes)
        if has_demo and _has_module("governance.demo.support.__main__"):
            self._child(processes, "demo", "-m", "governance.demo.support", "--url", plan.address)
        say(f"ready {plan.address}")
        for line in self._demo_accounts() if has_demo else ():
            say(f"  {line}")
        say(f"  Ctrl-C stops everything. Logs: {plan.data_dir / 'logs'}")

    def _wait(self, processes: Processes) -> None:
        while (child := processes.crashed()) is None:
            time.sleep(0.25)
        raise StartError(
            f"{child.name} stopped by itself ({child.ending()}), so everything else is stopped"
            f" too: {child.reason()} (see {child.log})"
        )

    def _migrate(self, processes: Processes, servers: Servers) -> None:
        say("Bringing the database up to date")
        child = self._child(
            processes,
            *("migrate", "manage.py", "migrate", "--no-input"),
            environment={"DATABASE_URL": servers.owner_database_url},
        )
        if processes.finish(child) != 0:
            raise StartError(
                f"The database could not be brought up to date: {child.reason()} (see {child.log})"
            )

    def _seed(self, processes: Processes) -> bool:
        """Make the demo on the first start, showing what the command says."""
        marker = self.plan.data_dir / "demo-seeded"
        if marker.exists():
            return True
        if not _has_module("governance.management.commands.seed_demo"):
            return False
        say("Making the demo and its twelve weeks of history (once)")
        child = self._child(
            processes, "seed", "manage.py", "seed_demo", "--if-empty", output=subprocess.PIPE
        )
        assert child.process.stdout is not None  # noqa: S101 - asked for above
        with child.log.open("ab") as log:
            for raw in child.process.stdout:
                line = raw.decode(errors="replace").rstrip()
                if "password" in line.lower():
                    self._demo_said.append(line.strip())  # said once more below, never logged
                else:
                    log.write(raw)
                    say(f"  {line}")
        if processes.finish(child) != 0:
            raise StartError(f"The demo could not be made: {child.reason()} (see {child.log})")
        marker.touch()
        return True

    def _demo_accounts(self) -> list[str]:
        said = self._demo_said or [
            "Their password was printed at the first start; a new one:"
            " .venv/bin/python manage.py changepassword cfo"
        ]
        return [f"Demo accounts: {ACCOUNTS}", *said]

    def _start_product(self, processes: Processes) -> None:
        """Start worker, beat and web at once, and wait until a page answers."""
        plan = self.plan
        say("Starting worker, beat and web")
        celery = ("-m", "celery", "-A", "governance.celery")
        self._child(
            processes,
            *("worker", *celery, "worker", "--pool=prefork", "--concurrency=2"),
            *("--loglevel=INFO", "--without-gossip", "--without-mingle"),
            # A warm stop lets jobs end; a cold one leaves them to their lease.
            stop_signals=(signal.SIGTERM, signal.SIGQUIT),
            stop_seconds=15,
        )
        self._child(
            processes,
            *("beat", *celery, "beat", "--loglevel=INFO", "--pidfile="),
            *("--schedule", str(plan.data_dir / "beat-schedule")),
        )
        web = self._child(
            processes,
            *("web", "-m", "granian", "--interface", "wsgi", "--no-ws"),
            *("--host", plan.bind, "--port", str(plan.port)),
            *("--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS)),
            *("--workers-kill-timeout", "5", "governance.wsgi:application"),
        )
        if not processes.wait_until(lambda: _page_answers(plan), web, seconds=READY_SECONDS):
            raise StartError(f"No page answers at {plan.address}: {web.reason()} (see {web.log})")

    def _child(
        self,
        processes: Processes,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        output: int | None = None,
        stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,),
        stop_seconds: float = 10,
    ) -> Child:
        """Start one Python process of the product, which finds its servers in DATA_DIR."""
        return processes.start(
            name,
            [sys.executable, *arguments],
            environment={
                **os.environ,
                "DATA_DIR": str(self.plan.data_dir),
                "PYTHONUNBUFFERED": "1",
                **(environment or {}),
            },
            directory=self.plan.project,
            output=output,
            stop_signals=stop_signals,
            stop_seconds=stop_seconds,
        )


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def _check_port(plan: Plan) -> None:
    """Say that the port is taken before anything is started, not after."""
    family = socket.AF_INET6 if ":" in plan.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.bind, plan.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f"port {plan.port} is in use by another program"
            else:
                problem = f"{plan.bind}, port {plan.port} cannot be used ({error.strerror})"
            raise StartError(f"{problem}: choose another one with PORT=…") from error


def _page_answers(plan: Plan) -> bool:
    """Return whether a person would see a page: the process lives, and `/` or its login does."""
    try:
        alive, _ = _get(plan, "/healthz")
        status, location = _get(plan, "/")
        if location.startswith("/"):
            status, location = _get(plan, location)
    except (OSError, http.client.HTTPException):
        return False
    # A redirection to https, or a host name that is not ours, is an answer all the same.
    return alive < 500 and status < 500


def _get(plan: Plan, path: str) -> tuple[int, str]:
    parts = urlsplit(plan.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers.get("Location", "")
    finally:
        connection.close()


def _disk_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk that holds {error.filename or 'the data'} is full"
    return f"{error.filename} cannot be written ({error.strerror}): choose another DATA_DIR"


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
