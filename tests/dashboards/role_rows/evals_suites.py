"""Suites and their cases: who reads, edits, freezes, confirms, labels."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings

from governance.common.time import now
from governance.evals import services as evals
from governance.evals.cases import digest_of
from governance.evals.drafts import case_now, draft_mark, open_edits
from governance.people.models import User
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
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
UNDO: dict[str, Any] = {}
REMOVE: dict[str, Any] = {"reason": "Nobody writes that.", "key": "draft"}
FILE = b"id,input,expected\n1,Where is it?,parcel\n"
IMPORT: dict[str, Any] = {
    "act": "preview", "into": "draft", "name": "cases.csv",
    "kept": b64encode(zlib.compress(FILE)).decode(),
}  # fmt: skip
LABEL: dict[str, Any] = {"judged": "person", "answer": ""}  # `edit` comes with the world
ROWS: dict[str, Row] = {
    "suites": Row(LOGGED_IN),
    "suite": Row(READERS, key="suite"),
    "suite-case": Row(READERS, key="suite with a case"),
    "suite-compare": Row(READERS, key="suite"),
    "suite-case-edit": Row(EDITS, EDITS, key="suite", data=CASE),
    "suite-case-remove": Row(NONE, EDITS, key="suite", data=REMOVE),
    "suite-undo": Row(NONE, EDITS, key="suite", data=UNDO),
    "suite-freeze": Row(NONE, EDITS, key="suite", data=FREEZE),
    "suite-labelling": Row(READERS, key="recent suite"),
    "suite-sample": Row(NONE, EDITS, key="recent suite of nothing", data={"days": 7, "size": 5}),
    "suite-label": Row(NONE, EDITS, key="recent suite", data=LABEL),
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
    sampled, unsampled = (_mailroom(name, cast) for name in ("mailroom", "post"))
    evals.draw_sample(sampled, actor=analyst)
    LABEL["edit"] = open_edits(sampled, "recent").get().pk
    world["recent suite"] = (sampled.slug, "recent")
    world["recent suite of nothing"] = (unsampled.slug, "recent")
    world["suite"] = (slug, "golden")
    world["suite with a case"] = (slug, "adversarial")
    world["suite to confirm"] = (slug, "adversarial")
    FREEZE["mark"] = UNDO["mark"] = draft_mark(workflow, "golden")
    REMOVE["mark"] = digest_of(case_now(workflow, "golden", "draft"))


def texts(case_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Whoever keeps the mail; nobody has labelled it."""
    return {case_id: {"input": {"text": f"Mail {case_id}"}} for case_id in case_ids}


def _mailroom(slug: str, cast: Cast) -> Workflow:
    """A workflow of the owner with one run whose text is known."""
    workflow = create_workflow(slug, slug.capitalize(), owner=cast.owner, actor=TESTER)
    settings.EVAL_CASE_SOURCES[slug] = f"{__name__}.texts"  # of this test only
    moment = now() - timedelta(seconds=1)
    partitions.forget()
    partitions.ensure_partitions([moment.date()])
    Receipt.objects.create(
        run_id=f"{slug}-1", case_id="7", day=moment.date(), workflow=workflow,
        standing="authorised", started_at=moment, received_at=moment, body_sha256="0" * 64,
    )  # fmt: skip
    partitions.forget()
    return workflow
