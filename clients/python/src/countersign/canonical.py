"""Canonical JSON (RFC 8785) and the digests that stand on it. Standard library only."""

from __future__ import annotations

import hashlib
import json
import re
from math import isfinite
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
LARGEST_SAFE_INTEGER = 2**53 - 1


def is_digest(text: object) -> bool:
    return isinstance(text, str) and DIGEST.match(text) is not None


def digest(value: Any) -> str:
    """Return `sha256:<64 hex>` over the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return `value` as canonical JSON text.

    Raises:
        ValueError: NaN, infinities, integers beyond 2^53, keys that are not text, odd types.
    """
    found: list[str] = []
    _write(value, found)
    return "".join(found)


def _write(value: Any, out: list[str]) -> None:
    if value is None or isinstance(value, bool | str):
        out.append(json.dumps(value, ensure_ascii=False))
    elif isinstance(value, int):
        if not -LARGEST_SAFE_INTEGER <= value <= LARGEST_SAFE_INTEGER:
            raise ValueError("An integer beyond 2^53 is not exact in JSON.")
        out.append(str(value))
    elif isinstance(value, float):
        out.append(_number(value))
    elif isinstance(value, list | tuple):
        out.append("[")
        for position, item in enumerate(value):
            if position:
                out.append(",")
            _write(item, out)
        out.append("]")
    elif isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("A key of an object must be text.")
        out.append("{")
        for position, key in enumerate(sorted(value, key=_utf16)):
            if position:
                out.append(",")
            out.append(json.dumps(key, ensure_ascii=False))
            out.append(":")
            _write(value[key], out)
        out.append("}")
    else:
        raise ValueError(f"{type(value).__name__} is not JSON.")


def _utf16(key: str) -> bytes:
    """Keys are ordered by UTF-16 code units."""
    return key.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """Write a number as ECMAScript does: both take the shortest digits, but place them apart."""
    if not isfinite(value):
        raise ValueError("NaN and infinities are not JSON.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)  # where the decimal point stands in the digits
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    shown = digits[0] + ("." + digits[1:] if count > 1 else "")
    return f"{sign}{shown}e{'+' if power > 0 else '-'}{abs(power)}"
