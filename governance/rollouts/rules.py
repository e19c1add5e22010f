"""Who may move a workflow, and what an approval is worth when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection

from governance.common.time import now
from governance.evals import services as evals
from governance.kpis.models import Kpi
from governance.people.models import Delegation, User
from governance.people.permissions import has_role, register_rule
from governance.people.signatures import require_fresh_login as require_fresh_login
from governance.people.signatures import require_reason as require_reason
from governance.releases.models import Component, LiveRelease
from governance.rollouts.models import Approval, LiveChange, PostMortem, Promotion
from governance.workflows.models import Workflow
from governance.workflows.ownership import kpi_owner as kpi_owner
from governance.workflows.ownership import remember_kpi_owner

APPROVAL_LASTS = {
    Promotion.Risk.LOW: timedelta(hours=72),
    Promotion.Risk.MEDIUM: timedelta(hours=72),
    Promotion.Risk.HIGH: timedelta(hours=24),
}
ROLLBACK_ROLES = (User.Role.EXECUTIVE, User.Role.ANALYST, User.Role.BUILDER)


def load_kpi_owners(workflows: Iterable[Workflow]) -> None:
    """Have `kpi_owner` answer for these instances without asking one by one. One query."""
    instances = list(workflows)
    leads = {
        kpi.workflow_id: kpi.owner
        for kpi in Kpi.objects.filter(
            workflow__in={workflow.pk for workflow in instances}, is_lead=True
        ).select_related("owner")
    }
    for workflow in instances:
        remember_kpi_owner(workflow, leads.get(workflow.pk, workflow.owner))


def is_second_approver(user: User, workflow: Workflow) -> bool:
    """An executive, or the KPI owner of another workflow."""
    if user.role == User.Role.EXECUTIVE:
        return True
    return (
        Kpi.objects.filter(owner=user, is_lead=True).exclude(workflow=workflow).exists()
        or Workflow.objects.filter(owner=user).exclude(pk=workflow.pk).exists()
    )


def delegation_for(user: User, workflow: Workflow) -> Delegation | None:
    """The delegation by which this person decides for the KPI owner now, if there is one.

    Only the KPI owner's own delegation counts: nobody passes one on.
    """
    owner = kpi_owner(workflow)
    if user.pk == owner.pk:
        return None
    return (
        Delegation.objects.in_force(now())
        .filter(owner=owner, delegate=user)
        .select_related("owner")
        .order_by("ends_at")
        .last()
    )


def decides_for_owner(user: User, workflow: Workflow) -> bool:
    """The KPI owner, or the delegate in the delegation's window."""
    return user.pk == kpi_owner(workflow).pk or delegation_for(user, workflow) is not None


def _may_decide(user: User, promotion: Promotion) -> bool:
    if decides_for_owner(user, promotion.workflow):
        return True
    return needs_second_approver(promotion) and is_second_approver(user, promotion.workflow)


def _may_roll_back(user: User, workflow: Workflow) -> bool:
    return user.role in ROLLBACK_ROLES or user.pk in (workflow.owner_id, kpi_owner(workflow).pk)


def _may_edit_post_mortem(user: User, post_mortem: PostMortem) -> bool:
    return _may_roll_back(user, post_mortem.rollback.workflow)


register_rule("promotion.propose", has_role(User.Role.BUILDER), "Only a builder asks for it.")
register_rule(
    "promotion.approve",
    _may_decide,
    "Only the KPI owner decides; where a second approver is needed, also an executive or the KPI"
    " owner of another workflow.",
)
register_rule(
    "promotion.open_pilot",
    lambda user, promotion: decides_for_owner(user, promotion.workflow),
    "Only the KPI owner, or who decides for them now, opens a pilot or lets it go on.",
)
register_rule(
    "promotion.adopt",
    lambda user, workflow: user.pk == kpi_owner(workflow).pk,
    "Only the KPI owner acknowledges what already runs.",
)
register_rule(
    "workflow.roll_back", _may_roll_back, "You may look at this workflow, but not roll it back."
)
register_rule(
    "post_mortem.edit", _may_edit_post_mortem, "You may read this post-mortem, but not write it."
)


