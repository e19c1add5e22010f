"""`manage.py run_evals WORKFLOW`: run the newest suites on the live release, and wait."""

from __future__ import annotations

import getpass
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.services import evidence_suites, request_run
from governance.jobs.models import Job
from governance.jobs.services import run as run_job
from governance.releases.models import LiveRelease, Release
from governance.workflows.models import Workflow

LONGEST_WAIT = 3600  # seconds for runs that a worker took first


class Command(BaseCommand):
    """Run evals from the command line; a worker that is faster does them instead."""

    help = "Run a workflow's newest suites on its live release and print the results."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workflow", help="the workflow's slug")
        parser.add_argument("--suite", choices=SuiteVersion.Kind.values, help="only this suite")
        parser.add_argument("--release", help="r7 or a digest, instead of the live release")

    def handle(self, *args: Any, **options: Any) -> None:
        workflow = Workflow.objects.filter(slug=options["workflow"]).first()
        if workflow is None:
            raise CommandError(f"There is no workflow {options['workflow']!r}.")
        release = _release(workflow, options["release"])
        suites = evidence_suites(workflow)
        kinds = [options["suite"]] if options["suite"] else sorted(suites)
        if not kinds or not set(kinds) <= set(suites):
            raise CommandError(f"{workflow.name} has no such suite yet.")
        actor = Actor.operator(getpass.getuser())
        moment = now().isoformat()
        failed = False
        for kind in kinds:
            slot = f"command {moment} {release.name} {kind}"
            try:
                run = request_run(release, suites[kind], actor=actor, purpose="request", slot=slot)
            except GovernanceError as refusal:
                raise CommandError(str(refusal)) from refusal
            run = _wait(run)
            failed = failed or run.state != EvalRun.State.DONE
            self.stdout.write(_line(run))
        if failed:
            raise CommandError("Not every run finished.")


def _release(workflow: Workflow, name: str | None) -> Release:
    if name is None:
        live = LiveRelease.objects.filter(workflow=workflow).select_related("release").first()
        if live is None:
            raise CommandError(f"Nothing is live in {workflow.name}; name a release.")
        return live.release
    releases = Release.objects.filter(workflow=workflow)
    number = name[1:] if name.startswith("r") else ""
    found = releases.filter(number=int(number)) if number.isdigit() else releases.filter(pk=name)
    release = found.first()
    if release is None:
        raise CommandError(f"{workflow.name} has no release {name!r}.")
    return release


def _wait(run: EvalRun) -> EvalRun:
    """Do the run's job here, unless a worker holds it already."""
    job = Job.objects.get(kind="evals.run", slot=f"run {run.pk}")
    ends = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < ends:
        run_job(job.pk)
        run.refresh_from_db()
        if run.state in (EvalRun.State.DONE, EvalRun.State.FAILED):
            return run
        time.sleep(0.5)
    return run


def _line(run: EvalRun) -> str:
    if run.state != EvalRun.State.DONE:
        return f"{run.suite}: {run.get_state_display().lower()}. {run.error}"
    parts = []
    for metric in ("correct", "policy_ok", "escalated", "silent_error"):
        tally = run.summary[metric]
        parts.append(f"{metric} {tally['sum']:.0f} of {tally['n']}")
    return f"{run.suite} on {run.release}: {', '.join(parts)}, errors {run.errors}"
