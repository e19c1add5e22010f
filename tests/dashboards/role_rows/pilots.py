"""Pilots and freezes: who opens, stops, lets go on, explains, and lets through by name."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from governance import audit
from governance.common.time import now
from governance.evals import services as evals
from governance.people.models import User
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.rollouts import pilots, services
from governance.rollouts.guard import ACTOR
from governance.rollouts.models import Promotion
from governance.rollouts.pilot_models import Pilot
from governance.rollouts.proposals import propose_promotion
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER, slots
from tests.dashboards.role_rows import (
    BUILDER,
    EXECUTIVE,
    GOES_BACK,
    NONE,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)
from tests.rollouts.conftest import POLICY, work

TWO_LINES = {"what_happened": "It was rude.", "what_next": "Soften it."}
ROWS: dict[str, Row] = {
    "promotion-pilot": Row(READERS, key="paused pilot"),
    "pilot-resume": Row(NONE, {OWNER}, key="paused pilot", data={"reason": "One bad hour."}),
    "pilot-stop": Row(NONE, GOES_BACK, key="paused pilot", data={"reason": "It is rude."}),
    "pilot-ask-gate": Row(NONE, {OWNER, BUILDER}, key="paused pilot"),
    "pilot-explain": Row(NONE, GOES_BACK, key="stopped pilot", data=TWO_LINES),
    "pilot-open": Row(
        NONE,
        {OWNER},
        key="unsure promotion",
        data={"review_round": 1, "share": 5, "days": 7, "reason": "Drafts only."},
    ),
    "promotion-except-freeze": Row(
        NONE, {EXECUTIVE}, key="frozen pilot", data={"reason": "The regulator asked for it."}
    ),
}


def extend(world: World, cast: Cast) -> None:
    """Two more workflows of the owner: one with pilots, one whose gate could not tell."""
    piloted = _workflow("piloted", cast)
    stopped = _unsure(piloted, 51, cast)
    _open(stopped, cast.owner)
    services.stop_pilot(stopped.pk, actor=cast.owner, reason="It was rude.")
    paused = _unsure(piloted, 52, cast)
    _open(paused, cast.owner)
    with audit.atomic():
        pilots.pause(Pilot.objects.get(promotion=paused), why="A signal.", actor=ACTOR)
    moment = now()
    (window,) = services.set_freeze(
        actor=cast.cfo, name="Close", starts_at=moment + timedelta(hours=1),
        ends_at=moment + timedelta(days=1), reason="Month-end.", workflow=piloted,
    )  # fmt: skip
    unsure = _unsure(_workflow("unsure", cast), 52, cast)
    world.update(
        {
            "paused pilot": (paused.pk,),
            "stopped pilot": (stopped.pk,),
            "unsure promotion": (unsure.pk,),
            "frozen pilot": (paused.pk, window.pk),
        }
    )


def _workflow(slug: str, cast: Cast) -> Workflow:
    """A workflow that can promote, with something live."""
    workflow = create_workflow(slug, slug.capitalize(), owner=cast.owner, actor=TESTER)
    settings.EVAL_TARGETS[slug] = "tests.rollouts.target.build"  # of this test only
    cases = [
        {
            "key": f"c{number:03}",
            "input": {"number": number},
            "expected": {"answer": "yes", "must_escalate": None},
            "category": "all",
            "must_pass": False,
            "reason": "one of a hundred",
        }
        for number in range(100)
    ]
    evals.freeze_suite(workflow, "golden", cases, actor=TESTER)
    policy = evals.set_policy(workflow, POLICY, actor=cast.owner)
    evals.confirm_policy(policy, actor=cast.cfo)
    services.adopt_as_found(
        _release(workflow, 50, cast.builder), actor=cast.owner, reason="It runs.",
        authenticated_at=now(),
    )  # fmt: skip
    return workflow


def _release(workflow: Workflow, right: int, builder: User) -> Release:
    model = {"provider": "own", "id": "m", "parameters": {"right_of_100": right}}
    return register_release(workflow, slots(model=model), title=f"{right}", actor=builder)[0]


def _unsure(workflow: Workflow, right: int, cast: Cast) -> Promotion:
    """A promotion whose gate could not tell."""
    promotion = propose_promotion(
        _release(workflow, right, cast.builder), actor=cast.builder, rationale="A little better."
    )
    work()
    promotion.refresh_from_db()
    assert promotion.state == Promotion.State.REFUSED
    return promotion


def _open(promotion: Promotion, owner: User) -> None:
    services.open_evidence_pilot(
        promotion.pk, actor=owner, review_round=1, share=500, days=7, reason="Drafts only.",
        authenticated_at=now(),
    )  # fmt: skip
