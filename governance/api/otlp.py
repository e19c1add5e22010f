"""OTLP/HTTP: spans in, run receipts out of them. `POST /v1/traces`, protobuf or JSON.

Errors are a `google.rpc.Status` in the encoding of the request. 400 and 500 make exporters drop
their batch; only 429, 502, 503 and 504 make them try again, so a database that is away is a 503.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from governance.api.bodies import BodyError, read_body
from governance.api.middleware import RETRY_AFTER
from governance.api.tokens import TooManyError, require_token
from governance.common.errors import GovernanceError, InvalidInputError
from governance.people.models import ApiToken
from governance.receipts.services import redaction_patterns
from governance.receipts.spans import Decoder
from governance.receipts.traces import SpanResult, store_spans

log = logging.getLogger(__name__)
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
# google.rpc.Code by HTTP status.
CODES = {400: 3, 401: 16, 403: 7, 405: 12, 411: 3, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14}
MOST_REASONS = 5


def traces(request: HttpRequest) -> HttpResponse:
    """Store the spans of one export request, durably before the answer."""
    content_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    encoding = content_type if content_type in (PROTOBUF, JSON) else JSON
    try:
        if request.method != "POST":
            raise BodyError("Send spans with POST.", 405)
        token = require_token(request, ApiToken.Scope.RECEIPTS_WRITE)
        if content_type not in (PROTOBUF, JSON):
            raise BodyError(f"Content-Type must be {PROTOBUF} or {JSON}.", 415)
        body = read_body(request)
        # Only to tell this year from 1970: the receipt itself is judged by the database's clock.
        decoder = Decoder(settings.SECRET_KEY.encode(), datetime.now(UTC), redaction_patterns())
        decoded = decoder.protobuf(body) if encoding == PROTOBUF else decoder.json(body)
        result = store_spans(decoded.spans, token=token)
        result.rejected.update(decoded.rejected)
    except InvalidInputError as refusal:
        # What cannot be read is a 400 to an exporter, too much of it a 413.
        return failure(encoding, 413 if refusal.status == 413 else 400, str(refusal))
    except TooManyError as refusal:
        response = failure(encoding, refusal.status, str(refusal))
        response["Retry-After"] = str(refusal.wait)
        return response
    except GovernanceError as refusal:
        return failure(encoding, refusal.status, str(refusal))
    except DatabaseError:
        log.exception("The database did not store spans")
        close_old_connections()
        return failure(encoding, 503, "The database is away. Try again.")
    except Exception:
        log.exception("Unexpected error at /v1/traces")
        return failure(encoding, 500, "Something went wrong here. The error was logged.")
    return success(encoding, result)


def success(encoding: str, result: SpanResult) -> HttpResponse:
    """Full success is an empty message; rejected spans are counted, with the reasons."""
    count = sum(result.rejected.values())
    reasons = [
        f"{reason} ({number} {'span' if number == 1 else 'spans'})"
        for reason, number in result.rejected.most_common(MOST_REASONS)
    ]
    if encoding == JSON:
        answer = (
            {"partialSuccess": {"rejectedSpans": str(count), "errorMessage": " ".join(reasons)}}
            if count
            else {}
        )
        return HttpResponse(json.dumps(answer), content_type=JSON)
    message = ExportTraceServiceResponse()
    if count:
        message.partial_success.CopyFrom(
            ExportTracePartialSuccess(rejected_spans=count, error_message=" ".join(reasons))
        )
    return HttpResponse(message.SerializeToString(), content_type=PROTOBUF)


def failure(encoding: str, status: int, sentence: str) -> HttpResponse:
    """A `google.rpc.Status` in the encoding of the request."""
    code = CODES.get(status, 2)
    body = (
        json.dumps({"code": code, "message": sentence}).encode()
        if encoding == JSON
        else _status(code, sentence)
    )
    response = HttpResponse(body, status=status, content_type=encoding)
    if status == 503:
        response["Retry-After"] = RETRY_AFTER
    elif status == 401:
        response["WWW-Authenticate"] = "Bearer"
    elif status == 405:
        response["Allow"] = "POST"
    return response


def _status(code: int, message: str) -> bytes:
    """Encode google.rpc.Status by hand (1: int32 code, 2: string message): its package is only
    there when something else needs it."""
    text = message.encode("utf-8", "replace")
    length, prefix = len(text), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes((0x08, code, 0x12)) + bytes(prefix) + text
