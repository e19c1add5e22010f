"""The other roads and the registers: envelopes, freezes, delegations, emergencies."""

from __future__ import annotations

from datetime import timedelta

from governance.common.time import now
from governance.people import delegations
from governance.people.models import User
from governance.people.services import create_user
from governance.releases.services import register_release
from governance.rollouts import services
from governance.workflows.services import create_workflow
from tests.conftest import PASSWORD, TESTER, slots
from tests.dashboards.role_rows import (
    ADMIN,
    EXECUTIVE,
    LOGGED_IN,
    NONE,
    OTHER_OWNER,
    OUTSIDER,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)

WHY = {"reason": "It is needed."}
ENVELOPE = {
    "title": "Refresh", "slot": "model", "uses_per_week": 2, "days": 30, "reason": "Small.",
    "workflow": "support-triage",
}  # fmt: skip
WINDOW = {
    "name": "Audit week", "starts_at": "2030-01-07T00:00", "ends_at": "2030-01-12T00:00",
    "workflow": "support-triage", "reason": "Auditors look.",
}  # fmt: skip
AHEAD = {"first": "2030-02-04", "last": "2030-02-08"}
ROWS: dict[str, Row] = {
    "controls": Row(LOGGED_IN),
    "workflow-emergency": Row(READERS, key="workflow"),
    "workflow-emergency-make-live": Row(
        NONE, {OWNER}, key="workflow", data={"incident": "INC-1", **WHY}
    ),
    "promotion-ratify": Row(
        READERS | {OTHER_OWNER},
        {EXECUTIVE, OWNER, OTHER_OWNER},
        key="emergency",
        data=dict(WHY),
    ),
    "standing-approvals": Row(LOGGED_IN),
    "standing-approval": Row(READERS, key="standing"),
    "standing-sign": Row(NONE, {OWNER}, data=ENVELOPE),
    "standing-revoke": Row(NONE, {EXECUTIVE, OWNER}, key="standing", data=dict(WHY)),
    "freezes": Row(LOGGED_IN),
    "freeze": Row(READERS, key="freeze"),
    "freeze-set": Row(NONE, {EXECUTIVE, OWNER}, data=WINDOW),
    "freeze-lift": Row(NONE, {EXECUTIVE, OWNER}, key="freeze", data=dict(WHY)),
    "freeze-let-through": Row(NONE, {EXECUTIVE}, key="freeze", data=dict(WHY)),
    "delegations": Row(LOGGED_IN),
    "delegation-give": Row(NONE, {OWNER, OTHER_OWNER}, data={**AHEAD, **WHY}),
    "delegation-revoke": Row(NONE, {EXECUTIVE, OWNER}, key="delegation", data=dict(WHY)),
    "absence-note": Row(NONE, LOGGED_IN - {OUTSIDER}, data=dict(AHEAD)),
    "absence-cancel": Row(NONE, {EXECUTIVE, OWNER, ADMIN}, key="absence"),
}


def extend(world: World, cast: Cast) -> None:
    """An envelope, a freeze, a delegation and an absence to come; an emergency that waits."""
    User.objects.filter(pk=cast.owner.pk).update(emergency_changes=True)
    moment, day = now(), timedelta(days=1)
    world["standing"] = (
        services.sign_standing_approval(
            cast.workflow, actor=cast.owner, title="Sync", slot="model", uses_per_week=3, days=20,
            reason="Small.", authenticated_at=moment,
        ).pk,
    )  # fmt: skip
    (window,) = services.set_freeze(
        actor=cast.cfo, name="Close", starts_at=moment + 5 * day, ends_at=moment + 9 * day,
        reason="The books.", workflow=cast.workflow,
    )  # fmt: skip
    world["freeze"] = (window.pk,)
    held = delegations.delegate(
        cast.cfo, actor=cast.owner, starts_at=moment + 5 * day, ends_at=moment + 6 * day,
        reason="Leave.", authenticated_at=moment,
    )  # fmt: skip
    world["delegation"] = (held.pk,)
    absence = delegations.note_absence(
        cast.owner, actor=cast.owner, starts_at=moment + 5 * day, ends_at=moment + 6 * day
    )
    world["absence"] = (absence.pk,)

    on_call = create_user(
        "on-call", actor=TESTER, role=User.Role.ANALYST, job_title="On call", password=PASSWORD
    )
    User.objects.filter(pk=on_call.pk).update(emergency_changes=True)
    on_call.refresh_from_db()
    workflow = create_workflow("billing", "Billing", owner=cast.owner, actor=TESTER)
    first, second = (
        register_release(workflow, slots(threshold), title="", actor=cast.builder)[0]
        for threshold in (0.31, 0.41)
    )
    services.adopt_as_found(first, actor=cast.owner, reason="It runs.", authenticated_at=moment)
    waiting = services.emergency_change(
        second, actor=on_call, incident="INC-9", reason="It broke.", authenticated_at=moment
    )
    world["emergency"] = (waiting.pk,)

    ROWS["workflow-emergency-make-live"].data["release"] = cast.make_release(0.77).pk
    ROWS["freeze-let-through"].data["promotion"] = cast.promotion.pk
    ROWS["delegation-give"].data["to"] = str(cast.cfo.pk)
