"""Evals that come again, for what is live: recent cases and attacks weekly, every suite monthly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.requests import SCHEDULED, request_run
from governance.evals.sampling import has_source, sample_recent_suite
from governance.evals.suites import evidence_suites
from governance.jobs.models import Schedule
from governance.releases.models import LiveRelease
from governance.workflows.models import Workflow

log = logging.getLogger(__name__)
SCHEDULER = Actor.system("schedule")


def ensure_schedules(workflow: Workflow, *, actor: Actor | HasActor = SCHEDULER) -> list[Schedule]:
    """Put the workflow's evals on the calendar; what is there already stays as it is."""
    moment = now()
    soon = moment + timedelta(hours=1)
    monday = _midnight(moment) + timedelta(days=7 - moment.weekday(), hours=5)
    first = (_midnight(moment).replace(day=1) + timedelta(days=32)).replace(day=1, hour=4)
    recent, every_kind = [SuiteVersion.Kind.RECENT.value], list(SuiteVersion.Kind.values)
    attacks = [SuiteVersion.Kind.ADVERSARIAL.value]
    slug = workflow.slug
    rows = [
        (f"Recent cases, {slug}", "evals.scheduled", Schedule.Every.WEEK, monday, recent),
        (
            f"Adversarial cases, {slug}",
            "evals.scheduled",
            Schedule.Every.WEEK,
            monday + timedelta(minutes=30),
            attacks,
        ),
        (f"Full suite, {slug}", "evals.scheduled", Schedule.Every.MONTH, first, every_kind),
        ("Watch over eval runs", "evals.watch", Schedule.Every.HOUR, soon, None),
    ]
    made = []
    with audit.atomic():
        for name, kind, every, next_at, kinds in rows:
            payload = {} if kinds is None else {"workflow": slug, "suites": kinds}
            row, created = Schedule.objects.get_or_create(
                name=name,
                defaults={"kind": kind, "every": every, "next_at": next_at, "payload": payload},
            )
            if created:
                audit.record(
                    "schedule.created", row, actor=actor, workflow=slug if kinds else "",
                    every=row.every, next_at=row.next_at,
                )  # fmt: skip
            made.append(row)
    return made


def complete_schedules() -> None:
    """Give every workflow that is on the calendar what was added to it since."""
    scheduled = Schedule.objects.filter(kind="evals.scheduled", payload__workflow__isnull=False)
    slugs = scheduled.values_list("payload__workflow", flat=True).distinct()
    for workflow in Workflow.objects.filter(slug__in=list(slugs)):
        ensure_schedules(workflow)


def request_scheduled(workflow_slug: str, kinds: Sequence[str], *, slot: str) -> list[EvalRun]:
    """Ask for the live release's runs of one schedule slot. Asking twice asks once."""
    workflow = Workflow.objects.get(slug=workflow_slug)
    live = LiveRelease.objects.filter(workflow=workflow).select_related("release").first()
    if live is None:
        return []
    wanted = f"{slot} {SuiteVersion.Kind.RECENT}"
    sampled_before = EvalRun.objects.filter(slot=wanted).exists()
    if SuiteVersion.Kind.RECENT in kinds and has_source(workflow) and not sampled_before:
        try:
            sample_recent_suite(workflow, actor=SCHEDULER)
        except InvalidInputError as error:
            # The sample before is run again; a gate sees its age and refuses it when too old.
            log.warning("No new recent suite for %s: %s", workflow_slug, error)
    suites = evidence_suites(workflow)
    runs = []
    for kind in kinds:
        run_slot = f"{slot} {kind}"
        earlier = EvalRun.objects.filter(slot=run_slot).first()
        if earlier is not None:
            runs.append(earlier)
        elif kind in suites:
            runs.append(
                request_run(
                    live.release, suites[kind], actor=SCHEDULER, purpose=SCHEDULED, slot=run_slot
                )
            )
    return runs


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
