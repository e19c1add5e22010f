"""OTLP requests, protobuf or JSON, to plain spans. Pure: content is hashed before anybody sees it.

Names of attributes are those of the OpenTelemetry, OpenInference, OpenLLMetry and Langfuse
conventions; docs/integrating.md has the table.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError
from governance.receipts.drafts import MOST_AHEAD, OLDEST, clean
from governance.receipts.redaction import redact

MOST_SPANS = 20_000  # per request
LONGEST_TEXT = 8_192  # characters of one attribute; the rest is cut and the cut is marked
DEEPEST = 6  # levels of nested attribute values
MOST_EVENTS = 32
EVENTS = "@events"
RESOURCE = "@resource"
KEPT_EVENTS = ("feature_flag", "exception", "gen_ai.evaluation.result")
KEPT_RESOURCE = (
    "countersign.", "service.version", "gen_ai.agent.", "openinference.project.name", "langfuse.",
    "deployment.environment.name",
)  # fmt: skip
# What people wrote or were told, and who they are: kept as a keyed hash only.
CONTENT = frozenset((
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
    "gen_ai.prompt", "gen_ai.completion", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
    "gen_ai.tool.definitions", "gen_ai.retrieval.documents", "gen_ai.retrieval.query.text",
    "gen_ai.evaluation.explanation", "input.value", "output.value", "llm.prompts",
    "llm.prompt_template.template", "llm.prompt_template.variables", "llm.function_call",
    "tool.parameters", "traceloop.entity.input", "traceloop.entity.output",
    "traceloop.prompt.template", "traceloop.prompt.template_variables",
    "langfuse.observation.input", "langfuse.observation.output", "langfuse.trace.input",
    "langfuse.trace.output", "exception.message", "exception.stacktrace", "user.id", "user.email",
    "user.name", "enduser.id", "gen_ai.user", "langfuse.user.id",
))  # fmt: skip
CONTENT_FAMILIES = re.compile(
    r"(?:llm\.(?:input_messages|output_messages|tools)|gen_ai\.(?:prompt|completion)\.\d"
    r"|retrieval\.documents|reranker\.|embedding\.|message\.|document\.|llm\.request\.functions"
    r"|langfuse\.[a-z]+\.(?:input|output))"
)


@dataclass(slots=True)
class SpanData:
    """One span; times in UTC, duration in nanoseconds, status 2 is an error."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    service: str
    started_at: datetime
    duration_ns: int
    status: int
    attributes: dict[str, Any]

    @property
    def day(self) -> date:
        return self.started_at.date()


class TooManySpansError(InvalidInputError):
    """More spans in one request than are stored in one go."""

    status = 413


@dataclass(slots=True)
class Decoded:
    """The spans of one request, and how many were unusable, by reason."""

    spans: list[SpanData] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    seen: int = 0


@lru_cache(maxsize=4096)
def is_content(name: str) -> bool:
    """Whether an attribute holds what people wrote, or who they are."""
    return name in CONTENT or CONTENT_FAMILIES.match(name) is not None


