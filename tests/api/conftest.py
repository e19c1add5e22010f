"""Releases that are live, and machines that ask."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.common.canonical import canonical, digest_text
from governance.common.time import now
from governance.evals.models import GatePolicy, GateReport
from governance.people.models import User
from governance.people.services import create_token
from governance.releases.models import Release
from governance.rollouts import services as rollouts
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER


@pytest.fixture
def secret(db: None) -> Callable[..., str]:
    """Make a token and return what a machine shows."""

    def make(*scopes: str, name: str = "machine", workflow_slug: str = "") -> str:
        return create_token(name, scopes=scopes, actor=TESTER, workflow_slug=workflow_slug)[1]

    return make


@pytest.fixture
def machine(secret: Callable[..., str]) -> Callable[..., Client]:
    """A client that shows a token with these scopes."""

    def make(*scopes: str, workflow_slug: str = "") -> Client:
        shown = secret(*scopes, name=f"machine {scopes}", workflow_slug=workflow_slug)
        return Client(headers={"Authorization": f"Bearer {shown}"})

    return make


@pytest.fixture
def adopt(owner: User) -> Callable[[Release], Promotion]:
    """Make a first release live."""

    def make(release: Release) -> Promotion:
        return rollouts.adopt_as_found(
            release, actor=owner, reason="It runs already.", authenticated_at=now()
        )

    return make


@pytest.fixture
def promote(owner: User) -> Callable[[Release], Promotion]:
    """Make a release live on the normal road, its evidence written as the gate writes it."""

    def make(release: Release) -> Promotion:
        workflow: Workflow = release.workflow
        base = workflow.live.release
        policy = GatePolicy.objects.filter(workflow=workflow).first() or _policy(workflow)
        text = canonical({"verdict": "pass", "candidate": release.pk, "base": base.pk})
        report = GateReport.objects.create(
            digest=digest_text(text), workflow=workflow, candidate=release, base=base,
            policy=policy, verdict="pass", attempt=1, content_text=text, created_at=now(),
        )  # fmt: skip
        promotion = Promotion.objects.create(
            workflow=workflow, release=release, base=base, base_seq=workflow.live.seq,
            state=Promotion.State.AWAITING_OWNER, risk=Promotion.Risk.LOW, rationale="Better.",
            requested_by_label="Builder", requested_at=now(), gate_policy=policy,
            gate_report=report, gate_judged_at=now(),
        )  # fmt: skip
        return rollouts.approve_promotion(
            promotion.pk, actor=owner, review_round=1, reason="Fewer escalations.",
            authenticated_at=now(),
        )  # fmt: skip

    return make


def _policy(workflow: Workflow) -> GatePolicy:
    text = canonical({"v": 1})
    return GatePolicy.objects.create(
        workflow=workflow, version=1, digest=digest_text(text), content_text=text,
        proposed_by_label="Builder", proposed_at=now(), confirmed_at=now(),
        confirmed_by=workflow.owner,
    )  # fmt: skip
