"""Spans that cannot be right, hostile ones, and those of real exporters."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from governance.people.models import ApiToken, User
from governance.receipts.models import Receipt, Span
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.api.exporter import assert_nothing_stored, rejected, send
from tests.conftest import TESTER
from tests.receipts.otlp import START_NS, TRACE, request, run_span, span

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "otlp-captures"
Machine = Callable[..., Client]


@pytest.fixture
def sender(machine: Machine, workflow: Workflow) -> Client:
    return machine(ApiToken.Scope.RECEIPTS_WRITE)


BAD_SPANS = {
    "in 1970": {"start_ms": -START_NS / 1e6 + 1},
    "in 2262": {"start_ms": 7_000_000_000_000},
    "ends before it starts": {"duration_ms": -1},
    "negative cost": {"countersign__cost": -0.5},
    "huge cost": {"countersign__cost": 1e300},
    "NaN cost": {"countersign__cost": float("nan")},
    "cost as text": {"countersign__cost": "a lot"},
    "another currency": {"countersign__cost": 1.0, "countersign__currency": "EUR"},
    "quality in percent": {"countersign__quality": 93.0},
    "escalated as text": {"countersign__escalated": "perhaps"},
    "negative tokens": {"gen_ai__usage__input_tokens": -4},
    "infinite measure": {"countersign__measure__first_response_s": float("inf")},
    "measure with a bad name": {"countersign__measure__Größe": 1.0},
    "unknown workflow": {"countersign__workflow": "nobody-knows"},
    "bad hash": {"countersign__output_sha256": "abc"},
}


@pytest.mark.parametrize("changes", BAD_SPANS.values(), ids=BAD_SPANS.keys())
def test_a_span_that_cannot_be_right_is_rejected_and_the_others_stored(
    sender: Client, changes: dict[str, Any]
) -> None:
    count, message = rejected(
        send(sender, request(run_span(1, trace="a" * 32), run_span(2, **changes)))
    )

    assert count == 1
    assert message.endswith("(1 span)")
    assert Receipt.objects.get().run_id == "a" * 32
    assert Span.objects.count() == 1


@pytest.mark.parametrize(
    ("trace_id", "span_id", "parent"),
    [(b"", b"12345678", b""), (b"1" * 15, b"12345678", b""), (bytes(16), b"12345678", b""),
     (b"1" * 16, b"", b""), (b"1" * 16, bytes(8), b""), (b"1" * 16, b"12345678", b"123")],
)  # fmt: skip
def test_ids_of_a_wrong_length_are_rejected(
    sender: Client, trace_id: bytes, span_id: bytes, parent: bytes
) -> None:
    bad = run_span()
    bad.trace_id, bad.span_id, bad.parent_span_id = trace_id, span_id, parent

    assert rejected(send(sender, request(bad)))[0] == 1
    assert_nothing_stored()


def test_a_trace_without_a_workflow_is_rejected_with_what_to_do(sender: Client) -> None:
    count, message = rejected(send(sender, request(span(1), span(2, 1))))

    assert count == 2
    assert "countersign.workflow" in message
    assert_nothing_stored()


def test_ten_thousand_spans_are_stored_and_more_than_twenty_thousand_refused(
    sender: Client,
) -> None:
    many = [run_span(number, trace=f"{number:032x}") for number in range(1, 10_001)]

    assert send(sender, request(*many)).content == b""
    assert Receipt.objects.count() == 10_000
    too_many = ExportTraceServiceRequest()
    for _ in range(3):
        too_many.MergeFrom(request(*[span(trace="b" * 32) for _ in range(8_000)]))
    response = send(sender, too_many)
    assert response.status_code == 413


def test_content_is_hashed_before_it_is_stored(sender: Client) -> None:
    secret = "My card was stolen in Lisbon"
    send(
        sender,
        request(
            run_span(
                gen_ai__input__messages=secret, user__id="u-9", status=2,
                llm__input_messages__0__message__content=secret, gen_ai__prompt__name="triage",
                events={
                    "exception": {"exception.message": secret, "exception.type": "TimeoutError"},
                    "gen_ai.user.message": {"content": secret},
                },
            ),
        ),
    )  # fmt: skip

    attributes = Span.objects.get().attributes
    assert secret not in json.dumps(attributes)
    assert "u-9" not in json.dumps(attributes)
    assert attributes["gen_ai.input.messages"].startswith("hash:")
    assert attributes["gen_ai.prompt.name"] == "triage"
    assert Receipt.objects.get().error == "TimeoutError"


def test_hostile_and_huge_attributes_are_stored_as_text(sender: Client) -> None:
    hostile = "<svg onload=alert(1)>{{7*7}}\u202e\0=cmd|"
    nested: Any = "deep"
    for _ in range(20):
        nested = [nested]
    response = send(
        sender,
        request(run_span(countersign__case_id=hostile, big="x" * 1_000_000, nested=nested,
                         odd=float("nan"), name=hostile)),
    )  # fmt: skip

    assert response.content == b""
    kept = Span.objects.get()
    assert len(kept.attributes["big"]) < 9_000
    assert "1000000 characters" in kept.attributes["big"]
    assert kept.attributes["odd"] == "nan"
    assert Receipt.objects.get().case_id == hostile.replace("\0", "\ufffd")


def test_lone_surrogates_in_json_are_replaced(sender: Client) -> None:
    body = (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"' + TRACE.encode()
        + b'","spanId":"00000000000000aa","name":"\\ud800","startTimeUnixNano":"%d",'
        b'"endTimeUnixNano":"%d","attributes":[{"key":"countersign.workflow","value":'
        b'{"stringValue":"support-triage"}},{"key":"countersign.case_id","value":'
        b'{"stringValue":"a\\ud800\\u0000b"}}]}]}]}]}' % (START_NS, START_NS + 5)
    )  # fmt: skip

    assert send(sender, body, "application/json").content == b"{}"
    assert Receipt.objects.get().case_id == "a\ufffd\ufffdb"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the captured requests are not on this machine")
def test_requests_captured_from_real_exporters_are_stored(sender: Client, owner: User) -> None:
    for slug in ("collections-copilot", "close-automation", "support-triage-llmetry"):
        create_workflow(slug, slug, owner=owner, actor=TESTER)
    answers = {}
    for path in sorted(SHARED.glob("*.traces.bin")):
        headers = json.loads(path.with_name(f"{path.stem}.headers.json").read_text())["headers"]
        response = send(
            sender, path.read_bytes(), headers["content-type"],
            **{"content_encoding": headers["content-encoding"]}
            if "content-encoding" in headers else {},
        )  # fmt: skip
        assert response.status_code == 200, (path.name, response.content)
        answers[path.name[:2]] = response.content

    assert {number for number, body in answers.items() if body not in (b"", b"{}")} == {"07"}
    receipts = {
        row["workflow__slug"]: row
        for row in Receipt.objects.values(
            "workflow__slug", "tokens_in", "tokens_out", "cost", "model_answered", "case_id",
            "error", "observed", "standing", "release_digest",
        )
    }  # fmt: skip
    assert set(receipts) == {
        "support-triage", "collections-copilot", "close-automation", "support-triage-llmetry",
    }  # fmt: skip
    agent = receipts["support-triage"]
    assert (agent["tokens_in"], agent["tokens_out"]) == (212, 48)
    assert (agent["case_id"], agent["error"]) == ("conv-77", "")
    assert agent["model_answered"] == "gpt-5-mini-2026-10-01"
    assert agent["observed"]["tools"] == "get_invoice"
    assert agent["observed"]["prompt_policy"] == "triage@7"
    assert agent["observed"]["release_claimed"] == "candidate@9f2c1e"
    assert (agent["standing"], agent["release_digest"]) == ("unattributed", "")
    assert receipts["support-triage-llmetry"]["tokens_in"] == 212
    # Two of close automation: one with OpenInference, one as OTLP/JSON with its cost.
    closed = Receipt.objects.filter(workflow__slug="close-automation").order_by("tokens_in")
    assert [row.tokens_in for row in closed] == [212, 512]
    assert closed[1].cost == Decimal("0.0031")
    assert "Lisbon" not in json.dumps(list(Span.objects.values_list("attributes", flat=True)))
