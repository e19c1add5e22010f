"""I8: workers killed in the middle of an eval run, and a Redis that forgets everything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from governance.common.time import true_now
from governance.embedded import valkey
from governance.embedded.processes import Processes
from governance.evals.models import EvalRun
from governance.evals.services import freeze_suite, request_run
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.faults.stage import Stage, until

KILLS, KILLS_IN_FULL = 3, 50
PER_KILL = 12  # cases of the suite for each kill
WITHIN = 60  # seconds, for a worker to write its first chunk
FORGET = b"FLUSHALL\r\n"
WORKER = """
import django; django.setup()
from governance.evals import running; running.CHUNK_CASES = 5
from governance.jobs.services import run; run({job})
"""


@pytest.mark.django_db(transaction=True)
def test_workers_killed_again_and_again_score_every_case_exactly_once(
    workflow: Workflow, analyst: User, builder: User, make_release: Callable[..., Release],
    settings: Any, full: bool, figure: Callable[..., None],
) -> None:  # fmt: skip
    settings.EVAL_TARGETS = {workflow.slug: "tests.evals.target.build"}
    kills = KILLS_IN_FULL if full else KILLS
    cases = [
        {"key": f"n{n:05}", "input": {"number": n}, "expected": {"answer": f"answer {n}"}}
        for n in range(kills * PER_KILL)
    ]
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    run = request_run(make_release(), suite, actor=builder, purpose="request", slot="killed")
    job = Job.objects.get(kind="evals.run", payload__run=run.pk)
    url = os.environ["DATABASE_URL"]
    name = connection.settings_dict["NAME"]
    environment = {
        **os.environ,
        "DATABASE_URL": url.replace("/countersign?", f"/{name}?"),
        "EVAL_TARGETS": f"{workflow.slug}=tests.evals.target.build",
        "TARGET_PAUSE": "0.05",
    }
    for _ in range(kills):
        before = run.scores.count()
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(job=job.pk)], env=environment
        )
        try:
            ends = time.monotonic() + WITHIN
            while run.scores.count() == before:
                assert worker.poll() is None, "the worker ended by itself"
                assert time.monotonic() < ends
                time.sleep(0.02)
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        # The dead worker's lease must run out, and its tries are not what is tested here.
        past = true_now() - timedelta(minutes=5)
        Job.objects.filter(pk=job.pk).update(lease_until=past, attempts=1)
    assert jobs.run(job.pk)
    run.refresh_from_db()
    scored = Counter(run.scores.values_list("case__key", flat=True))
    twice = sum(count - 1 for count in scored.values())
    assert (run.state, run.cases_done) == (EvalRun.State.DONE, len(cases))
    assert len(scored) == len(cases)
    assert twice == 0
    figure("I8", kills=kills, cases=len(cases), scored=len(scored), scored_twice=twice)


def wipe(redis_url: str) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(redis_url.removeprefix("redis+socket://"))
        line.sendall(FORGET)
        assert line.recv(16).startswith(b"+OK")


@pytest.mark.django_db(transaction=True)
def test_a_run_begins_and_finishes_although_redis_forgets_everything(
    workflow: Workflow, analyst: User, builder: User, make_release: Callable[..., Release],
    settings: Any, tmp_path: Path, full: bool, figure: Callable[..., None],
) -> None:  # fmt: skip
    """Wiped before a worker has heard of the run, and again and again while it runs."""
    settings.EVAL_TARGETS = {workflow.slug: "tests.evals.target.build"}
    count = 600 if full else 120
    cases = [
        {"key": f"n{n:05}", "input": {"number": n}, "expected": {"answer": f"answer {n}"}}
        for n in range(count)
    ]
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    known = conninfo_to_dict(os.environ["DATABASE_URL"])
    url = make_conninfo(**{**known, "dbname": connection.settings_dict["NAME"]})
    with Processes(tmp_path) as processes, ExitStack() as stack:
        redis_url = valkey.start(processes, tmp_path, durable=False)
        stage = stack.enter_context(Stage(tmp_path, url, redis_url))
        stage.environment |= {
            "EVAL_TARGETS": f"{workflow.slug}=tests.evals.target.build", "TARGET_PAUSE": "0.05",
        }  # fmt: skip
        run = request_run(make_release(), suite, actor=builder, purpose="request", slot="wiped")
        wipe(redis_url)
        stage.start_worker()
        stage.start_beat()
        wiped, ends = 1, time.monotonic() + 5 * WITHIN
        while run.state != EvalRun.State.DONE:
            assert time.monotonic() < ends, (tmp_path / "worker.log").read_text()[-2000:]
            if run.state == EvalRun.State.RUNNING:
                wipe(redis_url)
                wiped += 1
            time.sleep(0.25)
            run.refresh_from_db()
        # What the run wakes comes through as well: the sweeper finds it in the database.
        woken = Job.objects.filter(kind="rollouts.gate", payload__run=run.pk)
        until(lambda: woken.filter(state=Job.State.DONE).exists(), "the gate that waits for it")
    scored = Counter(run.scores.values_list("case__key", flat=True))
    assert (len(scored), set(scored.values())) == (count, {1})
    assert wiped > 2
    figure("I8", redis_wiped=wiped, cases_of_the_run=count, scored_once=len(scored))
