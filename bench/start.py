"""Seconds of the first and the second `make up`, packages installed, with the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from governance.embedded import postgres_home

PROJECT = Path(__file__).resolve().parent.parent
NOT_OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "MAKEFLAGS", "MAKELEVEL")


def measure() -> Iterator[str]:
    """Start and stop twice in a folder of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        for which in ("first", "second"):
            with running(Path(folder), port) as seconds:
                stopping = time.monotonic()
            stopping = time.monotonic() - stopping
            yield f"{which} make up: ready after {seconds:.1f} s, stopped in {stopping:.1f} s"
        postgres_home.forget_home(Path(folder))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(data_dir: Path, port: int) -> Iterator[float]:
    """A whole `make up` on this data directory; gives the seconds until it was ready."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    environment |= {"DATA_DIR": str(data_dir), "PORT": str(port), "VENV": sys.prefix}
    started = time.monotonic()
    with subprocess.Popen(
        ["make", "up"],  # noqa: S607 - whichever make the machine has
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None  # noqa: S101 - asked for above
        lines = iter(run.stdout.readline, "")
        if not any(line.startswith("ready ") for line in lines):
            raise RuntimeError("make up ended before it was ready")
        try:
            yield time.monotonic() - started
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait()
