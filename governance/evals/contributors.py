"""Who edited what judges a candidate: they may not approve it."""

from __future__ import annotations

from datetime import datetime

from governance.evals.models import GatePolicy, SuiteVersion
from governance.workflows.models import Workflow


def editors_since(
    workflow: Workflow, moment: datetime, *, proposed_at: datetime | None = None
) -> set[int]:
    """Return who edited, since `moment`, what judges a candidate: they may not approve it.

    An edit that another person confirmed before `proposed_at` (default: by now) does not count.
    A policy that is not in force judges nothing, so its author does not count either.
    """
    suites = SuiteVersion.objects.filter(workflow=workflow, frozen_at__gt=moment)
    edited = suites.order_by().values_list("frozen_by_id", flat=True)
    if proposed_at is not None:
        late = GatePolicy.objects.filter(workflow=workflow, confirmed_at__gt=proposed_at)
        edited = edited.union(late.order_by().values_list("proposed_by_id", flat=True))
    return {pk for pk in edited if pk is not None}
