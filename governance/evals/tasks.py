"""The kinds of work that evals register with the jobs package."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from governance.evals import bake_offs, running, scheduling
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim, enqueue


def _run_given_up(payload: dict[str, Any], slot: str, error: str) -> None:
    running.give_up(payload["run"], error)


def _schedule_given_up(payload: dict[str, Any], slot: str, error: str) -> None:
    """A scheduled eval that could not even be asked for is an exception, not silence."""
    enqueue(
        "triage.eval_failed",
        f"scheduled {slot}"[:200],
        {"run": None, "workflow": payload["workflow"], "error": error},
    )


@job_kind("evals.run", lease=timedelta(seconds=60), on_failed=_run_given_up)
def run_evals(claim: Claim) -> None:
    """Score the cases of one run."""
    running.execute(claim.payload["run"], claim)


@job_kind("evals.bake_off")
def finish_bake_off(claim: Claim) -> None:
    """Make the table of a bake-off when the last of its runs has ended."""
    bake_offs.finish_bake_off_of(claim.payload["run"])


@job_kind("evals.scheduled", on_failed=_schedule_given_up)
def run_scheduled(claim: Claim) -> None:
    """Ask for the runs that a schedule's slot calls for."""
    scheduling.request_scheduled(
        claim.payload["workflow"], claim.payload["suites"], slot=claim.slot
    )


@job_kind("evals.watch")
def watch_runs(claim: Claim) -> None:
    """Look for runs that died without a word, and for what is missing on the calendar."""
    running.watch()
    bake_offs.finish_bake_offs()
    scheduling.complete_schedules()
