"""What stands in the registers: a drill, who decides when, what is frozen, an envelope."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance.common.time import now
from governance.demo.cast import Cast
from governance.people.delegations import delegate, note_absence
from governance.people.services import set_emergency_right
from governance.rollouts import services as rollouts
from governance.rollouts.recovery_models import Drill

LEAST_AHEAD = timedelta(days=12)  # so that nothing of it holds up who tries the demo today


def start_drill(cast: Cast) -> Drill:
    """Practise a rollback; the owner signs it first. It begins on the moment of the story."""
    owner = cast["head-of-support"]
    drill = rollouts.plan_drill(cast.workflow, actor=owner, planned_for=now())
    rollouts.sign_drill(
        drill.pk, actor=owner, authenticated_at=now(),
        reason="We want to know how long it takes before we need it.",
    )  # fmt: skip
    return rollouts.start_drill(drill.pk, actor=cast["analyst"], clicked_at=now())


def end_drill(cast: Cast, drill: Drill) -> None:
    """Come back, unless the drill has come back by itself."""
    drill.refresh_from_db()
    if drill.state == Drill.State.RUNNING:
        rollouts.return_from_drill(drill.pk, actor=cast["analyst"])


def fill(cast: Cast, end: datetime) -> None:
    """Leave what a team of this size has in its registers. Called on the story's last moment."""
    owner, controller, cfo = cast["head-of-support"], cast["controller"], cast["cfo"]
    set_emergency_right(
        cast["builder"].pk, actor=cast["admin"], allowed=True, authenticated_at=now(),
        reason="On call for the router.",
    )  # fmt: skip
    monday = (end + LEAST_AHEAD).replace(hour=7, minute=0, second=0, microsecond=0)
    monday += timedelta(days=-monday.weekday() % 7)
    note_absence(
        owner, actor=owner, starts_at=monday, ends_at=monday + timedelta(days=5), note="Holiday"
    )
    delegate(
        controller, actor=owner, starts_at=monday, ends_at=monday + timedelta(days=3),
        authenticated_at=now(),
        reason="I am on holiday. The Controller knows the workflow and its gate.",
    )  # fmt: skip
    close = _next_quarter_end(end + LEAST_AHEAD)
    rollouts.set_freeze(
        actor=cfo, name="Quarter-end close", starts_at=close - timedelta(days=2),
        ends_at=close + timedelta(days=1),
        reason="Nothing moves while the quarter is closed. Going back is always possible.",
    )  # fmt: skip
    rollouts.sign_standing_approval(
        cast.workflow, actor=owner, title="Weekly corpus sync", slot="retrieval",
        most_documents_changed=40, uses_per_week=1, days=60, authenticated_at=now(),
        reason="Solved mail joins the corpus every week. Up to forty messages, with its gate"
        " passed, I do not need to be asked each time.",
    )  # fmt: skip


def _next_quarter_end(moment: datetime) -> datetime:
    """The first midnight of a quarter after this moment."""
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ahead = 3 - (first.month - 1) % 3
    year, month = divmod(first.year * 12 + first.month - 1 + ahead, 12)
    return first.replace(year=year, month=month + 1)
