"""One receipt per trace, whatever order and company its spans arrive in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from governance.common.time import true_now
from governance.jobs.models import Job
from governance.people.models import ApiToken
from governance.people.services import create_token
from governance.receipts import rows, services
from governance.receipts.models import Receipt, RollUp, Span
from governance.receipts.spans import Decoder
from governance.receipts.traces import SpanResult, store_spans
from governance.releases.models import Release, ReleaseApproval
from governance.workflows.models import Workflow
from tests.conftest import TESTER, empty
from tests.receipts.drafts import STARTED, draft
from tests.receipts.otlp import TRACE, request, run_span, span
from tests.receipts.test_store import assert_rollups_exact

KEY = b"a key for tests"


@pytest.fixture
def token(workflow: Workflow) -> ApiToken:
    return create_token("sender", scopes=[ApiToken.Scope.RECEIPTS_WRITE], actor=TESTER)[0]


def send(token: ApiToken, *spans: ProtoSpan, **values: Any) -> SpanResult:
    decoded = Decoder(KEY, true_now()).protobuf(request(*spans, **values).SerializeToString())
    assert not decoded.rejected
    return store_spans(decoded.spans, token=token)


def agent_trace() -> list[ProtoSpan]:
    """An agent that calls a model twice and a tool; the agent repeats the sums of its calls."""
    return [
        span(2, 1, start_ms=5, duration_ms=20, gen_ai__operation__name="chat",
             gen_ai__usage__input_tokens=100, gen_ai__usage__output_tokens=10,
             gen_ai__usage__cost__amount=0.01, gen_ai__response__model="gpt-5-mini"),
        span(3, 1, start_ms=30, duration_ms=5, gen_ai__tool__name="get_invoice"),
        span(4, 1, start_ms=40, duration_ms=30, gen_ai__operation__name="chat",
             gen_ai__usage__input_tokens=50, gen_ai__usage__output_tokens=5,
             gen_ai__usage__cost__amount=0.02),
        run_span(1, gen_ai__operation__name="invoke_agent", gen_ai__usage__input_tokens=150,
                 gen_ai__usage__output_tokens=15, gen_ai__usage__cost__amount=0.03,
                 countersign__case_id="ticket-7", countersign__violations=[]),
    ]  # fmt: skip


def said() -> dict[str, Any]:
    """What the one receipt says, without when it was received."""
    (row,) = Receipt.objects.values()
    return {name: value for name, value in row.items() if name != "received_at"}


def test_children_first_and_the_root_in_a_later_batch(token: ApiToken) -> None:
    *children, root = agent_trace()

    assert send(token, *children).receipts == 0
    assert not Receipt.objects.exists()
    assert send(token, root).receipts == 1

    kept = Receipt.objects.get()
    # The agent's sums are its children's: nothing is counted twice.
    assert (kept.tokens_in, kept.tokens_out, kept.cost) == (150, 15, Decimal("0.03"))
    assert (kept.duration_ms, kept.model_answered) == (100, "gpt-5-mini")
    assert kept.observed["tools"] == "get_invoice"
    assert_rollups_exact()


def test_a_child_that_arrives_later_corrects_the_receipt_and_the_sums(token: ApiToken) -> None:
    send(token, run_span(1))
    assert Receipt.objects.get().cost is None

    send(token, span(2, 1, gen_ai__usage__cost__amount=0.5))
    send(token, span(3, 1, gen_ai__usage__cost__amount=0.25))

    assert Receipt.objects.get().cost == Decimal("0.75")
    assert RollUp.objects.get(grain="day", measure="runs").n == 1
    assert RollUp.objects.get(grain="day", measure="cost").total == pytest.approx(0.75)
    assert_rollups_exact()


def test_the_cost_of_the_run_overrules_its_parts(token: ApiToken) -> None:
    send(token, run_span(1, countersign__cost="0.125"), span(2, 1, gen_ai__usage__cost__amount=9.0))

    assert Receipt.objects.get().cost == Decimal("0.125")


@given(
    order=st.permutations(range(4)),
    cuts=st.sets(st.integers(1, 3)),
    repeat=st.booleans(),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_order_and_split_of_a_trace_makes_the_same_receipt(
    token: ApiToken, order: Sequence[int], cuts: set[int], repeat: bool
) -> None:
    empty(Receipt, Span, RollUp)
    spans = agent_trace()
    send(token, *spans)
    expected = said()
    empty(Receipt, Span, RollUp)

    edges = [0, *sorted(cuts), 4]
    for start, end in pairwise(edges):
        batch = [spans[position] for position in order[start:end]]
        send(token, *batch)
        if repeat:
            assert send(token, *batch).duplicates == len(batch)

    assert said() == expected
    assert_rollups_exact()


@pytest.mark.django_db(transaction=True)
def test_two_halves_of_a_trace_that_arrive_at_once_see_each_other(token: ApiToken) -> None:
    errors: list[Exception] = []
    for trial in range(10):
        trace = f"{trial + 1:032x}"
        halves = [
            [run_span(1, trace=trace)],
            [span(2, 1, trace=trace, gen_ai__usage__cost__amount=0.5)],
        ]
        start = threading.Barrier(2)

        def deliver(half: list[ProtoSpan], start: threading.Barrier = start) -> None:
            try:
                start.wait()
                send(token, *half)
            except Exception as error:
                errors.append(error)
            finally:
                connection.close()

        senders = [threading.Thread(target=deliver, args=(half,)) for half in halves]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()

    assert not errors
    assert list(Receipt.objects.values_list("cost", flat=True)) == [Decimal("0.5")] * 10
    assert_rollups_exact()


@pytest.mark.django_db(transaction=True)
def test_the_same_batch_at_once_is_stored_once(token: ApiToken) -> None:
    spans = [
        each
        for number in range(1, 41)
        for each in (
            run_span(1, trace=f"{number:032x}", countersign__cost=0.25),
            span(2, 1, trace=f"{number:032x}"),
        )
    ]
    start = threading.Barrier(3)
    results: list[SpanResult] = []
    errors: list[Exception] = []

    def deliver(order: int) -> None:
        try:
            start.wait()
            results.append(send(token, *spans[::order]))
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    senders = [threading.Thread(target=deliver, args=(order,)) for order in (1, -1, 1)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert not errors
    assert sum(result.stored for result in results) == 80
    assert sum(result.duplicates for result in results) == 160
    assert Receipt.objects.count() == 40
    assert RollUp.objects.get(grain="day", measure="cost").total == pytest.approx(10.0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["stored_traces", "replace", "roll_up"])
def test_a_failure_in_the_middle_keeps_no_span_and_no_receipt(
    token: ApiToken, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    send(token, run_span(1))
    before = (said(), Span.objects.count(), list(RollUp.objects.order_by("pk").values()))

    def fail(*_: object) -> None:
        raise ConnectionError("the power went out")

    with monkeypatch.context() as broken:
        broken.setattr(rows, step, fail)
        with pytest.raises(ConnectionError):
            send(token, span(2, 1, gen_ai__usage__cost__amount=0.5))

    assert (said(), Span.objects.count(), list(RollUp.objects.order_by("pk").values())) == before


def test_the_release_of_a_trace_gives_the_receipt_its_standing(
    token: ApiToken, workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    ReleaseApproval.objects.create(
        workflow=workflow, release=release, valid_from=STARTED - timedelta(hours=1)
    )
    flag = {"feature_flag.key": workflow.slug, "feature_flag.result.variant": release.digest}

    send(token, run_span(1, events={"feature_flag.evaluation": flag}))

    kept = Receipt.objects.get()
    assert (kept.release_digest, kept.standing) == (release.digest, "authorised")
    assert kept.resolved_by == "feature_flag.result.variant"
    assert not Job.objects.filter(kind="triage.receipts").exists()


def test_a_release_named_by_a_later_span_moves_the_sums(
    token: ApiToken, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    send(token, run_span(1, countersign__cost=1.0))

    send(token, span(2, 1, countersign__release=release.digest))

    assert Receipt.objects.get().release_digest == release.digest
    moved = RollUp.objects.filter(grain="day", measure="cost").values_list("release_digest", "n")
    assert dict(moved) == {"": 0, release.digest: 1}
    assert_rollups_exact()


def test_a_receipt_sent_as_json_is_not_overwritten_by_spans(token: ApiToken) -> None:
    services.store([draft(TRACE, trace_id=TRACE)])

    result = send(token, run_span(1, countersign__cost=9.0))

    assert (result.stored, result.receipts) == (1, 0)
    assert Receipt.objects.get().cost == Decimal("0.0125")
    assert_rollups_exact()


def test_a_root_on_the_day_before_keeps_the_identity_of_the_receipt(token: ApiToken) -> None:
    to_midnight = (STARTED.replace(hour=0, minute=0) - STARTED).total_seconds() * 1000
    send(token, span(2, 1, start_ms=to_midnight + 1, gen_ai__operation__name="invoke_agent",
                     gen_ai__agent__name="Support Triage"))  # fmt: skip
    first = Receipt.objects.get()

    send(token, run_span(1, start_ms=to_midnight - 1_000, duration_ms=5_000))

    kept = Receipt.objects.get()
    assert (kept.day, kept.started_at) == (first.day, first.started_at)
    assert kept.duration_ms == 5_000
    assert_rollups_exact()


def test_names_lead_to_the_workflow(token: ApiToken, workflow: Workflow) -> None:
    send(token, span(1, trace="1" * 32, gen_ai__agent__name="Support Triage"))
    send(token, span(1, trace="2" * 32), service="support_triage")
    send(token, span(1, trace="3" * 32, traceloop__workflow__name="support-triage"))
    send(token, span(1, trace="4" * 32), resource={"openinference.project.name": "support-triage"})
    send(token, span(1, trace="5" * 32), resource={"countersign.workflow": "support-triage"})

    assert Receipt.objects.filter(workflow=workflow).count() == 5


def test_a_token_of_one_workflow_names_it_when_nothing_else_does(workflow: Workflow) -> None:
    token, _ = create_token(
        "scoped", scopes=[ApiToken.Scope.RECEIPTS_WRITE], actor=TESTER,
        workflow_slug="support-triage",
    )  # fmt: skip

    assert send(token, span(1)).receipts == 1
    assert Receipt.objects.get().workflow == workflow


def test_a_token_may_not_take_over_the_trace_of_another_workflow(
    token: ApiToken, make_workflow: Callable[..., Workflow]
) -> None:
    make_workflow("close-automation")
    stranger, _ = create_token(
        "stranger", scopes=[ApiToken.Scope.RECEIPTS_WRITE], actor=TESTER,
        workflow_slug="close-automation",
    )  # fmt: skip
    send(token, run_span(1, countersign__cost=1.0))
    before = said()

    result = send(
        stranger, span(2, 0, start_ms=-50, countersign__workflow="close-automation",
                       countersign__cost=0.0),
    )  # fmt: skip

    assert sum(result.rejected.values()) == 1
    assert said() == before
    assert Span.objects.count() == 1
    assert_rollups_exact()


def test_a_ring_of_parents_holds_nobody_up(token: ApiToken) -> None:
    result = send(
        token,
        run_span(1, parent=2, gen_ai__usage__input_tokens=5),
        span(2, 1, gen_ai__usage__input_tokens=7),
    )

    assert result.stored == 2
