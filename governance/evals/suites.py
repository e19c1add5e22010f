"""Frozen versions of suites: the cases that a gate judges on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import digest
from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.evals.actors import edits, label, lock
from governance.evals.models import Case, SuiteVersion
from governance.evals.targets import storable
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

MOST_CASES = 100_000
CASE_KEYS = {"key", "input", "expected", "category", "cluster", "must_pass", "reason"}
EXPECTED_KEYS = {"answer", "must_escalate", "must_not_escalate"}

register_rule("suite.freeze", edits, "Analysts, builders and the KPI owner edit suites.")


def freeze_suite(
    workflow: Workflow,
    kind: str,
    cases: Sequence[Mapping[str, Any]],
    *,
    actor: Actor | HasActor,
    sampled_from: datetime | None = None,
    sampled_to: datetime | None = None,
) -> SuiteVersion:
    """Store a new version of a suite, or return the newest one when nothing changed.

    Args:
        kind: golden, recent or adversarial.
        cases: `key`, `input`, `expected` (`answer`, `must_escalate`, `must_not_escalate`), and
            optionally `category`, `cluster`, `must_pass`, `reason`.
        sampled_from, sampled_to: the window that a recent suite was drawn from.

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
    rows = _cases(cases)
    suite_digest = digest({"workflow": workflow.slug, "kind": kind, "cases": rows})
    with audit.atomic():
        lock(workflow)
        newest = SuiteVersion.objects.filter(workflow=workflow, kind=kind).first()
        if newest and newest.digest == suite_digest and newest.sampled_to == sampled_to:
            return newest
        suite = SuiteVersion.objects.create(
            workflow=workflow,
            kind=kind,
            version=newest.version + 1 if newest else 1,
            digest=suite_digest,
            case_count=len(rows),
            sampled_from=sampled_from,
            sampled_to=sampled_to,
            frozen_by=person,
            frozen_by_label=label(actor),
            frozen_at=now(),
        )
        Case.objects.bulk_create([Case(suite=suite, **row) for row in rows], batch_size=1_000)
        audit.record(
            "suite.frozen", suite, actor=actor, workflow=workflow.slug, digest=suite_digest,
            before=newest.digest if newest else "", after=suite_digest, cases=len(rows),
        )  # fmt: skip
    return suite


def _is_window(start: datetime | None, end: datetime | None) -> bool:
    return start is not None and end is not None and start < end <= now()


def _cases(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the cases as they are stored and digested, in the order of their keys."""
    if not 1 <= len(cases) <= MOST_CASES:
        raise InvalidInputError(f"A suite has between 1 and {MOST_CASES:,} cases.")
    rows: dict[str, dict[str, Any]] = {}
    for case in cases:
        key = case.get("key")
        if not isinstance(key, str) or not 1 <= len(key) <= 120 or storable(key) != key:
            raise InvalidInputError("Every case has a key of 1 to 120 characters.")
        if key in rows:
            raise InvalidInputError(f"The case {key!r} stands twice in the suite.")
        expected = case.get("expected")
        if set(case) - CASE_KEYS or not isinstance(case.get("input"), Mapping):
            raise InvalidInputError(f"The case {key!r} needs an input and known fields only.")
        if not isinstance(expected, Mapping) or not expected or set(expected) - EXPECTED_KEYS:
            raise InvalidInputError(f"The case {key!r} does not say what is expected.")
        rows[key] = {
            "key": key,
            "input": dict(case["input"]),
            "expected": dict(expected),
            "category": str(case.get("category", ""))[:100],
            "cluster": str(case.get("cluster", ""))[:100],
            "must_pass": bool(case.get("must_pass", False)),
            "reason": str(case.get("reason", ""))[:300],
        }
    ordered = [rows[key] for key in sorted(rows)]
    _cluster_repeats(ordered)
    return ordered


def _cluster_repeats(rows: Sequence[dict[str, Any]]) -> None:
    """Put cases that ask the very same thing into one cluster: they are no independent evidence."""
    by_input: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_input.setdefault(digest(row["input"]), []).append(row)
    for input_digest, group in by_input.items():
        if len(group) > 1:
            for row in group:
                row["cluster"] = row["cluster"] or f"same input {input_digest[7:19]}"


def evidence_suites(workflow: Workflow) -> dict[str, SuiteVersion]:
    """Return the newest version of each kind of suite; these are what a gate judges on."""
    newest = SuiteVersion.objects.filter(workflow=workflow).order_by("kind", "-version")
    return {suite.kind: suite for suite in newest.distinct("kind")}
