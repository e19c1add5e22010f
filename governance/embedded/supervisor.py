"""What `make up` runs: the servers, then the product's own processes, until somebody stops it."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from governance.embedded import postgres, reachable
from governance.embedded.interruptions import Interruptions
from governance.embedded.postgres_home import LIBRARY
from governance.embedded.processes import Child, Processes, StartError
from governance.embedded.servers import Servers, hold, start_private
from governance.embedded.sockets import remove_socket_folder

DEMO = "demo"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before the demo is started again
READY_SECONDS = 90
FULL_BYTES = 20_000_000
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
        self._token = plan.data_dir / "demo-token"  # the seed writes it last
        self._unfinished = plan.data_dir / "demo-unfinished"
        self._password = ""

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
                print(
                    f"Countersign: {_full_disk(self.plan.data_dir)}{error}",
                    file=sys.stderr,
                    flush=True,
                )
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
                if processes.any():
                    say("Stopping")
                processes.stop()
                remove_socket_folder(self.plan.data_dir)

    def _start(self, processes: Processes) -> None:
        plan = self.plan
        _check_port(plan)
        if plan.database_url:
            reachable.check_database(plan.owner_database_url or plan.database_url)
        if plan.redis_url:
            reachable.check_redis(plan.redis_url)
        self._discard_half_a_demo()
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
        if plan.demo and not self._token.exists():
            self._seed(processes)
        self._start_product(processes)
        with_demo = plan.demo and self._token.exists()
        if with_demo:
            self._start_demo(processes)
        self._announce(with_demo=with_demo)

    def _wait(self, processes: Processes) -> None:
        """Watch until something that is needed ends. The demo is not: it is started again."""
        pause = FIRST_PAUSE / 2
        demo_at = 0.0  # when it is due again, by the monotonic clock; 0 while it runs
        while True:
            child = processes.crashed()
            if child is not None and child.name == DEMO:
                processes.finish(child)
                ran = time.monotonic() - child.started_at
                pause = FIRST_PAUSE if ran > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
                demo_at = time.monotonic() + pause
                say(f"The demo application {_how(child)}. It is started again in {pause:.0f} s")
            elif child is not None:
                raise StartError(f"{child.name} {_how(child)}, so everything else is stopped too")
            elif demo_at and time.monotonic() >= demo_at:
                demo_at = 0.0
                self._start_demo(processes)
            time.sleep(0.25)

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

    def _seed(self, processes: Processes) -> None:
        """Make the demo in an empty database, showing what the command says."""
        if not _has_module("governance.management.commands.seed_demo"):
            return
        say("Making the demo and its twelve weeks of history (once)")
        password = os.environ.get("DEMO_PASSWORD") or secrets.token_urlsafe(12)
        self._unfinished.touch()
        child = self._child(
            processes,
            *("seed", "manage.py", "seed_demo", "--if-empty"),
            environment={"DEMO_PASSWORD": password},
            output=subprocess.PIPE,
        )
        assert child.process.stdout is not None  # noqa: S101 - asked for above
        with child.log.open("ab") as log:
            for raw in child.process.stdout:
                line = raw.decode(errors="replace").rstrip()
                if password not in line:  # it is shown below, and stands in no log
                    log.write(raw)
                    say(f"  {line}")
        if processes.finish(child) != 0:
            raise StartError(f"The demo could not be made: {child.reason()} (see {child.log})")
        self._unfinished.unlink()
        self._password = password

    def _discard_half_a_demo(self) -> None:
        """Forget a database whose seeding was interrupted: nobody ever saw a page of it."""
        if not self._unfinished.exists():
            return
        if self.plan.database_url:
            raise StartError(
                "the demo in the database of DATABASE_URL was interrupted while it was made:"
                f" empty that database and remove {self._unfinished}"
            )
        postgres.discard(self.plan.data_dir)
        self._unfinished.unlink()

    def _start_demo(self, processes: Processes) -> None:
        """Start the demo's own application, an ordinary client of ours, and name its accounts."""
        folder, address = self.plan.data_dir, self.plan.address
        arguments = ("--token-file", str(self._token), "--data", str(folder / "demo.json"))
        self._child(processes, DEMO, "-m", "governance.demo.support", "--url", address, *arguments)

    def _announce(self, *, with_demo: bool) -> None:
        say(f"ready {self.plan.address}")
        if with_demo:
            say(f"  Demo accounts: {ACCOUNTS}")
            if self._password:
                say(f"  Password of all of them, shown only now: {self._password}")
            else:
                say("  Their password was shown at the first start; to set a new one:")
                say("  .venv/bin/python manage.py changepassword cfo")
        say(f"  Ctrl-C stops everything. Logs: {self.plan.data_dir / 'logs'}")

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


def _how(child: Child) -> str:
    """How a child ended, why if its log says so, and where to read more."""
    reason = child.reason()
    why = f": {reason}" if reason else ""
    return f"stopped by itself ({child.ending()}){why} (see {child.log})"


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
    # With HTTPS=true the answer is a redirection to https, and 400 where ALLOWED_HOSTS does not
    # name this address: people come in by another door then.
    return alive in (200, 301, 400) and (status in (200, 400) or location.startswith("https:"))


def _get(plan: Plan, path: str) -> tuple[int, str]:
    parts = urlsplit(plan.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers.get("Location", "")
    finally:
        connection.close()


def _full_disk(folder: Path) -> str:
    """Name the cause behind whatever went wrong first, when it is a full disk."""
    full = [f for f in (folder, LIBRARY) if f.is_dir() and shutil.disk_usage(f).free < FULL_BYTES]
    return f"the disk that holds {full[0]} is full; " if full else ""


def _disk_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk that holds {error.filename or 'the data'} is full"
    return f"{error.filename} cannot be written ({error.strerror}): choose another DATA_DIR"


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
