"""Long lists by key instead of page number, and days from a query string."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.http import QueryDict


def whole_number(asked: QueryDict, name: str) -> int | None:
    """Return the number in the query string, None where it is missing, wrong or too large."""
    text = asked.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def day(asked: QueryDict, name: str) -> date | None:
    """Return the day in the query string as 2026-11-30, None where it is missing or wrong."""
    try:
        return date.fromisoformat(asked.get(name, "").strip())
    except ValueError:
        return None


def starts(on: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime.combine(on, time(), UTC)


def ends(on: date) -> datetime:
    """The first moment after a UTC day."""
    return starts(on + timedelta(days=1)) if on < date.max else datetime.max.replace(tzinfo=UTC)


def words(asked: QueryDict, name: str, longest: int = 200) -> str:
    """Return what was typed, without what PostgreSQL's text cannot hold."""
    return asked.get(name, "").replace("\0", "").strip()[:longest]
