"""Finished results of another tool as an eval run: evidence, with where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from governance import audit
from governance.common.canonical import digest
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.models import Case, EvalRun, Score, SuiteVersion
from governance.evals.recorded import summary_of
from governance.evals.requests import IMPORTED, MOST_REPEATS
from governance.evals.result_files import Result, read_results
from governance.evals.targets import LONGEST_ANSWER, storable
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import require
from governance.releases.models import Release

NAMED = 5  # cases that a refusal names
WRITTEN = 1_000  # scores at once
MOST_COST = Decimal(10) ** 10  # of a run
LONGEST_FACT = 200


def import_results(
    release: Release, suite: SuiteVersion, content: bytes, name: str, *, actor: User,
    provider: str = "",
) -> EvalRun:  # fmt: skip
    """Store the results of a file as a finished run of a release over a version of a suite.

    Every case must be there, equally often. The same file for the same release is the same run.

    Raises:
        InvalidInputError: the file cannot be read, was not finished, or does not answer exactly
            the cases of this version; the sentence names the first of them.
        NotAllowedError: a person who does not ask for evals.
        StateConflictError: it was imported already.
    """
    require(actor, "eval_run.request", suite.workflow)
    if release.workflow_id != suite.workflow_id:
        raise InvalidInputError("The suite belongs to another workflow.")
    found = read_results(content, provider=provider)
    rows, repeats = _matched(suite, found.results)
    if sum((_money(result) or Decimal(0) for _, _, result in rows), Decimal(0)) >= MOST_COST:
        raise InvalidInputError("The costs of this file add up to more than can be kept.")
    evaluator = digest({"tool": found.tool, "version": found.version, "scorers": found.scorers})
    file_digest = "sha256:" + hashlib.sha256(content).hexdigest()
    metrics = sorted({name for _, _, result in rows for name in result.metrics})
    moment = now()
    with audit.atomic():
        run, created = EvalRun.objects.get_or_create(
            slot=_fact(f"import {file_digest[7:39]} {release.pk[7:23]} {suite.pk} {provider}"),
            defaults={
                "release": release, "suite": suite, "evaluator": evaluator, "purpose": IMPORTED,
                "state": EvalRun.State.RUNNING, "requested_by_label": actor.as_actor().label,
                "requested_at": moment, "started_at": moment, "repeats": repeats,
                "cases_total": suite.case_count,
                "scorers": dict.fromkeys(metrics, evaluator),
                "provenance": {
                    "tool": found.tool, "version": _fact(found.version), "file": _fact(name),
                    "digest": file_digest, "by": actor.pk,
                    **{key: _fact(value) for key, value in found.facts.items()},
                },
            },
        )  # fmt: skip
        if not created:
            raise StateConflictError(f"This file was imported already: run {run.pk}.")
        for start in range(0, len(rows), WRITTEN):
            Score.objects.bulk_create(
                _score(run, case, repeat, result)
                for case, repeat, result in rows[start : start + WRITTEN]
            )
        _close(run, rows)
        audit.record(
            "eval_run.imported", run, actor=actor, workflow=suite.workflow.slug,
            digest=run.summary["digest"], release=release.pk, suite=suite.digest,
            evaluator=evaluator, file=file_digest, tool=found.tool, cases=run.cases_done,
            errors=run.errors,
        )  # fmt: skip
        facts = {"run": run.pk, "workflow": suite.workflow.slug}
        enqueue("rollouts.gate", f"run {run.pk}", facts)
    return run


def _fact(value: object) -> str:
    """Words from a file about itself, as the database can hold them."""
    return storable(str(value))[:LONGEST_FACT]


def _close(run: EvalRun, rows: Sequence[tuple[Case, int, Result]]) -> None:
    run.cases_done = len(rows)
    run.errors = sum(1 for _, _, result in rows if result.error)
    run.cost = sum((_money(result) or Decimal(0) for _, _, result in rows), Decimal(0))
    run.state = EvalRun.State.DONE
    run.finished_at = now()
    run.summary = summary_of(run)
    run.save()


def _matched(
    suite: SuiteVersion, results: Sequence[Result]
) -> tuple[list[tuple[Case, int, Result]], int]:
    """Give each result its case and its repeat; by name, or else by the very same input."""
    cases = list(suite.cases.only("pk", "key", "input", "suite"))
    by_key = {case.key: case for case in cases}
    by_input: dict[str, list[Case]] = {}
    for case in cases:
        by_input.setdefault(digest(case.input), []).append(case)
    seen: dict[int, int] = {}
    rows: list[tuple[Case, int, Result]] = []
    strange: list[str] = []
    for result in results:
        found = next((by_key[name] for name in result.names if name in by_key), None)
        alike = by_input.get(result.input_digest, []) if result.input_digest else []
        if found is None and len(alike) == 1:
            found = alike[0]
        if found is None:
            strange.append(result.names[0] if result.names else result.input_digest[:19])
            continue
        repeat = seen.get(found.pk, 0)
        seen[found.pk] = repeat + 1
        rows.append((found, repeat, result))
    if strange:
        raise InvalidInputError(
            f"{len(strange):,} results are of no case of {suite}: {', '.join(strange[:NAMED])}."
        )
    missing = [case.key for case in cases if case.pk not in seen]
    if missing:
        raise InvalidInputError(
            f"{len(missing):,} of {len(cases):,} cases of {suite} have no result:"
            f" {', '.join(missing[:NAMED])}."
        )
    often = set(seen.values())
    if len(often) > 1:
        raise InvalidInputError("Some cases were run more often than others.")
    repeats = often.pop()
    if repeats > MOST_REPEATS:
        raise InvalidInputError(f"A case is run 1 to {MOST_REPEATS} times.")
    return rows, repeats


def _score(run: EvalRun, case: Case, repeat: int, result: Result) -> Score:
    return Score(
        run=run, case=case, repeat=repeat, correct=result.passed, passed=result.passed,
        cost=_money(result), latency_ms=result.latency_ms, metrics=dict(result.metrics),
        output={"answer": storable(result.output)[:LONGEST_ANSWER]} if result.output else {},
        error=storable(result.error), scored_at=run.requested_at,
    )  # fmt: skip


def _money(result: Result) -> Decimal | None:
    return None if result.cost is None else Decimal(f"{result.cost:.8f}")
