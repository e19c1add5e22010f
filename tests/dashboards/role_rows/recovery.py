"""Going back: post-mortems, rollbacks, drills, the switch, pins and the last known good."""

from __future__ import annotations

from governance.common.time import now
from governance.people.models import User
from governance.people.services import create_user
from governance.releases.services import register_release
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Rollback
from governance.workflows.services import create_workflow
from tests.conftest import PASSWORD, TESTER, slots
from tests.dashboards.role_rows import GOES_BACK, LOGGED_IN, NONE, READERS, Cast, Row, World

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
    "rollback": Row(READERS, key="rollback"),
    "rollback-note-asked": Row(NONE, GOES_BACK, key="rollback", data={"whom": "The vendor"}),
}


def extend(world: World, cast: Cast) -> None:
    """Another workflow of the same owner, whose post-mortem waits for its reviewer."""
    User.objects.filter(pk=cast.owner.pk).update(emergency_changes=True)
    owner = User.objects.get(pk=cast.owner.pk)
    workflow = create_workflow("returns", "Returns", owner=owner, actor=TESTER)
    first, second = (
        register_release(workflow, slots(threshold), title="", actor=cast.builder)[0]
        for threshold in (0.3, 0.4)
    )
    services.adopt_as_found(first, actor=owner, reason="It runs.", authenticated_at=now())
    services.emergency_change(
        second, actor=owner, incident="INC-1", reason="It broke.", authenticated_at=now()
    )
    services.roll_back(workflow, actor=owner, reason="Worse.")
    waiting = PostMortem.objects.get(rollback__workflow=workflow)
    writer = create_user(
        "second-analyst", actor=TESTER, role=User.Role.ANALYST, job_title="", password=PASSWORD
    )
    services.write_post_mortem(waiting.pk, actor=writer, cause="A cause.", impact="An impact.")
    services.add_action(waiting.pk, actor=writer, text="Tune it")
    services.submit_post_mortem(waiting.pk, actor=writer)
    world["handed-in post-mortem"] = (waiting.pk,)
    world["rollback"] = (Rollback.objects.get(workflow=cast.workflow).pk,)
