"""The auditor's population: every live change, proved gapless, and a sample drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from governance import audit
from governance.audit.models import AuditEvent
from governance.common.time import now, story_time
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import gapless, services
from governance.rollouts.gapless import Link, Pointer
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.rollouts.population import COLUMNS, Population, population, row_of
from governance.workflows.models import Workflow
from tests.conftest import TESTER

DAY = timedelta(days=1)
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def link(seq: int, left: str, came: str, day: int = 0) -> Link:
    return Link(seq, left, came, MONDAY + (day or seq) * DAY)


def faults(*links: Link, **around: Any) -> tuple[str, ...]:
    around = {"before": None, "after": None, "live": None, **around}
    return gapless.prove("w", "W", links, **around).faults


WHOLE = (link(1, "", "a"), link(2, "a", "b"), link(3, "b", "a"))
LIVE = Pointer(3, "a")


def test_a_whole_history_holds_and_says_so_with_its_numbers() -> None:
    proof = gapless.prove("w", "W", WHOLE, before=None, after=None, live=LIVE)
    assert proof.holds
    assert "3 changes, numbers 1 to 3 without a gap" in proof.sentence
    part = gapless.prove("w", "W", WHOLE[1:2], before=WHOLE[0], after=WHOLE[2], live=LIVE)
    assert part.holds
    assert "1 change, number 2" in part.sentence
    none = gapless.prove("w", "W", (), before=WHOLE[2], after=None, live=LIVE)
    assert none.holds
    assert "what change 3 had left was live all through" in none.sentence


@pytest.mark.parametrize(
    ("links", "around", "said"),
    [
        ((WHOLE[0], WHOLE[2]), {"live": LIVE}, "change 2 is missing"),
        (WHOLE[1:], {"live": LIVE}, "change 1 is missing"),
        (WHOLE[:2], {"live": LIVE}, "is not what the newest change left"),
        ((), {"live": LIVE}, "no change made it so"),
        ((WHOLE[0], link(2, "x", "b"), WHOLE[2]), {"live": LIVE}, "begins with another release"),
        (WHOLE[1:], {"before": link(1, "", "z"), "live": LIVE}, "begins with another release"),
        (WHOLE[:2], {"after": link(4, "b", "a"), "live": Pointer(4, "a")}, "change 3 is missing"),
        ((WHOLE[0], link(2, "a", "b", 9), WHOLE[2]), {"live": LIVE}, "dated before change 2"),
        ((link(1, "q", "a"),), {"live": Pointer(1, "a")}, "no change that made it live"),
        (WHOLE, {}, "nothing is live now"),
    ],
)
def test_whatever_is_missing_or_does_not_fit_is_named(
    links: tuple[Link, ...], around: dict[str, Any], said: str
) -> None:
    found = faults(*links, **around)
    assert any(said in sentence for sentence in found), found


def test_a_sample_can_be_drawn_again_by_hand() -> None:
    members = [("support", seq) for seq in range(1, 101)]
    seed = gapless.seed_for(MONDAY.date(), (MONDAY + 6 * DAY).date(), "", 4711)
    assert seed == "countersign.sample.v1|2026-11-02|2026-11-08|*|4711"
    drawn = gapless.draw(members, 10, seed)
    by_hand = sorted(
        members,
        key=lambda m: hashlib.sha256(f"{seed}|{m[0]}|{m[1]}".encode()).hexdigest(),
    )[:10]
    assert drawn == by_hand
    assert gapless.draw(reversed(members), 10, seed) == drawn
    other = gapless.seed_for(MONDAY.date(), (MONDAY + 6 * DAY).date(), "", 4712)
    assert gapless.draw(members, 10, other) != drawn
    assert len(gapless.draw(members, 1_000, seed)) == 100


# ------------------------------------------------------------------ with a real history


def everything(workflow: Workflow) -> Population:
    return population([workflow], now() - DAY, now() + DAY)


def tamper(*statements: str) -> None:
    """Do what only the superuser of the database can: write past the triggers."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET LOCAL ROLE cs_app")


@pytest.fixture
def moved(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User, cfo: User,
) -> Workflow:  # fmt: skip
    """Adopted, promoted, rolled back, promoted by two people, switched off and on."""
    approve(propose(), owner)
    services.roll_back(workflow, actor=owner, reason="=HYPERLINK('worse')")
    fix = propose(80, fixes=PostMortem.objects.get())
    approve(fix, owner)
    approve(fix, cfo)
    services.switch_off(workflow, actor=owner, reason="To be sure.")
    services.switch_on(workflow, actor=owner, reason="It is fine.", authenticated_at=now())
    return workflow


