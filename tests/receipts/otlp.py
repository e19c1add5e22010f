"""OTLP requests for tests, built with the protocol's own messages."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.receipts.drafts import STARTED

START_NS = int(STARTED.timestamp()) * 10**9
TRACE = "5b8efff798038103d269b633813fc60c"


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=value)


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=any_value(value)) for name, value in attributes.items()]


def span(
    number: int = 1,
    parent: int = 0,
    *,
    trace: str = TRACE,
    start_ms: float = 0,
    duration_ms: float = 100,
    status: int = 0,
    events: dict[str, dict[str, Any]] | None = None,
    name: str = "run",
    **attributes: Any,
) -> Span:
    """A span; `countersign__cost=1` becomes the attribute countersign.cost."""
    start = START_NS + int(start_ms * 1e6)
    return Span(
        trace_id=bytes.fromhex(trace),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=start + int(duration_ms * 1e6),
        status=Status(code=status),  # type: ignore[arg-type]
        attributes=pairs({key.replace("__", "."): value for key, value in attributes.items()}),
        events=[
            Span.Event(name=event, attributes=pairs(values))
            for event, values in (events or {}).items()
        ],
    )


def run_span(number: int = 1, **values: Any) -> Span:
    """The span that stands for a run of support triage."""
    return span(number, **{"countersign__workflow": "support-triage", **values})


def request(
    *spans: Span, service: str = "helpdesk", resource: dict[str, Any] | None = None
) -> ExportTraceServiceRequest:
    group = ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])
    group.resource.attributes.extend(pairs({"service.name": service, **(resource or {})}))
    return ExportTraceServiceRequest(resource_spans=[group])
