"""OFREP with a pilot, pins, the kill switch and rate limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mmh3
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance.api import rate_limits
from governance.api.rate_limits import Limiter
from governance.common.errors import StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.services import create_token
from governance.releases.models import LiveRelease, Pin, Release, ReleaseApproval
from governance.rollouts import services
from governance.rollouts.assignment import bucket, is_pilot
from governance.rollouts.models import LiveChange, Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)
ONE = "/ofrep/v1/evaluate/flags/support-triage"
READ = "releases:read"


def ask(client: Client, case: str | None = None, path: str = ONE) -> Any:
    context = {} if case is None else {"context": {"targetingKey": case}}
    return client.post(path, json.dumps(context), content_type="application/json")


@pytest.fixture
def machine(db: None) -> Callable[..., Client]:
    """A client that shows a token with these scopes."""

    def make(*scopes: str, name: str = "machine") -> Client:
        _, secret = create_token(name, scopes=scopes, actor=TESTER)
        return Client(headers={"Authorization": f"Bearer {secret}"})

    return make


@pytest.fixture
def piloting(
    live: Release,
    owner: User,
    builder: User,
    make_release: Callable[..., Release],
    model: Any,
) -> Promotion:
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.",
        pilot_steps=[{"share": 2500, "minutes": 0, "runs": 0}],
    )  # fmt: skip
    work()
    return services.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Go on.", authenticated_at=now()
    )


def test_a_pilot_serves_its_share_of_the_cases_and_each_case_stays_where_it_is(
    piloting: Promotion, live: Release, machine: Callable[..., Client],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client = machine(READ)
    ask(client)
    salt = LiveRelease.objects.get().pilot_salt
    seen = {}
    for number in range(200):
        with django_assert_num_queries(1):
            answer = ask(client, f"customer-{number}").json()
        seen[number] = answer["variant"]
        hashed = mmh3.hash(f"support-triage:{salt}:customer-{number}", 0, signed=False)
        expected = piloting.release_id if (hashed * 10_000) >> 32 < 2500 else live.pk
        assert (answer["variant"], answer["reason"]) == (expected, "SPLIT")
        stage = "canary" if expected != live.pk else "stable"
        assert (answer["value"]["stage"], answer["metadata"]["stage"]) == (stage, stage)
        assert answer["metadata"]["algo"] == "flagd-v2"
        assert answer["metadata"]["percent"] == (25 if stage == "canary" else 75)
    assert set(seen.values()) == {piloting.release_id, live.pk}
    assert ask(client).json()["variant"] == live.pk  # without a case never the pilot
    assert all(ask(client, f"customer-{n}").json()["variant"] == seen[n] for n in range(20))


def test_the_share_is_kept_over_100_000_cases_and_widening_only_adds() -> None:
    narrow = {n for n in range(100_000) if is_pilot("w", "s1", f"case-{n}", 500)}
    wide = {n for n in range(100_000) if is_pilot("w", "s1", f"case-{n}", 2500)}
    assert abs(len(narrow) / 100_000 - 0.05) < 0.003
    assert abs(len(wide) / 100_000 - 0.25) < 0.005
    assert narrow < wide
    assert not is_pilot("w", "s1", "", 9_999)
    assert {bucket("w", "s1", f"case-{n}") for n in range(100_000)} <= set(range(10_000))
    other = {n for n in range(100_000) if is_pilot("w", "s2", f"case-{n}", 500)}
    assert len(narrow & other) < 500  # another rollout, other cases


def test_a_pilot_that_gathers_evidence_only_drafts_on_the_wire(
    propose: Callable[..., Promotion],
    owner: User,
    machine: Callable[..., Client],
) -> None:
    promotion = propose(52)
    Workflow.objects.update(authority=Workflow.Authority.EXECUTE)
    services.open_evidence_pilot(
        promotion.pk, actor=owner, review_round=1, share=1000, days=3, reason="Let us see.",
        authenticated_at=now(),
    )  # fmt: skip
    answers = [ask(machine(READ, name=f"m{n}"), f"c{n}").json()["value"] for n in range(60)]
    found = {(value["stage"], value["authority"]) for value in answers}
    assert found == {("canary", "draft"), ("stable", "execute")}


def test_a_pinned_case_stays_on_its_release_until_it_is_unpinned_or_the_release_goes_bad(
    live: Release, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User, builder: User, workflow: Workflow, machine: Callable[..., Client],
    make_release: Callable[..., Release],
) -> None:  # fmt: skip
    better = propose()
    with pytest.raises(StateConflictError):  # nothing that no promotion made live
        services.pin_case(workflow, "c1", better.release, actor=builder, reason="try")
    approve(better, owner)
    services.pin_case(workflow, "c1", live, actor=builder, reason="In a dispute.")
    services.pin_case(workflow, "c2", better.release, actor=builder, reason="A friend.")
    client = machine(READ)
    answer = ask(client, "c1").json()
    assert (answer["variant"], answer["reason"]) == (live.pk, "TARGETING_MATCH")
    assert ask(client, "c3").json()["variant"] == better.release_id
    open_ones = ReleaseApproval.objects.filter(valid_to=None).values_list("release_id", flat=True)
    assert set(open_ones) == {live.pk, better.release_id}

    services.roll_back(workflow, actor=builder, reason="Bad.")
    assert list(Pin.objects.values_list("targeting_key", flat=True)) == ["c1"]
    assert ask(client, "c2").json()["variant"] == live.pk
    services.unpin_case(workflow, "c1", actor=builder, reason="Settled.")
    assert ask(client, "c1").json()["reason"] == "STATIC"


def test_the_kill_switch_serves_nothing_and_only_the_owner_switches_on(
    live: Release,
    owner: User,
    builder: User,
    workflow: Workflow,
    machine: Callable[..., Client],
) -> None:
    services.switch_off(workflow, actor=builder, reason="It leaks data.")
    client = machine(READ)
    answer = ask(client, "c1").json()
    assert (answer["reason"], answer["variant"]) == ("DISABLED", "switched_off")
    assert (answer["value"]["release"], answer["value"]["authority"]) == ("", "read_only")
    assert not ReleaseApproval.objects.filter(valid_to=None).exists()
    from governance.common.errors import NotAllowedError

    with pytest.raises(NotAllowedError):
        services.switch_on(workflow, actor=builder, reason="Fine again.", authenticated_at=now())
    services.switch_on(workflow, actor=owner, reason="Mended.", authenticated_at=now())
    assert ask(client, "c1").json()["variant"] == live.pk
    causes = list(LiveChange.objects.order_by("seq").values_list("cause", flat=True))
    assert causes == ["adopt", "switched_off", "switched_on"]


@pytest.mark.parametrize("case", ["x" * 513, "a\0b", "\ud800"])
def test_a_case_that_cannot_be_a_case_is_refused_with_the_word_of_the_protocol(
    live: Release,
    machine: Callable[..., Client],
    case: str,
) -> None:
    answer = ask(machine(READ), case)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_CONTEXT")


@pytest.mark.parametrize(
    ("path", "limiter"),
    [(ONE, "ofrep"), ("/api/v1/receipts", "receipts"), ("/v1/traces", "receipts")],
)
def test_who_asks_too_often_is_told_in_whole_seconds_when_to_come_back(
    live: Release, machine: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, path: str,
    limiter: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(rate_limits, limiter, Limiter(0.5, 2))
    client, other = machine(READ, "receipts:write"), machine(READ, "receipts:write", name="two")
    codes = [ask(client, path=path).status_code for _ in range(3)]
    assert codes[:2] != [429, 429]
    assert codes[2] == 429
    answer = ask(client, path=path)
    assert int(answer["Retry-After"]) in (1, 2)
    assert ask(other, path=path).status_code != 429  # each token has its own


def test_forgotten_tokens_do_not_fill_the_memory() -> None:
    limiter = Limiter(10, 10)
    for number in range(20_000):
        limiter.wait(f"unknown-{number}")
    assert len(limiter._buckets) <= 10_000
