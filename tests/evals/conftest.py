"""Suites, a policy and a target to judge with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from governance.evals import running
from governance.evals.models import EvalRun, GatePolicy, SuiteVersion
from governance.evals.services import confirm_policy, freeze_suite, request_run, set_policy
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals import target


@pytest.fixture(autouse=True)
def _target(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.EVAL_TARGETS = {"support-triage": "tests.evals.target.build"}
    settings.EVAL_CASE_SOURCES = {}
    monkeypatch.setattr(running, "CHUNK_CASES", 7)
    yield
    target.calls.clear()
    target.die_at.clear()
    target.on_call.clear()


def cases(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Cases number 0, 1, … with the right answer to each."""
    return [
        {
            "key": f"n{number:04d}",
            "input": {"number": number, **changes},
            "expected": {"answer": f"answer {number}"},
        }
        for number in range(count)
    ]


@pytest.fixture
def golden(workflow: Workflow, analyst: User) -> SuiteVersion:
    return freeze_suite(workflow, "golden", cases(60), actor=analyst)


@pytest.fixture
def gate_policy(workflow: Workflow, owner: User, analyst: User) -> GatePolicy:
    content = {
        "suites": {"golden": {"min_cases": 20}},
        "primary": {"metric": "correct"},
        "guardrails": [{"metric": "escalated", "margin_points": 10}],
        "floors": [{"metric": "correct", "limit_percent": 20}],
    }
    return confirm_policy(set_policy(workflow, content, actor=owner), actor=analyst)


@pytest.fixture
def score(builder: User) -> Callable[..., EvalRun]:
    """Ask for a run and do its job, as a worker would."""

    def run(release: Release, suite: SuiteVersion, **facts: Any) -> EvalRun:
        wanted = {"purpose": "request", "slot": f"{release.name} {suite}", **facts}
        found = request_run(release, suite, actor=builder, **wanted)
        work(found)
        found.refresh_from_db()
        return found

    return run


def job_of(run: EvalRun) -> Job:
    return Job.objects.get(kind="evals.run", slot=f"run {run.pk}")


def work(run: EvalRun) -> bool:
    """Do the run's job once."""
    return jobs.run(job_of(run).pk)
