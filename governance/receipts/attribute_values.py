"""What the value of one attribute says, whichever way its sender wrote it. Pure."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from governance.common.errors import InvalidInputError
from governance.receipts.drafts import decimal_of


def text_of(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"countersign.{name} must be text.")
    return value


def flag_of(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    known = {"true": True, "false": False}.get(str(value).lower())
    if known is None:
        raise InvalidInputError(f"{name} must be true or false.")
    return known


def exact_of(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    number = decimal_of(value)
    if number is None:
        raise InvalidInputError(f"{name} must be a number.")
    return number


def float_of(name: str, value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    number = exact_of(name, value)
    return None if number is None else float(number)


def violations_of(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError("countersign.violations must be a list of names.")
    return value


def json_of(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
