"""How releases are called and scored, and runs: who reads, changes, confirms, asks, cancels."""

from __future__ import annotations

from typing import Any

from governance.common.time import now
from governance.evals import services as evals
from governance.evals.models import EvalRun
from governance.evals.suites import evidence_suites
from governance.people.models import User
from tests.dashboards.role_rows import (
    ANALYST,
    BUILDER,
    EXECUTIVE,
    NONE,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)

EDITS = {OWNER, ANALYST, BUILDER}
SECOND = {EXECUTIVE, OWNER}  # the analyst set it, and builders confirm nothing
TARGET = {"content": '{"kind": "callable", "seconds": 30}', "reason": "Slow cases are given up."}
# The release comes with the world.
ASK: dict[str, Any] = {"suite": "golden", "mark": "once"}
ROWS: dict[str, Row] = {
    "eval-target": Row(READERS, key="workflow"),
    "eval-target-set": Row(NONE, EDITS, key="workflow", data=TARGET),
    "eval-target-confirm": Row(NONE, SECOND, key="workflow", data={"version": 1}),
    "eval-run-ask": Row(NONE, EDITS, key="workflow", data=ASK),
    "eval-run-cancel": Row(NONE, EDITS, key="open run"),
}


def extend(world: World, cast: Cast) -> None:
    """A target that the analyst set, and a run that waits."""
    workflow, analyst = cast.workflow, User.objects.get(username="analyst")
    evals.set_target(workflow, {"kind": "callable"}, actor=analyst, reason="One at a time.")
    release = workflow.releases.order_by("number")[0]
    ASK["release"] = release.pk
    suite = evidence_suites(workflow)["golden"]
    # Without a job: nothing that others do here finishes it.
    run = EvalRun.objects.create(
        release=release, suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="role rows", requested_by_label="Analyst", requested_at=now(),
        cases_total=suite.case_count,
    )  # fmt: skip
    world["open run"] = (run.pk,)
