"""Suites and their cases: who reads, edits, freezes, confirms, labels."""

from __future__ import annotations

import zlib
from base64 import b64encode
from typing import Any

from governance.evals import services as evals
from governance.evals.cases import digest_of
from governance.evals.drafts import case_now, draft_mark
from governance.people.models import User
from tests.dashboards.role_rows import (
    ANALYST,
    BUILDER,
    EXECUTIVE,
    LOGGED_IN,
    NONE,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)

EDITS = {OWNER, ANALYST, BUILDER}
CASE: dict[str, Any] = {
    "key": "new one", "text": "Where is my parcel?", "answer": "parcel", "reason": "Everyday mail.",
}  # fmt: skip
# The mark says what the person was looking at: it comes with the world.
FREEZE: dict[str, Any] = {"reason": "Mail that was missing."}
REMOVE: dict[str, Any] = {"reason": "Nobody writes that.", "key": "draft"}
FILE = b"id,input,expected\n1,Where is it?,parcel\n"
IMPORT: dict[str, Any] = {
    "act": "preview", "into": "draft", "name": "cases.csv",
    "kept": b64encode(zlib.compress(FILE)).decode(),
}  # fmt: skip
ROWS: dict[str, Row] = {
    "suites": Row(LOGGED_IN),
    "suite": Row(READERS, key="suite"),
    "suite-case": Row(READERS, key="suite with a case"),
    "suite-compare": Row(READERS, key="suite"),
    "suite-case-edit": Row(EDITS, EDITS, key="suite", data=CASE),
    "suite-case-remove": Row(NONE, EDITS, key="suite", data=REMOVE),
    "suite-undo": Row(NONE, EDITS, key="suite"),
    "suite-freeze": Row(NONE, EDITS, key="suite", data=FREEZE),
    # Without an exception or a run in its address it leads to the empty form.
    "case-make": Row(EDITS, EDITS, key="suite"),
    "suite-import": Row(EDITS, EDITS, key="suite", data=IMPORT),
    "suite-import-refused": Row(NONE, EDITS, key="suite", data={"refused": "line,key,why"}),
    "suite-export": Row(NONE, READERS, key="suite", data={"format": "csv"}),
    "suite-confirm": Row(NONE, {EXECUTIVE, OWNER}, key="suite to confirm", data={"version": 1}),
}


def extend(world: World, cast: Cast) -> None:
    """A draft of the golden suite with one edit, and an adversarial suite that waits."""
    workflow, analyst = cast.workflow, User.objects.get(username="analyst")
    slug = workflow.slug
    row = {"key": "draft", "input": {"text": "Hello?"}, "expected": {"answer": "hello"}}
    evals.put_case(workflow, "golden", {**row, "reason": "A greeting."}, actor=analyst, seen="")
    attack = {**row, "key": "attack", "channel": "direct", "expected": {"must_escalate": True}}
    evals.freeze_suite(workflow, "adversarial", [attack], actor=analyst)
    world["suite"] = (slug, "golden")
    world["suite with a case"] = (slug, "adversarial")
    world["suite to confirm"] = (slug, "adversarial")
    FREEZE["mark"] = draft_mark(workflow, "golden")
    REMOVE["mark"] = digest_of(case_now(workflow, "golden", "draft"))
