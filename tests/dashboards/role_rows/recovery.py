"""Going back: post-mortems, rollbacks, drills, the switch, pins and the last known good."""

from __future__ import annotations

from governance.common.time import now
from governance.people.models import User
from governance.people.services import create_user
from governance.releases.services import register_release
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Rollback
from governance.rollouts.recovery_models import RecallRow
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import PASSWORD, TESTER, slots
from tests.dashboards.role_rows import (
    BUILDER,
    DECIDES,
    GOES_BACK,
    LOGGED_IN,
    NONE,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)

ROWS: dict[str, Row] = {
    "post-mortems": Row(LOGGED_IN),
    "post-mortem": Row(READERS, key="post-mortem"),
    "post-mortem-write": Row(
        NONE, GOES_BACK, key="post-mortem", data={"cause": "A cause.", "impact": "An impact."}
    ),
    "post-mortem-add-action": Row(NONE, GOES_BACK, key="post-mortem", data={"text": "Tune it"}),
    "post-mortem-finish-action": Row(NONE, GOES_BACK, key="action"),
    "post-mortem-submit": Row(NONE, GOES_BACK, key="post-mortem"),
    "post-mortem-return": Row(
        NONE, GOES_BACK, key="handed-in post-mortem", data={"reason": "Since when?"}
    ),
    "post-mortem-finish": Row(NONE, GOES_BACK, key="handed-in post-mortem"),
    "post-mortem-add-to-timeline": Row(
        NONE, GOES_BACK, key="post-mortem", data={"what": "A customer called."}
    ),
    "post-mortem-recall": Row(READERS, key="post-mortem"),
    "post-mortem-recall-csv": Row(READERS, key="post-mortem"),
    "post-mortem-recall-decide": Row(
        NONE, GOES_BACK, key="post-mortem",
        data={"state": "contacted", "scope": "selected", "cases": ["case 1"]},
    ),
    "rollback": Row(READERS, key="rollback"),
    "rollback-note-asked": Row(NONE, GOES_BACK, key="rollback", data={"whom": "The vendor"}),
    # a workflow's way back
    "workflow-pin-known-good": Row(
        NONE, DECIDES, key="workflow", data={"release": "", "reason": "It is the safest."}
    ),
    "workflow-check-target": Row(NONE, GOES_BACK, key="workflow"),
    "workflow-set-automatic-rollback": Row(
        NONE, {OWNER}, key="workflow", data={"allowed": "yes", "reason": "At night nobody looks."}
    ),
    "workflow-switch-off": Row(NONE, GOES_BACK, key="workflow", data={"reason": "It is unsafe."}),
    "workflow-switch-on": Row(NONE, {OWNER}, key="switched-off", data={"reason": "It is safe."}),
    "workflow-pin-case": Row(
        NONE, {OWNER, BUILDER}, key="workflow",
        data={"case": "customer 12", "release": "", "reason": "A dispute."},
    ),
    "workflow-unpin-case": Row(
        NONE, {OWNER, BUILDER}, key="workflow", data={"case": "customer 7", "reason": "Settled."}
    ),
    # drills
    "drills": Row(LOGGED_IN),
    "drill": Row(READERS, key="planned drill"),
    "drill-plan": Row(
        NONE, GOES_BACK, data={"workflow": "support-triage", "planned_for": "2099-01-01 14:00"}
    ),
    "drill-sign": Row(NONE, {OWNER}, key="planned drill", data={"reason": "A quiet hour."}),
    "drill-start": Row(NONE, GOES_BACK, key="signed drill"),
    "drill-return": Row(NONE, GOES_BACK, key="running drill"),
    "drill-cancel": Row(NONE, GOES_BACK, key="planned drill", data={"reason": "A freeze."}),
}  # fmt: skip


def extend(world: World, cast: Cast) -> None:
    """Another workflow of the same owner, whose post-mortem waits for its reviewer."""
    User.objects.filter(pk=cast.owner.pk).update(emergency_changes=True)
    owner = User.objects.get(pk=cast.owner.pk)
    workflow = _another(cast, owner, "returns")
    services.roll_back(workflow, actor=owner, reason="Worse.")
    waiting = PostMortem.objects.get(rollback__workflow=workflow)
    writer = create_user(
        "second-analyst", actor=TESTER, role=User.Role.ANALYST, job_title="", password=PASSWORD
    )
    services.write_post_mortem(waiting.pk, actor=writer, cause="A cause.", impact="An impact.")
    services.add_action(waiting.pk, actor=writer, text="Tune it")
    services.submit_post_mortem(waiting.pk, actor=writer)
    world["handed-in post-mortem"] = (waiting.pk,)
    RecallRow.objects.create(
        post_mortem_id=world["post-mortem"][0], case_id="case 1", runs=1, first_at=now(),
        last_at=now(), state=RecallRow.State.NOTHING_NEEDED, decided_by=owner, decided_at=now(),
    )  # fmt: skip
    # A third workflow practises and is switched off; the main one has its calendar and pins.
    planned = services.plan_drill(cast.workflow, actor=cast.builder, planned_for=now())
    signed = services.plan_drill(cast.workflow, actor=cast.builder, planned_for=now())
    services.sign_drill(signed.pk, actor=owner, reason="Quiet.", authenticated_at=now())
    services.pin_case(
        cast.workflow, "customer 7", cast.live, actor=cast.builder, reason="A dispute."
    )
    for name in ("workflow-pin-known-good", "workflow-pin-case"):
        ROWS[name].data["release"] = cast.live.pk
    practising = _another(cast, owner, "refunds")
    running = services.plan_drill(practising, actor=cast.builder, planned_for=now())
    services.sign_drill(running.pk, actor=owner, reason="Quiet.", authenticated_at=now())
    services.start_drill(running.pk, actor=cast.builder, clicked_at=now())
    off = _another(cast, owner, "invoices")
    services.switch_off(off, actor=owner, reason="Unsafe.")
    world["planned drill"], world["signed drill"] = (planned.pk,), (signed.pk,)
    world["running drill"], world["switched-off"] = (running.pk,), (off.slug,)
    world["rollback"] = (Rollback.objects.get(workflow=cast.workflow).pk,)


def _another(cast: Cast, owner: User, slug: str) -> Workflow:
    """A workflow of the same owner with two releases, the second one live."""
    workflow = create_workflow(slug, slug.title(), owner=owner, actor=TESTER)
    first, second = (
        register_release(workflow, slots(threshold), title="", actor=cast.builder)[0]
        for threshold in (0.3, 0.4)
    )
    services.adopt_as_found(first, actor=owner, reason="It runs.", authenticated_at=now())
    services.emergency_change(
        second, actor=owner, incident="INC-1", reason="It broke.", authenticated_at=now()
    )
    return workflow
