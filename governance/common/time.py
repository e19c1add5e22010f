"""One clock for everything that is decided: PostgreSQL's.

An application server with a wrong clock must not expire an approval early or accept it late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime

from django.db import connection

_story: ContextVar[datetime | None] = ContextVar("story_time", default=None)


def now() -> datetime:
    """Return the database's transaction time: the same answer all through one transaction."""
    moved = _story.get()
    return moved if moved is not None else true_now()


def true_now() -> datetime:
    """Return the database's transaction time, whatever story is being told."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (moment,) = cursor.fetchone()
    return moment.astimezone(UTC)  # type: ignore[no-any-return]


def today() -> date:
    return now().date()


def is_story() -> bool:
    """Whether the demo is telling a story at another time than now."""
    return _story.get() is not None


@contextmanager
def story_time(moment: datetime) -> Iterator[None]:
    """Let everything inside happen at `moment`. Only the demo may use this."""
    token = _story.set(moment)
    try:
        yield
    finally:
        _story.reset(token)
