"""The sentence at the top of a review, made from the data. Pure.

It says what is wrong, since when, and what is being done. It names a release only for its timing
("since r5 went live on Tue 17 Nov"), never as the cause: that needs attribution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from governance.kpis.status import KpiStatus

TONE = {
    KpiStatus.OUTSIDE_LIMIT: "bad",
    KpiStatus.WATCH: "watch",
    KpiStatus.ON_TRACK: "good",
    KpiStatus.BUILDING_BASELINE: "none",
    KpiStatus.NO_DATA: "none",
}

MOVES_TOLD = 4  # changes of one workflow; more are counted


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
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the sentence; strong pieces carry the fact."""

    text: str
    strong: bool = False


def headline(
    facts: Sequence[Fact],
    moves: Sequence[Move],
    *,
    waiting: int,
    period_word: str,
    unfinished: int = 0,
) -> tuple[Said, ...]:
    """Return the headline of one period.

    Args:
        facts: every KPI, most important first.
        moves: live changes of the period and the weeks before it, oldest first.
        waiting: decisions, exceptions and unfinished post-mortems that wait for somebody.
        period_word: week, month or quarter.
        unfinished: post-mortems that block the next promotion.
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
    told = _timing(outside[0], moves) if outside else None
    said += _moved([move for move in moves if move.in_period], told)
    said += _blocked(unfinished)
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
    if move := _timing(fact, moves):
        return [
            Said(", in the weeks since " if period_word != "week" else ", since "),
            Said(f"{move.workflow} {move.release}", True),
            Said(f" went live on {_day(move.at)}"),
        ]
    return [Said(f", since the week of {fact.since.day} {fact.since:%b}")]


def _timing(fact: Fact, moves: Sequence[Move]) -> Move | None:
    """Return the release that went live last in the week of the change or the one before."""
    if fact.since is None:
        return None
    before = [
        move
        for move in moves
        if move.workflow_id == fact.workflow_id
        and not move.rolled_back_from
        and -7 <= (move.at.date() - fact.since).days < 7
    ]
    return before[-1] if before else None


def _calm(facts: Sequence[Fact], waiting: int) -> list[Said]:
    good = all(fact.status is KpiStatus.ON_TRACK for fact in facts)
    said = [Said("Every KPI is on track" if good else "Every KPI is within its limit", True)]
    said.append(Said(". Nothing needs you." if good and not waiting else "."))
    return said


def _moved(moves: Sequence[Move], told: Move | None) -> list[Said]:
    """Tell every change of what runs: in full while they are few, then as a count."""
    by_workflow: dict[int, list[Move]] = {}
    for move in moves:
        by_workflow.setdefault(move.workflow_id, []).append(move)
    # One that the sentence about the limit named already is not told twice.
    return [Said(f" {_story(of_one)}.") for of_one in by_workflow.values() if of_one != [told]]


def _story(moves: Sequence[Move]) -> str:
    last = moves[-1]
    if len(moves) == 1:
        return f"{last.workflow} {_deed(last)} on {_day(last.at)}"
    days = list(dict.fromkeys(_day(move.at) for move in moves))
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    if len(moves) <= MOVES_TOLD:
        deeds = _listed([_deed(move) for move in moves])
        return f"{last.workflow} changed {len(moves)} times {when}: {deeds}"
    kinds = Counter(
        "rollback" if move.rolled_back_from else "adoption" if move.adopted else "promotion"
        for move in moves
    )
    counted = _listed([f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds.items()])
    return f"{last.workflow} changed {len(moves)} times {when} ({counted}): last, {_deed(last)}"


def _deed(move: Move) -> str:
    if move.rolled_back_from:
        return f"{move.rolled_back_from} was rolled back to {move.release}"
    return f"{move.release} {'was adopted as found' if move.adopted else 'went live'}"


def _blocked(unfinished: int) -> list[Said]:
    if not unfinished:
        return []
    words = "post-mortem blocks" if unfinished == 1 else "post-mortems block"
    return [Said(f" {unfinished} unfinished {words} the next promotion.", True)]


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
