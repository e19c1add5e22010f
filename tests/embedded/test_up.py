"""`make up` as a person runs it: whole runs in another process, and how they end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from governance.embedded import postgres_home

PROJECT = Path(__file__).resolve().parent.parent.parent
# How quick it is, bench/start.py measures; here a busy machine may take its time.
STOP_SECONDS = 300
ANSWER_SECONDS = 60
# What the test run itself needs must not tell `make up` where its servers are.
FOREIGN = re.compile(
    r"DATABASE_URL|OWNER_DATABASE_URL|REDIS_URL|SECRET_KEY|MAKE.*|MFLAGS|DJANGO_.*"
)


class Run:
    """One `make up`, in a process group of its own."""

    def __init__(self, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        self.make = subprocess.Popen(
            ["make", "up"],
            cwd=PROJECT,
            env={**kept, "VENV": sys.prefix, "DEMO": "false", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def until_ready(self) -> None:
        assert self.make.stdout is not None
        for line in self.make.stdout:
            self.said += line
            if line.startswith("ready "):
                return
        pytest.fail(f"make up ended: {self.said}")

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        rest, _ = self.make.communicate(timeout=STOP_SECONDS)
        self.said += rest
        return self.make.returncode

    def family(self) -> dict[int, str]:
        """Every process under make, each with its command line."""
        parents = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (fields := stat_of(int(folder.name))):
                parents[int(folder.name)] = int(fields[1])
        family = {self.make.pid}
        while more := {p for p, parent in parents.items() if parent in family} - family:
            family |= more
        return {pid: command(pid) for pid in family - {self.make.pid}}

    def supervisor(self) -> int:
        return next(pid for pid, line in self.family().items() if line.endswith("manage.py up "))

    def cleanup(self) -> None:
        if self.make.poll() is None:
            os.killpg(self.make.pid, signal.SIGTERM)
            self.end()
        assert self.make.stdout is not None
        self.make.stdout.close()


def stat_of(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None when it is gone, or waits for it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def gone(pids: dict[int, str], seconds: float = 0) -> bool:
    """Whether all of them have ended, waiting for it at most so long."""
    deadline = time.monotonic() + seconds
    while any(stat_of(pid) for pid in pids):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One data directory for all runs: only the first has to make a database."""
    folder = tmp_path_factory.mktemp("up")
    yield folder
    postgres_home.forget_home(folder)


@pytest.fixture(scope="module")
def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def up(data_dir: Path, port: str) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(**environment: str) -> Run:
        runs.append(Run(**{"DATA_DIR": str(data_dir), "PORT": port, **environment}))
        return runs[-1]

    yield start
    for run in runs:
        run.cleanup()


def test_a_stop_that_only_make_hears_stops_everything(
    up: Callable[..., Run], data_dir: Path, port: str
) -> None:
    run = up()
    run.until_ready()
    family = run.family()
    names = " ".join(family.values())
    for part in ("granian", "worker", "beat", "valkey-server", "bin/postgres"):
        assert part in names

    opener = build_opener(ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/healthz", timeout=ANSWER_SECONDS) as answer:
        assert answer.status == 200
    # A second shell finds the servers through DATA_DIR, and a second start is told who holds it.
    beside = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--check"],
        cwd=PROJECT,
        env={
            **{name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)},
            "DATA_DIR": str(data_dir),
        },
        capture_output=True,
        check=False,
    )
    assert beside.returncode == 0, beside.stderr.decode()
    second = up()
    assert second.end() != 0
    assert f"in use by another `make up` (process {run.supervisor()})" in second.said

    # GNU make passes SIGTERM on, but not SIGINT.
    run.make.send_signal(signal.SIGINT)
    run.end()
    assert gone(family), {pid: line for pid, line in family.items() if stat_of(pid)}


def test_nothing_survives_a_killed_supervisor_and_the_next_start_works(
    up: Callable[..., Run],
) -> None:
    killed = up()
    killed.until_ready()
    family = killed.family()
    os.kill(killed.supervisor(), signal.SIGKILL)
    assert killed.end() != 0
    assert gone(family, seconds=60), {pid: line for pid, line in family.items() if stat_of(pid)}

    run = up()
    run.until_ready()
    family = run.family()
    web = next(  # the one that the supervisor started, not a process of its own
        pid
        for pid, line in family.items()
        if "granian" in line
        and "granian" not in family.get(int((stat_of(pid) or ["", "0"])[1]), "")
    )
    os.kill(web, signal.SIGKILL)
    assert run.end() != 0
    assert "web stopped by itself (killed by SIGKILL)" in run.said
    assert gone(family), {pid: line for pid, line in family.items() if stat_of(pid)}


def test_a_stop_in_the_middle_of_the_start_stops_everything(up: Callable[..., Run]) -> None:
    run = up()
    assert run.make.stdout is not None
    for line in run.make.stdout:
        if line.startswith("Bringing the database"):
            break
    family = run.family()
    run.make.send_signal(signal.SIGTERM)
    run.end()
    assert "ready" not in run.said
    assert gone(family), {pid: line for pid, line in family.items() if stat_of(pid)}


def test_a_port_in_use_is_said_before_anything_starts(up: Callable[..., Run]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = str(holder.getsockname()[1])
        run = up(PORT=taken)
        assert run.end() != 0
    assert f"port {taken} is in use by another program" in run.said
    assert "Starting" not in run.said


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PORT": "eight"}, "PORT must be a number from 1 to 65535, not 'eight'"),
        (
            {"DATABASE_URL": "postgresql://cs_app:secret@127.0.0.1:1/countersign"},
            "DATABASE_URL does not work: connection failed",
        ),
        ({"DATABASE_URL": "mysql://somewhere/else"}, "DATABASE_URL must look like postgresql://"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL does not work: "),
    ],
    ids=["port", "no database", "no address", "no redis"],
)
def test_a_wrong_setting_is_one_clear_sentence(
    up: Callable[..., Run], environment: dict[str, str], sentence: str
) -> None:
    run = up(**environment)
    assert run.end() != 0
    ours = [line for line in run.said.splitlines() if not line.startswith("make: ")]
    assert len(ours) == 1
    assert sentence in ours[0]
    assert "secret" not in run.said
