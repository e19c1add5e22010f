"""Canonical JSON (RFC 8785) and the digests that stand on it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from typing import Any

import rfc8785

from governance.common.errors import InvalidInputError
from governance.common.json_faults import LARGEST_SAFE_INTEGER, Twice, fault

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# Made once: a suite of 100,000 cases is written case by case.
_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
MOST_PARTS = 4_000_000  # of a JSON file: commas, objects and lists
DEEPEST = 32  # levels; whoever shows what is stored must be able to walk it


def _is_too_deep(value: Any) -> bool:
    """Whether something stands below `DEEPEST` levels, found without recursion."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list | tuple)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _is_plain(value: Any) -> bool:
    """Whether Python's own JSON of this is canonical already, byte for byte.

    Keys in ASCII sort alike in both; and only numbers that Python and ECMAScript write alike may
    stand in it, which leaves out 1e-05, 1e+16 and 1.0.
    """
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is dict:
            for key, inner in item.items():
                if type(key) is not str or not key.isascii():
                    return False
                if type(inner) is not str:
                    pending.append(inner)
        elif kind is list or kind is tuple:
            pending.extend(item)
        elif kind is int:
            if not -LARGEST_SAFE_INTEGER <= item <= LARGEST_SAFE_INTEGER:
                return False
        elif kind is float:
            text = repr(item)
            if "e" in text or "n" in text or text.endswith(".0"):
                return False
        else:
            return False
    return True


def canonical(value: Any) -> str:
    """Return `value` as canonical JSON text.

    Raises:
        InvalidInputError: NaN, infinities, integers beyond 2^53, lone surrogates, odd types, or
            more than `DEEPEST` levels.
    """
    if _is_too_deep(value):
        raise InvalidInputError(fault(value, DEEPEST))
    if _is_plain(value):
        # Seven times faster than rfc8785, which matters for a corpus of 100,000 documents.
        try:
            text = _PLAIN.encode(value)
            text.encode()
        except UnicodeError as error:
            raise InvalidInputError(_why(value, error)) from error
        return text
    try:
        return rfc8785.dumps(value).decode()
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise InvalidInputError(_why(value, error)) from error


def _why(value: Any, error: Exception) -> str:
    return fault(value, DEEPEST) or f"This cannot be written as canonical JSON: {error}"


def digest_text(text: str) -> str:
    """Return `sha256:<64 hex>` over the UTF-8 bytes of `text`."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def digest(value: Any) -> str:
    """Return `sha256:<64 hex>` over the canonical JSON of `value`."""
    return digest_text(canonical(value))


def is_digest(text: object) -> bool:
    return isinstance(text, str) and DIGEST.match(text) is not None


def parse_json_file(text: str | bytes) -> Any:
    """Parse JSON of a whole file: as `parse_json`, and no more parts than memory bears.

    `[{},{},…]` takes thirty times its length, so a length alone is no limit.

    Raises:
        InvalidInputError: too many parts, or what `parse_json` refuses.
    """
    marks: tuple[Any, ...] = (b",", b"{", b"[") if isinstance(text, bytes) else (",", "{", "[")
    if sum(text.count(mark) for mark in marks) > MOST_PARTS:
        raise InvalidInputError(
            f"The JSON has more than {MOST_PARTS:,} parts. Split it, or send JSONL or CSV."
        )
    return parse_json(text)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON from outside: no duplicate keys, no NaN, no endless nesting.

    Raises:
        InvalidInputError: with a sentence that says what is wrong and where.
    """
    wrong: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(found)
        if len(held) == len(found):
            return held
        twice, _ = Counter(key for key, _ in found).most_common(1)[0]
        wrong.append(twice)
        return Twice(held, twice)

    def constant(name: str) -> float:
        wrong.append(name)
        return float(name.replace("Infinity", "inf"))

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError as error:
        raise InvalidInputError(f"The JSON is nested deeper than {DEEPEST} levels.") from error
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"This is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, UnicodeError) as error:
        raise InvalidInputError(f"This is not valid JSON: {error}") from error
    if wrong:
        raise InvalidInputError(fault(value, sys.maxsize) or "This is not valid JSON.")
    return value
