"""Whether the last known good could run right now. It informs; a rollback never waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.evals.models import Case
from governance.evals.services import evidence_suites
from governance.evals.targets import (
    Outcome,
    TargetError,
    build_target,
    current_target,
    target_name,
)
from governance.jobs.models import Job
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import require
from governance.releases.models import Release
from governance.releases.services import verify_bytes
from governance.rollouts.live import live_release
from governance.rollouts.recovery_models import Preflight
from governance.workflows.models import Workflow

KIND = "rollouts.preflight"


def ask_check(workflow: Workflow, *, actor: User) -> Job:
    """Have a worker check it now; who may roll back may ask."""
    require(actor, "workflow.roll_back", workflow)
    waiting = check_under_way(workflow)
    if waiting is not None:
        return waiting
    return enqueue(
        KIND, f"{workflow.slug} {now().isoformat()}",
        {"workflow": workflow.slug, "check": workflow.pk}, due_within=timedelta(minutes=5),
    )  # fmt: skip


def check_under_way(workflow: Workflow) -> Job | None:
    """The check that somebody asked for and that no worker has finished."""
    return Job.objects.filter(
        kind=KIND, payload__check=workflow.pk, state__in=(Job.State.WAITING, Job.State.RUNNING)
    ).first()


def check_target(workflow: Workflow) -> Preflight | None:
    """Check the release that a rollback would return to, and keep what was found.

    Returns:
        None when there is nothing to return to.
    """
    live = live_release(workflow)
    if live is None or live.last_known_good is None:
        return None
    release = live.last_known_good
    checks = [_bytes(release), _declared(release), _model(release), _answers(workflow, release)]
    return Preflight.objects.create(
        workflow=workflow,
        release=release,
        ok=all(check["ok"] is not False for check in checks),
        checks=checks,
        checked_at=now(),
    )


def _check(name: str, ok: bool | None, sentence: str) -> dict[str, Any]:
    """One line of the check; `ok` is None where nothing could be said."""
    return {"name": name, "ok": ok, "sentence": sentence}


def _bytes(release: Release) -> dict[str, Any]:
    try:
        verify_bytes(release)
    except GovernanceError as error:
        return _check("Stored bytes", False, str(error))
    return _check("Stored bytes", True, "Manifest and components are what their digests name.")


def _declared(release: Release) -> dict[str, Any]:
    missing = [slot.replace("_", " ") for slot, held in release.contents().items() if held is None]
    if missing:
        return _check("Slots", None, f"Not declared, so not checked: {', '.join(missing)}.")
    return _check("Slots", True, "All seven slots are declared.")


def _model(release: Release) -> dict[str, Any]:
    content = release.contents()["model"] or {}
    name = str(content.get("id", ""))
    if not name:
        return _check("Model", None, "No model is named.")
    if name in settings.RETIRED_MODELS:
        return _check("Model", False, f"The provider has retired {name}.")
    return _check("Model", True, f"{name} is not on the list of retired models.")


def _answers(workflow: Workflow, release: Release) -> dict[str, Any]:
    """Let the release answer one case, where somebody said how to run it."""
    target = current_target(workflow)
    try:
        if target is None:
            target_name(workflow.slug)
    except TargetError:
        return _check("Answers", None, "No eval target is configured, so nothing was run.")
    suites = evidence_suites(workflow)
    case = Case.objects.filter(suite__in=suites.values()).order_by("-must_pass", "pk").first()
    if case is None:
        return _check("Answers", None, "There is no case to try.")
    try:
        Outcome.from_answer(build_target(release, target)(case.input))
    except Exception as error:  # whatever the target's own code raises
        return _check("Answers", False, f"It did not answer case {case.key}: {error}"[:300])
    return _check("Answers", True, f"It answered case {case.key}.")
