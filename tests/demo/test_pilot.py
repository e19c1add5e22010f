"""A pilot in the demo: the application reports what the guard needs, and the guard acts on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import numpy as np
import pytest
from django.test import Client

from governance.common.time import now
from governance.demo.history import gate_policy
from governance.demo.past_runs import PastRuns
from governance.demo.support import target, telemetry
from governance.demo.support.labels import judge
from governance.demo.support.library import open_library
from governance.demo.support.release_source import ReleaseSource
from governance.demo.support.releases import BY_KEY
from governance.demo.support.suites import adversarial_cases, expectation, golden_cases
from governance.demo.support.traffic import Arrival, Mailbox
from governance.evals import services as evals
from governance.evals.scorers import score
from governance.evals.targets import Outcome
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts.models import Receipt
from governance.releases.models import LiveRelease, Release
from governance.releases.services import register_release
from governance.rollouts import guard
from governance.rollouts import services as rollouts
from governance.rollouts.assignment import is_pilot
from governance.rollouts.models import Promotion
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import work

LIBRARY = open_library()
STEPS = [{"share": 5000, "minutes": 0, "runs": 100}, {"share": 7500, "minutes": 60, "runs": 100}]
MAILS, BY_THE_APPLICATION = 2_600, 20


def test_runs_are_judged_as_the_evals_judge_cases() -> None:
    router = target.router_for(BY_KEY["careful"].slots(LIBRARY))
    messages = LIBRARY.hold_out()[::5]
    seen = set()
    for message, decision in zip(
        messages, router.decide_all([message.text for message in messages]), strict=True
    ):
        outcome = Outcome(
            decision.answer, decision.escalated, decision.violations, decision.cost, 0.0
        )
        scored = score(expectation(message), outcome)
        judged = judge(expectation(message), decision)
        assert (judged.right, judged.silent_error) == (scored.correct, scored.silent_error)
        seen.add((judged.right, judged.silent_error))
    assert len(seen) == 3  # right, wrong but seen by a person, wrong in silence


@pytest.fixture
def piloting(workflow: Workflow, builder: User, owner: User, analyst: User, cfo: User) -> Promotion:
    """The demo's last release at half of the cases, beside the one that runs before it."""

    def register(key: str) -> Release:
        made = BY_KEY[key]
        return register_release(
            workflow, made.slots(LIBRARY), title=made.title, actor=builder
        )[0]  # fmt: skip

    evals.freeze_suite(
        workflow, "golden", golden_cases(LIBRARY, languages=["en"]), actor=analyst
    )  # fmt: skip
    evals.freeze_suite(workflow, "adversarial", adversarial_cases(LIBRARY), actor=analyst)
    policy = evals.set_policy(workflow, gate_policy(LIBRARY, with_recent=False), actor=owner)
    evals.confirm_policy(policy, actor=cfo)
    rollouts.adopt_as_found(
        register("careful"), actor=owner, reason="It runs.", authenticated_at=now()
    )
    promotion = rollouts.propose_promotion(
        register("characters"), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    return rollouts.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Go on.", authenticated_at=now()
    )


@pytest.fixture
def answer(transactional_db: None, live_server: Any) -> Iterator[Callable[[list[Arrival]], None]]:
    """The demo's application, answering each mail with the release that serves its case."""
    scopes = ["releases:read", "receipts:write"]
    secret = create_token("router", scopes=scopes, actor=TESTER)[1]
    source = ReleaseSource(live_server.url, secret)
    provider = telemetry.provider_for(live_server.url, secret)

    def run(arrivals: list[Arrival]) -> None:
        tracer = provider.get_tracer("tests")
        for arrival in arrivals:
            running = source.current(arrival.case_id)
            assert running is not None
            telemetry.answer(tracer, running, arrival, arrival.at)
        assert provider.force_flush()

    yield run
    provider.shutdown()


def test_a_pilot_of_the_demo_widens_by_itself_and_its_page_says_why(
    answer: Callable[[list[Arrival]], None], piloting: Promotion, workflow: Workflow, owner: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    moment, salt = datetime.now(UTC), Pilot.objects.get().salt
    arrivals = [
        Arrival(moment, f"kw-{number}.{message.id}", message)
        for number, message in enumerate(
            Mailbox(LIBRARY).draw(np.random.default_rng(7), MAILS, 11.0)
        )
    ]
    answer(arrivals[:BY_THE_APPLICATION])
    said = Receipt.objects.all()
    assert len(said) == BY_THE_APPLICATION
    assert all(run.quality is not None and "silent_error" in run.measures for run in said)
    # The rest goes the shorter way of the demo's history, which is tested so too.
    runs = PastRuns()
    sides: dict[bool, list[Arrival]] = {True: [], False: []}
    for arrival in arrivals[BY_THE_APPLICATION:]:
        pilots = is_pilot(workflow.slug, salt, arrival.case_id, STEPS[0]["share"])
        sides[pilots].append(arrival)
    runs.run(piloting.release, sides[True])
    assert piloting.base is not None
    runs.run(piloting.base, sides[False])

    assert guard.look(piloting.pk)

    decision = GuardDecision.objects.first()
    assert decision is not None
    assert decision.action == GuardDecision.Action.ADVANCED, decision.sentence
    found = {row["measure"]: row for row in decision.evidence}
    for measure in ("silent_error", "quality", "escalated"):
        assert found[measure]["verdict"] == "pass"
        assert found[measure]["pilot_runs"] + found[measure]["stable_runs"] == MAILS
    assert LiveRelease.objects.get().pilot_share == STEPS[1]["share"]

    page = unescape(login(owner).get(f"/promotions/{piloting.pk}/").content.decode())
    assert re.search(r"No worse at 50 % after \d+ min: widened\.", page)
    assert "Answered wrong without a person" in page
