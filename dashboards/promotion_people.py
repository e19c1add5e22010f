"""Who decides on a promotion's page: the quorum, what was said, who may not and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import can
from governance.rollouts import quorum, rules
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.quorum import Maker, Part, counts_until

HOW = {
    "password": "password",
    "session": "session",
    "password+totp": "password and one-time code",
    "password+recovery_code": "password and recovery code",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One decision with its signature, and whether it counts."""

    approval: Approval
    role: str
    how: str
    counts: str  # until when it counts, or why it does not; empty where that is no question
    counts_until: datetime | None
    signature_url: str


@dataclass(frozen=True, slots=True)
class People:
    """Everybody around one decision."""

    parts: tuple[Part, ...] = ()
    said: tuple[Said, ...] = ()
    makers: tuple[Maker, ...] = ()

    @property
    def given(self) -> int:
        return sum(part.given is not None for part in self.parts)


def people_of(promotion: Promotion) -> People:
    """Read the quorum, the decisions with their signatures, and who made the change."""
    rows = promotion.approvals.select_related(
        "approver", "signature", "on_behalf_of", "delegation"
    ).order_by("decided_at")
    approvals = list(rows)
    if not promotion.is_open:
        return People(said=tuple(_said(promotion, row, ()) for row in approvals))
    made_by = quorum.makers(promotion)
    # A pilot goes on on the approvals that were in time when it was opened.
    is_asked = promotion.state != Promotion.State.PILOTING or promotion.waits_for_approval
    parts = tuple(quorum.parts(promotion, made_by)) if is_asked else ()
    return People(parts, tuple(_said(promotion, row, parts) for row in approvals), tuple(made_by))


def _said(promotion: Promotion, approval: Approval, parts: Iterable[Part]) -> Said:
    signature = approval.signature
    counts, until = "", None
    if approval.review_round != promotion.review_round:
        counts = f"given in round {approval.review_round}: it does not count any more"
    elif promotion.waits_for_approval and approval.decision == Approval.Decision.APPROVED:
        if any(part.given == approval for part in parts):
            until = counts_until(promotion, approval)
        elif counts_until(promotion, approval) <= now():
            counts = "it was not used in time and does not count any more"
        elif approval.meaning in (Approval.Meaning.KPI_OWNER, Approval.Meaning.SECOND_APPROVER):
            counts = "it does not count any more"
    how = approval.authenticated_by
    return Said(
        approval=approval,
        role=signature.signer_role if signature else approval.get_meaning_display(),
        how=HOW.get(how, how.replace("oidc:", "single sign-on at ")),
        counts=counts,
        counts_until=until,
        signature_url=reverse("signature", args=(signature.pk,)) if signature else "",
    )


def why_not(promotion: Promotion, user: User, people: People) -> str:
    """Why this person has no decision to make here; empty when they have one."""
    if not can(user, "promotion.approve", promotion):
        return "You can read everything here; the KPI owner decides."
    if any(maker.person.pk == user.pk for maker in people.makers):
        return "You helped to make this change, so somebody else decides."
    if any(
        said.approval.approver_id == user.pk
        and said.approval.review_round == promotion.review_round
        for said in people.said
    ):
        return "You have decided on this round."
    delegation = rules.delegation_for(user, promotion.workflow)
    if delegation is not None and any(m.person.pk == delegation.owner_id for m in people.makers):
        return (
            f"{delegation.owner} helped to make this change, so nobody approves it in their name."
        )
    return ""


def as_what(promotion: Promotion, user: User) -> str:
    """In which role this person's yes would stand, in words."""
    meaning = rules.meaning_for(user, promotion)
    if meaning == Approval.Meaning.KPI_OWNER:
        delegation = rules.delegation_for(user, promotion.workflow)
        return f"for {delegation.owner}, by delegation" if delegation else "as KPI owner"
    return "as second approver"
