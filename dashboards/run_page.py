"""How far an eval run is, and what asking for one needs. No queries in templates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from secrets import token_urlsafe
from typing import Any

from django import forms

from governance.common.errors import GovernanceError
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.policy import SUITE_KINDS
from governance.evals.requests import MOST_REPEATS
from governance.evals.suites import evidence_suites
from governance.evals.targets import current_target, target_name
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import Release
from governance.workflows.models import Workflow

RELEASES_OFFERED = 50
SOON = 10  # scores, before which nobody can say how long the rest takes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `left` says how long the rest takes, "" where nobody can say."""

    is_open: bool
    done: int
    total: int
    percent: int
    left: str
    budget_percent: int | None


def progress(run: EvalRun, moment: datetime) -> Progress:
    """Read it from the run's own counters: the scores are not counted."""
    is_open = run.state in (EvalRun.State.WAITING, EvalRun.State.RUNNING)
    total = run.asks_total
    left = ""
    if is_open and run.started_at is not None and run.cases_done >= min(SOON, total):
        taken = (moment - run.started_at).total_seconds()
        left = _about(taken / run.cases_done * (total - run.cases_done))
    return Progress(
        is_open=is_open,
        done=run.cases_done,
        total=total,
        percent=math.floor(100 * run.cases_done / total) if total else 100,
        left=left,
        budget_percent=math.ceil(100 * run.cost / run.budget) if run.budget else None,
    )


def _about(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute left"
    minutes = math.ceil(seconds / 60)
    return (
        f"about {minutes} min left" if minutes < 120 else f"about {math.ceil(minutes / 60)} h left"
    )


class AskForm(forms.Form):
    """One release on one suite."""

    release = forms.CharField(max_length=71, error_messages={"required": "Choose a release."})
    suite = forms.ChoiceField(
        choices=SuiteVersion.Kind.choices, error_messages={"required": "Choose a suite."}
    )
    repeats = forms.IntegerField(min_value=1, max_value=MOST_REPEATS, required=False)
    budget = forms.DecimalField(
        min_value=Decimal("0.00000001"), max_digits=18, decimal_places=8, required=False
    )
    # Pressing twice asks once: the page that was pressed has one name.
    mark = forms.RegexField(r"^[\w-]{1,60}$", required=True)


class ResultsForm(forms.Form):
    """A file of another tool, and what it is about."""

    release = forms.CharField(max_length=71, error_messages={"required": "Choose a release."})
    suite = forms.ChoiceField(
        choices=SuiteVersion.Kind.choices, error_messages={"required": "Choose a suite."}
    )
    provider = forms.CharField(max_length=100, required=False)
    file = forms.FileField(
        error_messages={"required": "Choose a file.", "empty": "The file is empty."}
    )


def asking(
    workflow: Workflow, user: User, offered: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """What the form offers; None to whoever asks for no evals, or where nothing can be asked.

    Args:
        offered: what `importing` said already, so that it is not read twice.
    """
    offered = offered or importing(workflow, user)
    if offered is None:
        return None
    target = current_target(workflow)
    if target is None:
        try:
            target_name(workflow.slug)
        except GovernanceError:
            return None
    return {
        **offered,
        "most_repeats": MOST_REPEATS,
        "budget": target.content["budget"] if target else "",
        "mark": token_urlsafe(12),
    }


def importing(workflow: Workflow, user: User) -> dict[str, Any] | None:
    """What results of another tool may be about; None to whoever brings in none."""
    if not can(user, "eval_run.request", workflow):
        return None
    suites = evidence_suites(workflow)
    releases = list(
        Release.objects.filter(workflow=workflow)
        .order_by("-number")
        .only("pk", "number", "title", "workflow")[:RELEASES_OFFERED]
    )
    if not suites or not releases:
        return None
    return {
        "suites": [suites[kind] for kind in SUITE_KINDS if kind in suites],
        "releases": releases,
    }
