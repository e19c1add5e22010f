"""A workflow with KPIs, thirteen weeks of readings, a live release and one that waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from governance.common.time import now, today
from governance.kpis.models import Kpi
from governance.kpis.services import create_kpi
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.releases.models import Release
from governance.rollouts import services as rollouts
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import live, model, policy, suites, work

__all__ = ("live", "model", "policy", "suites")

KPIS = (
    ("ttfr", "Time to first response", "first_response_s", "seconds", True, 480, 720),
    ("escalation", "Escalation rate", "escalated", "share", True, 0.12, 0.20),
    ("quality", "Quality", "correct", "share", False, 0.90, 0.85),
    ("cost", "Cost per run", "cost", "money", True, 0.25, 0.40),
)
A_DAY = {
    "runs": (100, 100.0),
    "first_response_s": (100, 40_000.0),
    "escalated": (100, 10.0),
    "correct": (100, 93.0),
    "cost": (100, 20.0),
}


@pytest.fixture
def kpis(workflow: Workflow, owner: User) -> list[Kpi]:
    return [
        create_kpi(
            workflow, slug, name, owner=owner, actor=TESTER, measure=measure, unit=unit,
            lower_is_better=lower, target=target, limit=limit, position=position,
            is_lead=slug == "escalation",
        )
        for position, (slug, name, measure, unit, lower, target, limit) in enumerate(KPIS)
    ]  # fmt: skip


@pytest.fixture
def measured(workflow: Workflow, kpis: list[Kpi]) -> None:
    """Thirteen weeks of roll-ups, one row per measure and day."""
    last = today()
    RollUp.objects.bulk_create(
        RollUp(
            workflow=workflow,
            grain=grain,
            starts_at=datetime.combine(last - timedelta(days=back), time(), UTC),
            measure=measure,
            n=n,
            total=total,
            total_squares=total,
        )
        for back in range(13 * 7)
        for measure, (n, total) in A_DAY.items()
        for grain in ("day", "hour")
    )


@pytest.fixture
def waiting(
    live: Release,
    builder: User,
    make_release: Callable[..., Release],
    model: Callable[..., dict[str, Any]],
) -> Promotion:
    """A better release whose gate has passed."""
    candidate = make_release(model=model(90))
    promotion = rollouts.propose_promotion(
        candidate, actor=builder, rationale="Answers forty more of a hundred."
    )
    work()
    promotion.refresh_from_db()
    assert promotion.state == Promotion.State.AWAITING_OWNER
    assert promotion.requested_at <= now()
    return promotion
