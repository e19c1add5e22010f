"""What a workflow's page says about going back: where to, whether it can run, when last tried."""

from __future__ import annotations

from dataclasses import dataclass, field

from dashboards.tones import Chip
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import KnownGood, LiveRelease, Pin, Release
from governance.rollouts.known_good import Standing, standing
from governance.rollouts.live import bad_releases
from governance.rollouts.models import LiveChange
from governance.rollouts.preflight import check_under_way
from governance.rollouts.push import Progress, progress
from governance.rollouts.push_models import PushDelivery
from governance.rollouts.recovery_models import Drill, Preflight
from governance.workflows.models import Workflow

PINS_SHOWN = 20
PUSHES_SHOWN = 3
DRILLS_READ = 12

MODE: dict[str, tuple[str, str]] = {
    Workflow.Mode.PULL: (
        "It asks Countersign",
        "Its applications ask before each run which release serves the case. A change or a rollback"
        " is seen by their next question; their run receipts prove it.",
    ),
    Workflow.Mode.PUSH: (
        "Countersign tells its pipeline",
        "Countersign calls its pipeline with a signed message and repeats it until it is answered."
        " An answer says “asked”; run receipts of the new release say “done”.",
    ),
    Workflow.Mode.OBSERVE: (
        "It is only observed",
        "Its run receipts arrive, but nobody here can switch what runs: that is in the hands of"
        " whoever operates it. A rollback records what should run and whom you asked.",
    ),
}

CAN_RUN = Chip("Could run", "good", "circle-check")
CANNOT_RUN = Chip("Could not run", "bad", "triangle-alert")
NOT_CHECKED = Chip("Not checked", "none", "circle-dashed")


@dataclass(slots=True)
class Recovery:
    """Everything about going back, read once for the page."""

    mode_word: str
    mode_sentence: str
    standing: Standing | None = None
    mark: KnownGood | None = None
    preflight: Preflight | None = None
    preflight_chip: Chip = NOT_CHECKED
    checking: bool = False
    last_drill: Drill | None = None
    next_drill: Drill | None = None
    running_drill: Drill | None = None
    switched: LiveChange | None = None
    pins: list[Pin] = field(default_factory=list)
    pins_total: int = 0
    may_serve: list[Release] = field(default_factory=list)
    good_choices: list[Release] = field(default_factory=list)
    pushes: list[Progress] = field(default_factory=list)
    may_go_back: bool = False
    may_mark: bool = False
    may_pin: bool = False
    may_switch_on: bool = False


def recovery(workflow: Workflow, live: LiveRelease | None, user: User) -> Recovery:
    """Read the page's part about going back; the number of queries does not grow with history."""
    word, sentence = MODE[workflow.mode]
    found = Recovery(word, sentence)
    found.may_go_back = can(user, "workflow.roll_back", workflow)
    found.may_mark = can(user, "known_good.pin", workflow)
    found.may_pin = can(user, "case.pin", workflow)
    found.may_switch_on = can(user, "workflow.switch_on", workflow)
    if live is None:
        return found
    found.standing = standing(workflow, live.release)
    if live.last_known_good is not None:
        found.mark = KnownGood.objects.filter(
            workflow=workflow, release=live.last_known_good
        ).first()
        _check(found, workflow, live)
    _drills(found, workflow)
    if live.switched_off:
        found.switched = LiveChange.objects.filter(
            workflow=workflow, cause=LiveChange.Cause.SWITCHED_OFF
        ).first()
    _pins(found, workflow, live)
    if workflow.mode == Workflow.Mode.PUSH:
        told = PushDelivery.objects.filter(workflow=workflow).select_related(
            "change__to_release", "change__pilot_release"
        )
        found.pushes = [progress(delivery) for delivery in told[:PUSHES_SHOWN]]
    return found


def _check(found: Recovery, workflow: Workflow, live: LiveRelease) -> None:
    newest = Preflight.objects.filter(workflow=workflow).first()
    if newest is not None and newest.release_id == live.last_known_good_id:
        found.preflight = newest
        found.preflight_chip = CAN_RUN if newest.ok else CANNOT_RUN
    found.checking = check_under_way(workflow) is not None


def _drills(found: Recovery, workflow: Workflow) -> None:
    rows = Drill.objects.filter(workflow=workflow).exclude(state=Drill.State.CANCELLED)
    for drill in rows[:DRILLS_READ]:
        if drill.state == Drill.State.RUNNING:
            found.running_drill = drill
        elif drill.state == Drill.State.PLANNED:
            found.next_drill = drill  # newest first, so the last one read is due first
        elif found.last_drill is None:
            found.last_drill = drill


def _pins(found: Recovery, workflow: Workflow, live: LiveRelease) -> None:
    pins = Pin.objects.filter(workflow=workflow)
    found.pins_total = pins.count()
    found.pins = list(pins.select_related("release")[:PINS_SHOWN]) if found.pins_total else []
    if not (found.may_pin or found.may_mark):
        return
    bad = bad_releases(workflow)
    served = LiveChange.objects.filter(workflow=workflow).values("to_release")
    found.may_serve = list(Release.objects.filter(pk__in=served).exclude(pk__in=bad))
    if live.pilot_release is not None and live.pilot_release not in found.may_serve:
        found.may_serve.insert(0, live.pilot_release)
    found.good_choices = [
        release
        for release in found.may_serve
        if release.pk not in (live.release_id, live.pilot_release_id)
    ]
