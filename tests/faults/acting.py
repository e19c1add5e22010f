"""What every act of the machine has: who tries it, how often, and that both sides must agree."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from governance.rollouts.models import PostMortem
from tests.faults.model import (
    BUILDERS,
    DAY,
    HOUR,
    MINUTE,
    OWNER,
    PEOPLE,
    Candidate,
    Reference,
)
from tests.faults.world import World

ANYBODY = st.sampled_from(PEOPLE)
# Weighted, so that many acts come from people who may do them.
MAKERS = st.sampled_from((*sorted(BUILDERS), *sorted(BUILDERS), *PEOPLE))
DECIDERS = st.sampled_from((OWNER, OWNER, OWNER, "cfo", "cfo", "controller", "deputy", *PEOPLE))
MOSTLY = st.sampled_from((True,) * 9 + (False,))
THRESHOLDS = (0.2, 0.35, 0.5)
RIGHTS = (5, 50, 75, 95)
POOL = (
    Candidate(0.35, 50, 0, "builder"),  # live at first
    Candidate(0.35, 5, 0, "builder"),  # mostly wrong: refused by its gate
    Candidate(0.2, 60, 0, "maker"),  # a weaker guardrail: high risk
    Candidate(0.35, 50, 1, "maker"),  # acts as the first: not enough evidence
    Candidate(0.35, 75, 0, "builder"),
    Candidate(0.35, 90, 0, "maker"),
)
LATER = (MINUTE, 20 * MINUTE, HOUR, 5 * HOUR, 25 * HOUR, 73 * HOUR, 8 * DAY)


@dataclass(frozen=True)
class Act:
    """Something that somebody tries, with what is drawn for it."""

    name: str
    weight: int
    when: Callable[[Any], object] | None
    draws: dict[str, st.SearchStrategy[Any]]


ACTS: list[Act] = []
Method = TypeVar("Method", bound=Callable[..., None])


def act(
    weight: int, when: Callable[[Any], object] | None = None, **draws: st.SearchStrategy[Any]
) -> Callable[[Method], Method]:
    """Let the machine try this, so often, where it can mean something."""

    def register(method: Method) -> Method:
        ACTS.append(Act(method.__name__, weight, when, draws))
        return method

    return register


class Acting(RuleBasedStateMachine):
    """Each act asks the reference first, then the services, and both must agree."""

    steps: ClassVar[int] = 0
    acts: ClassVar[dict[str, list[int]]] = {}  # name: [allowed, refused]

    @initialize()
    def begin(self) -> None:
        self.model = Reference(POOL)
        self.model.suite_edits = [("analyst", 0)]
        self.model.policies = [(OWNER, 0)]
        self.world = World(POOL)
        self.seen = 0

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        possible = [one for one in ACTS if one.when is None or one.when(self)]
        weighted = [one for one in possible for _ in range(one.weight)]
        chosen = weighted[data.draw(st.integers(0, len(weighted) - 1))]
        drawn = {name: data.draw(strategy) for name, strategy in chosen.draws.items()}
        note(f"{chosen.name}({', '.join(f'{k}={v!r}' for k, v in drawn.items())})")
        getattr(self, chosen.name)(**drawn)

    def attempt(self, may: bool, do: Callable[[], object]) -> bool:
        """Do it; the reference and the services must agree on whether it succeeds."""
        name = sys._getframe(1).f_code.co_name
        refusal = self.world.attempt(do)
        self.acts.setdefault(name, [0, 0])[bool(refusal)] += 1
        if may:
            assert not refusal, f"{name} should succeed, but: {refusal}"
        else:
            assert refusal, f"{name} succeeded, but must be refused"
        return may

    def some(self, pick: int, many: list[Any]) -> int:
        """One of them, the newest more often."""
        return len(many) - 1 - min(pick * len(many) // 12, len(many) - 1) if many else -1

    def release(self, pick: int) -> int:
        return self.some(pick, self.model.releases)

    def open_or_last(self, pick: int) -> int:
        is_open = [n for n, one in enumerate(self.model.asked) if one.state in ("evaluating",
                   "awaiting_owner", "piloting")]  # fmt: skip
        return is_open[0] if is_open and pick < 10 else self.some(pick, self.model.asked)

    def newest(self, *states: str) -> bool:
        """Whether the newest promotions offer one in such a state; an older one is rarely asked."""
        return any(one.state in states for one in self.model.asked[-2:])

    def who(self, name: str) -> Any:
        return self.world.people[name]

    def _tick(self) -> None:
        self.model.now += 1
        self.world.seconds = self.model.now

    def note_mortem(self) -> None:
        newest = PostMortem.objects.filter(rollback__workflow=self.world.workflow).latest("pk")
        self.world.mortems.append(newest.pk)
