"""The sentence at the top of a review, made from the data. Pure.

It says what is wrong, since when, and what is being done. It names a release only for its timing
("since r5 went live on Tue 17 Nov"), never as the cause: that needs attribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from governance.kpis.status import KpiStatus

TONE = {
    KpiStatus.OUTSIDE_LIMIT: "bad",
    KpiStatus.WATCH: "watch",
    KpiStatus.ON_TRACK: "good",
    KpiStatus.BUILDING_BASELINE: "none",
    KpiStatus.NO_DATA: "none",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One KPI's week as the headline needs it; texts carry their units."""

    name: str
    status: KpiStatus
    value: str
    limit: str
    target: str
    since: date | None  # first day of the unbroken run of weeks with this status
    workflow_id: int


@dataclass(frozen=True, slots=True)
class Move:
    """A release that went live, or was rolled back to, in the period or the weeks before."""

    workflow_id: int
    workflow: str
    release: str
    at: datetime
    rolled_back_from: str = ""
    in_period: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the sentence; strong pieces carry the fact."""

    text: str
    strong: bool = False


def headline(
    facts: Sequence[Fact], moves: Sequence[Move], *, waiting: int, period_word: str
) -> tuple[Said, ...]:
    """Return the headline of one period.

    Args:
        facts: every KPI, most important first.
        moves: live changes of the period and the weeks before it, oldest first.
        waiting: decisions, exceptions and overdue post-mortems that wait for somebody.
        period_word: week, month or quarter.
    """
    if not facts:
        return (Said("No KPIs yet", True), Said(": define them to see whether the AI helps."))
    outside = [fact for fact in facts if fact.status is KpiStatus.OUTSIDE_LIMIT]
    watched = [fact for fact in facts if fact.status is KpiStatus.WATCH]
    silent = [fact for fact in facts if fact.status is KpiStatus.NO_DATA]
    if len(silent) == len(facts):
        return (
            Said(f"Nothing was measured this {period_word}", True),
            Said(": no run receipts arrived, so no KPI has a reading."),
        )
    said: list[Said] = []
    if outside:
        said += _outside(outside, moves, period_word)
    else:
        said += _calm(facts, waiting)
    said += _rolled_back(moves)
    said += _rest(facts, outside, watched, silent)
    return tuple(said)


def tone_of(facts: Sequence[Fact]) -> str:
    """Return the tone of the worst status."""
    for status in (KpiStatus.OUTSIDE_LIMIT, KpiStatus.WATCH, KpiStatus.ON_TRACK):
        if any(fact.status is status for fact in facts):
            return TONE[status]
    return "none"


def _outside(outside: Sequence[Fact], moves: Sequence[Move], period_word: str) -> list[Said]:
    first, *more = outside
    said = [
        Said(f"{first.name} is outside its limit", True),
        Said(f", {first.value} against {_bare(first.limit)}"),
    ]
    if first.since is not None:
        said += _since(first, moves, period_word)
    said.append(Said("."))
    if more:
        names = _listed(
            [f"{fact.name} ({fact.value} against {_bare(fact.limit)})" for fact in more]
        )
        said += [Said(" Also outside: ", True), Said(f"{names}.")]
    return said


def _since(fact: Fact, moves: Sequence[Move], period_word: str) -> list[Said]:
    """Name the release whose going live is nearest before, as timing and not as cause."""
    assert fact.since is not None  # noqa: S101 - the caller checked; for the type checker
    window = fact.since + timedelta(days=7)
    before = [
        move
        for move in moves
        if move.workflow_id == fact.workflow_id
        and not move.rolled_back_from
        and fact.since - timedelta(days=7) <= move.at.date() < window
    ]
    if before:
        move = before[-1]
        return [
            Said(", in the weeks since " if period_word != "week" else ", since "),
            Said(f"{move.workflow} {move.release}", True),
            Said(f" went live on {_day(move.at)}"),
        ]
    return [Said(f", since the week of {fact.since.day} {fact.since:%b}")]


def _calm(facts: Sequence[Fact], waiting: int) -> list[Said]:
    good = all(fact.status is KpiStatus.ON_TRACK for fact in facts)
    said = [Said("Every KPI is on track" if good else "Every KPI is within its limit", True)]
    said.append(Said(". Nothing needs you." if good and not waiting else "."))
    return said


def _rolled_back(moves: Sequence[Move]) -> list[Said]:
    backs = [move for move in moves if move.rolled_back_from and move.in_period]
    if not backs:
        return []
    move = backs[-1]
    return [
        Said(
            f" {move.workflow} {move.rolled_back_from} was rolled back to {move.release}"
            f" on {_day(move.at)}."
        )
    ]


def _rest(
    facts: Sequence[Fact],
    outside: Sequence[Fact],
    watched: Sequence[Fact],
    silent: Sequence[Fact],
) -> list[Said]:
    said: list[Said] = []
    if watched:
        said += [Said(" To watch: ", True), Said(f"{_listed([_watch(fact) for fact in watched])}.")]
    others = len(facts) - len(outside) - len(watched) - len(silent)
    if outside and others > 0:
        word = "the other KPI is" if others == 1 else f"the other {others} KPIs are"
        said.append(Said(f" {word[0].upper()}{word[1:]} within limits."))
    if silent:
        verb = "has" if len(silent) == 1 else "have"
        said.append(Said(f" {_listed([fact.name for fact in silent])} {verb} no data."))
    return said


def _watch(fact: Fact) -> str:
    since = f", since the week of {fact.since.day} {fact.since:%b}" if fact.since else ""
    return f"{fact.name} ({fact.value} against a target of {_bare(fact.target)}{since})"


def _bare(bound: str) -> str:
    """Drop the ≤ or ≥: "2.9 % against 2.4 %" reads better than with a sign."""
    return bound.lstrip("≤≥\u00a0 ")


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _day(at: datetime) -> str:
    return f"{at:%a} {at.day} {at:%b}"
