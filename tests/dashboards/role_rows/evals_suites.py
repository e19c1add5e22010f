"""Suites and their cases: who reads, edits, freezes, confirms, labels."""

from __future__ import annotations

from tests.dashboards.role_rows import LOGGED_IN, Row

ROWS: dict[str, Row] = {
    "suites": Row(LOGGED_IN),
}
