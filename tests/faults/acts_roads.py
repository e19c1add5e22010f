"""Acts of the machine: freezes, emergencies, standing approvals and pilots."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from governance.rollouts import guard, services
from governance.rollouts.road_models import FreezeWindow
from tests.faults.acting import (
    ANYBODY,
    DECIDERS,
    MOSTLY,
    act,
)
from tests.faults.acts_asking import AskingActs
from tests.faults.model import (
    BREAKS_GLASS,
    DAY,
    EXECUTIVES,
    HOUR,
    OWNER,
    PEOPLE,
    Asked,
    Envelope,
    Freeze,
)


class RoadActs(AskingActs):
    """What goes beside the normal road."""

    # -- freezes ----------------------------------------------------------------------------------

    @act(
        1,
        who=st.sampled_from(("cfo", OWNER, *PEOPLE)),
        start=st.sampled_from((0, HOUR)),
        lasts=st.sampled_from((HOUR, DAY)),
    )
    def freeze(self, who: str, start: int, lasts: int) -> None:
        model = self.model
        begins = model.now + start
        may = model.active[who] and (who in EXECUTIVES or who == OWNER)
        if self.attempt(may, lambda: self.world.set_freeze(who, begins, begins + lasts)):
            model.freezes.append(Freeze(begins, begins + lasts))

    @act(
        1,
        when=lambda self: self.model.freezes,
        who=st.sampled_from(("cfo", OWNER, *PEOPLE)),
        pick=st.integers(0, 11),
    )
    def lift_freeze(self, who: str, pick: int) -> None:
        model = self.model
        number = self.some(pick, model.freezes)
        may = model.active[who] and (who in EXECUTIVES or who == OWNER)
        may = may and not model.freezes[number].lifted
        pk = self.world.freezes[number]
        if self.attempt(
            may, lambda: services.cancel_freeze(pk, actor=self.who(who), reason="Done.")
        ):
            model.freezes[number].lifted = True

    @act(
        1,
        when=lambda self: self.model.freezes,
        who=st.sampled_from(("cfo", "cfo", *PEOPLE)),
        pick=st.integers(0, 11),
        fresh=MOSTLY,
    )
    def let_through(self, who: str, pick: int, fresh: bool) -> None:
        model = self.model
        window, number = self.some(pick, model.freezes), self.open_or_last(0)
        freeze, asked = model.freezes[window], model.asked[number]
        may = model.active[who] and who in EXECUTIVES and fresh
        may = may and who not in model.contributors(asked) and number not in freeze.excepted
        pk = self.world.freezes[window]
        assert FreezeWindow.objects.filter(pk=pk).exists()
        if self.attempt(
            may,
            lambda: services.except_from_freeze(
                pk, self.world.asked(number), actor=self.who(who), reason="Urgent.",
                **self.world.proof(fresh),
            ),
        ):  # fmt: skip
            freeze.excepted.add(number)

    # -- emergency, standing ----------------------------------------------------------------------

    @act(
        1,
        who=st.sampled_from((BREAKS_GLASS, BREAKS_GLASS, *PEOPLE)),
        pick=st.integers(0, 11),
        fresh=MOSTLY,
    )
    def emergency(self, who: str, pick: int, fresh: bool) -> None:
        model, release = self.model, self.release(pick)
        may = model.active[who] and who == BREAKS_GLASS and fresh and release != model.live
        made: list[Any] = []
        if self.attempt(
            may,
            lambda: made.append(
                services.emergency_change(
                    self.world.releases[release], actor=self.who(who), incident="INC-1",
                    reason="It burns.", **self.world.proof(fresh),
                )
            ),
        ):  # fmt: skip
            self.world.promotions.append(made[0].pk)
            model.close_pilot()
            for other in model.asked:
                if other.state in ("evaluating", "awaiting_owner"):
                    other.state = "withdrawn"
            model.asked.append(
                Asked(
                    release, model.live, "emergency", who, model.now,
                    ratify_by=model.now + 4 * HOUR, decided={who},
                )
            )  # fmt: skip
            model.make_live(len(model.asked) - 1)

    def emergencies(self) -> list[int]:
        return [n for n, one in enumerate(self.model.asked) if one.road == "emergency"]

    @act(4, when=lambda self: self.emergencies(), who=DECIDERS, fresh=MOSTLY)
    def ratify(self, who: str, fresh: bool) -> None:
        model, number = self.model, self.emergencies()[-1]
        asked = model.asked[number]
        may = (
            model.active[who]
            and (who == OWNER or model.is_second(who))
            and fresh
            and asked.state == "live"
            and not asked.ratified
            and model.now < asked.ratify_by
            and who not in model.contributors(asked)
        )
        pk = self.world.promotions[number]
        if self.attempt(
            may,
            lambda: services.ratify_emergency(
                pk, actor=self.who(who), reason="It may stay.", **self.world.proof(fresh)
            ),
        ):
            asked.ratified = True

    @act(1, when=lambda self: self.emergencies())
    def revert_what_nobody_ratified(self) -> None:
        model, number = self.model, self.emergencies()[-1]
        asked = model.asked[number]
        due = (
            asked.state == "live"
            and not asked.ratified
            and model.now >= asked.ratify_by
            and model.live == asked.release
        )
        pk = self.world.promotions[number]
        self.attempt(True, lambda: services.revert_unratified(pk))
        if due:
            model.roll_back()
            self.note_mortem()

    @act(1, who=st.sampled_from((OWNER, OWNER, *PEOPLE)), fresh=MOSTLY)
    def sign_standing(self, who: str, fresh: bool) -> None:
        model = self.model
        may = model.active[who] and who == OWNER and fresh
        made: list[Any] = []
        steps = [{"share": 500, "minutes": 0, "runs": 0}] if len(model.envelopes) % 2 else []
        if self.attempt(
            may,
            lambda: made.append(
                services.sign_standing_approval(
                    self.world.workflow, actor=self.who(who), title="Models", slot="model",
                    uses_per_week=2, days=30, reason="Routine.", pilot_steps=steps,
                    **self.world.proof(fresh),
                )
            ),
        ):  # fmt: skip
            self.world.envelopes.append(made[0].pk)
            model.envelopes.append(Envelope(model.now + 30 * DAY, 2))

    @act(1, when=lambda self: self.model.envelopes, who=st.sampled_from((OWNER, "cfo", *PEOPLE)))
    def revoke_standing(self, who: str) -> None:
        model = self.model
        number = len(model.envelopes) - 1
        may = model.active[who] and (who == OWNER or who in EXECUTIVES)
        may = may and not model.envelopes[number].revoked
        pk = self.world.envelopes[number]
        if self.attempt(
            may,
            lambda: services.revoke_standing_approval(pk, actor=self.who(who), reason="No more."),
        ):
            model.envelopes[number].revoked = True

    # -- pilots -----------------------------------------------------------------------------------

    @act(
        8,
        when=lambda self: self.newest("refused"),
        who=DECIDERS,
        pick=st.integers(0, 11),
        fresh=MOSTLY,
        days=st.sampled_from((1, 14, 15)),
    )
    def open_evidence_pilot(self, who: str, pick: int, fresh: bool, days: int) -> None:
        model = self.model
        refused = [n for n, one in enumerate(model.asked) if one.state == "refused"]
        number = refused[-1] if refused else self.open_or_last(pick)
        asked = model.asked[number]
        may = (
            model.for_owner(who)
            and fresh
            and days <= 14
            and asked.state == "refused"
            and asked.verdict == "unsure"
            and not model.others_open(number)
            and model.has_clean_hands(who, asked)
            and not model.stale(asked)
            and not model.blocked(asked.fixes)
            and not model.frozen(number)
            and not model.off
        )
        pk = self.world.promotions[number]
        if self.attempt(
            may,
            lambda: services.open_evidence_pilot(
                pk, actor=self.who(who), review_round=asked.round, share=1000, days=days,
                reason="To see more.", **self.world.proof(fresh),
            ),
        ):  # fmt: skip
            asked.road, asked.standing = "pilot", None
            asked.decided.add(who)
            model.open_pilot(number, model.now + days * DAY)

    @act(4, when=lambda self: self.newest("piloting"), who=DECIDERS)
    def ask_gate_again(self, who: str) -> None:
        model, number = self.model, self.open_or_last(0)
        asked = model.asked[number]
        may = (
            (model.for_owner(who) or model.builds(who))
            and asked.state == "piloting"
            and asked.road == "pilot"
            and asked.base == model.live
        )
        pk = self.world.promotions[number]
        if self.attempt(may, lambda: services.ask_gate_again(pk, actor=self.who(who))):
            asked.round += 1
            asked.at = model.now
            asked.yes, asked.decided = [], set()

    @act(1, when=lambda self: self.newest("piloting"), who=ANYBODY, pick=st.integers(0, 3))
    def stop_pilot(self, who: str, pick: int) -> None:
        if pick:
            return
        model, number = self.model, self.open_or_last(0)
        may = model.steps_back(who) and model.asked[number].state == "piloting"
        pk = self.world.promotions[number]
        if self.attempt(
            may, lambda: services.stop_pilot(pk, actor=self.who(who), reason="Enough.")
        ):
            model.end_pilot(model.asked[number], "stopped")

    @act(6, when=lambda self: self.newest("piloting"), who=DECIDERS, fresh=MOSTLY)
    def resume_pilot(self, who: str, fresh: bool) -> None:
        model, number = self.model, self.open_or_last(0)
        asked = model.asked[number]
        may = model.for_owner(who) and fresh and asked.state == "piloting" and asked.paused
        may = may and not model.frozen(number)
        pk = self.world.promotions[number]
        if self.attempt(
            may,
            lambda: services.resume_pilot(
                pk, actor=self.who(who), reason="I saw it.", **self.world.proof(fresh)
            ),
        ):
            asked.paused, asked.alarmed, asked.step_at = False, False, model.now

    @act(
        8,
        when=lambda self: self.model.pilot is not None,
        data=st.sampled_from(("none", "good", "good", "signal", "harm")),
    )
    def guard_looks(self, data: str) -> None:
        model = self.model
        number = next(n for n, one in enumerate(model.asked) if one.state == "piloting")
        self.world.show(number, data)
        self.attempt(True, lambda: guard.look(self.world.promotions[number]))
        model.look(number, data)
