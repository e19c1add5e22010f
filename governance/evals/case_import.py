"""Cases from a file: first what it would do, then all of it or nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from governance import audit
from governance.common.canonical import canonical, digest
from governance.common.errors import GovernanceError, InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import lock
from governance.evals.case_files import LARGEST_FILE, read_cases
from governance.evals.case_lines import Line
from governance.evals.cases import (
    MOST_CASES,
    SAME_INPUT,
    Row,
    check_by_hand,
    clean_case,
    settled,
)
from governance.evals.decision_models import SuiteEdit
from governance.evals.drafts import WRITTEN, draft_mark, open_edits
from governance.evals.models import SuiteVersion
from governance.evals.suites import newest_version, rows_of, store_version
from governance.evals.targets import storable
from governance.people.models import User
from governance.people.permissions import require
from governance.workflows.models import Workflow

MOST_EDITS = 5_000  # a draft that people read; a larger file becomes a version at once
KEPT_WHERE_SILENT = ("category", "segment", "cluster", "must_pass", "labelled_by_label")
MOST_REFUSED = 10_000  # lines: a file that is wrong so often is another kind of file


@dataclass(frozen=True, slots=True)
class Wish:
    """How a file is taken: what is said where its lines say nothing, and whether the rest goes."""

    replaces: bool = False
    reason: str = ""
    channel: str = ""


@dataclass(slots=True)
class Plan:
    """What a file would do to a suite. `seen` changes with the file, the wish and the draft."""

    name: str
    seen: str
    file_sha256: str
    state: str
    rows: dict[str, Row] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    same: int = 0
    refused: list[Line] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    total: int = 0

    @property
    def edits(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "added": len(self.added), "changed": len(self.changed), "removed": len(self.removed),
            "unchanged": self.same, "refused": len(self.refused),
        }  # fmt: skip


def plan_import(
    workflow: Workflow, kind: str, file: BinaryIO, name: str, wish: Wish, *, actor: User
) -> Plan:
    """Read a file and say what it would add, change and remove, and which lines are refused.

    Raises:
        InvalidInputError: the file cannot be read, is too large, or would leave no case or too
            many.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    if kind not in WRITTEN:
        raise InvalidInputError("A recent suite is drawn by its rule: no file fills it.")
    file_sha256 = _sha256(file)
    suite = newest_version(workflow, kind)
    state = _state(workflow, kind)
    seen = digest([file_sha256, name, wish.replaces, wish.reason, wish.channel, state])
    plan = Plan(name, seen, file_sha256, state)
    held = rows_of(suite)
    for key, content in open_edits(workflow, kind).values_list("key", "content"):
        if content is None:
            held.pop(key, None)
        else:
            held[key] = content
    for row in _accepted(kind, read_cases(file, name), plan, held, wish):
        before = held.get(row["key"])
        plan.rows[row["key"]] = row
        if before is None:
            plan.added.append(row["key"])
        elif is_same(before, row):
            plan.same += 1
        else:
            plan.changed.append(row["key"])
    if wish.replaces:
        plan.removed = sorted(held.keys() - plan.rows.keys())
    plan.total = len(held) + len(plan.added) - len(plan.removed)
    if not plan.rows and not plan.refused:
        raise InvalidInputError("The file holds no case.")
    if plan.total > MOST_CASES:
        raise InvalidInputError(f"A suite has at most {MOST_CASES:,} cases.")
    return plan


def _sha256(file: BinaryIO) -> str:
    whole, size = hashlib.sha256(), 0
    while piece := file.read(1024 * 1024):
        size += len(piece)
        if size > LARGEST_FILE:
            raise InvalidInputError(f"The file is larger than {LARGEST_FILE // 2**20} MB.")
        whole.update(piece)
    file.seek(0)
    return whole.hexdigest()


def _accepted(
    kind: str, lines: Iterator[Line], plan: Plan, held: dict[str, Row], wish: Wish
) -> Iterator[Row]:
    for line in lines:
        if line.case is None:
            _refuse(plan, line)
            continue
        key = line.case["key"]
        if key in plan.rows:
            _refuse(plan, Line(line.number, None, "Its key stands in the file before.", key))
            continue
        if len(plan.rows) >= MOST_CASES:
            raise InvalidInputError(f"The file holds more than {MOST_CASES:,} cases.")
        before = held.get(key)
        case = dict(line.case)
        if not case.get("source"):
            source = {"kind": "file", "name": plan.name[:200], "line": line.number}
            case["source"] = before["source"] if before is not None else source
        if before is not None:
            # What the file does not speak of stays as it is; an empty cell speaks.
            for name in KEPT_WHERE_SILENT:
                case.setdefault(name, before[name])
        if not case.get("reason"):
            kept = before["reason"] if before is not None else ""
            case["reason"] = kept or wish.reason or f"Imported from {plan.name}"[:300]
        if kind == SuiteVersion.Kind.ADVERSARIAL and not case.get("channel"):
            kept = before["channel"] if before is not None else ""
            case["channel"] = kept or wish.channel
        try:
            row = clean_case(case)
            check_by_hand(kind, row)
        except GovernanceError as error:
            _refuse(plan, Line(line.number, None, str(error), key))
            continue
        if line.note:
            plan.notes[line.note] = plan.notes.get(line.note, 0) + 1
        yield row


