"""I8: a worker is killed with -9 in the middle of an eval run, again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from governance.common.time import true_now
from governance.evals.models import EvalRun
from governance.evals.services import freeze_suite, request_run
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow

KILLS, KILLS_IN_FULL = 3, 50
PER_KILL = 12  # cases of the suite for each kill
WITHIN = 60  # seconds, for a worker to write its first chunk
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
