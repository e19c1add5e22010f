"""The verdict on a candidate, stored under its digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from governance import audit
from governance.audit import Actor
from governance.common.canonical import canonical, digest_text
from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import gate, policy
from governance.evals.actors import lock
from governance.evals.gate_beside import PilotEvidence
from governance.evals.models import GatePolicy, GateReport, SuiteVersion
from governance.evals.recorded import evidence_of
from governance.evals.requests import comparable_runs, imports_count
from governance.evals.scorers import evaluator_for
from governance.evals.suites import evidence_suites
from governance.evals.waivers import waivers_in_force
from governance.releases.models import Release
from governance.workflows.models import Workflow


def outdated(report: GateReport) -> str:
    """Say why the evidence of a report would not carry it any more; "" where it still does."""
    workflow, runs = report.workflow, report.content.get("runs", ())
    if not imports_count(workflow):
        today = evaluator_for(workflow.slug)
        if any(run["evaluator"] != today for run in runs):
            return "How answers are scored changed since the gate was judged. Ask again."
    suites: Mapping[str, Mapping[str, int]] = report.policy.content.get("suites", {})
    ages = {kind: rule.get("max_age_days", policy.usual_age(kind)) for kind, rule in suites.items()}
    set_aside = {(one["code"], one["suite"]) for one in report.content.get("waivers", ())}
    aged = {kind: days for kind, days in ages.items() if days and ("stale", kind) not in set_aside}
    if aged:
        digests = [run["suite_digest"] for run in runs if run["suite"] in aged]
        for suite in SuiteVersion.objects.filter(workflow=workflow, digest__in=digests):
            sampled, days = suite.sampled_to, aged.get(suite.kind)
            if sampled and days and now() - sampled > timedelta(days=days):
                return f"The {suite.kind} cases are older than {days} days by now. Ask again."
    return ""


def judge(
    workflow: Workflow,
    candidate: Release,
    base: Release | None,
    gate_policy: GatePolicy,
    *,
    is_maintenance: bool = False,
    pilot: Sequence[PilotEvidence] = (),
    check: Callable[[], None] = lambda: None,
) -> GateReport:
    """Judge the candidate on the newest suites and store the report under its digest.

    Every call is an attempt and is counted: running until it passes is visible.

    Args:
        is_maintenance: nothing has to become better; every guardrail must be no worse.
        pilot: what a pilot of the candidate showed against what was live at the same time.
        check: called under the workflow's lock, before anything is counted or stored; it raises
            where the verdict is not wanted any more.
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
    runs_of = {kind: comparable_runs(candidate, base, suite) for kind, suite in suites.items()}
    mine = {kind: run for kind, (run, _) in runs_of.items() if run is not None}
    theirs = None
    if base is not None:
        theirs = {kind: run for kind, (_, run) in runs_of.items() if run is not None}
    moment = now()
    # The arithmetic happens before any lock: nobody waits for it.
    verdict = gate.judge(
        rules,
        {kind: evidence_of(run) for kind, run in mine.items()},
        None if theirs is None else {kind: evidence_of(run) for kind, run in theirs.items()},
        now=moment,
        waivers=waivers_in_force(candidate, gate_policy),
        pilot=pilot,
    )
    with audit.atomic():
        lock(workflow)
        check()
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