def _refuse(plan: Plan, line: Line) -> None:
    # Half of a surrogate pair could not even be shown.
    plan.refused.append(Line(line.number, None, storable(line.error), storable(line.key)))
    if len(plan.refused) > MOST_REFUSED:
        raise InvalidInputError(
            f"More than {MOST_REFUSED:,} lines were refused, the first because: "
            f"{plan.refused[0].error}"
        )


def is_same(before: Row, after: Row) -> bool:
    """Whether two states of a case ask and expect the same; where it came from is not asked."""
    for name, value in after.items():
        was = before[name]
        if name == "source":
            continue
        if name == "cluster":
            was, value = (text if not text.startswith(SAME_INPUT) else "" for text in (was, value))
        if was != value:
            return False
    # 1 and true are equal in Python; they are not the same question.
    return canonical([before["input"], before["expected"]]) == canonical(
        [after["input"], after["expected"]]
    )


@audit.atomic()
def import_into_draft(workflow: Workflow, kind: str, plan: Plan, *, actor: User) -> int:
    """Put what a plan adds, changes and removes into the draft; returns how many edits.

    Raises:
        StateConflictError: nothing would change.
        InvalidInputError: more edits than people can read.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    _check_plan(workflow, kind, plan)
    if plan.edits > MOST_EDITS:
        raise InvalidInputError(
            f"{plan.edits:,} edits are too many for a draft that people read (at most"
            f" {MOST_EDITS:,}). Import the file as a new version."
        )
    frozen = rows_of(newest_version(workflow, kind))
    keys = [*plan.added, *plan.changed, *plan.removed]
    open_edits(workflow, kind).filter(key__in=keys).update(state=SuiteEdit.State.REPLACED)
    label, moment = actor.as_actor().label, now()
    SuiteEdit.objects.bulk_create(
        [
            SuiteEdit(
                workflow=workflow, kind=kind, key=key, content=plan.rows.get(key), edited_by=actor,
                edited_by_label=label, edited_at=moment,
            )
            for key in keys
            if plan.rows.get(key) != frozen.get(key)
        ],
        batch_size=1_000,
    )  # fmt: skip
    _record(workflow, kind, plan, actor, into="draft")
    return plan.edits


@audit.atomic()
def import_as_version(
    workflow: Workflow, kind: str, plan: Plan, *, actor: User, reason: str
) -> SuiteVersion:
    """Freeze the newest version with what a plan changes, at once.

    Raises:
        StateConflictError: a draft waits, or nothing would change.
        InvalidInputError: no case would be left.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    _check_plan(workflow, kind, plan)
    if open_edits(workflow, kind).exists():
        raise StateConflictError(
            "Edits wait in the draft. Freeze them or take them back, then import the file."
        )
    newest = newest_version(workflow, kind)
    after = rows_of(newest)
    clusters = {key: row["cluster"] for key, row in after.items()}
    touched = {*plan.added, *plan.changed}
    for key in plan.removed:
        after.pop(key, None)
    for key in touched:
        after[key] = plan.rows[key]
    if not after:
        raise InvalidInputError("No case would be left.")
    rows = settled(after)
    kept = {
        row["key"] for row in rows
        if row["key"] not in touched and row["cluster"] == clusters[row["key"]]
    }  # fmt: skip
    origin = {"kind": "file", "name": plan.name[:200], "sha256": plan.file_sha256, **plan.counts}
    suite = store_version(
        workflow, kind, rows, actor=actor, editors=[actor], reason=reason, base=newest, kept=kept,
        origin=origin,
    )  # fmt: skip
    _record(workflow, kind, plan, actor, into=str(suite))
    return suite


def _state(workflow: Workflow, kind: str) -> str:
    """What the plan was made against: the newest version and the draft on it."""
    suite = newest_version(workflow, kind)
    return f"{suite.pk if suite else 0} {draft_mark(workflow, kind)}"


def _check_plan(workflow: Workflow, kind: str, plan: Plan) -> None:
    if plan.state != _state(workflow, kind):
        raise StateConflictError("The suite changed meanwhile. Look at what the file does now.")
    if not plan.edits:
        raise StateConflictError("The file would change nothing.")


def _record(workflow: Workflow, kind: str, plan: Plan, actor: User, *, into: str) -> None:
    counts: dict[str, Any] = plan.counts
    audit.record(
        "suite.imported", workflow, actor=actor, workflow=workflow.slug, suite=kind, into=into,
        file=plan.name[:200], sha256=plan.file_sha256, label=f"{kind} suite", **counts,
    )  # fmt: skip
