"""When nobody decides for an owner: absences that no delegation covers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Away:
    """One person does not decide from `starts_at` to `ends_at`."""

    person: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Cover:
    """In this window `delegate` decides for `owner`."""

    owner: int
    delegate: int
    starts_at: datetime
    ends_at: datetime


def uncovered(owners: Iterable[int], away: Sequence[Away], covers: Sequence[Cover]) -> list[Away]:
    """Return the times in which an owner is away and nobody decides for them, in order.

    A delegate who is away too covers nothing in that time, since nobody passes a delegation on.
    """
    found: list[Away] = []
    for owner in owners:
        holes: list[Away] = []
        for absence in away:
            if absence.person == owner:
                left = [absence]
                for cover in covers:
                    if cover.owner == owner:
                        for window in _present(cover, away):
                            left = _without(left, window)
                holes += left
        found += _joined(holes)
    return sorted(found, key=lambda gap: (gap.starts_at, gap.person))


def _present(cover: Cover, away: Sequence[Away]) -> list[Away]:
    """The parts of a delegation in which its delegate is there."""
    left = [Away(cover.owner, cover.starts_at, cover.ends_at)]
    for absence in away:
        if absence.person == cover.delegate:
            left = _without(left, absence)
    return left


def _without(spans: Sequence[Away], taken: Away) -> list[Away]:
    left: list[Away] = []
    for span in spans:
        before = Away(span.person, span.starts_at, min(span.ends_at, taken.starts_at))
        after = Away(span.person, max(span.starts_at, taken.ends_at), span.ends_at)
        if taken.ends_at <= span.starts_at or taken.starts_at >= span.ends_at:
            left.append(span)
            continue
        left += [part for part in (before, after) if part.starts_at < part.ends_at]
    return left


def _joined(spans: Sequence[Away]) -> list[Away]:
    """Overlapping and adjacent spans of one person become one."""
    joined: list[Away] = []
    for span in sorted(spans, key=lambda each: each.starts_at):
        if joined and span.starts_at <= joined[-1].ends_at:
            last = joined.pop()
            span = Away(last.person, last.starts_at, max(last.ends_at, span.ends_at))
        joined.append(span)
    return joined
