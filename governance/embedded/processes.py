"""Child processes that stop in order, and that never outlive the process which started them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOG_KEEP_BYTES = 10_000_000
TAIL_BYTES = 8_000
# The cause is seldom the last line of a log: the first of these that matches one is shown.
TELLING = (
    "No space left on device",
    r"PANIC: |FATAL: ",
    r"\(countersign\.E\d+\)",  # our system checks
    r"^[\w.]*(Error|Exception|Improperly\w+): ",  # the last line of a Python traceback
    r"ERROR: |error: |Error: ",
)

# Looked up before any fork: the child may call it, but must not load a library.
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


class StartError(Exception):
    """Why something could not start: one sentence that says what to do about it."""


@dataclasses.dataclass(frozen=True)
class Account:
    """An unprivileged login that a server runs as, where the caller is root."""

    name: str
    uid: int
    gid: int


@dataclasses.dataclass
class Child:
    """One running process, leader of its own session."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    stop_signals: tuple[signal.Signals, ...]
    stop_seconds: float
    started_at: float = dataclasses.field(default_factory=time.monotonic)

    def reason(self) -> str:
        """Return the line of its log that tells best why it ended by itself.

        Empty where nothing there can: who was killed from outside had no time to say so, and its
        last line is about something else.
        """
        with self.log.open("rb") as stream:
            stream.seek(max(self.log_start, self.log.stat().st_size - TAIL_BYTES))
            tail = stream.read().decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        for telling in TELLING:
            for line in reversed(lines):
                if re.search(telling, line):
                    return line
        if (self.process.returncode or 0) < 0:
            return ""
        return lines[-1] if lines else "it said nothing"

    def ending(self) -> str:
        """Return how it ended, in words."""
        code = self.process.returncode
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class Processes:
    """The children of one data directory. Stopping goes backwards through their starts."""

    def __init__(
        self,
        data_dir: Path,
        *,
        say: Callable[[str], None] = lambda line: None,
        hurry: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data_dir = data_dir
        self.say = say
        self._hurry = hurry
        self._children: list[Child] = []
        self._book = data_dir / "processes.json"

    def __enter__(self) -> Self:
        """Stop what a killed start left behind. The caller holds the data directory's lock."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            for entry in reversed(json.loads(self._book.read_text())):
                _stop_leftover(entry["pid"], entry["started"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
        stdin: IO[bytes] | None = None,
        output: int | None = None,
        stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,),
        stop_seconds: float = 10,
    ) -> Child:
        """Start a child in a session of its own, its output going to `logs/<name>.log`.

        Args:
            name: what it is called in the log folder and in messages.
            argv: the program and its arguments.
            environment: replaces the inherited one.
            directory: where it runs; here when None.
            account: the login it runs as; ours when None.
            stdin: what it reads; nothing when None.
            output: where its answers go instead of the log (`subprocess.PIPE`); errors stay there.
            stop_signals: tried one after the other before SIGKILL; the first one is also what
                the kernel sends when this process dies without a word.
            stop_seconds: how long each of them may take.
        """
        log = log_file(self.data_dir, name)
        with log.open("ab") as log_stream:
            log_start = log_stream.tell()
            process = subprocess.Popen(  # noqa: S603
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log_stream if output is None else output,
                stderr=log_stream,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), stop_signals[0]),
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        child = Child(name, process, log, log_start, stop_signals, stop_seconds)
        self._children.append(child)
        self._write_book()
        return child

    def any(self) -> bool:
        """Return whether there is anything to stop."""
        return bool(self._children)

    def crashed(self) -> Child | None:
        """Return a child that has ended, if any."""
        return next((c for c in self._children if c.process.poll() is not None), None)

    def wait_until(self, ready: Callable[[], bool], child: Child, *, seconds: float) -> bool:
        """Wait for a child to be ready; False when it ended, or took too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return True
            if child.process.poll() is not None:
                return False
            time.sleep(0.03)
        return False

    def finish(self, child: Child) -> int:
        """Wait for a child that ends by itself, and return its exit code."""
        code = child.process.wait()
        self._forget(child)
        return code

    def stop(self) -> None:
        """Stop every child, the last one started first."""
        while self._children:
            child = self._children[-1]
            self._stop_one(child)
            self._forget(child)

    def _stop_one(self, child: Child) -> None:
        for number in child.stop_signals:
            if child.process.poll() is None:
                child.process.send_signal(number)
                self._wait(child, child.stop_seconds)
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()
        # What the child itself had started and did not take along.
        _kill_session(child.process.pid)

    def _wait(self, child: Child, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while child.process.poll() is None and time.monotonic() < deadline:
            # Asked twice to stop: no more patience, except for the servers that hold data.
            if self._hurry() and child.name not in ("postgres", "valkey"):
                return
            time.sleep(0.02)

    def _forget(self, child: Child) -> None:
        self._children.remove(child)
        self._write_book()

    def _write_book(self) -> None:
        """Note who runs, for a next start that has to clean up after us."""
        entries = [
            {"name": c.name, "pid": c.process.pid, "started": _started(c.process.pid)}
            for c in self._children
        ]
        # A disk that just filled up must not keep us from stopping the rest.
        with contextlib.suppress(OSError):
            if entries:
                self._book.write_text(json.dumps(entries))
            else:
                self._book.unlink(missing_ok=True)


def log_file(data_dir: Path, name: str) -> Path:
    """Return the log of one child; one that grew large is put aside first."""
    folder = data_dir / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    log = folder / f"{name}.log"
    if log.exists() and log.stat().st_size > LOG_KEEP_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log


def owner_name(uid: int) -> str:
    """Return a login's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def stop_process(pid: int, number: signal.Signals, *, seconds: float) -> None:
    """Ask a process that is not our child to stop; after `seconds`, make it."""
    for attempt in (number, signal.SIGKILL):
        try:
            os.kill(pid, attempt)
            os.kill(pid, signal.SIGCONT)  # a frozen one acts on nothing else
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if _started(pid) is None:
                return
            time.sleep(0.02)


def _die_with(parent: int, number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs before its program: ask the kernel to tie it to us.

    It runs after the change of login, which would undo the request.
    """
    if _prctl is None:
        return None

    def ask() -> None:
        _prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # we died between the fork and the request
            os._exit(1)

    return ask


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since boot: a pid alone is used again."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _session_members(session: int) -> list[int]:
    """Return the living processes of one session."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if (fields := _stat(pid)) and int(fields[3]) == session]


def _kill_session(session: int) -> None:
    for pid in _session_members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _stop_leftover(pid: int, started: str | None) -> None:
    """Stop one child of a killed start. A session's number is not reused while it has members."""
    if _started(pid) not in (None, started):
        return
    stop_process(pid, signal.SIGINT, seconds=10)
    _kill_session(pid)
