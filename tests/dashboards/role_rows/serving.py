"""How releases reach a workflow."""

from __future__ import annotations

from tests.dashboards.role_rows import ADMIN, NONE, OWNER, READERS, Row

ROWS: dict[str, Row] = {
    "workflow-mode": Row(READERS, key="workflow"),
    "workflow-mode-set": Row(
        NONE,
        {OWNER, ADMIN},
        key="workflow",
        data={"mode": "observe", "reason": "The vendor runs it."},
    ),
}
