"""Suites, gate policies, eval runs and gate reports: everything about evals that changes rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import Max, Q

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import canonical, digest, digest_text
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import gate, policy
from governance.evals.models import Case, EvalRun, GatePolicy, GateReport, SuiteVersion
from governance.evals.recorded import evidence_of
from governance.evals.scorers import evaluator_for
from governance.evals.targets import TargetError, storable
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import Release
from governance.workflows.models import Workflow

MOST_CASES = 100_000
CASE_KEYS = {"key", "input", "expected", "category", "cluster", "must_pass", "reason"}
EXPECTED_KEYS = {"answer", "must_escalate", "must_not_escalate"}
# The purpose of a run that a schedule asked for; such a run alarms when it misses a limit.
SCHEDULED = "schedule"

EDITORS = (User.Role.ANALYST, User.Role.BUILDER)


def _edits(user: User, workflow: Workflow) -> bool:
    return user.role in EDITORS or workflow.owner_id == user.pk


def _confirms(user: User, gate_policy: GatePolicy) -> bool:
    """Somebody else than the proposer, and nobody who builds what the policy judges."""
    if gate_policy.proposed_by_id == user.pk or user.role == User.Role.BUILDER:
        return False
    return user.role in (User.Role.EXECUTIVE, User.Role.ANALYST) or user.owned_workflows.exists()


register_rule("suite.freeze", _edits, "Analysts, builders and the KPI owner edit suites.")
register_rule("eval_run.request", _edits, "Analysts, builders and the KPI owner ask for evals.")
register_rule(
    "gate_policy.propose",
    lambda user, workflow: workflow.owner_id == user.pk,
    "Only the KPI owner proposes a gate policy.",
)
register_rule(
    "gate_policy.confirm",
    _confirms,
    "Another person confirms a gate policy: an executive, an analyst or a KPI owner.",
)


def _label(actor: Actor | HasActor) -> str:
    return (actor if isinstance(actor, Actor) else actor.as_actor()).label


def _lock(workflow: Workflow) -> None:
    """One writer of suites, policies and reports at a time; receipts do not wait for it."""
    Workflow.objects.select_for_update(no_key=True).get(pk=workflow.pk)


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
        _lock(workflow)
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
            frozen_by_label=_label(actor),
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


def set_policy(
    workflow: Workflow, content: Mapping[str, Any], *, actor: Actor | HasActor
) -> GatePolicy:
    """Propose a new version of the gate policy. It judges nothing until it is confirmed.

    Raises:
        InvalidInputError: the content is no gate policy; the sentence says why.
        NotAllowedError: a person who is not the KPI owner.
    """
    person = actor if isinstance(actor, User) else None
    if person is not None:
        require(person, "gate_policy.propose", workflow)
    try:
        policy.GatePolicy.from_content(content)
    except policy.PolicyError as error:
        raise InvalidInputError(str(error)) from error
    text = canonical(dict(content))
    with audit.atomic():
        _lock(workflow)
        before = current_policy(workflow)
        last = GatePolicy.objects.filter(workflow=workflow).aggregate(last=Max("version"))["last"]
        proposed = GatePolicy.objects.create(
            workflow=workflow,
            version=(last or 0) + 1,
            digest=digest_text(text),
            content_text=text,
            proposed_by=person,
            proposed_by_label=_label(actor),
            proposed_at=now(),
        )
        audit.record(
            "gate_policy.proposed", proposed, actor=actor, workflow=workflow.slug,
            digest=proposed.digest, before=before.digest if before else "", after=proposed.digest,
        )  # fmt: skip
    return proposed


@audit.atomic()
def confirm_policy(gate_policy: GatePolicy, *, actor: User) -> GatePolicy:
    """Put a proposed gate policy into force: the second person's yes."""
    found = GatePolicy.objects.select_for_update().get(pk=gate_policy.pk)
    require(actor, "gate_policy.confirm", found)
    if found.confirmed_at is not None:
        raise StateConflictError("This gate policy is confirmed already.")
    newer = Q(version__gt=found.version, confirmed_at__isnull=False)
    if GatePolicy.objects.filter(newer, workflow=found.workflow_id).exists():
        raise StateConflictError("A newer gate policy is in force already.")
    found.confirmed_by = actor
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_at"])
    audit.record(
        "gate_policy.confirmed", found, actor=actor, workflow=found.workflow.slug,
        digest=found.digest,
    )  # fmt: skip
    return found


def current_policy(workflow: Workflow) -> GatePolicy | None:
    """Return the gate policy in force: the newest confirmed one."""
    return GatePolicy.objects.filter(workflow=workflow, confirmed_at__isnull=False).first()


def editors_since(
    workflow: Workflow, moment: datetime, *, proposed_at: datetime | None = None
) -> set[int]:
    """Return who edited, since `moment`, what judges a candidate: they may not approve it.

    An edit that another person confirmed before `proposed_at` (default: by now) does not count.
    A policy that is not in force judges nothing, so its author does not count either.
    """
    suites = SuiteVersion.objects.filter(workflow=workflow, frozen_at__gt=moment)
    edited = suites.order_by().values_list("frozen_by_id", flat=True)
    if proposed_at is not None:
        late = GatePolicy.objects.filter(workflow=workflow, confirmed_at__gt=proposed_at)
        edited = edited.union(late.order_by().values_list("proposed_by_id", flat=True))
    return {pk for pk in edited if pk is not None}


