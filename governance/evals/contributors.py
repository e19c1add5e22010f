"""Who edited what judges a candidate: they may not approve it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from governance.evals.models import EvalRun, GatePolicy, SuiteVersion
from governance.evals.requests import IMPORTED
from governance.evals.setup_models import EvalTarget, Evaluator
from governance.workflows.models import Workflow


def editors_since(
    workflow: Workflow, moment: datetime, *, proposed_at: datetime | None = None
) -> set[int]:
    """Return who edited, since `moment`, what judges a candidate: they may not approve it.

    That is whoever froze a suite or has an edit in it, whoever changed how releases are called or
    scored, and whoever brought in the results of another tool. An edit that another person
    confirmed before `proposed_at` (default: by now) does not count. A policy that is not in force
    judges nothing, so its author does not count either.
    """
    in_time = Q(confirmed_at__isnull=False)
    if proposed_at is not None:
        in_time &= Q(confirmed_at__lt=proposed_at)
    # A version holds the edits of those before it: who confirms it has confirmed them all.
    covered = SuiteVersion.objects.filter(
        in_time, workflow=workflow, kind=OuterRef("kind"), version__gte=OuterRef("version")
    )
    suites = SuiteVersion.objects.filter(~Exists(covered), workflow=workflow, frozen_at__gt=moment)
    edited = suites.order_by().values_list("frozen_by_id", flat=True)
    others: list[QuerySet[Any, int | None]] = [suites.order_by().values_list("editors", flat=True)]
    for model in (Evaluator, EvalTarget):
        rows = model.objects.filter(~in_time, workflow=workflow, created_at__gt=moment)
        others.append(rows.order_by().values_list("created_by_id", flat=True))
    if proposed_at is not None:
        late = GatePolicy.objects.filter(workflow=workflow, confirmed_at__gt=proposed_at)
        others.append(late.order_by().values_list("proposed_by_id", flat=True))
    imported = EvalRun.objects.filter(
        suite__workflow=workflow, requested_at__gt=moment, purpose=IMPORTED
    ).annotate(by=Cast(KT("provenance__by"), BigIntegerField()))
    others.append(imported.order_by().values_list("by", flat=True))
    return {pk for pk in edited.union(*others) if pk is not None}
