"""Going back: one call with a reason, explained afterwards, never twice by accident."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from django.db import connection

from governance.audit import Actor
from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import LiveChange, PostMortem, Promotion, Rollback
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]


@pytest.fixture
def better(propose: Propose, approve: Approve, owner: User) -> Promotion:
    return approve(propose(), owner)


def test_a_rollback_returns_to_the_last_known_good_and_opens_a_post_mortem(
    better: Promotion, live: Release, workflow: Workflow, analyst: User
) -> None:
    rollback = services.roll_back(workflow, actor=analyst, reason="Complaints came in.", seen_seq=2)
    row = LiveRelease.objects.get()
    assert (row.release, row.seq, row.stage) == (live, 3, LiveRelease.Stage.ROLLED_BACK)
    assert row.last_known_good is None
    better.refresh_from_db()
    assert better.state == Promotion.State.ROLLED_BACK
    post_mortem = PostMortem.objects.get(rollback=rollback)
    told = " ".join(entry["what"] for entry in post_mortem.timeline)
    assert "proposed the promotion" in told
    assert "approved the promotion" in told
    assert "rolled back" in told
    event = AuditEvent.objects.get(verb="rollback.done")
    assert event.reason == "Complaints came in."
    with pytest.raises(StateConflictError, match="no earlier good release"):
        services.roll_back(workflow, actor=analyst, reason="again")


def test_who_may_roll_back(
    better: Promotion, workflow: Workflow, auditor: User, admin: User, outsider: User,
    controller: User, analyst: User,
) -> None:  # fmt: skip
    for stranger in (auditor, admin, outsider, controller):
        with pytest.raises(NotAllowedError):
            services.roll_back(workflow, actor=stranger, reason="mine")
    with pytest.raises(InvalidInputError):
        services.roll_back(workflow, actor=analyst, reason=" ")
    assert not Rollback.objects.exists()
    services.roll_back(workflow, actor=Actor.operator("root"), reason="from the shell")
    assert Rollback.objects.get().actor_label == "operator:root"


def test_the_second_click_finds_that_somebody_was_faster(
    better: Promotion, live: Release, workflow: Workflow, analyst: User, cfo: User
) -> None:
    barrier = threading.Barrier(2)
    outcomes: list[object] = []

    def click(actor: User) -> None:
        try:
            barrier.wait()
            outcomes.append(services.roll_back(workflow, actor=actor, reason="now", seen_seq=2))
        except StateConflictError as refusal:
            outcomes.append(str(refusal))
        finally:
            connection.close()

    threads = [threading.Thread(target=click, args=(actor,)) for actor in (analyst, cfo)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Rollback", "str"]
    assert Rollback.objects.count() == 1
    changes = list(LiveChange.objects.order_by("seq"))
    assert [change.seq for change in changes] == [1, 2, 3]
    for before, after in itertools.pairwise(changes):
        assert after.from_release_id == before.to_release_id


def test_an_unfinished_post_mortem_blocks_the_next_promotion_but_not_its_fix(
    better: Promotion, propose: Propose, approve: Approve, workflow: Workflow, analyst: User,
    owner: User, cfo: User,
) -> None:  # fmt: skip
    services.roll_back(workflow, actor=analyst, reason="bad")
    post_mortem = PostMortem.objects.get()
    with pytest.raises(StateConflictError, match="not finished"):
        propose(95)
    fix = propose(96, fixes=post_mortem)
    approve(fix, owner)
    assert LiveRelease.objects.get().release_id != fix.release_id  # a fix needs two
    approve(fix, cfo)
    assert LiveRelease.objects.get().release_id == fix.release_id


def test_a_finished_post_mortem_opens_the_way_and_is_not_changed_any_more(
    better: Promotion, propose: Propose, workflow: Workflow, analyst: User, auditor: User,
    owner: User,
) -> None:  # fmt: skip
    services.roll_back(workflow, actor=analyst, reason="bad")
    post_mortem = PostMortem.objects.get()
    with pytest.raises(InvalidInputError, match="the cause, the impact, at least one action"):
        services.submit_post_mortem(post_mortem.pk, actor=analyst)
    with pytest.raises(NotAllowedError):
        services.write_post_mortem(post_mortem.pk, actor=auditor, cause="x", impact="y")
    services.write_post_mortem(
        post_mortem.pk, actor=analyst, cause="The corpus lost 12 intents.", impact="40 cases"
    )
    services.add_action(post_mortem.pk, actor=analyst, text="Check the sync.")
    services.submit_post_mortem(post_mortem.pk, actor=analyst)
    services.finish_post_mortem(post_mortem.pk, actor=owner)
    with pytest.raises(StateConflictError):
        services.write_post_mortem(post_mortem.pk, actor=analyst, cause="other", impact="")
    assert propose(95).state == Promotion.State.AWAITING_OWNER


def test_a_second_rollback_skips_the_release_that_was_rolled_back_before(
    better: Promotion, propose: Propose, approve: Approve, live: Release, workflow: Workflow,
    analyst: User, owner: User, cfo: User,
) -> None:  # fmt: skip
    services.roll_back(workflow, actor=analyst, reason="bad")
    fix = propose(96, fixes=PostMortem.objects.get())
    approve(fix, owner)
    approve(fix, cfo)
    assert LiveRelease.objects.get().last_known_good == live
    services.roll_back(workflow, actor=analyst, reason="worse")
    assert LiveRelease.objects.get().release == live
