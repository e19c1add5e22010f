"""Releases that are called over the network: what is sent, what is read, and what it may cost."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.evals import asking, running
from governance.evals.contributors import editors_since
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.services import (
    cancel_run,
    confirm_target,
    current_target,
    finished_run,
    freeze_suite,
    request_run,
    set_target,
)
from governance.evals.targets import target_fingerprint
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals.conftest import cases, work
from tests.evals.model_server import Asked, ModelServer, completion, model_server, scripted

Make = Callable[..., Release]
Do = Callable[..., EvalRun]
WHY = "The model is called over the network from now on."


def answers_right(asked: Asked) -> Any:
    """The answer that the cases of these tests expect."""
    number = asked.body["messages"][-1]["content"].removeprefix("Number ")
    return completion(f"answer {number}")


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("COUNTERSIGN_MODEL_KEY", "sk-very-secret")
    with model_server(answers_right) as found:
        settings.OUTBOUND_ALLOWED = [found.origin]
        yield found


@pytest.fixture
def openai(server: ModelServer) -> dict[str, Any]:
    return {
        "kind": "openai", "base_url": f"{server.origin}/v1", "secret": "env:COUNTERSIGN_MODEL_KEY",
        "messages": [
            {"role": "system", "content": "{{release.prompt_policy.greeting}}"},
            {"role": "user", "content": "Number {{input.number}}"},
        ],
        "price_in": "1", "price_out": "500", "seconds": 5,
    }  # fmt: skip


def scored(run: EvalRun) -> Counter[str]:
    return Counter(run.scores.values_list("case__key", flat=True))


def test_a_release_is_asked_by_its_own_prompt_and_model_and_scored(
    workflow: Workflow, analyst: User, make_release: Make, golden: SuiteVersion, score: Do,
    server: ModelServer, openai: dict[str, Any],
) -> None:  # fmt: skip
    two = threading.Barrier(2)

    def together(asked: Asked) -> Any:
        if asked.number <= 2:
            two.wait(20)  # the second call is made while the first one is under way
        return answers_right(asked)

    server.behave = together
    set_target(workflow, openai, actor=analyst, reason=WHY)
    release = make_release()
    run = score(release, golden)
    assert (run.state, run.cases_done, run.errors) == (EvalRun.State.DONE, 60, 0)
    assert run.summary["correct"] == {"n": 60, "sum": 60}
    # Nobody knows whether a model would have handed over, so nothing is said about it.
    assert run.summary["escalated"] == {"n": 0, "sum": 0}
    assert run.cost == 60 * (Decimal(100) + 500 * 20) / 1_000_000
    first = run.scores.get(case__key="n0000")
    assert first.usage == {
        "prompt_tokens": 100, "completion_tokens": 20, "model": "model-2026-01-01",
        "fingerprint": "fp_1", "tries": 1,
    }  # fmt: skip
    sent = server.asked[0]
    assert sent.headers["X-Countersign-Release"] == release.digest
    assert sent.headers["traceparent"].startswith("00-")
    assert sent.body["messages"][0]["content"] == "Thank you for writing to us."
    assert (sent.body["model"], sent.body["neighbours"]) == ("word-tfidf", 5)
    assert 1 < server.most_at_once <= 4
    assert "very-secret" not in str(list(AuditEvent.objects.values_list("body", flat=True)))


def test_repeats_are_scores_of_their_own_with_a_seed_each(
    workflow: Workflow, analyst: User, make_release: Make, server: ModelServer,
    openai: dict[str, Any], score: Do,
) -> None:  # fmt: skip
    set_target(workflow, openai, actor=analyst, reason=WHY)
    suite = freeze_suite(workflow, "golden", cases(5), actor=analyst)
    run = score(make_release(), suite, repeats=3, seed=40)
    assert set(scored(run).values()) == {3}
    assert (run.cases_done, run.asks_total) == (15, 15)
    assert Counter(asked.body["seed"] for asked in server.asked) == {40: 5, 41: 5, 42: 5}


def test_an_answer_that_cannot_be_read_costs_as_much_as_one_that_can(
    workflow: Workflow, analyst: User, make_release: Make, server: ModelServer,
    openai: dict[str, Any], score: Do,
) -> None:  # fmt: skip
    server.behave = scripted(completion("no JSON"), completion('{"said": "answer 1"}'))
    target = {**openai, "concurrency": 1, "paths": {"answer": "said"}}
    set_target(workflow, target, actor=analyst, reason=WHY)
    run = score(make_release(), freeze_suite(workflow, "golden", cases(2), actor=analyst))
    row = run.scores.exclude(error="").get()
    assert "not the JSON it must be" in row.error
    assert row.cost == (Decimal(100) + 500 * 20) / 1_000_000
    assert run.cost == 2 * row.cost


def test_busy_and_ill_is_asked_again_and_garbage_is_an_error_of_its_case(
    workflow: Workflow, analyst: User, make_release: Make, server: ModelServer,
    openai: dict[str, Any], score: Do, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("governance.evals.target_calls.FIRST_PAUSE", 0.01)
    server.behave = scripted(
        (429, {"Retry-After": "0.05"}, b""), (503, {}, b""), answers_right,  # the first case
        (200, {}, b"\x00<html>"),  # the second: nobody asks again for that
        (500, {}, b""), (500, {}, b""), (500, {}, b""),  # the third
        answers_right,
    )  # fmt: skip
    set_target(workflow, {**openai, "concurrency": 1}, actor=analyst, reason=WHY)
    suite = freeze_suite(workflow, "golden", cases(5), actor=analyst)
    run = score(make_release(), suite)
    said = dict(run.scores.values_list("case__key", "error"))
    assert "not a chat completion" in said["n0001"]
    assert "It answered 500" in said["n0002"]
    assert said["n0000"] == said["n0003"] == said["n0004"] == ""
    assert run.scores.get(case__key="n0000").usage["tries"] == 3
    assert (run.state, run.errors) == (EvalRun.State.DONE, 2)


def test_an_http_target_is_read_by_its_paths(
    workflow: Workflow, analyst: User, make_release: Make, server: ModelServer, score: Do
) -> None:
    def behave(asked: Asked) -> Any:
        number = asked.body["case"]["number"]
        if number == 3:
            return 200, {}, b'{"said": {"text": "no idea", "to_person": "maybe"}}'
        said = b'{"said": {"text": "answer %d", "to_person": %s}, "broke": ["promise"], "usd": 0.5}'
        return 200, {}, said % (number, b"true" if number == 1 else b"false")

    server.behave = behave
    content = {
        "kind": "http", "url": f"{server.origin}/run", "secret": "env:COUNTERSIGN_MODEL_KEY",
        "secret_header": "X-Api-Key", "headers": {"X-Team": "support"}, "seconds": 5,
        "body": {"case": "{{input}}", "threshold": "{{release.guardrails.escalation_threshold}}"},
        "paths": {
            "answer": "said.text", "escalated": "said.to_person", "violations": "broke",
            "cost": "usd",
        },
    }  # fmt: skip
    set_target(workflow, content, actor=analyst, reason=WHY)
    suite = freeze_suite(workflow, "golden", cases(4), actor=analyst)
    run = score(make_release(), suite)
    assert dict(run.scores.values_list("case__key", "escalated")) == {
        "n0000": False, "n0001": True, "n0002": False, "n0003": None,
    }  # fmt: skip
    assert "escalated: true or false" in run.scores.get(case__key="n0003").error
    first = run.scores.get(case__key="n0000")
    assert (first.correct, first.policy_ok, first.violations) == (True, False, ["promise"])
    assert run.cost == Decimal("1.5")
    sent = server.asked[0]
    assert sent.body["threshold"] == 0.35
    assert (sent.headers["X-Api-Key"], sent.headers["X-Team"]) == ("sk-very-secret", "support")


def test_a_run_stops_before_it_spends_more_than_its_budget_and_keeps_what_it_paid_for(
    workflow: Workflow, analyst: User, make_release: Make, golden: SuiteVersion, score: Do,
    server: ModelServer, openai: dict[str, Any],
) -> None:  # fmt: skip
    set_target(workflow, {**openai, "budget": "0.05"}, actor=analyst, reason=WHY)
    run = score(make_release(), golden)  # each call costs 0.0101
    assert run.state == EvalRun.State.FAILED
    assert "its budget of 0.05 USD: 0.0404 is spent" in run.error
    assert run.cases_done == run.scores.count() == len(server.asked) == 4
    assert run.cost == Decimal("0.0404")
    assert finished_run(run.release, golden) is None


def test_a_cancelled_run_stops_keeps_its_scores_and_is_no_evidence(
    workflow: Workflow, analyst: User, cfo: User, make_release: Make, golden: SuiteVersion,
    server: ModelServer, openai: dict[str, Any],
) -> None:  # fmt: skip
    set_target(workflow, {**openai, "concurrency": 1}, actor=analyst, reason=WHY)
    run = request_run(make_release(), golden, actor=analyst, purpose="request", slot="a")
    with pytest.raises(NotAllowedError):
        cancel_run(run, actor=cfo)
    seen = threading.Event()

    store = running._store

    def then_cancel(*args: Any) -> None:
        store(*args)
        if not seen.is_set():
            seen.set()
            cancel_run(run, actor=analyst)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "_store", then_cancel)
        assert work(run)
    run.refresh_from_db()
    assert (run.state, run.cancelled_by_label) == (EvalRun.State.CANCELLED, "Analyst (analyst)")
    # What was under way is kept too: it is paid for.
    assert run.scores.count() == run.cases_done == 2 * running.CHUNK_CASES
    assert run.cost == sum(score.cost or 0 for score in run.scores.all())
    assert len(server.asked) < 60
    assert finished_run(run.release, golden) is None
    with pytest.raises(StateConflictError):
        cancel_run(run, actor=analyst)
    assert AuditEvent.objects.filter(verb="eval_run.cancelled").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_run_stops_asking_though_nothing_comes_back(
    workflow: Workflow, analyst: User, make_release: Make, golden: SuiteVersion,
    server: ModelServer, openai: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.1)
    wait = {**openai, "concurrency": 2, "seconds": 30, "tries": 3}
    set_target(workflow, wait, actor=analyst, reason=WHY)
    run = request_run(make_release(), golden, actor=analyst, purpose="request", slot="a")
    released = threading.Event()

    def silent(asked: Any) -> Any:
        if len(server.asked) == 2:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_cancel, run, analyst).result()
        released.wait(20)
        return completion("late")

    server.behave = silent
    try:
        started = time.monotonic()
        assert work(run)
        assert time.monotonic() - started < 10
        assert len(server.asked) <= 2
    finally:
        released.set()


def _cancel(run: EvalRun, actor: User) -> None:
    try:
        cancel_run(run, actor=actor)
    finally:
        connection.close()


@pytest.mark.parametrize("paths", [{"answer": "nope"}, {"answer": "why", "escalated": "why"}])
def test_a_budget_also_stops_answers_that_are_paid_and_useless(
    workflow: Workflow, analyst: User, make_release: Make, golden: SuiteVersion,
    server: ModelServer, openai: dict[str, Any], paths: dict[str, str],
) -> None:  # fmt: skip
    server.behave = lambda asked: completion(json.dumps({"why": "because"}))
    dear = {**openai, "paths": paths, "price_in": "10000", "price_out": "0", "concurrency": 1}
    set_target(workflow, dear, actor=analyst, reason=WHY)
    run = request_run(
        make_release(), golden, actor=analyst, purpose="request", slot="a", budget=Decimal(5)
    )
    work(run)
    run.refresh_from_db()
    assert run.state == EvalRun.State.FAILED
    assert "budget" in run.error
    assert 0 < run.cost <= 5
    assert len(server.asked) < 60


def test_a_slow_answer_does_not_lose_the_claim(
    workflow: Workflow, analyst: User, make_release: Make, server: ModelServer,
    openai: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(asking, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(running, "CHUNK_SECONDS", 0.0)
    beats = threading.Event()

    def behave(asked: Asked) -> Any:
        beats.wait(20)  # until the lease was renewed meanwhile
        return answers_right(asked)

    server.behave = behave
    set_target(workflow, {**openai, "seconds": 30}, actor=analyst, reason=WHY)
    suite = freeze_suite(workflow, "golden", cases(2), actor=analyst)
    run = request_run(make_release(), suite, actor=analyst, purpose="request", slot="a")
    from governance.jobs.services import Claim

    renew = Claim.heartbeat

    def noted(claim: Claim) -> None:
        renew(claim)
        beats.set()

    monkeypatch.setattr(Claim, "heartbeat", noted)
    assert work(run)
    run.refresh_from_db()
    assert (run.state, run.errors) == (EvalRun.State.DONE, 0)


def test_a_target_changes_the_evaluator_and_its_author_until_another_person_confirms(
    workflow: Workflow, analyst: User, builder: User, owner: User, cfo: User,
    golden: SuiteVersion, make_release: Make, score: Do, openai: dict[str, Any],
) -> None:  # fmt: skip
    old = score(make_release(), golden)
    before = target_fingerprint(workflow.slug)
    began = workflow.created_at - timedelta(seconds=1)
    first = set_target(workflow, openai, actor=builder, reason=WHY)
    assert target_fingerprint(workflow.slug) != before
    assert finished_run(old.release, golden) is None  # scored by another evaluator
    assert builder.pk in editors_since(workflow, began)
    with pytest.raises(NotAllowedError):
        confirm_target(first, actor=builder)
    confirm_target(first, actor=cfo)
    assert builder.pk not in editors_since(workflow, began)
    with pytest.raises(StateConflictError):
        confirm_target(first, actor=owner)
    now = target_fingerprint(workflow.slug)
    faster = set_target(workflow, {**openai, "concurrency": 9}, actor=analyst, reason="Faster.")
    assert (faster.version, current_target(workflow)) == (2, faster)
    assert target_fingerprint(workflow.slug) == now  # how fast it is asked changes no answer
    with pytest.raises(StateConflictError, match="in use already"):
        set_target(workflow, {**openai, "concurrency": 9}, actor=analyst, reason="Again.")
    with pytest.raises(NotAllowedError):
        set_target(workflow, openai, actor=cfo, reason="I may not.")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "telepathy"}, "one of callable, openai, http"),
        ({"temperature": 1}, "has no 'temperature'"),
        ({"base_url": "http://169.254.169.254/v1"}, "https"),
        ({"base_url": "https://127.0.0.1/v1"}, "not"),
        ({"secret": "sk-my-own-key"}, "Write env:COUNTERSIGN_NAME"),
        ({"secret": "env:DATABASE_URL"}, "Write env:COUNTERSIGN_NAME"),
        ({"messages": []}, "1 to 50 messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "role is one of"),
        ({"messages": [{"role": "user", "content": "{{ settings.SECRET_KEY }}"}]}, "names nothing"),
        ({"parameters": {"stream": True}}, "set by the target itself"),
        ({"price_in": "-1"}, "amount of money"),
        ({"price_in": "NaN"}, "amount of money"),
        ({"budget": "0"}, "amount of money"),
        ({"seconds": 0}, "from 1 to 600"),
        ({"concurrency": True}, "from 1 to 32"),
        ({"paths": {"answer": "a..b["}}, "no JMESPath"),
        ({"paths": {"latency": "a"}}, "Paths are named"),
        ({"kind": []}, "one of callable, openai, http"),
        ({"kind": {}}, "one of callable, openai, http"),
        ({"budget": "0.0000000000001"}, "at most 8 decimals"),
        ({"budget": "1e-4000000"}, "at most 8 decimals"),
        ({"price_in": "1e9999999"}, "amount of money"),
    ],
)
def test_what_is_no_target_is_refused_in_one_sentence(
    workflow: Workflow, analyst: User, openai: dict[str, Any], changes: dict[str, Any],
    sentence: str,
) -> None:  # fmt: skip
    with pytest.raises(InvalidInputError, match=sentence):
        set_target(workflow, {**openai, **changes}, actor=analyst, reason=WHY)
    assert current_target(workflow) is None


def test_a_release_that_lacks_what_the_messages_name_fails_the_run_at_once(
    workflow: Workflow, analyst: User, make_release: Make, golden: SuiteVersion, score: Do,
    server: ModelServer, openai: dict[str, Any],
) -> None:  # fmt: skip
    messages = [{"role": "user", "content": "{{release.prompt_policy.farewell}}"}]
    set_target(workflow, {**openai, "messages": messages}, actor=analyst, reason=WHY)
    run = score(make_release(), golden)
    assert run.state == EvalRun.State.FAILED
    assert "There is no release.prompt_policy.farewell" in run.error
    assert not server.asked
