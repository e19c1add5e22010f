"""A post-mortem's timeline, from the stored texts to what a page prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened; `at` is None where the stored text names no moment."""

    at: datetime | None
    who: str
    what: str
    reason: str
    tone: str


def entries(stored: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Read the stored timeline; its moments are ISO 8601 with a time zone."""
    return [
        Entry(
            _moment(str(item.get("at", ""))),
            str(item.get("who", "")),
            str(item.get("what", "")),
            str(item.get("reason", "")),
            _tone(str(item.get("what", ""))),
        )
        for item in stored
    ]


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _tone(what: str) -> str:
    if what.startswith("rolled back"):
        return "bad"
    return "good" if what.startswith("made live") else ""
