"""Spans and receipts stored per second, over HTTP, durable before each answer.

Against a private PostgreSQL that syncs to disk and two granian workers, from two sending
processes with pre-encoded batches. Sender, server and database share this machine's processors.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import time
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from bench._server import run_python, serving

BATCH = 512  # spans
SPANS_PER_TRACE = 4
SECONDS = 10.0
SENDERS = 2
SEED = """
from governance.audit import Actor
from governance.common.time import now
from governance.people.services import create_token, create_user
from governance.releases.services import register_release
from governance.rollouts.services import adopt_as_found
from governance.workflows.services import create_workflow
bench = Actor.system("bench")
owner = create_user("owner", actor=bench, password="not for people 123")
workflow = create_workflow("support-triage", "Support triage", owner=owner, actor=bench)
builder = create_user("builder", actor=bench, role="builder", password="not for people 123")
release, _ = register_release(workflow, {"model": {"id": "bench"}}, title="Bench", actor=builder)
adopt_as_found(release, actor=owner, reason="Measured.", authenticated_at=now())
print(create_token("bench", scopes=["receipts:write"], actor=bench)[1], release.digest)
"""
COUNT = """
from governance.receipts.models import Receipt, RollUp, Span
print(Span.objects.count(), Receipt.objects.count(),
      sum(RollUp.objects.filter(grain="day", measure="runs").values_list("n", flat=True)))
"""


def measure() -> Iterator[str]:
    """Store for ten seconds, then count what the database has."""
    with serving(SEED) as served:
        token, release = served.seeded
        yield from _send_from_all(served.port, token, release, served.environment)


def _send_from_all(
    port: int, token: str, release: str, environment: dict[str, str]
) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(SENDERS) as pool:
        runs = pool.starmap(_send, [(port, token, release, sender) for sender in range(SENDERS)])
    stored_spans, stored_receipts, counted = map(int, run_python(environment, COUNT).split())
    batches = sum(len(latencies) for latencies, _ in runs)
    seconds = max(taken for _, taken in runs)
    latencies = sorted(latency for latencies, _ in runs for latency in latencies)
    warm = SENDERS  # one batch per sender came before the clock started
    sent = (batches + warm) * BATCH
    yield (
        f"{batches * BATCH / seconds:,.0f} spans/s and"
        f" {batches * BATCH / SPANS_PER_TRACE / seconds:,.0f} receipts/s stored"
        f" ({batches} batches of {BATCH} spans, {SPANS_PER_TRACE} spans a trace, {SENDERS} senders)"
    )
    yield (
        f"answer to a batch: median {1000 * latencies[len(latencies) // 2]:.0f} ms,"
        f" p95 {1000 * latencies[int(len(latencies) * 0.95)]:.0f} ms"
    )
    yield (
        f"accepted {sent}, in the database {stored_spans}, lost {sent - stored_spans};"
        f" receipts {stored_receipts}, counted by the roll-ups {counted}"
    )


def _send(port: int, token: str, release: str, sender: int) -> tuple[list[float], float]:
    """Send for SECONDS; returns seconds per answer, and how long it all took."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-protobuf"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    bodies = [_batch(release, sender, number) for number in range(int(SECONDS * 60))]

    def post(body: bytes) -> float:
        started = time.perf_counter()
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        if answer.status != 200 or answer.read():
            raise RuntimeError(f"a batch was not stored: {answer.status}")
        return time.perf_counter() - started

    post(bodies.pop())
    latencies: list[float] = []
    started = time.perf_counter()
    while bodies and time.perf_counter() - started < SECONDS:
        latencies.append(post(bodies.pop()))
    return latencies, time.perf_counter() - started


def _batch(release: str, sender: int, number: int) -> bytes:
    """Encode one export request: whole traces of a run, two model calls and a tool call."""
    request = ExportTraceServiceRequest()
    group = ResourceSpans()
    group.resource.attributes.append(_pair("service.name", "support-triage"))
    scope = ScopeSpans()
    now = time.time_ns()
    for position in range(BATCH // SPANS_PER_TRACE):
        trace_id = (sender << 96 | number << 64 | position << 8 | os.getpid() << 40).to_bytes(
            16, "big"
        )[::-1]
        for part in range(SPANS_PER_TRACE):
            span = Span(
                trace_id=trace_id,
                span_id=(part + 1).to_bytes(8, "big"),
                parent_span_id=b"" if part == 0 else (1).to_bytes(8, "big"),
                name="run" if part == 0 else "chat gpt-5-mini",
                start_time_unix_nano=now + position * 1000,
                end_time_unix_nano=now + position * 1000 + 40_000_000,
            )
            span.attributes.extend(
                _run_attributes(release, position) if part == 0 else _call_attributes()
            )
            scope.spans.append(span)
    group.scope_spans.append(scope)
    request.resource_spans.append(group)
    encoded: bytes = request.SerializeToString()
    return encoded


def _run_attributes(release: str, position: int) -> list[KeyValue]:
    return [
        _pair("countersign.workflow", "support-triage"),
        _pair("countersign.release", release),
        _pair("countersign.case_id", f"ticket-{position}"),
        _pair("countersign.segment.language", ("en", "de", "fr")[position % 3]),
        _pair("countersign.cost", "0.0125"),
        _pair("countersign.currency", "USD"),
        _pair("countersign.outcome", "answered"),
        KeyValue(key="countersign.escalated", value=AnyValue(bool_value=position % 5 == 0)),
        KeyValue(
            key="countersign.measure.first_response_s", value=AnyValue(double_value=41.5)
        ),
    ]  # fmt: skip


def _call_attributes() -> list[KeyValue]:
    return [
        _pair("gen_ai.operation.name", "chat"),
        _pair("gen_ai.provider.name", "openai"),
        _pair("gen_ai.request.model", "gpt-5-mini"),
        _pair("gen_ai.response.model", "gpt-5-mini-2026-10-01"),
        _pair("gen_ai.response.id", "chatcmpl-fx0001"),
        KeyValue(key="gen_ai.usage.input_tokens", value=AnyValue(int_value=212)),
        KeyValue(key="gen_ai.usage.output_tokens", value=AnyValue(int_value=48)),
    ]


def _pair(name: str, text: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=text))
