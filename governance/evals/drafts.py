"""The draft of a suite's next version: one row per edited case, frozen together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Max, QuerySet

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import lock
from governance.evals.cases import (
    MOST_CASES,
    Row,
    check_by_hand,
    clean_case,
    digest_of,
    row_of,
    settled,
)
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import Case, SuiteVersion
from governance.evals.suites import newest_version, rows_of, store_version
from governance.people.models import User
from governance.people.permissions import require
from governance.workflows.models import Workflow

State = SuiteEdit.State
WRITTEN = (SuiteVersion.Kind.GOLDEN, SuiteVersion.Kind.ADVERSARIAL)
CHANGED_MEANWHILE = (
    "Somebody changed this case since you opened it. What it says now stands below; what you wrote"
    " is kept in the form."
)


def open_edits(workflow: Workflow, kind: str) -> QuerySet[SuiteEdit]:
    """The edits that wait for the next version, by the key of their case."""
    return SuiteEdit.objects.filter(workflow=workflow, kind=kind, state=State.OPEN)


def draft_mark(workflow: Workflow, kind: str) -> str:
    """Return what changes whenever the draft does: who freezes it has looked at this one."""
    found = open_edits(workflow, kind).order_by().aggregate(n=Count("pk"), last=Max("pk"))
    return f"{found['n']}-{found['last'] or 0}"


def case_now(workflow: Workflow, kind: str, key: str) -> Row | None:
    """Return a case as the draft has it, or as in the newest version; None where there is none."""
    edit = open_edits(workflow, kind).filter(key=key).first()
    if edit is not None:
        return edit.content
    return _frozen(newest_version(workflow, kind), key)


def _frozen(suite: SuiteVersion | None, key: str) -> Row | None:
    case = Case.objects.filter(suite=suite, key=key).first() if suite is not None else None
    return row_of(case) if case is not None else None


@audit.atomic()
def put_case(
    workflow: Workflow, kind: str, case: Mapping[str, Any], *, actor: User, seen: str
) -> SuiteEdit | None:
    """Add a case to the draft, or change one; a later edit replaces an earlier one.

    Args:
        case: whole, as for `freeze_suite`.
        seen: `digest_of` the case that the person was looking at; "" for a new one.

    Returns:
        The edit; None where the case is again as in the newest version and no edit is left.

    Raises:
        InvalidInputError: a malformed case, one without its reason or channel, or no change.
        StateConflictError: the case is another one by now.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    _check_kind(kind)
    row = clean_case(case)
    check_by_hand(kind, row)
    lock(workflow)
    now_is = case_now(workflow, kind, row["key"])
    if digest_of(now_is) != seen:
        raise StateConflictError(
            CHANGED_MEANWHILE if seen else f"There is a case {row['key']!r} already. Edit that one."
        )
    if digest_of(now_is) == digest_of(row):  # by its bytes: 1 is not true
        raise InvalidInputError("Nothing changed.")
    edit = _replace(workflow, kind, row["key"], row, actor)
    audit.record(
        "suite.edited", edit, actor=actor, workflow=workflow.slug, suite=kind, case=row["key"],
        added=int(now_is is None), changed=int(now_is is not None), removed=0,
        before=seen, after=digest_of(row), reason=row["reason"], label=f"{kind} {row['key']}",
    )  # fmt: skip
    return edit


