"""`POST /api/v1/receipts`: run receipts as JSON, up to 5,000 a request, safe to send again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from governance.api.bodies import BodyError, read_body
from governance.api.tokens import require_token
from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError
from governance.people.models import ApiToken
from governance.receipts.drafts import ReceiptDraft, clean, decimal_of
from governance.receipts.services import Refusal, store

MOST_RECEIPTS = 5_000
NAMES = frozenset(field.name for field in fields(ReceiptDraft)) - {"resolved_by"}
TEXTS = (
    "run_id", "workflow", "release", "segment", "case_id", "currency", "outcome", "acceptance",
    "model_answered", "error", "trace_id", "output_sha256",
)  # fmt: skip
MONEY = ("cost", "amount")
OBJECTS = ("refs", "measures", "observed")
MAX_SHOWN = 100  # characters of a name in an error


def receipts(request: HttpRequest) -> HttpResponse:
    """Store what is new, name what is refused; the same request again changes nothing."""
    if request.method != "POST":
        response = JsonResponse({"error": "Send receipts with POST."}, status=405)
        response["Allow"] = "POST"
        return response
    token = require_token(request, ApiToken.Scope.RECEIPTS_WRITE)
    if request.content_type != "application/json":
        raise BodyError("Content-Type must be application/json.", 415)
    items = _items(read_body(request))
    drafts, positions = [], []
    unreadable: list[Refusal] = []
    for index, item in enumerate(items):
        try:
            drafts.append(draft_from(item))
            positions.append(index)
        except InvalidInputError as error:
            unreadable.append(Refusal(index, _shown_id(item), str(error)))
    result = store(drafts, token=token)
    refused = [
        *unreadable,
        *(Refusal(positions[each.index], each.run_id, each.error) for each in result.refused),
    ]
    refused.sort(key=lambda refusal: refusal.index)
    answer: dict[str, Any] = {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "refused": [
            {"index": each.index, "run_id": each.run_id, "error": each.error} for each in refused
        ],
    }
    if items and len(refused) == len(items):
        # A sender that reads only the status must not take this for stored.
        answer["error"] = f"No receipt was stored. The first: {refused[0].error}"
        return JsonResponse(answer, status=422)
    return JsonResponse(answer)


def draft_from(item: Any) -> ReceiptDraft:
    """Return one receipt of the request.

    Raises:
        InvalidInputError: a field that is unknown or of another type.
    """
    if not isinstance(item, Mapping):
        raise InvalidInputError("A receipt must be a JSON object.")
    unknown = sorted(set(item) - NAMES)
    if unknown:
        raise InvalidInputError(f"There is no field {clean(unknown[0][:MAX_SHOWN])!r}.")
    values: dict[str, Any] = {name: value for name, value in item.items() if value is not None}
    for name in TEXTS:
        if name in values and not isinstance(values[name], str):
            raise InvalidInputError(f"{name} must be text.")
    for name in ("run_id", "workflow", "started_at"):
        if name not in values:
            raise InvalidInputError(f"{name} is missing.")
    for name in OBJECTS:
        if name in values and not isinstance(values[name], Mapping):
            raise InvalidInputError(f"{name} must be an object.")
    if "violations" in values and not isinstance(values["violations"], list):
        raise InvalidInputError("violations must be a list of names.")
    values["started_at"] = _moment(values["started_at"])
    for name in MONEY:
        if name in values:
            values[name] = _decimal(name, values[name])
    if values.get("release"):
        values["resolved_by"] = "receipt"
    return ReceiptDraft(**values)


def _items(body: bytes) -> list[Any]:
    parsed = parse_json(body)
    items = parsed.get("receipts") if isinstance(parsed, Mapping) else parsed
    if not isinstance(items, list):
        raise InvalidInputError('Send {"receipts": [ … ]}.')
    if len(items) > MOST_RECEIPTS:
        raise BodyError(f"At most {MOST_RECEIPTS} receipts a request; {len(items)} came.", 413)
    return items


def _shown_id(item: Any) -> str:
    run_id = item.get("run_id") if isinstance(item, Mapping) else None
    return clean(run_id)[:MAX_SHOWN] if isinstance(run_id, str) else ""


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise InvalidInputError("started_at must be text, such as 2026-11-22T10:00:00Z.")
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidInputError(
            "started_at must look like 2026-11-22T10:00:00Z (ISO 8601)."
        ) from error


def _decimal(name: str, value: Any) -> Decimal:
    number = decimal_of(value)
    if number is None:
        raise InvalidInputError(f"{name} must be a number such as 12.5, or one written as text.")
    return number
