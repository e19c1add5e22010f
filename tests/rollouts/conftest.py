"""A workflow that can promote: suites, a confirmed policy, a release adopted as found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from governance.audit import keys
from governance.common.time import now, true_now
from governance.evals import services as evals
from governance.evals.models import GatePolicy, SuiteVersion
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.evidence import pack_promotion
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts import packs

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


def again(model: Any) -> Any:
    return type(model).objects.get(pk=model.pk)


def open_pilot(promotion: Promotion, actor: User, share: int = 1000, days: int = 14) -> Promotion:
    return services.open_evidence_pilot(
        promotion.pk, actor=actor, review_round=promotion.review_round, share=share, days=days,
        reason="We need to know.", authenticated_at=now(),
    )  # fmt: skip


def report(
    release: str, workflow: Workflow, cases: list[str], name: str, token: Any = None
) -> None:
    result = store(
        [
            ReceiptDraft(
                run_id=f"{name}-{number}", workflow=workflow.slug, release=release,
                resolved_by="receipt", started_at=now(), case_id=case, amount=Decimal("12.50"),
                currency="USD", outcome="answered",
            )
            for number, case in enumerate(cases)
        ],
        token=token,
    )  # fmt: skip
    assert result.accepted == len(cases), result.refused


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


@pytest.fixture
def better(
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], owner: User
) -> Promotion:
    return approve(propose(70), owner)


@pytest.fixture
def own_key(tmp_path: Path, settings: Any) -> None:
    """Checkpoints are signed with a key of this test, and go to its own folder."""
    settings.AUDIT_KEY_FILE = str(tmp_path / "keys" / "key.pem")
    settings.AUDIT_SINK_DIR = str(tmp_path / "sink")
    keys.create_key(keys.key_file())


@pytest.fixture
def undone(
    own_key: None, workflow: Workflow, propose: Callable[..., Promotion],
    approve: Callable[..., Promotion], owner: User, cfo: User,
) -> Promotion:  # fmt: skip
    """High risk, so approved by two; live, then rolled back."""
    asked = propose(threshold=0.2)
    approve(asked, owner)
    approve(asked, cfo)
    services.roll_back(workflow, actor=owner, reason="=cmd|'/C calc'!A0")
    asked.refresh_from_db()
    assert asked.state == Promotion.State.ROLLED_BACK
    return asked


@pytest.fixture
def packed(undone: Promotion, tmp_path: Path) -> Path:
    path = tmp_path / "pack.zip"
    with path.open("w+b") as out:
        pack_promotion(undone, out, actor=TESTER)
    return path


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    return packs.unpack(packed, tmp_path / "unpacked")
