"""Sending spans as an exporter does, and reading what it would read."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from governance.receipts.models import Receipt, RollUp, Span

PROTOBUF = "application/x-protobuf"


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
