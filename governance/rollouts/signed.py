"""Signatures read again: who may, and what was signed in words."""

from __future__ import annotations

from governance.audit.models import AuditEvent
from governance.people.models import Delegation, Signature, User
from governance.rollouts.models import Approval, Promotion

MEANINGS = {
    **dict(Approval.Meaning.choices),
    "standing_approval": "I approve ahead what stays inside this envelope",
    "drill": "I agree that this rollback is practised",
    "freeze_exception": "I let this promotion through the freeze",
    "known_good": "I name this release as last known good",
    "switch_on": "I let this workflow serve again",
    "delegation": "I let somebody decide for me in this window",
}


def meaning_in_words(meaning: str) -> str:
    """What a signature stands for; a meaning without a sentence keeps its own words."""
    return MEANINGS.get(meaning) or meaning.replace("_", " ").capitalize()


def may_read_signature(user: User, signature: Signature) -> bool:
    """Who reads everything, who signed, who owns the workflow or may see the promotion."""
    if user.reads_everything:
        return True
    if not user.is_active:
        return False
    subject = signature.manifest.get("subject", {})
    if signature.signer_id == user.pk or subject.get("workflow") in user.owned_workflow_slugs():
        return True
    if Delegation.objects.visible_to(user).filter(signature=signature).exists():
        return True
    promotions = Promotion.objects.visible_to(user)
    return promotions.filter(approvals__signature=signature).exists()


def events_of(signature: Signature) -> list[AuditEvent]:
    """The audit events of the moment of signing that name this signature."""
    return list(
        AuditEvent.objects.filter(
            actor_id=str(signature.signer_id),
            occurred_at=signature.signed_at,
            body__contains=signature.pk,
        ).order_by("seq")[:20]
    )
