"""A read that is asked hundreds of times a second: one round trip, planned once per connection.

Django asks a kept connection whether it still lives before each request, and lets the server plan
each statement anew. Both cost more than the read itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import InterfaceError, NotSupportedError, OperationalError, connection


class _Prepared(psycopg.Cursor[tuple[Any, ...]]):
    """Keeps its statements prepared at the server, which Django switches off for its own."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        before = self.connection.prepare_threshold
        self.connection.prepare_threshold = 0
        try:
            return super().execute(query, params, prepare=True)
        finally:
            self.connection.prepare_threshold = before


def fetch(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a read.

    A kept connection that died meanwhile, or whose plan a migration has outdated, is replaced
    once: the read is safe to repeat.
    """
    is_kept = connection.connection is not None
    try:
        return _fetch(statement, values)
    except (OperationalError, InterfaceError, NotSupportedError):
        if not is_kept or connection.in_atomic_block:
            raise
        connection.close()
        return _fetch(statement, values)


def _fetch(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # The read itself shows whether the connection lives. (Missing in the stubs.)
    connection.health_check_done = True  # type: ignore[attr-defined]
    connection.ensure_connection()
    with connection.wrap_database_errors:
        bare = _Prepared(connection.connection)
    debugging = connection.queries_logged
    wrap = connection.make_debug_cursor if debugging else connection.make_cursor
    with wrap(bare) as cursor:  # type: ignore[arg-type]
        cursor.execute(statement, values)
        return list(cursor.fetchall())
