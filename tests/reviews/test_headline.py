from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from governance.kpis.status import KpiStatus
from governance.reviews.headline import Fact, Move, headline, tone_of

TUESDAY = datetime(2026, 11, 17, 9, 30, tzinfo=UTC)


def fact(name: str, status: KpiStatus, since: date | None = None) -> Fact:
    return Fact(name, status, "24.8 %", "≤ 20 %", "≤ 12 %", since, 1)


def said(*facts: Fact, moves: tuple[Move, ...] = (), waiting: int = 0) -> str:
    return "".join(
        part.text for part in headline(facts, moves, waiting=waiting, period_word="week")
    )


def test_a_calm_week_says_so_only_when_nothing_waits() -> None:
    calm = fact("Quality", KpiStatus.ON_TRACK)
    assert said(calm) == "Every KPI is on track. Nothing needs you."
    assert said(calm, waiting=2) == "Every KPI is on track."


def test_a_broken_limit_comes_first_with_its_numbers_and_timing() -> None:
    broken = fact("Escalation rate", KpiStatus.OUTSIDE_LIMIT, date(2026, 11, 16))
    text = said(
        fact("Quality", KpiStatus.ON_TRACK),
        broken,
        moves=(Move(1, "Support triage", "r5", TUESDAY),),
        waiting=1,
    )
    assert text.startswith("Escalation rate is outside its limit, 24.8 % against 20 %, since ")
    assert "Support triage r5 went live on Tue 17 Nov" in text
    assert "The other KPI is within limits." in text


def test_a_release_is_named_for_its_timing_never_as_the_cause() -> None:
    broken = fact("Escalation rate", KpiStatus.OUTSIDE_LIMIT, date(2026, 11, 16))
    text = said(broken, moves=(Move(1, "Support triage", "r5", TUESDAY),))
    for word in ("because", "caused", "due to", "attribut"):
        assert word not in text


def test_a_release_of_another_workflow_or_another_month_is_not_named() -> None:
    broken = fact("Escalation rate", KpiStatus.OUTSIDE_LIMIT, date(2026, 11, 16))
    other = Move(2, "Collections", "r9", TUESDAY)
    early = Move(1, "Support triage", "r1", datetime(2026, 9, 1, tzinfo=UTC))
    text = said(broken, moves=(replace(early, in_period=False), replace(other, in_period=False)))
    assert "r9" not in text
    assert "r1" not in text
    assert "since the week of 16 Nov" in text


def test_a_rollback_of_this_period_is_told() -> None:
    back = Move(1, "Support triage", "r4", TUESDAY, rolled_back_from="r5")
    text = said(fact("Quality", KpiStatus.ON_TRACK), moves=(back,))
    assert "Support triage r5 was rolled back to r4 on Tue 17 Nov." in text
    old = Move(1, "Support triage", "r4", TUESDAY, rolled_back_from="r5", in_period=False)
    assert "rolled back" not in said(fact("Quality", KpiStatus.ON_TRACK), moves=(old,))


def moved(*steps: tuple[str, str]) -> tuple[Move, ...]:
    """Changes a minute apart: the release, and the one rolled back from, if any."""
    return tuple(
        Move(1, "Support triage", to, TUESDAY + timedelta(minutes=n), rolled_back_from=back)
        for n, (to, back) in enumerate(steps)
    )


def test_every_change_of_the_period_is_told() -> None:
    calm = fact("Quality", KpiStatus.ON_TRACK)
    text = said(calm, moves=moved(("r6", ""), ("r3", "r6"), ("r2", "r3")))
    assert (
        "Support triage changed 3 times on Tue 17 Nov: r6 went live, r6 was rolled back to r3"
        " and r3 was rolled back to r2."
    ) in text
    assert "Support triage r6 went live on Tue 17 Nov." in said(calm, moves=moved(("r6", "")))


def test_many_changes_are_counted_and_the_last_is_told() -> None:
    text = said(
        fact("Quality", KpiStatus.ON_TRACK),
        moves=moved(("r6", ""), ("r3", "r6"), ("r7", ""), ("r3", "r7"), ("r2", "r3")),
    )
    assert (
        "Support triage changed 5 times on Tue 17 Nov (2 promotions and 3 rollbacks): last, r3 was"
        " rolled back to r2."
    ) in text


def test_a_change_named_with_the_limit_is_not_told_twice() -> None:
    broken = fact("Escalation rate", KpiStatus.OUTSIDE_LIMIT, date(2026, 11, 16))
    assert said(broken, moves=moved(("r5", ""))).count("r5 went live") == 1


def test_what_blocks_the_next_promotion_is_said() -> None:
    parts = headline(
        [fact("Quality", KpiStatus.ON_TRACK)], (), waiting=3, period_word="week", unfinished=3
    )
    text = "".join(part.text for part in parts)
    assert text == ("Every KPI is on track. 3 unfinished post-mortems block the next promotion.")


def test_a_rollback_is_not_taken_for_the_release_that_went_live() -> None:
    broken = fact("Escalation rate", KpiStatus.OUTSIDE_LIMIT, date(2026, 11, 16))
    back = Move(1, "Support triage", "r4", TUESDAY, rolled_back_from="r5")
    text = said(broken, moves=(back,))
    assert "r4 went live" not in text
    assert "since the week of 16 Nov" in text


def test_no_data_is_said_and_never_calm() -> None:
    assert said(fact("Quality", KpiStatus.NO_DATA)).startswith("Nothing was measured this week")
    text = said(fact("Quality", KpiStatus.NO_DATA), fact("Cost", KpiStatus.ON_TRACK))
    assert "on track" not in text
    assert "Quality has no data." in text


def test_the_tone_is_that_of_the_worst_status() -> None:
    facts = [fact("A", KpiStatus.ON_TRACK), fact("B", KpiStatus.WATCH)]
    assert tone_of(facts) == "watch"
    assert tone_of([*facts, fact("C", KpiStatus.OUTSIDE_LIMIT)]) == "bad"
    assert tone_of([fact("D", KpiStatus.NO_DATA)]) == "none"