def contributors(promotion: Promotion) -> set[int]:
    """Everybody who made the candidate what it is, and so may not approve it (keys of users).

    The requester, the authors of components that changed since the base, and whoever edited what
    judges it since the base went live, unless somebody else confirmed that edit.
    """
    release = promotion.release
    base_slots = promotion.base.slots.values("component_id") if promotion.base else ()
    authors = Component.objects.filter(releases=release).exclude(digest__in=base_slots)
    found = {promotion.requested_by_id, release.registered_by_id}
    found.update(authors.values_list("author_id", flat=True))
    since = base_live_since(promotion)
    if since is not None:
        found.update(
            evals.editors_since(promotion.workflow, since, proposed_at=promotion.requested_at)
        )
    return {key for key in found if key is not None}


def base_live_since(promotion: Promotion) -> datetime | None:
    """When the base was last made live by a promotion: edits since then judge the candidate.

    Drills, rollbacks and the switch open its serving anew, which forgives nobody an edit.
    """
    if promotion.base is None:
        return None
    return (
        LiveChange.objects.filter(
            workflow=promotion.workflow,
            to_release=promotion.base,
            cause__in=(LiveChange.Cause.ADOPT, LiveChange.Cause.PROMOTION),
        )
        .order_by("-seq")
        .values_list("changed_at", flat=True)
        .first()
    )


def staleness(
    promotion: Promotion, live: LiveRelease | None, *, ignore_policy: bool = False
) -> str:
    """Say why an approval given now would not count, or return an empty text.

    Args:
        ignore_policy: the gate is about to be judged anew, under the policy of now.
    """
    live_digest = live.release_id if live is not None else None
    if live_digest != promotion.base_id:
        return (
            "What is live changed since this was asked. Withdraw it and ask again, so that the"
            " evidence compares with what runs now."
        )
    policy = None if ignore_policy else evals.current_policy(promotion.workflow, promotion.risk)
    if (
        not ignore_policy
        and promotion.gate_policy_id
        and (policy is None or policy.pk != promotion.gate_policy_id)
    ):
        return "The gate policy changed since the gate was judged. Ask again."
    if not ignore_policy and promotion.gate_report is not None:
        return evals.ended_waiver(promotion.gate_report)
    return ""


def staleness_at_decision(promotion: Promotion, live: LiveRelease | None) -> str:
    """As `staleness`, and whether the evidence itself aged: how it was scored, and recent cases."""
    stale = staleness(promotion, live)
    if stale or promotion.gate_report is None:
        return stale
    return evals.outdated(promotion.gate_report)


def blocking_post_mortem(workflow: Workflow, fixes_id: int | None) -> PostMortem | None:
    """The unfinished post-mortem that blocks this promotion, if any."""
    unfinished = PostMortem.objects.unfinished().filter(rollback__workflow=workflow)
    if fixes_id is not None:
        unfinished = unfinished.exclude(pk=fixes_id)
    return unfinished.order_by("opened_at").first()


def needs_second_approver(promotion: Promotion) -> bool:
    return promotion.risk == Promotion.Risk.HIGH or promotion.fixes_id is not None


