"""Releases that may not serve: never approved, or retired, and the exception says which."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from governance.common.time import now
from governance.people.models import User
from governance.receipts.services import GRACE_AFTER, store
from governance.releases.models import Release, ReleaseApproval
from governance.rollouts import services as rollouts
from governance.triage.models import ExceptionCase
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


def test_before_its_first_approval_a_release_was_approved_by_nobody(
    make_release: Make, owner: User
) -> None:
    release = make_release()
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    store([draft("early", release=release.pk, started_at=now() - timedelta(hours=2))])
    work()
    assert titles() == ["Runs of r1, which nobody approved"]
