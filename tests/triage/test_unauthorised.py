"""Releases that may not serve: never approved, or retired, and the exception says which."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from governance.common.time import now, story_time
from governance.people.models import User
from governance.receipts.services import GRACE_AFTER, GRACE_AFTER_SWITCH, store
from governance.releases.models import Release, ReleaseApproval
from governance.rollouts import services as rollouts
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.receipts.drafts import draft
from tests.rollouts.conftest import work

Make = Callable[..., Release]


def titles() -> list[str]:
    return list(ExceptionCase.objects.order_by("pk").values_list("title", flat=True))


def test_a_release_that_was_never_approved_says_so(make_release: Make) -> None:
    release = make_release()
    store([draft(release=release.pk)])
    work()
    assert titles() == ["Runs of r1, which nobody approved"]


def test_a_retired_release_says_when_its_approval_ended(make_release: Make, owner: User) -> None:
    release = make_release()
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    ended = now() - GRACE_AFTER - timedelta(minutes=5)
    ReleaseApproval.objects.update(valid_from=ended - timedelta(days=1), valid_to=ended)
    store([
        draft("in time", release=release.pk, started_at=ended - timedelta(hours=1)),
        draft("grace", release=release.pk, started_at=ended + GRACE_AFTER / 2),
    ])  # fmt: skip
    work()
    assert titles() == []
    store([draft("late", release=release.pk, started_at=now())])
    work()
    (title,) = titles()
    assert title.startswith("Runs of r1, which is retired: its approval ended on ")
    assert f"{ended:%H:%M} UTC" in title
    assert ExceptionCase.objects.get().severity == ExceptionCase.Severity.HIGH


def test_after_the_kill_switch_runs_may_end_and_none_may_begin(
    make_release: Make, owner: User, workflow: Workflow
) -> None:
    release = make_release()
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    ReleaseApproval.objects.update(valid_from=now() - timedelta(days=1))
    with story_time(now() - timedelta(minutes=5)):
        rollouts.switch_off(workflow, actor=owner, reason="It leaks data.")
    off = ReleaseApproval.objects.get().valid_to
    assert off is not None
    store([draft("in flight", release=release.pk, started_at=off + GRACE_AFTER_SWITCH / 2)])
    work()
    assert titles() == []
    store([draft("begun", release=release.pk, started_at=off + 2 * GRACE_AFTER_SWITCH)])
    work()
    (title,) = titles()
    assert title.startswith("Runs of r1, begun after it was switched off on ")


def test_before_its_first_approval_a_release_was_approved_by_nobody(
    make_release: Make, owner: User
) -> None:
    release = make_release()
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    store([draft("early", release=release.pk, started_at=now() - timedelta(hours=2))])
    work()
    assert titles() == ["Runs of r1, which nobody approved"]
