"""A real Celery worker, killed with -9 in the middle, loses nothing and repeats nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from governance.audit.models import AuditEvent
from governance.embedded.servers import read
from governance.jobs import services
from governance.jobs.models import Job

WAIT = 300  # seconds; a real worker takes about two to start, and far longer on a busy machine


def until(true: Callable[[], object], what: str) -> None:
    """Wait for something another process does."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.05)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    servers = read(settings.DATA_DIR)
    url = servers.database_url if servers else settings.DATABASE_URL
    parts = {**conninfo_to_dict(url), "dbname": connection.settings_dict["NAME"]}
    environment = {**os.environ, "DATABASE_URL": make_conninfo(**parts)}
    started = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.jobs.worker", "worker",
                 "-c", "1", "--without-gossip", "--without-mingle", "-l", "warning"],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        started.append(worker)
        return worker

    yield start
    for worker in started:
        kill(worker)


def kill(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_nothing_and_repeats_nothing_that_counts(
    start_worker: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    first = start_worker()
    job = services.enqueue("tests.two_steps", "killed", {"folder": str(tmp_path)})
    until((tmp_path / "began-1").exists, "the first worker begins")
    kill(first)
    assert Job.objects.get().state == Job.State.RUNNING

    start_worker()
    until(lambda: services.sweep() and (tmp_path / "began-2").exists(), "it is taken over")
    (tmp_path / "go").touch()
    until(lambda: Job.objects.filter(pk=job.pk, state=Job.State.DONE).exists(), "it is done")
    assert AuditEvent.objects.filter(reason="killed").count() == 1
    assert Job.objects.get().fence >= 2
