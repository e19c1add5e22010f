"""Personal data out of a case before anybody stores it, and what was taken out. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from governance.evals.cases import Row
from governance.receipts.redaction import redact

PLACES = ("input", "expected", "reason", "category", "segment", "cluster", "tags")
MARK = re.compile(r"⟨(?:e-mail|IBAN|card|removed)⟩")
WORDS = {
    "⟨e-mail⟩": ("e-mail address", "e-mail addresses"),
    "⟨IBAN⟩": ("IBAN", "IBANs"),
    "⟨card⟩": ("card number", "card numbers"),
    "⟨removed⟩": ("text that a pattern of the operator names", "texts that patterns name"),
}


def scrubbed(row: Row, patterns: Sequence[re.Pattern[str]] = ()) -> Row:
    """Return the case with e-mail addresses, IBANs, cards and the operator's patterns replaced."""
    return {
        name: _walk(value, patterns) if name in PLACES else value for name, value in row.items()
    }


def _walk(value: Any, patterns: Sequence[re.Pattern[str]]) -> Any:
    if isinstance(value, str):
        return redact(value, patterns)
    if isinstance(value, dict):
        return {redact(name, patterns): _walk(inner, patterns) for name, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, patterns) for inner in value]
    if isinstance(value, int) and (clean := redact(str(value), patterns)) != str(value):
        return clean  # a card number written as a number
    return value


def taken_out(row: Row) -> dict[str, int]:
    """Return how often each mark of something taken out stands in a case."""
    found: dict[str, int] = {}
    pending: list[Any] = [row[name] for name in PLACES if name in row]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            for mark in MARK.findall(value):
                found[mark] = found.get(mark, 0) + 1
        elif isinstance(value, dict):
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return found


def sentence(row: Row) -> str:
    """Say what was taken out of a case, or that nothing was found."""
    found = taken_out(row)
    if not found:
        return (
            "No e-mail address, IBAN or card number was found in it. Names and addresses are not"
            " recognised: take them out yourself."
        )
    said = ", ".join(
        f"{n} {WORDS[mark][n > 1]}" for mark, n in sorted(found.items()) if mark in WORDS
    )
    return f"Taken out: {said}. Names and addresses are not recognised: take them out yourself."


def pieces(text: str) -> list[tuple[bool, str]]:
    """Return a text in pieces, (True, mark) where something was taken out."""
    found: list[tuple[bool, str]] = []
    end = 0
    for mark in MARK.finditer(text):
        found.append((False, text[end : mark.start()]))
        found.append((True, mark[0]))
        end = mark.end()
    found.append((False, text[end:]))
    return [piece for piece in found if piece[1]]
