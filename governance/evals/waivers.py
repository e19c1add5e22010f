"""Setting a gate's open finding aside: named, reasoned, for one release and policy, for days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from governance import audit
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.actors import is_kpi_owner, lock
from governance.evals.decision_models import GateWaiver
from governance.evals.gate_beside import (
    WAIVABLE_REFUSALS,
    WAIVABLE_ROLES,
    Waiver,
    code_of_row,
)
from governance.evals.models import GatePolicy, GateReport
from governance.evals.policies import current_policy
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import Component, Release

LONGEST = timedelta(days=30)


def _waives(user: User, report: GateReport) -> bool:
    """The KPI owner or an executive, who made nothing of what is new in the release."""
    if user.role != User.Role.EXECUTIVE and not is_kpi_owner(user, report.workflow):
        return False
    before = report.base.slots.values("component_id") if report.base else ()
    written = Component.objects.filter(releases=report.candidate, author=user)
    return (
        report.candidate.registered_by_id != user.pk
        and not written.exclude(digest__in=before).exists()
    )


register_rule(
    "gate.waive",
    _waives,
    "The KPI owner or an executive sets a finding aside, and not for a release of their own.",
)


def waivable(report: GateReport) -> list[dict[str, str]]:
    """Return what of a report may be set aside: code, suite, metric and the sentence."""
    content = report.content
    found = [
        {
            "code": refusal["code"], "suite": refusal["suite"], "metric": "",
            "finding": refusal["sentence"],
        }
        for refusal in content.get("refusals", ())
        if refusal["code"] in WAIVABLE_REFUSALS
    ]  # fmt: skip
    found += [
        {
            "code": code_of_row(row["role"]), "suite": row["suite"], "metric": row["metric"],
            "finding": f"{row['metric_label']} ({row['suite']}): {row['sentence']}",
        }
        for row in content.get("rows", ())
        if row.get("outcome") == "open" and row.get("role") in WAIVABLE_ROLES
    ]  # fmt: skip
    return found


@audit.atomic()
def grant_waiver(
    report: GateReport, *, code: str, suite: str, metric: str, reason: str, days: int, actor: User
) -> GateWaiver:
    """Set one open finding of a report aside. The gate has to be asked again to see it.

    Raises:
        InvalidInputError: no reason, too many days, or not a finding that may be set aside.
        NotAllowedError: somebody who may not.
        StateConflictError: the policy is not in force any more, or it is set aside already.
    """
    require(actor, "gate.waive", report)
    reason = reason.strip()
    if not 10 <= len(reason) <= 500:
        raise InvalidInputError("Say why in 10 to 500 characters: it is shown wherever it counts.")
    if not 1 <= days <= LONGEST.days:
        raise InvalidInputError(f"A waiver ends after 1 to {LONGEST.days} days.")
    finding = next(
        (
            one["finding"]
            for one in waivable(report)
            if (one["code"], one["suite"], one["metric"]) == (code, suite, metric)
        ),
        None,
    )
    if finding is None:
        raise InvalidInputError(
            "This cannot be set aside: only what is not shown either way, and never the primary"
            " metric, a hard rule or harm that was seen."
        )
    lock(report.workflow)
    moment = now()
    if current_policy(report.workflow, report.policy.risk) != report.policy:
        raise StateConflictError(
            "Another gate policy is in force by now. Ask for the release again, and look at what"
            " its gate finds."
        )
    if _open(report.candidate, report.policy).filter(
        code=code, suite=suite, metric=metric, expires_at__gt=moment
    ).exists():  # fmt: skip
        raise StateConflictError("This is set aside already.")
    waiver = GateWaiver.objects.create(
        workflow=report.workflow, candidate=report.candidate, policy=report.policy, code=code,
        suite=suite, metric=metric, finding=finding, reason=reason, granted_by=actor,
        granted_by_label=actor.as_actor().label, granted_at=moment,
        expires_at=moment + timedelta(days=days),
    )  # fmt: skip
    audit.record(
        "gate.waived", waiver, actor=actor, workflow=report.workflow.slug, reason=reason,
        digest=report.digest, candidate=report.candidate_id, finding=finding,
        until=waiver.expires_at,
    )  # fmt: skip
    return waiver


@audit.atomic()
def revoke_waiver(waiver: GateWaiver, *, actor: User) -> GateWaiver:
    """End a waiver. A report that stands on it does not count any more.

    Raises:
        NotAllowedError: neither the KPI owner nor an executive.
        StateConflictError: it has ended already.
    """
    found = GateWaiver.objects.select_for_update().get(pk=waiver.pk)
    if actor.role != User.Role.EXECUTIVE and not is_kpi_owner(actor, found.workflow):
        raise NotAllowedError("The KPI owner or an executive ends a waiver.")
    if found.revoked_at is not None or found.expires_at <= now():
        raise StateConflictError("This waiver has ended already.")
    found.revoked_at = now()
    found.revoked_by_label = actor.as_actor().label
    found.save(update_fields=["revoked_at", "revoked_by_label"])
    audit.record(
        "gate.waiver_revoked", found, actor=actor, workflow=found.workflow.slug,
        candidate=found.candidate_id, finding=found.finding,
    )  # fmt: skip
    return found


def _open(candidate: Release, policy: GatePolicy) -> Any:
    return GateWaiver.objects.filter(candidate=candidate, policy=policy, revoked_at=None)


def waivers_in_force(candidate: Release, policy: GatePolicy) -> list[Waiver]:
    """Return what is set aside for a release under exactly this policy now."""
    return [
        Waiver(
            code=row.code, suite=row.suite, metric=row.metric, by=row.granted_by_label,
            reason=row.reason, until=row.expires_at, finding=row.finding,
        )
        for row in _open(candidate, policy).filter(expires_at__gt=now())
    ]  # fmt: skip


def ended_waiver(report: GateReport) -> str:
    """Say which waiver that a report stands on has ended; "" where all hold."""
    used: list[Mapping[str, Any]] = report.content.get("waivers", [])
    if not used:
        return ""
    held = {
        (one.code, one.suite, one.metric)
        for one in waivers_in_force(report.candidate, report.policy)
    }
    for one in used:
        if (one["code"], one["suite"], one["metric"]) not in held:
            return f"The waiver by {one['by']} that the gate stands on has ended. Ask again."
    return ""