@audit.atomic()
def remove_case(
    workflow: Workflow, kind: str, key: str, *, actor: User, seen: str, reason: str
) -> SuiteEdit | None:
    """Take a case out of the draft; the frozen versions keep it.

    Raises:
        StateConflictError: the case is another one by now, or gone.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    _check_kind(kind)
    lock(workflow)
    now_is = case_now(workflow, kind, key)
    if now_is is None:
        raise StateConflictError("This case is not in the draft any more.")
    if digest_of(now_is) != seen:
        raise StateConflictError(CHANGED_MEANWHILE)
    edit = _replace(workflow, kind, key, None, actor)
    audit.record(
        "suite.edited", edit, actor=actor, workflow=workflow.slug, suite=kind, case=key, added=0,
        changed=0, removed=1, before=seen, reason=reason, label=f"{kind} {key}",
    )  # fmt: skip
    return edit


def _check_kind(kind: str) -> None:
    if kind not in WRITTEN:
        raise InvalidInputError("A recent suite is drawn by its rule: nobody writes its cases.")


def _replace(
    workflow: Workflow, kind: str, key: str, content: Row | None, actor: User
) -> SuiteEdit | None:
    """Put an edit in the place of the open one; none where it comes to what is frozen."""
    open_edits(workflow, kind).filter(key=key).update(state=State.REPLACED)
    if digest_of(content) == digest_of(_frozen(newest_version(workflow, kind), key)):
        return None
    return SuiteEdit.objects.create(
        workflow=workflow, kind=kind, key=key, content=content, edited_by=actor,
        edited_by_label=actor.as_actor().label, edited_at=now(),
    )  # fmt: skip


@audit.atomic()
def drop_edits(
    workflow: Workflow, kind: str, *, actor: User, pks: list[int] | None = None, mark: str = ""
) -> int:
    """Take edits back, these or all: their cases are again as in the newest version.

    Args:
        pks: which; None for all.
        mark: for all: `draft_mark` of the draft that the person was looking at.

    Raises:
        StateConflictError: none of them waits any more, or the draft is another one by now.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    edits = open_edits(workflow, kind)
    if pks is not None:
        edits = edits.filter(pk__in=pks)
    elif draft_mark(workflow, kind) != mark:
        raise StateConflictError("The draft changed since you looked at it. Look at it again.")
    keys = list(edits.order_by("key").values_list("key", flat=True)[:100])
    count = edits.update(state=State.DROPPED)
    if not count:
        raise StateConflictError("This edit is not in the draft any more.")
    audit.record(
        "suite.edit_dropped", workflow, actor=actor, workflow=workflow.slug, suite=kind,
        edits=count, cases=keys, label=f"{kind} suite",
    )  # fmt: skip
    return count


@audit.atomic()
def freeze_draft(
    workflow: Workflow, kind: str, *, actor: User, reason: str, mark: str
) -> SuiteVersion:
    """Make a new version of the newest one and the draft's edits. All of them come in.

    Args:
        mark: `draft_mark` of the draft that the person was looking at.

    Raises:
        StateConflictError: the draft is another one by now, or empty.
        InvalidInputError: no case would be left, or too many.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    _check_kind(kind)
    lock(workflow)
    if draft_mark(workflow, kind) != mark:
        raise StateConflictError("The draft changed since you opened it. Look at it again.")
    edits = list(open_edits(workflow, kind).select_related("edited_by"))
    if not edits:
        raise StateConflictError("Nothing waits to be frozen.")
    newest = newest_version(workflow, kind)
    before = rows_of(newest)
    clusters = {key: row["cluster"] for key, row in before.items()}
    after = dict(before)
    for edit in edits:
        if edit.content is None:
            after.pop(edit.key, None)
        else:
            after[edit.key] = edit.content
    if not 1 <= len(after) <= MOST_CASES:
        raise InvalidInputError(f"A suite has between 1 and {MOST_CASES:,} cases.")
    rows = settled(after)
    edited = {edit.key for edit in edits}
    # A case that nobody touched may still join a cluster, or leave one, with its twin.
    kept = {
        row["key"]
        for row in rows
        if row["key"] not in edited and row["cluster"] == clusters[row["key"]]
    }
    editors = {edit.edited_by for edit in edits if edit.edited_by is not None}
    suite = store_version(
        workflow, kind, rows, actor=actor, editors=editors, reason=reason, base=newest, kept=kept,
        origin={"kind": "edits", "edits": len(edits), **_counts(edits, before)},
    )  # fmt: skip
    open_edits(workflow, kind).update(state=State.FROZEN, version=suite)
    return suite


def _counts(edits: list[SuiteEdit], before: Mapping[str, Row]) -> dict[str, int]:
    """How many cases the edits add, change and remove."""
    removed = sum(1 for edit in edits if edit.content is None)
    added = sum(1 for edit in edits if edit.content is not None and edit.key not in before)
    return {"added": added, "changed": len(edits) - removed - added, "removed": removed}
