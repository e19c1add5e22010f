"""I3 and I4: people who act at the same moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from governance.common.errors import GovernanceError, StateConflictError
from governance.common.time import now
from governance.releases.models import LiveRelease
from governance.rollouts import services
from governance.rollouts.models import LiveChange
from tests.faults import invariants
from tests.faults.arena import Arena, EveryTarget, together

pytestmark = pytest.mark.django_db(transaction=True)
APPROVERS = {
    2: ("owner", "cfo"),
    4: ("owner", "cfo", "controller", "deputy"),
    8: ("owner", "cfo", "coo", "controller", "deputy", "d1", "d2", "d3"),
}


@pytest.fixture
def arena(settings: Any) -> Arena:
    settings.EVAL_TARGETS = EveryTarget()
    return Arena()


@pytest.mark.parametrize("count", [2, 4, 8])
def test_however_many_approve_at_once_it_is_promoted_exactly_once(
    arena: Arena, count: int, full: bool, figure: Callable[..., None]
) -> None:
    trials, promoted = 200 if full else 4, Counter[int]()
    for _ in range(trials):
        promotion = arena.waiting()
        outcomes = together(*(partial(arena.approve, promotion, who) for who in APPROVERS[count]))
        for refused in outcomes:
            assert refused is None or isinstance(refused, GovernanceError), refused
        changes = LiveChange.objects.filter(promotion=promotion, cause="promotion").count()
        assert LiveRelease.objects.get(workflow=arena.workflow).release_id == promotion.release_id
        promoted[changes] += 1
    assert invariants.broken(arena.workflow) == []
    assert invariants.chain_breaks() == []
    assert promoted == {1: trials}
    figure("I3", approvers=count, trials=trials, promoted_once=promoted[1])


def test_promoting_and_going_back_at_once_leaves_one_line_of_history(
    arena: Arena, full: bool, figure: Callable[..., None]
) -> None:
    pairs = 500 if full else 12
    races: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for number in range(pairs):
        promotion = arena.waiting()
        arena.approve(promotion, "cfo")  # one yes is missing
        seen = LiveRelease.objects.get(workflow=arena.workflow)

        def promote() -> None:
            arena.approve(promotion, "owner")  # noqa: B023

        def back() -> None:
            services.roll_back(
                arena.workflow, actor=arena.people["analyst"], reason="It harms.",
                seen_seq=seen.seq,  # noqa: B023
            )  # fmt: skip

        def burn() -> None:
            services.emergency_change(
                arena.releases[number % 2], actor=arena.people["maker"],  # noqa: B023
                incident="INC-7", reason="It burns.", authenticated_at=now(),
            )  # fmt: skip

        kinds = {"promote": promote, "roll back": back, "roll back again": back, "emergency": burn}
        goes_back = seen.last_known_good_id is not None
        pair = ("promote", "roll back") if number % 3 == 0 and goes_back else (
            ("promote", "emergency") if number % 3 == 1 or not goes_back
            else ("roll back", "roll back again")
        )  # fmt: skip
        shuffled = random.Random(number).sample(pair, 2)
        outcomes = dict(zip(shuffled, together(*(kinds[name] for name in shuffled)), strict=True))
        for refused in outcomes.values():
            if refused is not None:
                assert isinstance(refused, StateConflictError), refused
                assert str(refused)
                reasons[str(refused).split(":")[0].split(".")[0][:60]] += 1
        winners = [name for name, refused in outcomes.items() if refused is None]
        moved = LiveRelease.objects.get(workflow=arena.workflow).seq - seen.seq
        assert moved == len(winners) >= 1, outcomes
        assert moved == 1 or pair == ("promote", "emergency")
        assert invariants.broken(arena.workflow, after=seen.seq) == []
        races[f"{pair[0]} × {pair[1]}"] += 1
        arena.withdraw(promotion)
        arena.finish_post_mortems()
    assert invariants.broken(arena.workflow) == []
    assert invariants.chain_breaks() == []
    figure(
        "I4", pairs=pairs, anomalies=0, races=dict(sorted(races.items())),
        refused=sum(reasons.values()), with_a_reason=sum(reasons.values()),
    )  # fmt: skip
