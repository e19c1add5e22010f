"""The arithmetic of absences: which hours of an owner nobody covers."""

from __future__ import annotations

from datetime import UTC, datetime

from governance.people.gaps import Away, Cover, uncovered

OWNER, DELEGATE, OTHER = 1, 2, 3


def day(number: int) -> datetime:
    return datetime(2026, 12, number, tzinfo=UTC)


def away(first: int, last: int, person: int = OWNER) -> Away:
    return Away(person, day(first), day(last))


def cover(first: int, last: int, delegate: int = DELEGATE) -> Cover:
    return Cover(OWNER, delegate, day(first), day(last))


def test_an_absence_without_a_delegation_is_a_gap_from_end_to_end() -> None:
    assert uncovered([OWNER], [away(12, 19)], []) == [away(12, 19)]
    assert uncovered([OTHER], [away(12, 19)], []) == []


def test_a_delegation_closes_the_part_that_it_covers() -> None:
    assert uncovered([OWNER], [away(12, 19)], [cover(10, 20)]) == []
    assert uncovered([OWNER], [away(12, 19)], [cover(14, 16)]) == [away(12, 14), away(16, 19)]
    assert uncovered([OWNER], [away(12, 19)], [cover(10, 15), cover(15, 25, OTHER)]) == []


def test_a_delegate_who_is_away_too_covers_nothing_in_that_time() -> None:
    spans = [away(12, 19), away(15, 17, DELEGATE)]
    assert uncovered([OWNER], spans, [cover(10, 20)]) == [away(15, 17)]


def test_overlapping_absences_are_one_gap_and_gaps_come_in_order() -> None:
    spans = [away(16, 22), away(12, 17), away(2, 4)]
    assert uncovered([OWNER], spans, []) == [away(2, 4), away(12, 22)]
