"""I1: everything that people and machines do to a workflow, in any order, against the reference."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from governance.common.time import now
from governance.rollouts import drills, guard, services
from governance.rollouts.models import PostMortem
from governance.rollouts.road_models import FreezeWindow
from tests.faults import invariants
from tests.faults.model import (
    BREAKS_GLASS,
    BUILDERS,
    DAY,
    EXECUTIVES,
    HOUR,
    MINUTE,
    OPEN,
    OWNER,
    PEOPLE,
    Asked,
    Candidate,
    Envelope,
    Exercise,
    Freeze,
    Held,
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


class ChangeControl(RuleBasedStateMachine):
    """Each rule asks the reference first, then the services, and both must agree."""

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
        ChangeControl.acts.setdefault(name, [0, 0])[bool(refusal)] += 1
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

    # -- time, people -----------------------------------------------------------------------------

    @act(3, seconds=st.sampled_from(LATER))
    def wait(self, seconds: int) -> None:
        self.model.now += seconds

    @act(1, who=ANYBODY, active=MOSTLY)
    def deactivate_or_back(self, who: str, active: bool) -> None:
        self.world.set_active(who, active)
        self.model.active[who] = active

    @act(
        1,
        giver=st.sampled_from((OWNER, OWNER, "controller")),
        to=st.sampled_from(("deputy", "controller", "cfo", "analyst", "builder")),
        start=st.sampled_from((0, HOUR)),
        lasts=st.sampled_from((HOUR, DAY, 7 * DAY)),
    )
    def delegate(self, giver: str, to: str, start: int, lasts: int) -> None:
        if giver == to:
            return
        begins = self.model.now + start
        self.attempt(True, lambda: self.world.delegate(giver, to, begins, begins + lasts))
        self.model.delegations.append(Held(giver, to, begins, begins + lasts))

    @act(1, when=lambda self: self.model.delegations, pick=st.integers(0, 11))
    def revoke_delegation(self, pick: int) -> None:
        number = self.some(pick, self.model.delegations)
        if self.model.delegations[number].revoked is None:
            self.attempt(True, lambda: self.world.revoke_delegation(number))
            self.model.delegations[number].revoked = self.model.now

    # -- releases, suites, policies ---------------------------------------------------------------

    @act(
        1,
        who=MAKERS,
        threshold=st.sampled_from((0.35, *THRESHOLDS)),
        right=st.sampled_from((75, *RIGHTS)),
        flavour=st.integers(0, 1),
    )
    def register(self, who: str, threshold: float, right: int, flavour: int) -> None:
        new = Candidate(threshold, right, flavour, who)
        if any((one.threshold, one.right, one.flavour) == (threshold, right, flavour)
               for one in self.model.releases):  # fmt: skip
            return
        if self.attempt(self.model.builds(who), lambda: self.world.register(who, new)):
            self.model.register(new)

    @act(1, who=st.sampled_from(("analyst", "analyst", *PEOPLE)))
    def edit_suite(self, who: str) -> None:
        model = self.model
        may = model.active[who] and who in ("analyst", "builder", "maker", OWNER)
        if self.attempt(may, lambda: self.world.edit_suite(who, len(model.suite_edits))):
            model.suite_edits.append((who, model.now))

    @act(1, who=st.sampled_from((OWNER, OWNER, *PEOPLE)))
    def propose_policy(self, who: str) -> None:
        may = self.model.active[who] and who == OWNER
        if self.attempt(may, lambda: self.world.propose_policy(who)):
            self.model.policies.append((who, None))

    @act(
        4,
        when=lambda self: self.model.policies[-1][1] is None,
        who=st.sampled_from(("cfo", "cfo", *PEOPLE)),
        pick=st.integers(0, 11),
    )
    def confirm_policy(self, who: str, pick: int) -> None:
        model = self.model
        number = self.some(pick, model.policies)
        proposer, confirmed = model.policies[number]
        may = (
            model.active[who]
            and who != proposer
            and who in ("cfo", "analyst", OWNER, "controller")
            and confirmed is None
            and number > model.policy
        )
        if self.attempt(may, lambda: self.world.confirm_policy(who, number)):
            model.policies[number] = (proposer, model.now)

    # -- asking -----------------------------------------------------------------------------------

    @act(
        3,
        who=MAKERS,
        pick=st.integers(0, 11),
        steps=st.sampled_from((0, 0, 1, 2)),
        road=st.sampled_from(("promotion", "promotion", "maintenance")),
        fix=st.booleans(),
    )
    def propose(self, who: str, pick: int, steps: int, road: str, fix: bool) -> None:
        model, release = self.model, self.release(pick)
        fixes = len(model.mortems) - 1 if fix and model.mortems else None
        asked = Asked(release, model.live, road, who, model.now, steps, fixes)
        if self.attempt(
            model.may_ask(who, asked),
            lambda: self.world.propose(
                who, release, road=road, steps=steps, fixes=fixes, standing=None
            ),
        ):
            model.asked.append(asked)

    @act(3, when=lambda self: self.model.envelopes, who=MAKERS, pick=st.integers(0, 11))
    def propose_within_standing(self, who: str, pick: int) -> None:
        model, release = self.model, self.release(pick)
        standing = len(model.envelopes) - 1
        steps = 1 if standing % 2 else 0
        asked = Asked(
            release, model.live, "standing", who, model.now, steps, None, standing
        )  # fmt: skip
        may = model.may_ask(who, asked) and model.fits(asked, model.contributors(asked))
        if self.attempt(
            may,
            lambda: self.world.propose(
                who, release, road="standing", steps=0, fixes=None, standing=standing
            ),
        ):
            model.asked.append(asked)

    @act(
        3,
        when=lambda self: self.newest(
            "withdrawn", "refused", "rejected", "awaiting_owner", "stopped"
        ),
        who=MAKERS,
        pick=st.integers(0, 11),
    )
    def repropose(self, who: str, pick: int) -> None:
        model, number = self.model, self.open_or_last(pick)
        asked = model.asked[number]
        again = asked.state in ("withdrawn", "refused", "rejected", "awaiting_owner", "stopped")
        probe = Asked(
            asked.release, model.live, asked.road if asked.road != "pilot" else "promotion", who,
            model.now, fixes=asked.fixes,
        )  # fmt: skip
        may = again and model.may_ask(who, probe, number)
        pk = self.world.promotions[number]
        if self.attempt(
            may,
            lambda: services.repropose_promotion(pk, actor=self.who(who), rationale="Once more."),
        ):
            model.ask_again(asked, who)

    @act(
        1,
        when=lambda self: self.newest("evaluating", "awaiting_owner"),
        who=MAKERS,
        pick=st.integers(0, 11),
    )
    def withdraw(self, who: str, pick: int) -> None:
        model, number = self.model, self.open_or_last(pick)
        may = model.builds(who) and model.asked[number].state in ("evaluating", "awaiting_owner")
        pk = self.world.promotions[number]
        if self.attempt(
            may, lambda: services.withdraw_promotion(pk, actor=self.who(who), reason="Not yet.")
        ):
            model.asked[number].state = "withdrawn"

    @act(8, when=lambda self: any(self.model.gate_waits(one) for one in self.model.asked))
    def judge(self) -> None:
        self._judge()

    def _judge(self) -> None:
        model = self.model
        number = next(n for n, one in enumerate(model.asked) if model.gate_waits(one))
        self.attempt(True, lambda: self.world.judge(number))
        promotion = self.world.asked(number)
        report = promotion.gate_report
        assert report is not None
        assert report.candidate_id == promotion.release_id
        assert report.base_id == promotion.base_id
        assert report.policy_id == self.world.policies[model.policy].pk
        assert (promotion.risk == "high") == model.is_high(model.asked[number])
        verdict = {"not_enough_evidence": "unsure"}.get(report.verdict, report.verdict)
        model.judged(number, verdict)

    # -- deciding ---------------------------------------------------------------------------------

    @act(
        8,
        when=lambda self: self.newest(*OPEN),
        who=DECIDERS,
        pick=st.integers(0, 11),
        fresh=MOSTLY,
        right_round=MOSTLY,
    )
    def approve(self, who: str, pick: int, fresh: bool, right_round: bool) -> None:
        self._approve(who, self.open_or_last(pick), fresh, right_round)

    def _approve(self, who: str, number: int, fresh: bool = True, right_round: bool = True) -> None:
        model = self.model
        seen = model.asked[number].round - (0 if right_round else 1)
        pk = self.world.promotions[number]
        may = model.may_approve(who, number, fresh=fresh, right_round=right_round)
        if self.attempt(
            may,
            lambda: services.approve_promotion(
                pk, actor=self.who(who), review_round=seen, reason="Good.",
                **self.world.proof(fresh),
            ),
        ):  # fmt: skip
            model.approve(who, number)

    @act(3, pick=st.integers(0, 11), steps=st.sampled_from((0, 0, 1, 2)))
    def go_all_the_way(self, pick: int, steps: int) -> None:
        """Propose, judge and let the usual people approve: so that much becomes live."""
        model, release = self.model, self.release(pick)
        asked = Asked(release, model.live, "promotion", "builder", model.now, steps)
        if not self.attempt(
            model.may_ask("builder", asked),
            lambda: self.world.propose(
                "builder", release, road="promotion", steps=steps, fixes=None, standing=None
            ),
        ):
            return
        model.asked.append(asked)
        self._judge()
        for who in (OWNER, "cfo"):
            self._tick()
            self._approve(who, len(model.asked) - 1)

    @act(
        1,
        when=lambda self: self.newest(*OPEN),
        who=DECIDERS,
        pick=st.integers(0, 11),
        fresh=MOSTLY,
        right_round=MOSTLY,
    )
    def reject(self, who: str, pick: int, fresh: bool, right_round: bool) -> None:
        model, number = self.model, self.open_or_last(pick)
        seen = model.asked[number].round - (0 if right_round else 1)
        may = model.may_decide(who, number, fresh=fresh, right_round=right_round)
        pk = self.world.promotions[number]
        if self.attempt(
            may,
            lambda: services.reject_promotion(
                pk, actor=self.who(who), review_round=seen, reason="No.", **self.world.proof(fresh)
            ),
        ):
            asked = model.asked[number]
            asked.decided.add(who)
            if asked.state == "piloting":
                model.end_pilot(asked, "rejected")
            asked.state = "rejected"

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

    # -- going back -------------------------------------------------------------------------------

    def note_mortem(self) -> None:
        newest = PostMortem.objects.filter(rollback__workflow=self.world.workflow).latest("pk")
        self.world.mortems.append(newest.pk)

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

    # -- after every step -------------------------------------------------------------------------

    def _tick(self) -> None:
        self.model.now += 1
        self.world.seconds = self.model.now

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
