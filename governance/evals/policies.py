"""Gate policies: proposed by one person, confirmed by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Max, Q

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import canonical, digest_text
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals import gate, policy
from governance.evals.actors import confirms, is_kpi_owner, label, lock
from governance.evals.evidence import SuiteEvidence
from governance.evals.models import GatePolicy, GateReport
from governance.evals.recorded import evidence_of
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

DECISIONS_SHOWN = 10
MOST_SCORES = 300_000  # that a proposal judges anew while somebody waits


register_rule(
    "gate_policy.propose",
    is_kpi_owner,
    "Only the KPI owner proposes a gate policy.",
)
register_rule(
    "gate_policy.confirm",
    lambda user, gate_policy: confirms(user, gate_policy.proposed_by_id),
    "Another person confirms a gate policy: an executive, an analyst or a KPI owner.",
)


def set_policy(
    workflow: Workflow,
    content: Mapping[str, Any],
    *,
    actor: Actor | HasActor,
    risk: str = "",
    reason: str = "",
) -> GatePolicy:
    """Propose a new version of the gate policy. It judges nothing until it is confirmed.

    What it would have made of the last decisions is worked out now and kept with it, so that the
    second person confirms with open eyes.

    Args:
        risk: the class of change that it judges ("low", "medium", "high"); "": every change that
            has no policy of its own.

    Raises:
        InvalidInputError: the content is no gate policy; the sentence says why.
        NotAllowedError: a person who is not the KPI owner.
    """
    person = actor if isinstance(actor, User) else None
    if person is not None:
        require(person, "gate_policy.propose", workflow)
    if risk not in GatePolicy.Risk.values:
        raise InvalidInputError("A class of change is low, medium or high; empty: every change.")
    try:
        policy.GatePolicy.from_content(content)
    except policy.PolicyError as error:
        raise InvalidInputError(str(error)) from error
    text = canonical(dict(content))
    effect = effect_of(workflow, content)
    with audit.atomic():
        lock(workflow)
        before = current_policy(workflow, risk)
        last = GatePolicy.objects.filter(workflow=workflow).aggregate(last=Max("version"))["last"]
        proposed = GatePolicy.objects.create(
            workflow=workflow,
            risk=risk,
            version=(last or 0) + 1,
            digest=digest_text(text),
            content_text=text,
            reason=reason.strip()[:500],
            effect=effect,
            proposed_by=person,
            proposed_by_label=label(actor),
            proposed_at=now(),
        )
        audit.record(
            "gate_policy.proposed", proposed, actor=actor, workflow=workflow.slug,
            digest=proposed.digest, before=before.digest if before else "", after=proposed.digest,
            risk=risk, reason=proposed.reason,
        )  # fmt: skip
    return proposed


def effect_of(workflow: Workflow, content: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the last decisions anew by another policy, each on the runs it was judged on.

    Returns:
        `decisions`, newest first, each with the verdict that was given and the one that this
        policy would have given; `left_out` says why there are none, where the runs are too large.
    """
    rules = policy.GatePolicy.from_content(content)
    reports = list(
        GateReport.objects.filter(workflow=workflow)
        .select_related("candidate__workflow")
        .prefetch_related("runs__suite", "runs__definition")
        .order_by("-created_at")[:DECISIONS_SHOWN]
    )
    size = sum(run.cases_total * run.repeats for report in reports for run in report.runs.all())
    if size > MOST_SCORES:
        return {"decisions": [], "left_out": f"{size:,} scores are too many to judge at once."}
    return {"decisions": [_again(report, rules) for report in reports], "left_out": ""}


def _again(report: GateReport, rules: policy.GatePolicy) -> dict[str, Any]:
    said = report.content
    if said.get("road") == "maintenance" and rules.guardrails:
        rules = replace(rules, primary=None)
    sides: dict[str, dict[str, SuiteEvidence]] = {report.candidate_id: {}}
    if report.base_id:
        sides[report.base_id] = {}
    wanted = {rule.kind for rule in rules.suites}
    for run in report.runs.all():
        if run.suite.kind not in wanted:
            continue  # a gate looks at the suites that its policy asks for
        sides[run.release_id][run.suite.kind] = evidence_of(run)
    verdict = gate.judge(
        rules,
        sides[report.candidate_id],
        sides[report.base_id] if report.base_id else None,
        now=report.created_at,
    )
    return {
        "report": report.pk,
        "release": report.candidate.name,
        "at": report.created_at.isoformat(),
        "was": report.verdict,
        "would_be": verdict.verdict.value,
        "sentence": verdict.summary,
    }


@audit.atomic()
def confirm_policy(gate_policy: GatePolicy, *, actor: User) -> GatePolicy:
    """Put a proposed gate policy into force: the second person's yes."""
    found = GatePolicy.objects.select_for_update().get(pk=gate_policy.pk)
    require(actor, "gate_policy.confirm", found)
    if found.withdrawn_at is not None:
        raise StateConflictError("This gate policy was withdrawn.")
    if found.confirmed_at is not None:
        raise StateConflictError("This gate policy is confirmed already.")
    newer = Q(version__gt=found.version, confirmed_at__isnull=False, risk=found.risk)
    if GatePolicy.objects.filter(newer, workflow=found.workflow_id).exists():
        raise StateConflictError("A newer gate policy is in force already.")
    found.confirmed_by = actor
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_at"])
    audit.record(
        "gate_policy.confirmed", found, actor=actor, workflow=found.workflow.slug,
        digest=found.digest, risk=found.risk,
    )  # fmt: skip
    return found


@audit.atomic()
def withdraw_policy(gate_policy: GatePolicy, *, actor: User) -> GatePolicy:
    """Take a proposal back before it is confirmed.

    Raises:
        NotAllowedError: a person who proposes no gate policies here.
        StateConflictError: it is in force, or withdrawn already.
    """
    found = GatePolicy.objects.select_for_update().get(pk=gate_policy.pk)
    require(actor, "gate_policy.propose", found.workflow)
    if found.confirmed_at is not None:
        raise StateConflictError("This gate policy was confirmed. Propose another one.")
    if found.withdrawn_at is not None:
        raise StateConflictError("This gate policy was withdrawn already.")
    found.withdrawn_at = now()
    found.withdrawn_by_label = actor.as_actor().label
    found.save(update_fields=["withdrawn_at", "withdrawn_by_label"])
    audit.record(
        "gate_policy.withdrawn", found, actor=actor, workflow=found.workflow.slug,
        digest=found.digest,
    )  # fmt: skip
    return found


def current_policy(workflow: Workflow, risk: str = "") -> GatePolicy | None:
    """Return the gate policy in force: the newest confirmed one of this class of change.

    A class without a policy of its own is judged by the one for every change.
    """
    confirmed = GatePolicy.objects.filter(workflow=workflow, confirmed_at__isnull=False)
    rows = list(confirmed.filter(risk__in={risk, ""}).order_by("risk", "-version").distinct("risk"))
    own = [row for row in rows if row.risk == risk]
    return next(iter(own or rows), None)
