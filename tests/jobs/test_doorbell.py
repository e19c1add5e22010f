"""A broker that is away, or hangs, holds up nobody for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.jobs import services

RING = """
import time
from governance.wsgi import application
from governance.jobs import services
start = time.monotonic()
for job in range(20):
    services.ring(job)
print(time.monotonic() - start)
"""


@pytest.fixture
def hanging_broker(tmp_path: Path) -> Iterator[str]:
    """Something that accepts connections and never says a word."""
    path = tmp_path / "mute.sock"
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(50); print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield f"redis+socket://{path}"
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()


@pytest.mark.parametrize("kind", ["hangs", "away"])
def test_twenty_rings_at_a_broker_that_does_not_answer_take_about_a_second(
    kind: str, hanging_broker: str, tmp_path: Path
) -> None:
    url = hanging_broker if kind == "hangs" else f"redis+socket://{tmp_path}/nowhere.sock"
    done = subprocess.run(
        [sys.executable, "-c", RING],
        env={**os.environ, "REDIS_URL": url, "LOG_LEVEL": "ERROR"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    # Twenty patient rings would take 100 s; the bound is far from both.
    assert float(done.stdout.splitlines()[-1]) < 5


def test_after_the_silence_it_rings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[int] = []

    class Bell:
        def __init__(self) -> None:
            self.broken = True

        def apply_async(self, arguments: tuple[int], retry: bool) -> None:
            rung.append(arguments[0])
            if self.broken:
                raise ConnectionError("away")

    bell = Bell()
    monkeypatch.setattr("governance.jobs.tasks.run_job", bell)
    monkeypatch.setattr(services, "_silent_until", 0.0)
    clock = [1000.0]
    monkeypatch.setattr("governance.jobs.services.time.monotonic", lambda: clock[0])
    services.ring(1)
    services.ring(2)
    assert rung == [1]
    bell.broken = False
    clock[0] += services.SILENT_AFTER_FAILURE
    services.ring(3)
    assert rung == [1, 3]
