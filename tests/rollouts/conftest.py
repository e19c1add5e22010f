"""A workflow that can promote: suites, a confirmed policy, a release adopted as found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from governance.common.time import now, true_now
from governance.evals import services as evals
from governance.evals.models import GatePolicy, SuiteVersion
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow

POLICY = {
    "suites": {"golden": {"min_cases": 50}},
    "primary": {"metric": "correct", "suites": ["golden"]},
    "guardrails": [{"metric": "silent_error", "suites": ["golden"], "margin_points": 5.0}],
    "floors": [{"metric": "correct", "suites": ["golden"], "limit_percent": 40.0}],
}


def work() -> None:
    """Do every job that is due, as a worker would."""
    while due := list(
        Job.objects.claimable(true_now()).order_by("pk").values_list("pk", flat=True)
    ):
        for job_id in due:
            assert jobs.run(job_id), Job.objects.get(pk=job_id).error


@pytest.fixture
def model() -> Callable[..., dict[str, Any]]:
    def content(right: int, **more: Any) -> dict[str, Any]:
        return {"provider": "own", "id": "m", "parameters": {"right_of_100": right, **more}}

    return content


@pytest.fixture
def suites(workflow: Workflow, analyst: User, settings: Any) -> dict[str, SuiteVersion]:
    settings.EVAL_TARGETS = {workflow.slug: "tests.rollouts.target.build"}
    cases = [
        {
            "key": f"c{number:03}",
            "input": {"number": number},
            "expected": {"answer": "yes", "must_escalate": None},
            "category": "all",
            "must_pass": False,
            "reason": "one of a hundred",
        }
        for number in range(100)
    ]
    return {"golden": evals.freeze_suite(workflow, "golden", cases, actor=analyst)}


@pytest.fixture
def policy(workflow: Workflow, owner: User, cfo: User) -> GatePolicy:
    proposed = evals.set_policy(workflow, POLICY, actor=owner)
    return evals.confirm_policy(proposed, actor=cfo)


@pytest.fixture
def live(
    workflow: Workflow,
    owner: User,
    make_release: Callable[..., Release],
    model: Callable[..., dict[str, Any]],
    suites: dict[str, SuiteVersion],
    policy: GatePolicy,
) -> Release:
    """The release that already ran, adopted by its owner."""
    release = make_release(model=model(50))
    services.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    return release


@pytest.fixture
def propose(
    live: Release,
    builder: User,
    make_release: Callable[..., Release],
    model: Callable[..., dict[str, Any]],
) -> Callable[..., Promotion]:
    """Propose a better release and let its gate judge."""

    def ask(
        right: int = 90, *, fixes: Any = None, threshold: float = 0.35, **more: Any
    ) -> Promotion:
        promotion = services.propose_promotion(
            make_release(threshold, model=model(right, **more)),
            actor=builder,
            rationale="It answers more.",
            fixes=fixes,
        )
        work()
        promotion.refresh_from_db()
        return promotion

    return ask


@pytest.fixture
def approve() -> Callable[..., Promotion]:
    def yes(promotion: Promotion, actor: User) -> Promotion:
        return services.approve_promotion(
            promotion.pk,
            actor=actor,
            review_round=promotion.review_round,
            reason="The evidence convinces me.",
            authenticated_at=now(),
        )

    return yes
