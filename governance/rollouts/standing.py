"""Standing approvals: the KPI owner signs an envelope once, small changes inside it go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.people.signatures import sign
from governance.releases.diff import ReleaseDiff
from governance.releases.models import Slot
from governance.rollouts import freezes, pilots, rules
from governance.rollouts.live import live_release
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.road_models import StandingApproval
from governance.workflows.models import Workflow

LONGEST_DAYS = 90
SYSTEM = Actor.system("standing approval")

register_rule(
    "standing.sign",
    lambda user, workflow: user.pk == rules.kpi_owner(workflow).pk,
    "Only the KPI owner signs a standing approval.",
)
register_rule(
    "standing.revoke",
    lambda user, workflow: (
        user.pk == rules.kpi_owner(workflow).pk or user.role == User.Role.EXECUTIVE
    ),
    "The KPI owner or an executive revokes a standing approval.",
)


@audit.atomic()
def sign_standing_approval(
    workflow: Workflow,
    *,
    actor: User,
    title: str,
    slot: str,
    uses_per_week: int,
    days: int,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
    most_documents_changed: int | None = None,
    pilot_steps: Sequence[Mapping[str, Any]] = (),
) -> StandingApproval:
    """Approve ahead what changes one slot only, within limits, with its gate passed.

    Args:
        uses_per_week: 1 to 50.
        days: how long it holds, 1 to 90.
        most_documents_changed: retrieval only, and required there.
    """
    require(actor, "standing.sign", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    if slot not in Slot.values:
        raise InvalidInputError(f"Name one slot: {', '.join(Slot.values)}.")
    if not 1 <= uses_per_week <= 50 or not 1 <= days <= LONGEST_DAYS:
        raise InvalidInputError("At most 50 uses a week, and at most 90 days.")
    if (slot == Slot.RETRIEVAL) != (most_documents_changed is not None):
        raise InvalidInputError(
            "Say how many documents one use may change, for the retrieval slot."
        )
    steps = pilots.checked_steps(pilot_steps)
    moment = now()
    envelope = {
        "type": "standing_approval", "workflow": workflow.slug, "title": title.strip()[:200],
        "slot": slot, "most_documents_changed": most_documents_changed, "pilot_steps": steps,
        "uses_per_week": uses_per_week, "valid_from": moment.isoformat(),
        "valid_to": (moment + timedelta(days=days)).isoformat(),
    }  # fmt: skip
    signature = sign(
        actor,
        "standing_approval",
        reason=reason,
        subject=envelope,
        role="KPI owner",
        authenticated_at=authenticated_at,
        authenticated_by=authenticated_by,
    )
    standing = StandingApproval.objects.create(
        workflow=workflow, title=title.strip()[:200] or f"Standing approval of {Slot(slot).label}",
        slot=slot, most_documents_changed=most_documents_changed, pilot_steps=steps,
        uses_per_week=uses_per_week, valid_from=moment, valid_to=moment + timedelta(days=days),
        signed_by=actor, signature=signature,
    )  # fmt: skip
    audit.record(
        "standing.signed", standing, actor=actor, workflow=workflow.slug, reason=reason,
        digest=signature.pk, envelope=envelope,
    )  # fmt: skip
    return standing


@audit.atomic()
def revoke_standing_approval(standing_id: int, *, actor: User, reason: str) -> StandingApproval:
    """End it at once; what it made live stays."""
    standing = lock_standing(standing_id)
    require(actor, "standing.revoke", standing.workflow)
    reason = rules.require_reason(reason)
    if standing.revoked_at is not None:
        raise StateConflictError("It was revoked already.")
    standing.revoked_at = now()
    standing.revoked_by_label = actor.as_actor().label
    standing.revoking_reason = reason
    standing.save(update_fields=["revoked_at", "revoked_by_label", "revoking_reason"])
    audit.record(
        "standing.revoked", standing, actor=actor, workflow=standing.workflow.slug, reason=reason
    )
    return standing


def lock_standing(standing_id: int) -> StandingApproval:
    """As it is now, held until the end of the transaction: a use and its revoking never cross."""
    return (
        StandingApproval.objects.select_for_update(of=("self",))
        .select_related("workflow")
        .get(pk=standing_id)
    )


def misfit(standing: StandingApproval, promotion: Promotion, difference: ReleaseDiff) -> str:
    """Say why this change is outside the envelope, or return an empty text."""
    moment = now()
    if standing.workflow_id != promotion.workflow_id:
        return "The standing approval is of another workflow."
    if standing.revoked_at is not None:
        return "The standing approval was revoked."
    if not standing.valid_from <= moment < standing.valid_to:
        return "The standing approval has ended."
    if standing.signed_by_id != rules.kpi_owner(promotion.workflow).pk:
        return "Who signed it is not the KPI owner any more."
    if not standing.signed_by.is_active:
        return "Who signed it does not work here any more."
    if standing.signed_by_id in rules.contributors(promotion):
        return "Who signed it helped to make this change."
    if promotion.base_id is None:
        return "Nothing is live to compare with."
    others = [slot.name for slot in difference.changed if slot.slot != standing.slot]
    if others:
        return f"It also changes {', '.join(others)}."
    if promotion.risk == Promotion.Risk.HIGH:
        return "Its risk is high."
    if standing.most_documents_changed is not None:
        changed = promotion.documents_changed or 0
        if changed > standing.most_documents_changed:
            return (
                f"It changes {changed:,} documents; the envelope allows"
                f" {standing.most_documents_changed:,}."
            )
    if uses_in_a_week(standing, promotion) >= standing.uses_per_week:
        return f"It was used {standing.uses_per_week} times in the last 7 days already."
    return ""


def uses_in_a_week(standing: StandingApproval, but: Promotion | None = None) -> int:
    """How many promotions went live or into a pilot under it in the last 7 days."""
    used = LiveChange.objects.filter(
        promotion__standing=standing, changed_at__gt=now() - timedelta(days=7)
    )
    if but is not None and but.pk is not None:  # while it is only being looked at, it has none
        used = used.exclude(promotion=but)
    return used.values("promotion_id").distinct().count()


def blocked(standing: StandingApproval, promotion: Promotion, difference: ReleaseDiff) -> str:
    """Why a passed promotion does not go by itself now: the envelope, a freeze, a post-mortem."""
    why = misfit(standing, promotion, difference)
    if why:
        return why
    window = freezes.blocking(promotion, now())
    if window is not None:
        return f"{window.name} holds everything back until {window.ends_at:%d %b %H:%M} UTC."
    live = live_release(promotion.workflow)
    if promotion.pilot_steps and live is not None and live.switched_off:
        return "It is switched off, so a pilot would serve nobody."
    post_mortem = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    if post_mortem is not None:
        return f"The post-mortem “{post_mortem.title}” is not finished."
    return ""