@pytest.mark.django_db(transaction=True)
def test_every_change_of_what_was_live_is_there_with_its_people_and_its_event(
    moved: Workflow,
) -> None:
    found = everything(moved)

    assert found.holds, (found.proofs, found.faults)
    assert len(found.members) == LiveChange.objects.count() == 6
    assert found.sentence.startswith("Complete: 6 changes of what is live in 1 workflow")
    rows = [dict(zip(COLUMNS, row_of(member), strict=True)) for member in found.members]
    assert [row["cause"] for row in rows] == [
        "adopt", "promotion", "rollback", "promotion", "switched_off", "switched_on",
    ]  # fmt: skip
    assert rows[1]["approved_by"] == "Head of Support (head-of-support)"
    assert rows[1]["gate_verdict"] == "pass"
    assert rows[2]["reason"] == "'=HYPERLINK('worse')"  # no formula in a spreadsheet
    assert rows[3]["meaning"] == "kpi_owner; second_approver"
    assert rows[5]["change_signature"].startswith("sha256:")
    for row, member in zip(rows, found.members, strict=True):
        event = AuditEvent.objects.get(pk=row["audit_event"])
        assert event.hash == row["audit_event_hash"]
        assert event.workflow == moved.slug
        assert member.event == event


@pytest.mark.django_db(transaction=True)
def test_a_period_begins_and_ends_where_its_neighbours_fit(moved: Workflow) -> None:
    first, second = LiveChange.objects.order_by("seq")[:2]
    part = population([moved], second.changed_at, second.changed_at + timedelta(microseconds=1))
    assert [member.change.seq for member in part.members] == [2]
    assert part.holds, part.proofs
    empty = population([moved], first.changed_at - 9 * DAY, first.changed_at - DAY)
    assert empty.holds
    assert not empty.members


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM governance_livechange WHERE seq = 5", "change 5 is missing"),
        ("DELETE FROM governance_livechange WHERE seq = 5", "tells of a change"),
        (
            "UPDATE governance_livechange SET from_release_id = to_release_id WHERE seq = 2",
            "begins with another release",
        ),
        (
            "UPDATE governance_livechange SET changed_at = changed_at - interval '9 days'"
            " WHERE seq = 5",
            "change 5 is missing",
        ),
        ("DELETE FROM governance_auditevent WHERE verb = 'rollback.done'", "no audit event"),
        ("UPDATE governance_liverelease SET seq = 9", "is not what the newest change left"),
    ],
)
def test_tampering_is_said_loudly(moved: Workflow, statement: str, said: str) -> None:
    tamper(statement)
    found = everything(moved)
    spoken = [*found.faults, *(fault for proof in found.proofs for fault in proof.faults)]
    assert not found.holds
    assert found.sentence.startswith("NOT complete")
    assert any(said in sentence for sentence in spoken), spoken


@pytest.mark.django_db(transaction=True)
def test_an_event_of_a_change_that_is_not_there_is_found(moved: Workflow) -> None:
    with audit.atomic():
        audit.record("rollback.done", moved, actor=TESTER, workflow=moved.slug, seq=7)
    assert "tells of a change" in everything(moved).faults[0]


@pytest.mark.django_db(transaction=True)
def test_what_moved_it_in_another_round_or_later_is_told_apart(
    propose: Callable[..., Promotion], live: Release, owner: User, cfo: User, workflow: Workflow,
    make_release: Callable[..., Release], model: Callable[..., dict[str, Any]], person: Any,
) -> None:  # fmt: skip
    oncall = person("oncall", User.Role.BUILDER)
    User.objects.filter(pk=oncall.pk).update(emergency_changes=True)
    oncall.refresh_from_db()
    emergency = services.emergency_change(
        make_release(model=model(60)), actor=oncall, incident="INC-1", reason="Down.",
        authenticated_at=now(),
    )  # fmt: skip
    with story_time(now() + timedelta(hours=1)):
        services.ratify_emergency(emergency.pk, actor=cfo, reason="Agreed.", authenticated_at=now())
    member = everything(workflow).members[-1]
    assert [approval.meaning for approval in member.approvals] == ["emergency", "ratified"]
    assert member.road == "Emergency change"


@pytest.mark.django_db(transaction=True)
def test_reading_the_population_costs_the_same_queries_however_long_it_is(
    moved: Workflow, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(10):
        everything(moved)
