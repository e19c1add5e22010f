"""Frozen versions of suites: the cases that a gate judges on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max, Q

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.actors import confirms, edits, label, lock
from governance.evals.cases import CASE_KEYS, MOST_CASES, Row, clean_cases, row_of, suite_digest
from governance.evals.models import SuiteVersion
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

__all__ = ("MOST_CASES", "confirm_suite", "evidence_suites", "freeze_suite", "newest_version")

register_rule("suite.freeze", edits, "Analysts, builders and the KPI owner edit suites.")


# That a suite is nobody's own edit is checked with its editors at hand.
register_rule(
    "suite.confirm",
    lambda user, suite: confirms(user, None),
    "Another person confirms a suite: an executive, an analyst or a KPI owner.",
)


def freeze_suite(
    workflow: Workflow,
    kind: str,
    cases: Sequence[Mapping[str, Any]],
    *,
    actor: Actor | HasActor,
    sampled_from: datetime | None = None,
    sampled_to: datetime | None = None,
    reason: str = "",
    origin: Mapping[str, Any] | None = None,
) -> SuiteVersion:
    """Store a new version of a suite, or return the newest one when nothing changed.

    Args:
        kind: golden, recent or adversarial.
        cases: `key`, `input`, `expected` (`answer`, `must_escalate`, `must_not_escalate`), and
            optionally `category`, `segment`, `cluster`, `channel`, `must_pass`, `reason`,
            `source`, `labelled_by_label`.
        sampled_from, sampled_to: the window that a recent suite was drawn from.
        origin: where the cases came from, for the page: a rule, a file.

    Raises:
        InvalidInputError: an unknown kind, no case, a duplicate key, or a malformed case.
        NotAllowedError: a person who does not edit suites.
    """
    person = actor if isinstance(actor, User) else None
    if person is not None:
        require(person, "suite.freeze", workflow)
    if kind not in SuiteVersion.Kind.values:
        raise InvalidInputError(f"A suite is one of: {', '.join(SuiteVersion.Kind.values)}.")
    if kind == SuiteVersion.Kind.RECENT and not _is_window(sampled_from, sampled_to):
        raise InvalidInputError("A recent suite says from when to when it was sampled.")
    rows = clean_cases(cases)
    with audit.atomic():
        lock(workflow)
        return store_version(
            workflow, kind, rows, actor=actor, reason=reason, origin=origin or {},
            sampled_from=sampled_from, sampled_to=sampled_to,
            editors=[person] if person is not None else [],
        )  # fmt: skip


def store_version(
    workflow: Workflow,
    kind: str,
    rows: Sequence[Row],
    *,
    actor: Actor | HasActor,
    editors: Iterable[User],
    reason: str = "",
    origin: Mapping[str, Any],
    sampled_from: datetime | None = None,
    sampled_to: datetime | None = None,
    base: SuiteVersion | None = None,
    kept: Collection[str] = (),
) -> SuiteVersion:
    """Write one version under the workflow's lock; what is the newest already is returned as it is.

    Args:
        rows: every case, clean and in the order of their keys.
        base, kept: the version before, and the keys of its cases that stay as they are: these are
            copied inside the database.
    """
    suite_id = suite_digest(workflow.slug, kind, rows)
    newest = newest_version(workflow, kind)
    if newest and newest.digest == suite_id and newest.sampled_to == sampled_to:
        return newest
    suite = SuiteVersion.objects.create(
        workflow=workflow,
        kind=kind,
        version=newest.version + 1 if newest else 1,
        digest=suite_id,
        case_count=len(rows),
        sampled_from=sampled_from,
        sampled_to=sampled_to,
        frozen_by=actor if isinstance(actor, User) else None,
        frozen_by_label=label(actor),
        frozen_at=now(),
        reason=reason,
        origin=dict(origin),
    )
    suite.editors.set(editors)
    same = set(kept)
    if base is not None and same:
        _copy(base, suite, same)
    _write(suite, (row for row in rows if row["key"] not in same))
    audit.record(
        "suite.frozen", suite, actor=actor, workflow=workflow.slug, digest=suite_id, reason=reason,
        before=newest.digest if newest else "", after=suite_id, cases=len(rows),
        editors=sorted(user.username for user in suite.editors.all()),
    )  # fmt: skip
    return suite


COPIED = ", ".join(f'"{name}"' for name in CASE_KEYS)


def _copy(base: SuiteVersion, suite: SuiteVersion, kept: set[str]) -> None:
    """Copy the cases that stay, inside the database. Those that do not are few: they are named."""
    gone = set(base.cases.values_list("key", flat=True)) - kept
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO governance_case (suite_id, {COPIED})"  # noqa: S608 - our own columns
            f" SELECT %s, {COPIED} FROM governance_case"
            " WHERE suite_id = %s AND NOT key = ANY(%s)",
            [suite.pk, base.pk, sorted(gone)],
        )


def _write(suite: SuiteVersion, rows: Iterable[Row]) -> None:
    """Write cases by COPY: 100,000 of them take two seconds."""
    into = f"COPY governance_case (suite_id, {COPIED}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row((suite.pk, *(_column(row[name]) for name in CASE_KEYS)))


def _column(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def rows_of(suite: SuiteVersion | None) -> dict[str, Row]:
    """Return every case of a version by its key."""
    if suite is None:
        return {}
    found = suite.cases.order_by().iterator(chunk_size=5_000)
    return {case.key: row_of(case) for case in found}


def newest_version(workflow: Workflow, kind: str) -> SuiteVersion | None:
    """Return the version that a gate uses now."""
    return SuiteVersion.objects.filter(workflow=workflow, kind=kind).order_by("-version").first()


@audit.atomic()
def confirm_suite(suite: SuiteVersion, *, actor: User) -> SuiteVersion:
    """Say yes to somebody else's edits; confirmed before a proposal, they bind nobody.

    Raises:
        NotAllowedError: one of the editors, or somebody who confirms no suites.
        StateConflictError: it is confirmed already, or a newer version judges.
    """
    found = SuiteVersion.objects.select_for_update().get(pk=suite.pk)
    require(actor, "suite.confirm", found)
    if _edited_since_confirmed(found, actor):
        raise NotAllowedError("Whoever edited a suite does not confirm it: another person does.")
    if found.confirmed_at is not None:
        raise StateConflictError("This version is confirmed already.")
    newest = newest_version(found.workflow, found.kind)
    if newest is None or newest.pk != found.pk:
        raise StateConflictError("A newer version judges by now. Confirm that one.")
    found.confirmed_by = actor
    found.confirmed_by_label = actor.as_actor().label
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_by_label", "confirmed_at"])
    audit.record(
        "suite.confirmed", found, actor=actor, workflow=found.workflow.slug, digest=found.digest
    )
    return found


def _edited_since_confirmed(suite: SuiteVersion, user: User) -> bool:
    """Whether edits of this person are in it that nobody confirmed with an earlier version."""
    before = SuiteVersion.objects.filter(
        workflow=suite.workflow_id, kind=suite.kind, version__lte=suite.version
    )
    confirmed = before.filter(confirmed_at__isnull=False).aggregate(last=Max("version"))["last"]
    return (
        before.filter(version__gt=confirmed or 0)
        .filter(Q(frozen_by=user) | Q(editors=user))
        .exists()
    )


def _is_window(start: datetime | None, end: datetime | None) -> bool:
    return start is not None and end is not None and start < end <= now()


def evidence_suites(workflow: Workflow) -> dict[str, SuiteVersion]:
    """Return the newest version of each kind of suite; these are what a gate judges on."""
    newest = SuiteVersion.objects.filter(workflow=workflow).order_by("kind", "-version")
    return {suite.kind: suite for suite in newest.distinct("kind")}
