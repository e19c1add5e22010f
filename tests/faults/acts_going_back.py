"""Acts of the machine: rollbacks, post-mortems, switching off, pins and drills."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from governance.common.time import now
from governance.rollouts import drills, services
from tests.faults.acting import (
    ANYBODY,
    MOSTLY,
    act,
)
from tests.faults.acts_roads import RoadActs
from tests.faults.model import (
    BUILDERS,
    EXECUTIVES,
    MINUTE,
    OWNER,
    PEOPLE,
    Exercise,
)


class GoingBackActs(RoadActs):
    """What leads back, and what has to follow."""

    # -- going back -------------------------------------------------------------------------------

    @act(2, who=ANYBODY, seen=MOSTLY)
    def roll_back(self, who: str, seen: bool) -> None:
        model = self.model
        may = model.steps_back(who) and seen and model.known_good is not None
        if self.attempt(
            may,
            lambda: services.roll_back(
                self.world.workflow, actor=self.who(who), reason="It harms.",
                seen_seq=model.seq - (0 if seen else 1),
            ),
        ):  # fmt: skip
            model.roll_back()
            self.note_mortem()

    @act(2, when=lambda self: self.model.mortems, who=ANYBODY)
    def hand_in_post_mortem(self, who: str) -> None:
        model = self.model
        number = len(model.mortems) - 1
        pk = self.world.mortems[number]

        def write() -> None:
            services.write_post_mortem(pk, actor=self.who(who), cause="This.", impact="That.")
            services.add_action(pk, actor=self.who(who), text="Add a case.")
            services.submit_post_mortem(pk, actor=self.who(who))

        may = model.steps_back(who) and not model.mortems[number].finished
        if self.attempt(may, write):
            model.mortems[number].handed_in_by = who

    @act(3, when=lambda self: self.model.mortems, who=ANYBODY, pick=st.integers(0, 11))
    def finish_post_mortem(self, who: str, pick: int) -> None:
        model = self.model
        handed = [n for n, one in enumerate(model.mortems) if one.handed_in_by]
        number = self.some(pick, model.mortems) if not handed else handed[-1]
        one = model.mortems[number]
        may = model.steps_back(who) and not one.finished and one.handed_in_by not in ("", who)
        pk = self.world.mortems[number]
        if self.attempt(may, lambda: services.finish_post_mortem(pk, actor=self.who(who))):
            one.finished = True

    @act(6, when=lambda self: any(not one.finished for one in self.model.mortems))
    def finish_every_post_mortem(self) -> None:
        """So that the next promotion is free again often enough."""
        model = self.model
        writers = [who for who in PEOPLE if model.steps_back(who)]
        if len(writers) < 2:
            return
        for number, one in enumerate(model.mortems):
            if not one.finished:
                pk = self.world.mortems[number]
                with self.world.clock():
                    first, second = (self.who(who) for who in writers[:2])
                    services.write_post_mortem(pk, actor=first, cause="This.", impact="That.")
                    services.add_action(pk, actor=first, text="Add a case.")
                    services.submit_post_mortem(pk, actor=first)
                    services.finish_post_mortem(pk, actor=second)
                one.finished = True

    @act(1, who=ANYBODY, pick=st.integers(0, 3))
    def switch_off(self, who: str, pick: int) -> None:
        if pick:
            return
        model = self.model
        may = model.steps_back(who) and not model.off
        if self.attempt(
            may,
            lambda: services.switch_off(
                self.world.workflow, actor=self.who(who), reason="Stop it all."
            ),
        ):
            model.close_pilot()
            model.off = True
            model._move("switched_off")

    @act(
        6,
        when=lambda self: self.model.off,
        who=st.sampled_from((OWNER, OWNER, *PEOPLE)),
        fresh=MOSTLY,
    )
    def switch_on(self, who: str, fresh: bool) -> None:
        model = self.model
        may = model.active[who] and who == OWNER and fresh and model.off
        if self.attempt(
            may,
            lambda: services.switch_on(
                self.world.workflow, actor=self.who(who), reason="Go.", **self.world.proof(fresh)
            ),
        ):
            model.off = False
            model._move("switched_on")

    @act(2, who=st.sampled_from((OWNER, "builder", *PEOPLE)), pick=st.integers(0, 11))
    def pin(self, who: str, pick: int) -> None:
        model, release = self.model, self.release(pick)
        may = model.active[who] and (who == OWNER or who in BUILDERS)
        may = may and release in model.may_be_pinned()
        case = f"case-{pick % 3}"
        if self.attempt(
            may,
            lambda: services.pin_case(
                self.world.workflow, case, self.world.releases[release], actor=self.who(who),
                reason="A dispute.",
            ),
        ):  # fmt: skip
            model.pins[case] = release

    @act(
        1,
        when=lambda self: self.model.pins,
        who=st.sampled_from((OWNER, "builder", *PEOPLE)),
        pick=st.integers(0, 2),
    )
    def unpin(self, who: str, pick: int) -> None:
        model, case = self.model, f"case-{pick}"
        may = model.active[who] and (who == OWNER or who in BUILDERS) and case in model.pins
        if self.attempt(
            may,
            lambda: services.unpin_case(
                self.world.workflow, case, actor=self.who(who), reason="Settled."
            ),
        ):
            del model.pins[case]

    @act(
        1,
        when=lambda self: len(self.model.served()) > 1,
        who=st.sampled_from((OWNER, "cfo", *PEOPLE)),
        pick=st.integers(0, 11),
        fresh=MOSTLY,
    )
    def pin_known_good(self, who: str, pick: int, fresh: bool) -> None:
        model, release = self.model, self.release(pick)
        may = model.active[who] and (who == OWNER or who in EXECUTIVES) and fresh
        may = may and release != model.live and release in model.served() - model.bad()
        if self.attempt(
            may,
            lambda: services.pin_known_good(
                self.world.workflow, self.world.releases[release], actor=self.who(who),
                reason="It was good.", **self.world.proof(fresh),
            ),
        ):  # fmt: skip
            model.marks.append(release)
            model.known_good = release

    # -- drills -----------------------------------------------------------------------------------

    @act(1, planner=ANYBODY, signer=st.sampled_from((OWNER, OWNER, *PEOPLE)), starter=ANYBODY)
    def drill(self, planner: str, signer: str, starter: str) -> None:
        """Plan, sign and start one, each by somebody."""
        model, made = self.model, []
        soon = timedelta(hours=1)
        if not self.attempt(
            model.steps_back(planner),
            lambda: made.append(
                services.plan_drill(
                    self.world.workflow, actor=self.who(planner), planned_for=now() + soon
                )
            ),
        ):
            return
        pk = made[0].pk
        self.world.drills.append(pk)
        model.drills.append(Exercise("planned"))
        signed = self.attempt(
            model.active[signer] and signer == OWNER,
            lambda: services.sign_drill(
                pk, actor=self.who(signer), reason="Practice.", **self.world.proof(True)
            ),
        )
        may = (
            model.steps_back(starter)
            and signed
            and model.known_good is not None
            and not model.off
            and model.pilot is None
            and all(one.state != "running" for one in model.drills)
        )
        if self.attempt(
            may, lambda: services.start_drill(pk, actor=self.who(starter), clicked_at=now())
        ):
            assert model.known_good is not None
            model.drills[-1] = Exercise("running", model.live, model.now, model.seq + 1)
            model._move("drill", model.known_good)

    @act(3, when=lambda self: any(one.state == "running" for one in self.model.drills))
    def drill_comes_back(self) -> None:
        model = self.model
        number = next(n for n, one in enumerate(model.drills) if one.state == "running")
        one = model.drills[number]
        self.attempt(True, lambda: drills.look(self.world.drills[number]))
        if model.now >= one.at + 10 * MINUTE:
            one.state = "done"
            if model.seq == one.seq:
                model._move("drill_returned", one.origin)
