"""Real processes that are killed with -9: the web process, a worker, PostgreSQL, Valkey."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from django.conf import settings
from django.test import Client

from governance.common.time import true_now
from governance.people.models import User

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
CSRF = "c" * 32


def until(true: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.05)


class Stage:
    """The processes of one installation, on the servers that are named."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url,
            "SECRET_KEY": settings.SECRET_KEY, "DATA_DIR": str(folder), "DEBUG": "false",
            "ALLOWED_HOSTS": "127.0.0.1", "DJANGO_SETTINGS_MODULE": "governance.settings",
        }  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.web: subprocess.Popen[bytes] | None = None
        self.started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            end(process)

    def _start(self, name: str, argv: list[str], failpoint: str) -> subprocess.Popen[bytes]:
        environment = {**self.environment, "FAILPOINT": failpoint}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *argv], env=environment, cwd=PROJECT, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def start_web(self, failpoint: str = "") -> None:
        """Start the web process in place of the one before, and wait until it is ready."""
        if self.web is not None:
            end(self.web)
        self.web = self._start(
            "web",
            [
                "-m", "granian", "--interface", "wsgi", "--no-ws", "--host", "127.0.0.1",
                "--port", str(self.port), "--workers", "1", "--blocking-threads", "4",
                "governance.wsgi:application",
            ],
            failpoint,
        )  # fmt: skip
        until(lambda: self.get("/readyz") == 200, "the web process")

    def start_worker(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        return self._start(
            "worker",
            ["-m", "celery", "-A", "governance.celery", "worker", "--pool=solo", "-l", "warning",
             "--without-gossip", "--without-mingle"],
            failpoint,
        )  # fmt: skip

    def start_beat(self) -> subprocess.Popen[bytes]:
        """Start what sweeps the database for jobs that nobody was told of."""
        schedule = str(self.folder / "beat-schedule")
        return self._start(
            "beat", ["-m", "celery", "-A", "governance.celery", "beat", "-s", schedule], ""
        )

    def get(self, path: str, cookies: Mapping[str, str] | None = None) -> int:
        """The status, or 0 where nobody answered."""
        return self._ask("GET", path, cookies or {}, None)

    def post(self, path: str, cookies: Mapping[str, str], **form: object) -> int:
        data = urlencode({"csrfmiddlewaretoken": CSRF, **form})
        return self._ask("POST", path, {**cookies, "csrftoken": CSRF}, data)

    def send(self, path: str, secret: str, body: object) -> int:
        """What a machine sends: JSON with its token."""
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        return self._request("POST", path, headers, json.dumps(body))

    def _ask(self, method: str, path: str, cookies: Mapping[str, str], data: str | None) -> int:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if data is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._request(method, path, headers, data)

    def _request(self, method: str, path: str, headers: dict[str, str], data: str | None) -> int:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            line.request(method, path, data, headers)
            return line.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            line.close()


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def session_of(user: User) -> dict[str, str]:
    """The cookies of a browser whose password was typed just now."""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    session = client.session
    session["reauthenticated_at"] = true_now().isoformat()
    session.save()
    return {"sessionid": str(session.session_key)}


class Server:
    """A server that was started from the wheels, to be killed and started again as it was."""

    def __init__(self, pid: int) -> None:
        here = Path(f"/proc/{pid}")
        self.pid = pid
        self.argv = (here / "cmdline").read_bytes().decode().split("\0")[:-1]
        self.folder = (here / "cwd").resolve()
        self.user, self.group = here.stat().st_uid, here.stat().st_gid
        self.environment = dict(
            pair.split("=", 1)
            for pair in (here / "environ").read_bytes().decode().split("\0")
            if "=" in pair
        )

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        until(lambda: not Path(f"/proc/{self.pid}").exists(), "the end of the server", 30)

    def start(self) -> None:
        """The same program with the same arguments; PostgreSQL waits for its old backends."""
        as_other = os.geteuid() == 0 and self.user != 0
        for _ in range(50):
            process = subprocess.Popen(
                self.argv, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                user=self.user if as_other else None, group=self.group if as_other else None,
                extra_groups=[] if as_other else None,
            )  # fmt: skip
            time.sleep(0.3)
            if process.poll() is None:
                self.pid = process.pid
                return
        raise AssertionError(f"did not start again: {self.argv[0]}")
