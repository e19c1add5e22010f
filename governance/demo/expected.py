"""What each release of the demo was meant to do to a KPI, and the look back a week later."""

from __future__ import annotations

from datetime import timedelta

from governance.common.time import story_time
from governance.kpis.models import Kpi
from governance.rollouts.models import Promotion
from governance.rollouts.outcomes import due_at, measure_outcome
from governance.rollouts.proposals import Expectation
from governance.workflows.models import Workflow

# key of the release -> KPI, change in points, in a few words
EXPECTED = {
    "bigger-corpus": ("escalation-rate", -3.0, "More mail is named rightly, less is handed over."),
    "careful": ("escalation-rate", 8.0, "More goes to people on purpose."),
    "english-only": ("quality", 3.0, "More solved mail to learn from."),
    "characters": ("escalation-rate", -4.0, "Typos and other languages are read better."),
}


def expectation(key: str, workflow: Workflow) -> Expectation | None:
    """Return what the builder promises with this release, where something is promised."""
    if key not in EXPECTED:
        return None
    slug, change, note = EXPECTED[key]
    return Expectation(Kpi.objects.get(workflow=workflow, slug=slug), change, note)


def look_back(workflow: Workflow) -> None:
    """Compare each change that served long enough with what was expected, on its own day."""
    for promotion in Promotion.objects.filter(
        workflow=workflow, expected_kpi__isnull=False, changes__cause="promotion"
    ):
        change = promotion.changes.get(cause="promotion")
        with story_time(due_at(change.changed_at) + timedelta(minutes=1)):
            measure_outcome(promotion.pk)
