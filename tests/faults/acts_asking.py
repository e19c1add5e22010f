"""Acts of the machine: people, releases, policies; asking, judging and deciding."""

from __future__ import annotations

from hypothesis import strategies as st

from governance.rollouts import services
from tests.faults.acting import (
    ANYBODY,
    DECIDERS,
    LATER,
    MAKERS,
    MOSTLY,
    RIGHTS,
    THRESHOLDS,
    Acting,
    act,
)
from tests.faults.model import (
    DAY,
    HOUR,
    OPEN,
    OWNER,
    PEOPLE,
    Asked,
    Candidate,
    Held,
)


class AskingActs(Acting):
    """From a release that somebody makes to a promotion that somebody decides."""

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
