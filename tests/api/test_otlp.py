"""POST /v1/traces, as ordinary exporters use it."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from governance.common.time import true_now
from governance.people.models import ApiToken, User
from governance.people.services import create_token, revoke_token
from governance.receipts import rows
from governance.receipts.models import Receipt, RollUp, Span
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.receipts.otlp import START_NS, TRACE, request, run_span, span

PROTOBUF = "application/x-protobuf"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "otlp-captures"
Machine = Callable[..., Client]


@pytest.fixture
def sender(machine: Machine, workflow: Workflow) -> Client:
    return machine(ApiToken.Scope.RECEIPTS_WRITE)


def send(
    client: Client,
    body: bytes | ExportTraceServiceRequest,
    content_type: str = PROTOBUF,
    **headers: str,
) -> HttpResponse:
    data = body if isinstance(body, bytes) else body.SerializeToString()
    response: Any = client.post(
        "/v1/traces", data, content_type=content_type,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        CONTENT_LENGTH=str(len(data)), CONTENT_TYPE=content_type,
    )  # fmt: skip
    return response  # type: ignore[no-any-return]


def rejected(response: HttpResponse) -> tuple[int, str]:
    assert response.status_code == 200
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    return partial.rejected_spans, partial.error_message


def status_of(response: HttpResponse) -> tuple[int, str]:
    """Read a google.rpc.Status: field 1 is the code, field 2 the message."""
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    message = Status.FromString(response.content)
    return message.code, message.message


def assert_nothing_stored() -> None:
    assert not Span.objects.exists()
    assert not Receipt.objects.exists()
    assert not RollUp.objects.exists()


def test_a_trace_becomes_a_receipt(sender: Client) -> None:
    response = send(
        sender,
        request(
            span(2, 1, gen_ai__operation__name="chat", gen_ai__usage__input_tokens=212,
                 gen_ai__response__model="gpt-5-mini", gen_ai__usage__output_tokens=48),
            run_span(
                countersign__case_id="ticket-7", countersign__cost="0.0125",
                countersign__currency="USD", countersign__escalated=True,
                countersign__segment__language="en", countersign__ref__ticket="T-7",
                countersign__measure__first_response_s=42.5, countersign__violations=["pii"],
                countersign__observed__guardrails="sha256:abc", countersign__outcome="refund",
            ),
        ),
    )  # fmt: skip

    assert (response.status_code, response.content) == (200, b"")
    assert response["Content-Type"] == PROTOBUF
    kept = Receipt.objects.get()
    assert (kept.run_id, kept.trace_id, kept.case_id) == (TRACE, TRACE, "ticket-7")
    assert (kept.cost, kept.escalated, kept.segment) == (Decimal("0.0125"), True, "en")
    assert (kept.tokens_in, kept.tokens_out, kept.model_answered) == (212, 48, "gpt-5-mini")
    assert (kept.refs, kept.violations, kept.outcome) == ({"ticket": "T-7"}, ["pii"], "refund")
    assert kept.measures == {"first_response_s": 42.5, "policy_ok": 0.0}
    assert kept.observed == {"guardrails": "sha256:abc", "model": "gpt-5-mini"}
    assert kept.duration_ms == 100
    assert Span.objects.count() == 2


def test_the_same_bytes_again_are_accepted_and_change_nothing(sender: Client) -> None:
    body = request(run_span(countersign__cost=0.5), span(2, 1))
    send(sender, body)
    before = list(RollUp.objects.order_by("pk").values())

    response = send(sender, body)

    assert (response.status_code, response.content) == (200, b"")
    assert Span.objects.count() == 2
    assert Receipt.objects.count() == 1
    assert list(RollUp.objects.order_by("pk").values()) == before


def test_another_span_under_a_stored_id_is_rejected(sender: Client) -> None:
    send(sender, request(run_span(countersign__cost=0.5)))

    count, message = rejected(send(sender, request(run_span(countersign__cost=9.5), span(2, 1))))

    assert count == 1
    assert "another content" in message
    assert Receipt.objects.get().cost == Decimal("0.5")
    assert Span.objects.count() == 2


def test_gzip_and_json_store_the_same(sender: Client) -> None:
    body = request(run_span(countersign__cost=0.25, countersign__tokens=2**40))

    assert send(
        sender, gzip.compress(body.SerializeToString()), content_encoding="gzip"
    ).content == b""  # fmt: skip
    as_json = {
        "resourceSpans": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "helpdesk"}},
            ]},
            "scopeSpans": [{"unknownField": 1, "spans": [{
                "traceId": TRACE.upper(), "spanId": "0000000000000001", "name": "run",
                "startTimeUnixNano": str(START_NS), "endTimeUnixNano": START_NS + 100_000_000,
                "attributes": [
                    {"key": "countersign.workflow", "value": {"stringValue": "support-triage"}},
                    {"key": "countersign.cost", "value": {"doubleValue": 0.25}},
                    {"key": "countersign.tokens", "value": {"intValue": str(2**40)}},
                ],
            }]}],
        }]
    }  # fmt: skip
    response = send(sender, json.dumps(as_json).encode(), "application/json; charset=utf-8")

    assert response.json() == {}  # type: ignore[attr-defined]
    assert response["Content-Type"] == "application/json"
    assert Span.objects.count() == 1


BAD_BODIES: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "truncated protobuf": (400, request(run_span()).SerializeToString()[:-3], {}),
    "JSON as protobuf": (400, b'{"resourceSpans": []}', {}),
    "truncated gzip": (
        400, gzip.compress(request(run_span()).SerializeToString())[:-9],
        {"content_encoding": "gzip"},
    ),
    "not gzip": (400, request(run_span()).SerializeToString(), {"content_encoding": "gzip"}),
    "gzip with a tail": (400, gzip.compress(b"") + b"tail", {"content_encoding": "gzip"}),
    "many empty gzip parts": (400, gzip.compress(b"") * 50_000, {"content_encoding": "gzip"}),
    "gzip bomb": (413, gzip.compress(bytes(100_000_000)), {"content_encoding": "gzip"}),
    "gzip within gzip": (
        400, gzip.compress(gzip.compress(request(run_span()).SerializeToString())),
        {"content_encoding": "gzip"},
    ),
    "too large": (413, bytes(8 * 2**20 + 1), {}),
    "zlib": (415, zlib.compress(b""), {"content_encoding": "deflate"}),
    "two encodings": (415, gzip.compress(b""), {"content_encoding": "gzip, gzip"}),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "headers"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_body_is_refused_with_a_status_message(
    sender: Client, status: int, body: bytes, headers: dict[str, str]
) -> None:
    response = send(sender, body, **headers)

    assert response.status_code == status
    code, message = status_of(response)
    assert code in (3, 8)
    assert message.endswith(".")
    assert response["Content-Type"] == PROTOBUF
    assert_nothing_stored()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x0a\x00",
        b"[]",
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [1]}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"resourceSpans":' * 3_000,
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"9e999"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":1e400}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"'
        + b"9" * 5_000
        + b'"}]}]}]}',
    ],
)
def test_bad_json_is_refused_with_a_status_in_json(sender: Client, body: bytes) -> None:
    response = send(sender, body, "application/json")

    assert response.status_code == 400
    assert response.json()["code"] == 3  # type: ignore[attr-defined]
    assert_nothing_stored()


def test_an_empty_request_is_a_success(sender: Client) -> None:
    assert (send(sender, b"").status_code, send(sender, b"").content) == (200, b"")
    assert send(sender, b"{}", "application/json").content == b"{}"


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc", "multipart/form-data"])
def test_other_content_types_are_refused(sender: Client, content_type: str) -> None:
    assert send(sender, request(run_span()), content_type).status_code == 415


def test_a_body_shorter_than_announced_is_refused(sender: Client) -> None:
    whole = request(run_span(1), run_span(2, trace="1" * 32)).SerializeToString()

    announced: dict[str, Any] = {
        "CONTENT_LENGTH": str(len(whole) + 10), "wsgi.input": io.BytesIO(whole),
    }  # fmt: skip
    response = sender.post("/v1/traces", whole, content_type=PROTOBUF, **announced)
    without = sender.post("/v1/traces", whole, content_type=PROTOBUF, CONTENT_LENGTH="")

    assert (response.status_code, without.status_code) == (400, 411)
    assert_nothing_stored()


def test_a_chunked_body_is_read_to_its_end(sender: Client) -> None:
    """Exporters that compress while they send do not know the length."""
    whole = gzip.compress(request(run_span()).SerializeToString())
    chunked: dict[str, Any] = {
        "CONTENT_LENGTH": "", "wsgi.input": io.BytesIO(whole), "wsgi.input_terminated": True,
    }  # fmt: skip

    response = sender.post(
        "/v1/traces", content_type=PROTOBUF, headers={"content-encoding": "gzip"},
        CONTENT_TYPE=PROTOBUF, **chunked,
    )  # fmt: skip
    chunked["wsgi.input"] = io.BytesIO(bytes(9 * 2**20))
    too_large = sender.post("/v1/traces", content_type=PROTOBUF, CONTENT_TYPE=PROTOBUF, **chunked)

    assert (response.status_code, too_large.status_code) == (200, 413)
    assert Receipt.objects.count() == 1


def test_only_post_is_answered(sender: Client) -> None:
    response = sender.get("/v1/traces")

    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_tokens_are_needed_usable_and_scoped(machine: Machine, workflow: Workflow) -> None:
    body = request(run_span())
    expired = create_token(
        "expired", scopes=["receipts:write"], actor=TESTER,
        expires_at=true_now() - timedelta(seconds=1),
    )[1]  # fmt: skip
    token, revoked = create_token("revoked", scopes=["receipts:write"], actor=TESTER)
    revoke_token(token.pk, actor=TESTER)

    for shown in (None, "cs_unknown", expired, revoked):
        headers = {"authorization": f"Bearer {shown}"} if shown else {}
        response = send(Client(), body, **headers)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert status_of(response)[0] == 16
    response = send(machine(ApiToken.Scope.RELEASES_READ), body)
    assert (response.status_code, status_of(response)[0]) == (403, 7)
    assert_nothing_stored()


def test_a_token_of_another_workflow_stores_nothing(machine: Machine, workflow: Workflow) -> None:
    client = machine(ApiToken.Scope.RECEIPTS_WRITE, workflow_slug="collections-copilot")

    count, message = rejected(send(client, request(run_span(), span(2, 1))))

    assert count == 2
    assert "may not send receipts for support-triage" in message
    assert_nothing_stored()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_a_503_that_exporters_retry(sender: Client) -> None:
    with mock.patch.object(rows, "insert", side_effect=OperationalError("gone")):
        response = send(sender, request(run_span()))

    assert response.status_code == 503
    assert int(response["Retry-After"]) <= 5
    assert status_of(response)[0] == 14
    assert_nothing_stored()
    assert send(sender, request(run_span())).status_code == 200
    assert Receipt.objects.count() == 1


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
