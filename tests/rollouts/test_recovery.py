"""Going back, proved: what is known good, what receipts say, which cases were touched, drills."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction
from django.test import Client

from governance.common.errors import InvalidInputError, NotAllowedError
from governance.common.time import now, story_time
from governance.people.models import ApiToken, User
from governance.people.services import create_token, revoke_token
from governance.releases.models import LiveRelease, Release
from governance.rollouts import (
    convergence,
    known_good,
    preflight,
    services,
)
from governance.rollouts.models import Promotion
from governance.rollouts.recovery_models import Preflight
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import report

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Release]


def test_a_release_becomes_known_good_by_its_rule_and_only_once(
    better: Promotion, live: Release, workflow: Workflow, settings: Any
) -> None:
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 5, 2
    assert known_good.mark_by_rule(workflow.pk) is None
    report(better.release_id, workflow, list("abcde"), "x")
    assert known_good.mark_by_rule(workflow.pk) is None  # two days are not over
    with story_time(now() + timedelta(days=2, minutes=1)):
        ExceptionCase.objects.create(
            workflow=workflow, kind="policy_violation", group_key="g", severity=1, title="bad",
            release_digest=better.release_id, first_at=now(), last_at=now(), opened_at=now(),
        )  # fmt: skip
        assert known_good.mark_by_rule(workflow.pk) is None
        ExceptionCase.objects.update(severity=3)
        marked = known_good.mark_by_rule(workflow.pk)
        assert marked is not None
        assert marked.evidence["receipts"] == 5
        assert known_good.mark_by_rule(workflow.pk) is None
    assert LiveRelease.objects.get().last_known_good == live  # it is what serves now


def test_the_days_before_something_else_served_still_count_after_a_rollback_to_it(
    better: Promotion, workflow: Workflow, settings: Any, owner: User, builder: User,
    approve: Callable[..., Promotion], propose: Callable[..., Promotion],
) -> None:  # fmt: skip
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 1, 2
    report(better.release_id, workflow, ["a"], "x")
    with story_time(now() + timedelta(days=3)):
        worse = approve(propose(80), owner)
        rollback = services.roll_back(workflow, actor=builder, reason="Worse.")
        assert rollback.to_release == better.release
        assert known_good.standing(workflow, better.release).days >= 3
        assert known_good.standing(workflow, worse.release).days == 0
        marked = known_good.mark_by_rule(workflow.pk)
        assert marked is not None
        assert marked.release == better.release


def test_a_rollback_returns_to_what_is_known_good_and_not_to_what_served_in_between(
    better: Promotion, live: Release, workflow: Workflow, settings: Any, owner: User,
    approve: Callable[..., Promotion], propose: Callable[..., Promotion], builder: User,
) -> None:  # fmt: skip
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 1, 0
    report(better.release_id, workflow, ["a"], "x")
    assert known_good.mark_by_rule(workflow.pk) is not None
    approve(propose(85), owner)  # serves for a moment, never proves itself
    newest = approve(propose(99), owner)
    assert LiveRelease.objects.get().last_known_good_id == better.release_id
    services.roll_back(workflow, actor=builder, reason="Bad.")
    assert LiveRelease.objects.get().release_id == better.release_id
    assert newest.release_id != better.release_id


def test_the_owner_pins_the_last_known_good_by_hand_and_the_database_refuses_the_rest(
    better: Promotion, live: Release, workflow: Workflow, owner: User, builder: User,
    make_release: Make, approve: Callable[..., Promotion], propose: Callable[..., Promotion],
) -> None:  # fmt: skip
    approve(propose(99), owner)
    pin: dict[str, Any] = {"reason": "It is the safest.", "authenticated_at": now()}
    with pytest.raises(NotAllowedError):
        services.pin_known_good(workflow, live, actor=builder, **pin)
    with pytest.raises(InvalidInputError):
        services.pin_known_good(workflow, make_release(0.7), actor=owner, **pin)
    services.pin_known_good(workflow, live, actor=owner, **pin)
    row = LiveRelease.objects.get()
    assert (row.last_known_good, row.seq) == (live, 3)
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveRelease.objects.update(last_known_good=better.release)
    services.roll_back(workflow, actor=builder, reason="Bad.")
    assert LiveRelease.objects.get().release == live


def test_the_preflight_says_whether_the_target_can_run_and_holds_nothing_up(
    better: Promotion, live: Release, workflow: Workflow, settings: Any, builder: User
) -> None:
    found = preflight.check_target(workflow)
    assert found is not None
    assert (found.release, found.ok) == (live, True)
    assert {check["name"]: check["ok"] for check in found.checks} == {
        "Stored bytes": True, "Slots": True, "Model": True, "Answers": True,
    }  # fmt: skip
    settings.RETIRED_MODELS = ["m"]
    settings.EVAL_TARGETS = {workflow.slug: "tests.nowhere.build"}
    found = preflight.check_target(workflow)
    assert found is not None
    assert {c["name"] for c in found.checks if c["ok"] is False} == {"Model", "Answers"}
    services.roll_back(workflow, actor=builder, reason="Back all the same.")
    with pytest.raises(DatabaseError), transaction.atomic():
        Preflight.objects.update(ok=True)


def test_a_rollback_is_proved_with_receipts(
    better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "batch", "portal")
    }
    for name, token in tokens.items():
        report(better.release_id, workflow, ["c"], f"before-{name}", token)
    clicked = now()
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    kept = convergence.confirm_served(rollback, clicked)
    assert kept is not None
    assert clicked <= kept.served_at
    report(live.pk, workflow, ["d"], "after", tokens["router"])
    report(better.release_id, workflow, ["e"], "late", tokens["batch"])

    proof = convergence.proof(rollback)

    states = {application.name: application.state for application in proof.applications}
    assert states == {"router": "confirmed", "batch": "wrong", "portal": "silent"}
    assert (proof.bad_since, proof.is_complete) == (1, False)
    assert proof.last_bad_at is not None
    assert proof.last_bad_at > kept.served_at


def test_nobody_waits_for_a_sender_that_cannot_send_any_more(
    better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "retired", "revoked since")
    }
    report(better.release_id, workflow, ["h"], "history")
    for name, token in tokens.items():
        report(better.release_id, workflow, ["c"], f"before-{name}", token)
    revoke_token(tokens["retired"].pk, actor=TESTER)
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    convergence.confirm_served(rollback, now())
    report(live.pk, workflow, ["d"], "after", tokens["router"])
    report(better.release_id, workflow, ["e"], "late", tokens["revoked since"])
    revoke_token(tokens["revoked since"].pk, actor=TESTER)

    states = {one.name: one.state for one in convergence.proof(rollback).applications}

    assert states == {"router": "confirmed", "revoked since": "wrong"}


def test_who_fell_silent_a_day_before_is_named_and_holds_nothing_up(
    better: Promotion, live: Release, workflow: Workflow, builder: User, owner: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "old portal", "elsewhere")
    }
    past = now() - convergence.SENDERS_OF - timedelta(hours=1)
    with story_time(past):
        report(better.release_id, workflow, ["c"], "long ago", tokens["old portal"])
    ApiToken.objects.update(last_used_at=past)
    report(better.release_id, workflow, ["c"], "before", tokens["router"])
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    convergence.confirm_served(rollback, now())
    report(live.pk, workflow, ["d"], "after", tokens["router"])

    proof = convergence.proof(rollback)

    assert [one.name for one in proof.applications] == ["router"]
    assert proof.is_complete
    assert [one.name for one in proof.unseen] == ["old portal"]
    assert abs(proof.unseen[0].last_at - past) < timedelta(minutes=1)
    page = login(owner).get(f"/rollbacks/{rollback.pk}/").content.decode()
    assert "Converged" in page
    assert '<span class="strong">old portal</span>, not seen since' in page
