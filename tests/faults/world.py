"""The real side of the state machine: one fresh workflow and its people, moved by the services."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.common.time import now, story_time
from governance.evals import services as evals
from governance.evals.models import GatePolicy
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import Delegation, User
from governance.people.signatures import sign
from governance.receipts.models import RollUp
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.pilot_models import Pilot
from governance.rollouts.road_models import StandingApproval
from governance.workflows.services import create_workflow
from tests.conftest import slots
from tests.faults.model import OTHER_OWNER, OWNER, PEOPLE, Candidate

TESTER = Actor.system("tests")
LONG_AGO = datetime(2021, 3, 1, 9, tzinfo=UTC)
CASES = 16
# Everything that acts differently passes, unless it is mostly wrong: so that much goes forward.
POLICY: dict[str, Any] = {
    "suites": {"golden": {"min_cases": CASES}},
    "guardrails": [{"metric": "silent_error", "suites": ["golden"], "margin_points": 95.0}],
    "floors": [{"metric": "correct", "suites": ["golden"], "limit_percent": 20.0}],
}
ROLES = {
    "cfo": User.Role.EXECUTIVE, "builder": User.Role.BUILDER, "maker": User.Role.BUILDER,
    "analyst": User.Role.ANALYST,
}  # fmt: skip
# Of 1,000 runs of each side: how many of the pilot's were silently wrong, and escalated.
AS_BEFORE = (0, 50)
DATA = {"none": None, "good": AS_BEFORE, "signal": (0, 400), "harm": (1000, 50)}
_numbers = itertools.count(1)


class World:
    """Acts by name and number, so that the machine can draw them."""

    def __init__(self, pool: Sequence[Candidate]) -> None:
        self.number = next(_numbers)
        self.slug = f"flow-{self.number}"
        self.seconds = 0
        self.people = {
            name: User.objects.create(
                username=f"{name}-{self.number}", role=ROLES.get(name, User.Role.MEMBER),
                emergency_changes=name == "maker", password="!",
            )
            for name in PEOPLE
        }  # fmt: skip
        self.releases: list[Release] = []
        self.promotions: list[int] = []
        self.policies: list[GatePolicy] = []
        self.delegations: list[int] = []
        self.freezes: list[int] = []
        self.envelopes: list[int] = []
        self.mortems: list[int] = []
        self.drills: list[int] = []
        with self.clock():
            self.workflow = create_workflow(
                self.slug, f"Flow {self.number}", owner=self.people[OWNER], actor=TESTER
            )
            create_workflow(
                f"other-{self.number}", f"Other {self.number}",
                owner=self.people[OTHER_OWNER], actor=TESTER,
            )  # fmt: skip
            self.edit_suite("analyst", 0)
            self.propose_policy(OWNER)
            self.confirm_policy("cfo", 0)
            for candidate in pool:
                self.register(candidate.registered_by, candidate)
            adopted = services.adopt_as_found(
                self.releases[0], actor=self.people[OWNER], reason="It runs.",
                authenticated_at=now(),
            )  # fmt: skip
        self.promotions.append(adopted.pk)

    def clock(self) -> Any:
        return story_time(LONG_AGO + timedelta(seconds=self.seconds))

    def attempt(self, act: Callable[[], object]) -> str:
        """Do it at the story's moment; returns the refusal, empty where it was allowed."""
        try:
            with self.clock():
                act()
        except GovernanceError as refusal:
            return f"{type(refusal).__name__}: {refusal}"
        return ""

    def proof(self, fresh: bool) -> dict[str, Any]:
        """A password typed just now, or six minutes ago."""
        return {"authenticated_at": now() - timedelta(minutes=0 if fresh else 6)}

    def asked(self, number: int) -> Promotion:
        return Promotion.objects.get(pk=self.promotions[number])

    # -- acts that the machine calls inside `attempt` ----------------------------------------------

    def register(self, who: str, candidate: Candidate) -> None:
        content = {
            "provider": "own", "id": f"m{self.number}",
            "parameters": {"right_of_100": candidate.right, "flavour": candidate.flavour},
        }  # fmt: skip
        guardrails = {
            "escalation_threshold": candidate.threshold, "always_escalate": [self.slug]
        }  # fmt: skip
        release, is_new = register_release(
            self.workflow, slots(model=content, guardrails=guardrails), title="R",
            actor=self.people[who],
        )  # fmt: skip
        assert is_new
        self.releases.append(release)

    def edit_suite(self, who: str, version: int) -> None:
        cases = [
            {
                "key": f"c{number:03}", "input": {"number": number * 100 // CASES},
                "expected": {"answer": "yes", "must_escalate": None},
                "reason": f"version {version}",
            }
            for number in range(CASES)
        ]  # fmt: skip
        evals.freeze_suite(self.workflow, "golden", cases, actor=self.people[who])

    def propose_policy(self, who: str) -> None:
        confidence = 0.80 + len(self.policies) / 1000
        content = {**POLICY, "confidence": round(confidence, 3)}
        self.policies.append(evals.set_policy(self.workflow, content, actor=self.people[who]))

    def confirm_policy(self, who: str, number: int) -> None:
        evals.confirm_policy(self.policies[number], actor=self.people[who])

    def propose(
        self, who: str, release: int, *, road: str, steps: int, fixes: int | None,
        standing: int | None,
    ) -> None:  # fmt: skip
        made = services.propose_promotion(
            self.releases[release],
            actor=self.people[who],
            rationale="It answers more.",
            road=road,
            pilot_steps=[{"share": 500 * (n + 1), "minutes": 0, "runs": 0} for n in range(steps)],
            fixes=None if fixes is None else PostMortem.objects.get(pk=self.mortems[fixes]),
            standing=(
                None
                if standing is None
                else StandingApproval.objects.get(pk=self.envelopes[standing])
            ),
        )
        self.promotions.append(made.pk)

    def judge(self, number: int) -> Promotion:
        """Do the evals that were asked for, then let the gate judge.

        Where a suite was frozen meanwhile, the gate first asks for runs on its newest version.
        """
        self._do_evals()
        services.judge_promotion(self.promotions[number])
        self._do_evals()
        return services.judge_promotion(self.promotions[number])

    def _do_evals(self) -> None:
        waiting = Job.objects.filter(
            kind="evals.run", payload__workflow=self.slug, state=Job.State.WAITING
        )
        for job_id in list(waiting.order_by("pk").values_list("pk", flat=True)):
            assert jobs.run(job_id), Job.objects.get(pk=job_id).error

    def delegate(self, giver: str, to: str, start: int, end: int) -> None:
        moment = now()
        signature = sign(
            self.people[giver], "delegation", reason="Away.",
            subject={"delegate": to, "number": len(self.delegations)}, role="KPI owner",
            authenticated_at=moment, authenticated_by="password",
        )  # fmt: skip
        held = Delegation.objects.create(
            owner=self.people[giver], delegate=self.people[to],
            starts_at=LONG_AGO + timedelta(seconds=start),
            ends_at=LONG_AGO + timedelta(seconds=end), reason="Away.", created_at=moment,
            signature=signature,
        )  # fmt: skip
        self.delegations.append(held.pk)

    def revoke_delegation(self, number: int) -> None:
        Delegation.objects.filter(pk=self.delegations[number]).update(
            revoked_at=now(), revoked_by_label="owner"
        )

    def set_active(self, who: str, active: bool) -> None:
        User.objects.filter(pk=self.people[who].pk).update(is_active=active)
        self.people[who].is_active = active

    def set_freeze(self, who: str, start: int, end: int) -> None:
        windows = services.set_freeze(
            actor=self.people[who], name="Close", reason="Month end.", workflow=self.workflow,
            starts_at=LONG_AGO + timedelta(seconds=start),
            ends_at=LONG_AGO + timedelta(seconds=end),
        )  # fmt: skip
        self.freezes.append(windows[0].pk)

    def show(self, number: int, data: str) -> None:
        """Let receipts of the running step say this, and nothing else."""
        RollUp.objects.filter(workflow=self.workflow).delete()
        shown = DATA[data]
        if shown is None:
            return
        promotion = self.asked(number)
        pilot = Pilot.objects.get(promotion=promotion)
        hour = pilot.step_started_at.replace(minute=0, second=0, microsecond=0)
        hour += timedelta(hours=1)
        for release, (silent, escalated) in (
            (promotion.release_id, shown),
            (promotion.base_id, AS_BEFORE),
        ):
            for measure, total in (
                ("runs", 1000), ("silent_error", silent), ("escalated", escalated), ("error", 5)
            ):  # fmt: skip
                RollUp.objects.create(
                    workflow=self.workflow, grain="hour", starts_at=hour,
                    release_digest=release or "", measure=measure, n=1000, total=total,
                    total_squares=total,
                )  # fmt: skip

    # -- what the database says ---------------------------------------------------

    def look(self, after: int) -> Seen:
        """Everything that the reference knows too, in one query."""
        with connection.cursor() as cursor:
            cursor.execute(LOOK, {"workflow": self.workflow.pk, "after": after})
            serving, row, promotions, pins, changes = cursor.fetchone()
        number = {release.pk: at for at, release in enumerate(self.releases)}
        number[None] = None  # type: ignore[index, assignment]
        found = {pk: (state, road, asked) for pk, state, road, asked in promotions}
        assert len(found) == len(self.promotions)
        return Seen(
            serving={number[digest] for digest in serving or ()},
            row=(number[row[0]], row[1], number[row[2]], number[row[3]], row[4]),
            promotions=[found[pk] for pk in self.promotions],
            pins={key: number[digest] for key, digest in pins or ()},
            changes=[(seq, cause, number[a], number[b]) for seq, cause, a, b in changes or ()],
        )


@dataclass(frozen=True)
class Seen:
    """What the database says now; releases by their numbers."""

    serving: set[int]
    row: tuple[int, int, int | None, int | None, bool]  # stable, seq, pilot, known good, off
    promotions: list[tuple[str, str, int]]  # state, road, round
    pins: dict[str, int]
    changes: list[tuple[int, str, int | None, int]]  # seq, cause, from, to


LOOK = """
SELECT
    (SELECT json_agg(release_id) FROM governance_releaseapproval
     WHERE workflow_id = %(workflow)s AND valid_to IS NULL),
    (SELECT json_build_array(release_id, seq, pilot_release_id, last_known_good_id, switched_off)
     FROM governance_liverelease WHERE workflow_id = %(workflow)s),
    (SELECT json_agg(json_build_array(id, state, road, review_round))
     FROM governance_promotion WHERE workflow_id = %(workflow)s),
    (SELECT json_agg(json_build_array(targeting_key, release_id))
     FROM governance_pin WHERE workflow_id = %(workflow)s),
    (SELECT json_agg(json_build_array(seq, cause, from_release_id, to_release_id) ORDER BY seq)
     FROM governance_livechange WHERE workflow_id = %(workflow)s AND seq > %(after)s)
"""
