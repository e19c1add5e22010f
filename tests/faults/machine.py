"""I1: everything that people and machines do to a workflow, in any order, against the reference."""

from __future__ import annotations

from hypothesis.stateful import invariant

from tests.faults import invariants
from tests.faults.acts_going_back import GoingBackActs
from tests.faults.model import OPEN


class ChangeControl(GoingBackActs):
    """The whole: after every step, the reference and the product say the same."""

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "world"):
            return
        ChangeControl.steps += 1
        model, pilot = self.model, self.model.pilot
        seen = self.world.look(after=self.seen)
        assert seen.serving == model.serving()
        assert seen.row == (
            model.live, model.seq, pilot.release if pilot else None, model.known_good, model.off
        )  # fmt: skip
        assert seen.promotions == [(one.state, one.road, one.round) for one in model.asked]
        assert seen.pins == model.pins
        assert sum(one.state in OPEN for one in model.asked) <= 1
        moves = [(at + 1, *move) for at, move in enumerate(model.history)]
        assert seen.changes == moves[self.seen :]
        if any(cause == "promotion" for _, cause, _, _ in seen.changes):
            assert invariants.broken(self.world.workflow, after=self.seen) == []
        self.seen = model.seq
        self._tick()

    def teardown(self) -> None:
        """The audit of all this holds from the first event to the last."""
        if hasattr(self, "world"):
            assert invariants.broken(self.world.workflow) == []
            assert invariants.chain_breaks() == []