def valid_approvals(promotion: Promotion) -> list[Approval]:
    """The approvals of this round that count now: in time, by active people, on these bytes."""
    made_by = contributors(promotion)
    moment = now()
    oldest = moment - APPROVAL_LASTS[Promotion.Risk(promotion.risk)]
    policy_digest = promotion.gate_policy.digest if promotion.gate_policy else ""
    return [
        approval
        for approval in promotion.approvals.select_related("approver", "delegation").filter(
            review_round=promotion.review_round,
            decision=Approval.Decision.APPROVED,
            meaning__in=(Approval.Meaning.KPI_OWNER, Approval.Meaning.SECOND_APPROVER),
        )
        if approval.decided_at > oldest
        and approval.approver.is_active
        and approval.approver_id not in made_by
        and (approval.delegation is None or _delegation_holds(approval, made_by, moment))
        and approval.candidate_digest == promotion.release_id
        and approval.base_digest == (promotion.base_id or "")
        and approval.gate_report_digest == (promotion.gate_report_id or "")
        and approval.gate_policy_digest == policy_digest
    ]


def _delegation_holds(approval: Approval, made_by: set[int], moment: datetime) -> bool:
    """It covered the decision, nobody took it back before the approval was used."""
    held = approval.delegation
    return held is not None and (
        held.owner_id not in made_by
        and held.starts_at <= approval.decided_at < held.ends_at
        and (held.revoked_at is None or moment < held.revoked_at)
    )


def missing_approvals(promotion: Promotion) -> list[str]:
    """What the quorum still lacks, in words; empty when it is complete."""
    valid = valid_approvals(promotion)
    owner = kpi_owner(promotion.workflow)
    for_owner = {
        approval.approver_id
        for approval in valid
        if approval.meaning == Approval.Meaning.KPI_OWNER
        and owner.pk in (approval.approver_id, approval.on_behalf_of_id)
    }
    missing = []
    if not for_owner:
        missing.append(f"the KPI owner ({owner})")
    if needs_second_approver(promotion) and not any(
        approval.meaning == Approval.Meaning.SECOND_APPROVER
        and for_owner - {approval.approver_id} == for_owner
        and is_second_approver(approval.approver, promotion.workflow)
        for approval in valid
    ):
        missing.append("a second approver (an executive, or the KPI owner of another workflow)")
    return missing


def still_approved(promotion: Promotion, moment: datetime) -> bool:
    """Whether a running pilot may go on by what opened it, as the database will count it.

    Somebody who approved has left, a delegation was taken back, a standing approval has ended.
    """
    opened = (
        LiveChange.objects.filter(promotion=promotion, cause=LiveChange.Cause.PILOT_OPENED)
        .order_by("-seq")
        .values_list("changed_at", flat=True)
        .first()
    )
    with connection.cursor() as cursor:
        if promotion.road == Promotion.Road.STANDING:
            cursor.execute("SELECT cs_in_envelope(%s, %s)", [promotion.pk, moment])
        else:
            cursor.execute("SELECT cs_quorum(%s, %s)", [promotion.pk, opened])
        (holds,) = cursor.fetchone()
    return bool(holds)


def meaning_for(user: User, promotion: Promotion) -> Approval.Meaning:
    """What this person's yes stands for.

    Who may sign both as the owner's delegate and as second approver signs what is still missing.
    """
    if user.pk == kpi_owner(promotion.workflow).pk:
        return Approval.Meaning.KPI_OWNER
    if delegation_for(user, promotion.workflow) is None:
        return Approval.Meaning.SECOND_APPROVER
    by_owner = any(
        approval.meaning == Approval.Meaning.KPI_OWNER for approval in valid_approvals(promotion)
    )
    may_second = needs_second_approver(promotion) and is_second_approver(user, promotion.workflow)
    return (
        Approval.Meaning.SECOND_APPROVER if by_owner and may_second else Approval.Meaning.KPI_OWNER
    )


def role_in_words(user: User, meaning: str, delegation: Delegation | None) -> str:
    """As what somebody signs."""
    if delegation is not None:
        return f"For the KPI owner ({delegation.owner}) by delegation"
    if meaning in (
        Approval.Meaning.KPI_OWNER,
        Approval.Meaning.ACKNOWLEDGED,
        Approval.Meaning.PILOT,
    ):
        return "KPI owner"
    return str(user.get_role_display())