class Decoder:
    """Turns requests into spans.

    Args:
        key: secret that keys the hashes of content, so that nobody finds a text by trying.
        moment: the true time now; spans far from it are rejected.
        patterns: an operator's own patterns of personal data, see `redaction`.
    """

    def __init__(
        self, key: bytes, moment: datetime, patterns: Sequence[re.Pattern[str]] = ()
    ) -> None:
        self.patterns = patterns
        self.key = hashlib.sha256(key).digest()
        self.earliest = int((moment - OLDEST).timestamp()) * 10**9
        self.latest = int((moment + MOST_AHEAD).timestamp()) * 10**9

    def protobuf(self, body: bytes) -> Decoded:
        """Decode an ExportTraceServiceRequest.

        Raises:
            InvalidInputError: these bytes are not one.
        """
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            raise InvalidInputError("The body is not an OTLP trace request.") from error
        decoded = Decoded()
        for group in request.resource_spans:
            service, resource = self._resource(
                {pair.key: self._proto(pair.value) for pair in group.resource.attributes}
            )
            for scope in group.scope_spans:
                for span in scope.spans:
                    attributes = {}
                    for pair in span.attributes:
                        name = pair.key
                        value = self._proto(pair.value)
                        attributes[name] = self._kept(name, value)
                    events = [
                        (
                            event.name,
                            {pair.key: self._proto(pair.value) for pair in event.attributes},
                        )
                        for event in span.events[:MOST_EVENTS]
                        if event.name.startswith(KEPT_EVENTS)
                    ]
                    self._add(
                        decoded, span.trace_id.hex(), span.span_id.hex(),
                        span.parent_span_id.hex(), span.name, service, span.start_time_unix_nano,
                        span.end_time_unix_nano, span.status.code, attributes, events, resource,
                    )  # fmt: skip
        return decoded

    def json(self, body: bytes) -> Decoded:
        """Decode OTLP/JSON: ids in hex, 64-bit integers as texts, unknown fields ignored.

        Raises:
            InvalidInputError: this is not OTLP/JSON.
        """
        request = parse_json(body)
        if not isinstance(request, Mapping):
            raise InvalidInputError("The body is not an OTLP trace request: not a JSON object.")
        decoded = Decoded()
        for group in _objects(request, "resourceSpans"):
            service, resource = self._resource(
                self._pairs(_objects(_object(group, "resource"), "attributes"))
            )
            for scope in _objects(group, "scopeSpans"):
                for span in _objects(scope, "spans"):
                    attributes = self._pairs(_objects(span, "attributes"))
                    for name in attributes:
                        attributes[name] = self._kept(name, attributes[name])
                    events = [
                        (str(event.get("name", "")), self._pairs(_objects(event, "attributes")))
                        for event in _objects(span, "events")[:MOST_EVENTS]
                        if str(event.get("name", "")).startswith(KEPT_EVENTS)
                    ]
                    self._add(
                        decoded, _hex(span.get("traceId")), _hex(span.get("spanId")),
                        _hex(span.get("parentSpanId")), str(span.get("name", "")), service,
                        _int(span.get("startTimeUnixNano", 0)),
                        _int(span.get("endTimeUnixNano", 0)),
                        _int(_object(span, "status").get("code", 0)), attributes, events, resource,
                    )  # fmt: skip
        return decoded

    def _add(
        self,
        decoded: Decoded,
        trace_id: str,
        span_id: str,
        parent_span_id: str,
        name: str,
        service: str,
        start: int,
        end: int,
        status: int,
        attributes: dict[str, Any],
        events: Sequence[tuple[str, dict[str, Any]]],
        resource: dict[str, Any],
    ) -> None:
        decoded.seen += 1
        if decoded.seen > MOST_SPANS:
            raise TooManySpansError(f"At most {MOST_SPANS} spans a request.")
        if len(trace_id) != 32 or trace_id == "0" * 32:
            decoded.rejected["A span needs a trace id of 16 bytes."] += 1
        elif len(span_id) != 16 or span_id == "0" * 16:
            decoded.rejected["A span needs a span id of 8 bytes."] += 1
        elif len(parent_span_id) not in (0, 16):
            decoded.rejected["A parent span id has 8 bytes."] += 1
        elif start < self.earliest:
            decoded.rejected["A span started more than three years ago, or has no start."] += 1
        elif start > self.latest:
            decoded.rejected["A span starts more than a day ahead of this server's clock."] += 1
        elif end < start:
            decoded.rejected["A span ends before it starts."] += 1
        elif end > self.latest:
            decoded.rejected["A span ends more than a day ahead of this server's clock."] += 1
        else:
            if events:
                attributes[EVENTS] = [
                    {
                        "name": event[:200],
                        "attributes": {key: self._kept(key, value) for key, value in pairs.items()},
                    }
                    for event, pairs in events
                ]
            if resource:
                attributes[RESOURCE] = resource
            seconds, nanoseconds = divmod(start, 10**9)
            decoded.spans.append(
                SpanData(
                    trace_id, span_id, "" if parent_span_id == "0" * 16 else parent_span_id,
                    clean(name)[:200], service,
                    datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000),
                    end - start, status if status in (0, 1, 2) else 0, attributes,
                )
            )  # fmt: skip

    @staticmethod
    def _resource(pairs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the service's name, and what of the resource the receipt is made of."""
        kept = {name: value for name, value in pairs.items() if name.startswith(KEPT_RESOURCE)}
        return str(pairs.get("service.name", ""))[:200], kept

    def _kept(self, name: str, value: Any) -> Any:
        """Content as a keyed hash; of the rest what gives nobody away."""
        return self._hidden(value) if is_content(name) else self._redacted(value)

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return redact(value, self.patterns)
        if isinstance(value, list):
            return [self._redacted(item) for item in value]
        if isinstance(value, dict):
            return {name: self._redacted(item) for name, item in value.items()}
        return value

    def _hidden(self, value: Any) -> str:
        text = value if isinstance(value, str) else repr(value)
        return (
            "hash:"
            + hashlib.blake2b(
                text.encode("utf-8", "surrogatepass"), key=self.key, digest_size=16
            ).hexdigest()
        )

    def _proto(self, value: Any, depth: int = 0) -> Any:
        kind = value.WhichOneof("value")
        if kind == "string_value":
            return _text(value.string_value)
        if kind == "int_value":
            return value.int_value
        if kind == "bool_value":
            return value.bool_value
        if kind == "double_value":
            return _double(value.double_value)
        if kind == "bytes_value":
            return value.bytes_value.hex()[:LONGEST_TEXT]
        if depth >= DEEPEST:
            return "… (nested more deeply)"
        if kind == "array_value":
            return [self._proto(item, depth + 1) for item in value.array_value.values]
        if kind == "kvlist_value":
            return {
                _text(pair.key): self._proto(pair.value, depth + 1)
                for pair in value.kvlist_value.values
            }
        return None

    def _pairs(self, pairs: Iterable[Mapping[str, Any]], depth: int = 0) -> dict[str, Any]:
        return {
            _text(str(pair.get("key", ""))): self._json(_object(pair, "value"), depth)
            for pair in pairs
        }

    def _json(self, value: Mapping[str, Any], depth: int = 0) -> Any:
        if "stringValue" in value:
            return _text(str(value["stringValue"]))
        if "intValue" in value:
            return _int(value["intValue"])
        if "boolValue" in value:
            return value["boolValue"] is True
        if "doubleValue" in value:
            number = value["doubleValue"]
            try:
                return _double(float(number))
            except (TypeError, ValueError, OverflowError) as error:
                raise InvalidInputError("A doubleValue is not a number.") from error
        if "bytesValue" in value:
            try:
                return binascii.a2b_base64(str(value["bytesValue"])).hex()[:LONGEST_TEXT]
            except (ValueError, binascii.Error) as error:
                raise InvalidInputError("A bytesValue is not base64.") from error
        if depth >= DEEPEST:
            return "… (nested more deeply)"
        if "arrayValue" in value:
            return [
                self._json(item, depth + 1)
                for item in _objects(_object(value, "arrayValue"), "values")
            ]
        if "kvlistValue" in value:
            return self._pairs(_objects(_object(value, "kvlistValue"), "values"), depth + 1)
        return None


def _text(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… (cut: {len(text)} characters)"
    # A plain ASCII text without NUL is the rule; only others are searched.
    return text if text.isascii() and "\0" not in text else clean(text)


def _double(number: float) -> float | str:
    """JSON has no NaN and no infinities: they are kept as text."""
    return number if math.isfinite(number) else str(number)


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InvalidInputError(f"{name} must be an object.")
    return found


def _objects(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = holder.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise InvalidInputError(f"{name} must be a list of objects.")
    return found


def _hex(value: Any) -> str:
    """An id in hex; one that is not becomes a text of a length that no id has."""
    text = str(value or "").lower()
    return text if all(digit in "0123456789abcdef" for digit in text) else "?"


def _int(value: Any) -> int:
    """A 64-bit integer, which OTLP/JSON may write as text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidInputError("An integer is neither a number nor a text of digits.")
    try:
        number = int(value)
    except ValueError as error:
        raise InvalidInputError("An integer is not written in digits.") from error
    if not -(2**63) <= number < 2**64:
        raise InvalidInputError("An integer does not fit into 64 bits.")
    return number
