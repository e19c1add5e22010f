"""Proposing by machine: every field, the same key once, and a state to wait on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from governance.common.time import now
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.people.services import create_token
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.proposal_models import ProposalKey
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import live, model, policy, suites, work  # noqa: F401 - fixtures

# ruff: noqa: F811 - a fixture's name is also a parameter
pytestmark = pytest.mark.django_db(transaction=True)
PROPOSE = "/api/v1/promotions"
SCOPE = "promotions:propose"


def proposed() -> Any:
    """Promotions that somebody asked for; the workflow itself was adopted as found."""
    return Promotion.objects.exclude(road=Promotion.Road.ADOPT)


@pytest.fixture
def ci(db: None) -> Client:
    _, secret = create_token("ci", scopes=[SCOPE], actor=TESTER)
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def candidate(live: Release, make_release: Callable[..., Release], model: Any) -> Release:
    return make_release(model=model(90))


def send(client: Client, body: dict[str, Any], key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(PROPOSE, json.dumps(body), content_type="application/json", headers=headers)


def test_ci_proposes_with_everything_that_a_person_could_say(
    candidate: Release, ci: Client, workflow: Workflow, owner: User, analyst: User
) -> None:
    kpi = Kpi.objects.create(
        workflow=workflow, slug="escalation", name="Escalation rate", owner=owner,
        measure="escalated", unit="share",
    )  # fmt: skip
    answer = send(
        ci,
        {
            "release": candidate.pk, "rationale": "It answers more.",
            "pilot_steps": [{"share": 500, "minutes": 60}, {"share": 2500, "runs": 100}],
            "expects": {"kpi": "escalation", "change": -2.0, "note": "two points fewer"},
        },
    )  # fmt: skip
    assert answer.status_code == 201, answer.content
    made = proposed().get()
    assert made.pilot_steps == [
        {"share": 500, "minutes": 60, "runs": 0},
        {"share": 2500, "minutes": 0, "runs": 100},
    ]
    assert (made.expected_kpi, made.expected_change) == (kpi, -2.0)
    said = answer.json()
    assert (said["promotion"], said["state"], said["open"]) == (made.pk, "evaluating", True)
    assert said["url"] == f"{PROPOSE}/{made.pk}"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"road": "emergency"}, 422),
        ({"road": "adopt"}, 422),
        ({"road": "standing"}, 422),
        ({"road": "maintenance", "release": None}, 404),
        ({"pilot_steps": [{"share": 10_000}]}, 422),
        ({"pilot_steps": [{"share": 500}, {"share": 400}]}, 422),
        ({"pilot_steps": "all"}, 422),
        ({"expects": {"kpi": "unknown", "change": -2}}, 422),
        ({"fixes": 4711}, 422),
        ({"standing": 4711}, 422),
        ({"rationale": ""}, 422),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_proposed(
    candidate: Release, ci: Client, changes: dict[str, Any], status: int
) -> None:
    answer = send(ci, {"release": candidate.pk, "rationale": "Better.", **changes})
    assert answer.status_code in {status, 422 if status == 404 else status}
    assert answer.json()["error"]
    assert not proposed().exists()


def test_the_same_key_is_the_same_promotion_and_another_request_under_it_is_refused(
    candidate: Release, ci: Client
) -> None:
    body = {"release": candidate.pk, "rationale": "Better."}
    first, again = send(ci, body, "run-81"), send(ci, body, "run-81")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["promotion"] == again.json()["promotion"]
    assert send(ci, {**body, "rationale": "Other."}, "run-81").status_code == 409
    assert send(ci, body, "run-82").status_code == 409  # one open promotion per workflow
    assert proposed().count() == ProposalKey.objects.count() == 1
    for wrong in ("", "x" * 201, "a\tb"):
        assert send(ci, body, wrong).status_code == 422
    work()
    later = send(ci, body, "run-81")  # CI tries again much later: still the same one
    assert (later.status_code, later.json()["state"]) == (200, "awaiting_owner")


def test_a_refused_proposal_keeps_its_key_free(candidate: Release, ci: Client) -> None:
    assert (
        send(ci, {"release": candidate.pk, "rationale": "x", "road": "x"}, "k").status_code == 422
    )
    assert send(ci, {"release": candidate.pk, "rationale": "Better."}, "k").status_code == 201


@pytest.mark.parametrize("senders", [2, 8])
def test_the_same_request_many_times_at_once_proposes_once(
    candidate: Release, senders: int
) -> None:
    _, secret = create_token("ci", scopes=[SCOPE], actor=TESTER)
    barrier, answers = threading.Barrier(senders), []

    def ask() -> None:
        try:
            client = Client(headers={"Authorization": f"Bearer {secret}"})
            barrier.wait()
            answer = send(client, {"release": candidate.pk, "rationale": "Better."}, "same")
            answers.append((answer.status_code, answer.json().get("promotion")))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    promotion = proposed().get()
    assert sorted(answers) == [(200, promotion.pk)] * (senders - 1) + [(201, promotion.pk)]


def test_ci_waits_on_the_state_until_it_is_live(
    candidate: Release, ci: Client, owner: User
) -> None:
    url = send(ci, {"release": candidate.pk, "rationale": "Better."}).json()["url"]
    waiting = ci.get(url)
    assert (waiting["Retry-After"], waiting.json()["state"]) == ("10", "evaluating")
    work()
    passed = ci.get(url).json()
    assert (passed["state"], passed["verdict"], passed["open"]) == ("awaiting_owner", "pass", True)
    assert passed["waits_for"] == [f"the KPI owner ({owner})"]
    assert passed["stale"] == ""
    promotion = proposed().get()
    services.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Good.", authenticated_at=now()
    )
    done = ci.get(url)
    assert (done.json()["state"], done.json()["live"], done.json()["open"]) == ("live", True, False)
    assert "Retry-After" not in done
    services.roll_back(promotion.workflow, actor=owner, reason="Worse.")
    over = ci.get(url).json()
    assert (over["state"], over["live"]) == ("rolled_back", False)


def test_a_fix_is_proposed_for_the_post_mortem_that_blocks_everything_else(
    candidate: Release, ci: Client, owner: User, make_release: Callable[..., Release], model: Any
) -> None:
    send(ci, {"release": candidate.pk, "rationale": "Better."})
    work()
    services.approve_promotion(
        proposed().get().pk, actor=owner, review_round=1, reason="Good.",
        authenticated_at=now(),
    )  # fmt: skip
    services.roll_back(candidate.workflow, actor=owner, reason="Worse.")
    fix = {"release": make_release(model=model(95)).pk, "rationale": "Mended."}
    assert send(ci, fix).status_code == 409
    assert send(ci, {**fix, "fixes": PostMortem.objects.get().pk}).status_code == 201


def test_no_token_of_another_workflow_or_scope_reads_it_and_nobody_decides(
    candidate: Release, ci: Client
) -> None:
    url = send(ci, {"release": candidate.pk, "rationale": "Better."}).json()["url"]

    def shown(*scopes: str, slug: str = "") -> Client:
        _, secret = create_token(f"{scopes}{slug}", scopes=scopes, actor=TESTER, workflow_slug=slug)
        return Client(headers={"Authorization": f"Bearer {secret}"})

    assert shown("releases:read").get(url).status_code == 403
    assert shown(SCOPE, slug="close").get(url).status_code == 404
    assert ci.get(f"{PROPOSE}/4711").status_code == 404
    assert Client().get(url).status_code == 401
    for verb in ("approve", "reject", "withdraw"):
        assert ci.post(f"{url}/{verb}", {}).status_code == 404
    for method in (ci.post, ci.put, ci.delete, ci.patch):
        assert method(url).status_code == 405


def test_a_kept_key_is_never_rewritten(candidate: Release, ci: Client) -> None:
    send(ci, {"release": candidate.pk, "rationale": "Better."}, "k")
    with pytest.raises(DatabaseError), transaction.atomic():
        ProposalKey.objects.update(key="other")
    with pytest.raises(DatabaseError), transaction.atomic():
        ProposalKey.objects.all().delete()
