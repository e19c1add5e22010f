"""POST /v1/traces, as ordinary exporters use it."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.test import Client

from governance.common.time import true_now
from governance.people.models import ApiToken
from governance.people.services import create_token, revoke_token
from governance.receipts import rows
from governance.receipts.models import Receipt, RollUp, Span
from governance.workflows.models import Workflow
from tests.api.exporter import PROTOBUF, assert_nothing_stored, rejected, send, status_of
from tests.conftest import TESTER
from tests.receipts.otlp import START_NS, TRACE, request, run_span, span

Machine = Callable[..., Client]


@pytest.fixture
def sender(machine: Machine, workflow: Workflow) -> Client:
    return machine(ApiToken.Scope.RECEIPTS_WRITE)


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
