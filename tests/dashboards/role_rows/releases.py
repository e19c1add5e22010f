"""Registering releases, and what they hold as files."""

from __future__ import annotations

from tests.dashboards.role_rows import BUILDER, READERS, Row

ROWS: dict[str, Row] = {
    "release-register": Row(
        {BUILDER},
        {BUILDER},
        key="workflow",
        data={"way": "file", "act": "preview", "manifest": '{"model": {"id": "m"}}'},
    ),
    "release-file": Row(READERS, key="release"),
    "release-compare-documents": Row(READERS, key="two releases"),
}