def request_run(
    release: Release, suite: SuiteVersion, *, actor: Actor | HasActor, purpose: str, slot: str
) -> EvalRun:
    """Ask for one release on one suite. The same slot is the same run, whoever asks again.

    Raises:
        InvalidInputError: suite and release belong to different workflows, or no target exists.
        StateConflictError: the slot names a run of something else.
        NotAllowedError: a person who does not ask for evals.
    """
    if isinstance(actor, User):
        require(actor, "eval_run.request", suite.workflow)
    if release.workflow_id != suite.workflow_id:
        raise InvalidInputError("The suite belongs to another workflow.")
    evaluator = evaluator_for(suite.workflow.slug)
    with audit.atomic():
        run, created = EvalRun.objects.get_or_create(
            slot=slot,
            defaults={
                "release": release,
                "suite": suite,
                "evaluator": evaluator,
                "purpose": purpose,
                "requested_by_label": _label(actor),
                "requested_at": now(),
                "cases_total": suite.case_count,
            },
        )
        if (run.release_id, run.suite_id) != (release.pk, suite.pk):
            raise StateConflictError(f"The slot {slot!r} is taken by another eval run.")
        if created:
            audit.record(
                "eval_run.requested", run, actor=actor, workflow=suite.workflow.slug,
                release=release.digest, suite=suite.digest, evaluator=evaluator, purpose=purpose,
            )  # fmt: skip
            facts = {"run": run.pk, "workflow": suite.workflow.slug}
            enqueue("evals.run", f"run {run.pk}", facts)
    return run


def finished_run(release: Release, suite: SuiteVersion) -> EvalRun | None:
    """Return the newest finished run under today's evaluator, or None."""
    try:
        evaluator = evaluator_for(suite.workflow.slug)
    except TargetError:
        return None
    done = EvalRun.objects.filter(state=EvalRun.State.DONE, evaluator=evaluator)
    return done.filter(release=release, suite=suite).order_by("-finished_at", "-pk").first()


def judge(
    workflow: Workflow,
    candidate: Release,
    base: Release | None,
    gate_policy: GatePolicy,
    *,
    is_maintenance: bool = False,
) -> GateReport:
    """Judge the candidate on the newest suites and store the report under its digest.

    Every call is an attempt and is counted: running until it passes is visible.

    Args:
        is_maintenance: nothing has to become better; every guardrail must be no worse.
    """
    if gate_policy.workflow_id != workflow.pk or gate_policy.confirmed_at is None:
        raise NotAllowedError("Only a confirmed gate policy of this workflow judges.")
    rules = policy.GatePolicy.from_content(gate_policy.content)
    if is_maintenance:
        if not rules.guardrails:
            raise StateConflictError(
                "A maintenance change is judged on the policy's guardrails, and it has none."
            )
        rules = replace(rules, primary=None)
    wanted = {rule.kind for rule in rules.suites}
    suites = {k: s for k, s in evidence_suites(workflow).items() if k in wanted}
    mine = _runs(candidate, suites)
    theirs = None if base is None else _runs(base, suites)
    moment = now()
    # The arithmetic happens before any lock: nobody waits for it.
    verdict = gate.judge(
        rules,
        {kind: evidence_of(run) for kind, run in mine.items()},
        None if theirs is None else {kind: evidence_of(run) for kind, run in theirs.items()},
        now=moment,
    )
    with audit.atomic():
        _lock(workflow)
        attempt = GateReport.objects.filter(workflow=workflow, candidate=candidate).count() + 1
        verdict = replace(verdict, attempt=attempt)
        runs = [*mine.values(), *(theirs or {}).values()]
        content = {
            "v": 1,
            "workflow": workflow.slug,
            "candidate": candidate.digest,
            "base": base.digest if base else None,
            "policy": gate_policy.digest,
            "judged_at": moment.isoformat(),
            **({"road": "maintenance"} if is_maintenance else {}),
            "runs": [
                {
                    "id": run.pk,
                    "suite": run.suite.kind,
                    "suite_version": run.suite.version,
                    "suite_digest": run.suite.digest,
                    "release": run.release_id,
                    "evaluator": run.evaluator,
                    "digest": run.summary["digest"],
                }
                for run in runs
            ],
            **verdict.to_content(),
        }
        text = canonical(content)
        report, created = GateReport.objects.get_or_create(
            digest=digest_text(text),
            defaults={
                "workflow": workflow,
                "candidate": candidate,
                "base": base,
                "policy": gate_policy,
                "verdict": verdict.verdict.value,
                "attempt": attempt,
                "content_text": text,
                "created_at": moment,
            },
        )
        if created:
            report.runs.set(runs)
            audit.record(
                "gate.judged", report, actor=Actor.system("gate"), workflow=workflow.slug,
                digest=report.digest, verdict=report.verdict, attempt=attempt,
                candidate=candidate.digest, base=base.digest if base else "",
                policy=gate_policy.digest,
            )  # fmt: skip
    return report


def _runs(release: Release, suites: Mapping[str, SuiteVersion]) -> dict[str, EvalRun]:
    found = {kind: finished_run(release, suite) for kind, suite in suites.items()}
    return {kind: run for kind, run in found.items() if run is not None}
