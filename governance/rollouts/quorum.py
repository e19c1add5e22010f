"""Who can still say yes, who cannot and why, and how long what was said counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from governance.common.time import now
from governance.evals import services as evals
from governance.kpis.models import Kpi
from governance.people.models import Absence, Delegation, User
from governance.releases.diff import SLOT_NAMES
from governance.releases.models import Component
from governance.rollouts import rules
from governance.rollouts.models import Approval, Promotion


@dataclass(frozen=True, slots=True)
class Maker:
    """Somebody who helped to make the candidate, and by what."""

    person: User
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.person)

    @property
    def because(self) -> str:
        """The reasons as one phrase."""
        *most, last = self.reasons
        return f"{', '.join(most)} and {last}" if most else last


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody who can give one of the approvals now; `note` says in whose name, or until when."""

    person: User
    note: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One approval that the quorum asks for: given, or by whom it can be given."""

    title: str
    given: Approval | None
    counts_until: datetime | None
    voices: tuple[Voice, ...]
    nobody: str = ""


def makers(promotion: Promotion) -> list[Maker]:
    """Everybody who may not approve because they made it, in the words of what they did.

    The same people as `rules.contributors`, which decides.
    """
    found: dict[int, list[str]] = {}

    def add(keys: Iterable[int | None], reason: str) -> None:
        for key in keys:
            if key is not None:
                found.setdefault(key, []).append(reason)

    add([promotion.requested_by_id], "asked for it")
    add([promotion.release.registered_by_id], "registered the release")
    base = promotion.base.slots.values("component_id") if promotion.base else ()
    changed = Component.objects.filter(releases=promotion.release).exclude(digest__in=base)
    for slot, author in changed.order_by("slot").values_list("slot", "author_id"):
        add([author], f"wrote {SLOT_NAMES.get(slot, slot)}")
    since = rules.base_live_since(promotion)
    if since is not None:
        add(
            evals.editors_since(promotion.workflow, since, proposed_at=promotion.requested_at),
            "edited what judges it",
        )
    people = User.objects.in_bulk(found)
    return [Maker(people[key], tuple(reasons)) for key, reasons in found.items()]


def counts_until(promotion: Promotion, approval: Approval) -> datetime:
    """When an approval stops to count, however long it takes the others."""
    return approval.decided_at + rules.APPROVAL_LASTS[Promotion.Risk(promotion.risk)]


def parts(promotion: Promotion, made_by: Iterable[Maker]) -> list[Part]:
    """The approvals this promotion needs, with who gave them or could give them now."""
    excluded = {maker.person.pk for maker in made_by}
    valid = rules.valid_approvals(promotion) if promotion.pk else []
    owner = rules.kpi_owner(promotion.workflow)
    by_owner = next(
        (
            approval
            for approval in valid
            if approval.meaning == Approval.Meaning.KPI_OWNER
            and owner.pk in (approval.approver_id, approval.on_behalf_of_id)
        ),
        None,
    )
    found = [
        Part(
            f"KPI owner ({owner})",
            by_owner,
            counts_until(promotion, by_owner) if by_owner else None,
            () if by_owner else _for_owner(owner, excluded),
            f"{owner} helped to make this change, so neither they nor a delegate may approve it."
            if owner.pk in excluded
            else "Nobody can decide for the KPI owner now.",
        )
    ]
    if rules.needs_second_approver(promotion):
        second = next(
            (
                approval
                for approval in valid
                if approval.meaning == Approval.Meaning.SECOND_APPROVER
                and (by_owner is None or approval.approver_id != by_owner.approver_id)
                and rules.is_second_approver(approval.approver, promotion.workflow)
            ),
            None,
        )
        taken = {by_owner.approver_id} if by_owner else set()
        found.append(
            Part(
                "Second approver (an executive, or the KPI owner of another workflow)",
                second,
                counts_until(promotion, second) if second else None,
                () if second else _seconds(promotion, owner, excluded | taken),
                "Nobody else is an executive or the KPI owner of another workflow.",
            )
        )
    return found


def _for_owner(owner: User, excluded: set[int]) -> tuple[Voice, ...]:
    """The owner, and who stands in for them now; nobody where the owner made the change."""
    if owner.pk in excluded:
        return ()
    moment = now()
    away = (
        Absence.objects.filter(
            person=owner, starts_at__lte=moment, ends_at__gt=moment, cancelled_at=None
        )
        .order_by("-ends_at")
        .first()
    )
    voices = []
    if owner.is_active:
        voices.append(Voice(owner, f"away until {away.ends_at:%d %b}" if away else ""))
    held = Delegation.objects.in_force(moment).filter(owner=owner, delegate__is_active=True)
    voices += [
        Voice(row.delegate, f"for {owner} until {row.ends_at:%d %b %H:%M}")
        for row in held.select_related("delegate").order_by("ends_at")
        if row.delegate_id not in excluded
    ]
    return tuple(voices)


def _seconds(promotion: Promotion, owner: User, excluded: set[int]) -> tuple[Voice, ...]:
    leads = Kpi.objects.filter(is_lead=True).exclude(workflow=promotion.workflow)
    others = User.objects.filter(is_active=True).filter(
        Q(role=User.Role.EXECUTIVE)
        | Q(pk__in=leads.values("owner"))
        | Q(
            pk__in=type(promotion.workflow)
            .objects.exclude(pk=promotion.workflow_id)
            .values("owner")
        )
    )
    return tuple(
        Voice(person)
        for person in others.exclude(pk__in=excluded | {owner.pk}).order_by("job_title", "username")
    )
