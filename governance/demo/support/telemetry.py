"""Run receipts, sent with the ordinary OpenTelemetry SDK: one trace for each mail."""

from __future__ import annotations

import hashlib
from datetime import datetime

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from governance.demo.support import WORKFLOW
from governance.demo.support.helpdesk import CURRENCY, first_response_seconds
from governance.demo.support.labels import is_labelled, judge
from governance.demo.support.release_source import Running
from governance.demo.support.router import Decision
from governance.demo.support.suites import expectation
from governance.demo.support.traffic import Arrival

BATCH_MS = 500  # receipts are on their way half a second after the run
SEND_SECONDS = 30  # how long a batch is tried again while the server is away


def provider_for(url: str, token: str) -> TracerProvider:
    """Return a tracer provider that sends to `url` in batches."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": WORKFLOW, "service.namespace": "kettlewick"}),
        shutdown_on_exit=False,  # the main loop closes it, with a limit of its own
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{url.rstrip('/')}/v1/traces",
        headers={"Authorization": f"Bearer {token}"},
        timeout=SEND_SECONDS,
        compression=Compression.Gzip,
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=BATCH_MS, max_export_batch_size=256)
    )
    return provider


def answer(tracer: Tracer, running: Running, arrival: Arrival, now: datetime) -> Decision:
    """Answer one mail inside a trace that says everything a run receipt holds."""
    with tracer.start_as_current_span(f"invoke_agent {WORKFLOW}", kind=SpanKind.INTERNAL) as span:
        _declare(span, running, arrival)
        with tracer.start_as_current_span("retrieval neighbours") as step:
            step.set_attribute("gen_ai.operation.name", "retrieval")
            step.set_attribute("gen_ai.data_source.id", running.components["retrieval"])
            decision = running.router.decide(arrival.message.text)
        for tool in decision.tools:
            with tracer.start_as_current_span(f"execute_tool {tool}") as step:
                step.set_attribute("gen_ai.operation.name", "execute_tool")
                step.set_attribute("gen_ai.tool.name", tool)
        _report(span, decision, arrival, now)
    return decision


def fail(tracer: Tracer, running: Running, arrival: Arrival, error: Exception) -> None:
    """Send the receipt of a mail that could not be answered."""
    with tracer.start_as_current_span(f"invoke_agent {WORKFLOW}") as span:
        _declare(span, running, arrival)
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR, str(error)[:300]))


def _declare(span: Span, running: Running, arrival: Arrival) -> None:
    span.set_attributes(
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": WORKFLOW,
            "gen_ai.provider.name": "kettlewick",
            "gen_ai.request.model": running.model,
            "gen_ai.response.model": running.model,
            "gen_ai.conversation.id": arrival.case_id,
            "countersign.workflow": WORKFLOW,
            "countersign.release": running.release,
            "countersign.case_id": arrival.case_id,
            "countersign.ref.ticket": arrival.case_id.partition(".")[0].upper(),
            "countersign.segment.language": arrival.message.language,
            "countersign.authority": running.authority,
            **{f"countersign.observed.{slot}": found for slot, found in running.components.items()},
        }
    )
    span.add_event(
        "feature_flag.evaluation",
        {
            "feature_flag.key": WORKFLOW,
            "feature_flag.provider.name": "ofrep",
            "feature_flag.result.variant": running.release,
            "feature_flag.result.reason": "cached" if running.cached else running.reason.lower(),
            "feature_flag.context.id": arrival.case_id,
        },
    )


def _report(span: Span, decision: Decision, arrival: Arrival, now: datetime) -> None:
    seconds = first_response_seconds(
        now, arrival.case_id, escalated=decision.escalated, latency_ms=decision.latency_ms
    )
    judged = judge(expectation(arrival.message), decision)
    span.set_attributes(
        {
            "countersign.cost": str(decision.cost),
            "countersign.currency": CURRENCY,
            "countersign.escalated": decision.escalated,
            "countersign.outcome": decision.reason or decision.answer,
            "countersign.output_sha256": hashlib.sha256(decision.reply.encode()).hexdigest(),
            "countersign.violations": list(decision.violations),
            "countersign.measure.first_response_s": seconds,
            "countersign.measure.confidence": decision.confidence,
            # Known of every run, so that the guard of a pilot has something to compare.
            "countersign.quality": float(judged.right),
            "countersign.measure.silent_error": float(judged.silent_error),
        }
    )
    if is_labelled(arrival.case_id):
        span.set_attribute("countersign.measure.correct", float(judged.right))
