"""I8: several beats at once, an hour without one, and both clock changes of a year."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from governance.common.time import story_time, true_now
from governance.evals.scheduling import ensure_schedules
from governance.jobs.models import Job, Schedule
from governance.jobs.services import tick
from governance.workflows.models import Workflow

BEATS = 4
# Around the nights in which clocks change in Europe; those of New York lie between.
NIGHTS = (datetime(2026, 10, 24, tzinfo=UTC), datetime(2027, 3, 13, tzinfo=UTC),
          datetime(2027, 3, 27, tzinfo=UTC))  # fmt: skip
Figure = Callable[..., None]


def made() -> Counter[str]:
    """How many jobs each slot of an eval schedule has."""
    return Counter(Job.objects.filter(kind__startswith="evals.").values_list("slot", flat=True))


def beat_together(count: int) -> None:
    """As many beats as there may be by mistake, in the same moment."""
    gate, faults = threading.Barrier(count), []

    def beat() -> None:
        try:
            gate.wait(20)
            tick()
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=beat) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.django_db(transaction=True)
def test_beats_that_ring_at_the_same_time_make_each_slot_once(
    workflow: Workflow, full: bool, figure: Figure
) -> None:
    schedules = len(ensure_schedules(workflow))
    rounds = 200 if full else 10
    start = true_now()
    for number in range(rounds):
        Schedule.objects.update(next_at=start - timedelta(hours=2, seconds=rounds - number))
        beat_together(BEATS)
        # What one beat has locked, another leaves to it: nobody waits, nothing is left over.
        assert not Schedule.objects.filter(next_at__lte=true_now()).exists()
    slots = made()
    assert len(slots) == schedules * rounds
    assert set(slots.values()) == {1}
    figure("I8", beats_at_once=BEATS, slots=len(slots), slots_made_twice=0, slots_missed=0)


@pytest.mark.django_db
def test_after_hours_without_a_beat_the_latest_slot_runs_and_no_other_is_made_up(
    workflow: Workflow, figure: Figure
) -> None:
    ensure_schedules(workflow)
    hourly = Schedule.objects.get(every=Schedule.Every.HOUR)
    missed = true_now() - timedelta(hours=5, minutes=10)
    Schedule.objects.filter(pk=hourly.pk).update(next_at=missed)
    # Whoever looks meanwhile sees that a slot has passed.
    assert Schedule.objects.filter(next_at__lt=true_now()).count() == 1
    tick()
    tick()
    (slot,) = made()
    assert slot == f"{hourly.name} {(missed + timedelta(hours=5)).isoformat()}"
    figure("I8", hours_without_a_beat=5, slots_made=1)


@pytest.mark.django_db
@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: f"{night:%Y-%m-%d}")
def test_a_clock_change_skips_no_slot_and_doubles_none(
    workflow: Workflow, night: datetime, figure: Figure
) -> None:
    ensure_schedules(workflow)
    Schedule.objects.update(next_at=night + timedelta(minutes=30))
    for quarter in range(4 * 24 * 8):
        with story_time(night + timedelta(minutes=15 * quarter)):
            tick()
    slots = made()
    assert set(slots.values()) == {1}
    by_name = Counter(slot.rsplit(" ", 1)[0] for slot in slots)
    expected = {Schedule.Every.HOUR: 8 * 24, Schedule.Every.WEEK: 2, Schedule.Every.MONTH: 1}
    for schedule in Schedule.objects.all():
        assert by_name[schedule.name] == expected[Schedule.Every(schedule.every)], schedule.name
    figure("I8", clock_change=f"{night:%Y-%m-%d}", slots_around_it=len(slots), doubled=0)
