"""Freeze windows: times in which nothing goes forward, and who may go all the same."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime

from django.db.models import Q, QuerySet

from governance import audit
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.people.signatures import sign
from governance.rollouts import rules
from governance.rollouts.models import Promotion
from governance.rollouts.road_models import FreezeException, FreezeWindow
from governance.workflows.models import Workflow

LONGEST_DAYS = 45
MOST_REPEATS = 12


def _may_set(user: User, workflow: Workflow | None) -> bool:
    if user.role == User.Role.EXECUTIVE:
        return True
    return workflow is not None and user.pk == rules.kpi_owner(workflow).pk


register_rule(
    "freeze.set",
    _may_set,
    "An executive sets freezes; a KPI owner sets them for the own workflow.",
)
register_rule(
    "freeze.except",
    lambda user, promotion: user.role == User.Role.EXECUTIVE,
    "Only an executive lets a promotion through a freeze.",
)


def blocking(promotion: Promotion, at: datetime) -> FreezeWindow | None:
    """The freeze that holds this promotion back at that moment, unless it is excepted by name."""
    return holding(promotion, at).order_by("-ends_at").first()


def holding(
    promotion: Promotion, since: datetime, until: datetime | None = None
) -> QuerySet[FreezeWindow]:
    """Every freeze that holds this promotion back at `since`, or begins before `until`."""
    found = FreezeWindow.objects.filter(
        Q(workflow=None) | Q(workflow=promotion.workflow_id),
        starts_at__lte=until or since,
        ends_at__gt=since,
        cancelled_at=None,
    )
    # While a promotion is only being looked at it is not stored, and nobody excepted it.
    return found.exclude(exceptions__promotion=promotion) if promotion.pk else found


def refuse_frozen(promotion: Promotion) -> None:
    """Raise when a freeze holds this promotion back now."""
    window = blocking(promotion, now())
    if window is not None:
        raise StateConflictError(
            f"{window.name}: nothing goes forward until {window.ends_at:%d %b %Y %H:%M} UTC. An"
            " executive may let this promotion through by name."
        )


@audit.atomic()
def set_freeze(
    *,
    actor: User,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    workflow: Workflow | None = None,
    months: int = 1,
) -> list[FreezeWindow]:
    """Hold everything back in a window, and in the same days of the following months.

    Args:
        workflow: None freezes every workflow.
        months: how many windows to set, one a month, 1 to 12.
    """
    require(actor, "freeze.set", workflow)
    reason = rules.require_reason(reason)
    name = name.strip()[:120]
    if not name:
        raise InvalidInputError("Give the freeze a name, such as “Month-end close”.")
    if ends_at <= starts_at or (ends_at - starts_at).days > LONGEST_DAYS:
        raise InvalidInputError(
            f"A freeze ends after it starts and lasts at most {LONGEST_DAYS} days."
        )
    if not 1 <= months <= MOST_REPEATS:
        raise InvalidInputError(f"Repeat it for 1 to {MOST_REPEATS} months.")
    label = actor.as_actor().label
    windows = []
    for ahead in range(months):
        start = _months_later(starts_at, ahead)
        windows.append(
            FreezeWindow.objects.create(
                workflow=workflow,
                name=name,
                starts_at=start,
                ends_at=start + (ends_at - starts_at),
                reason=reason,
                set_by_label=label,
                set_at=now(),
            )
        )
    audit.record(
        "freeze.set", windows[0], actor=actor, workflow=workflow.slug if workflow else "",
        reason=reason,
        windows=[{"from": w.starts_at, "to": w.ends_at, "id": w.pk} for w in windows],
    )  # fmt: skip
    return windows


def _months_later(moment: datetime, months: int) -> datetime:
    """The same distance from the end of the month, so that a close stays a close."""
    if months == 0:
        return moment
    first = moment.replace(day=1)
    index = first.year * 12 + first.month - 1 + months
    year, month = divmod(index, 12)
    target = first.replace(year=year, month=month + 1)
    days_left = monthrange(moment.year, moment.month)[1] - moment.day
    length = monthrange(target.year, target.month)[1]
    if days_left <= 5:
        return target.replace(day=max(1, length - days_left))
    return target.replace(day=min(moment.day, length))


@audit.atomic()
def cancel_freeze(window_id: int, *, actor: User, reason: str) -> FreezeWindow:
    """Lift a freeze."""
    window = FreezeWindow.objects.select_for_update(of=("self",)).get(pk=window_id)
    require(actor, "freeze.set", window.workflow)
    reason = rules.require_reason(reason)
    if window.cancelled_at is not None:
        raise StateConflictError("This freeze was lifted already.")
    window.cancelled_at = now()
    window.cancelled_by_label = actor.as_actor().label
    window.save(update_fields=["cancelled_at", "cancelled_by_label"])
    audit.record(
        "freeze.cancelled", window, actor=actor,
        workflow=window.workflow.slug if window.workflow else "", reason=reason,
    )  # fmt: skip
    return window


@audit.atomic()
def except_from_freeze(
    window_id: int,
    promotion: Promotion,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> FreezeException:
    """Let one promotion through one freeze, by name."""
    require(actor, "freeze.except", promotion)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    if actor.pk in rules.contributors(promotion):
        raise NotAllowedError("You helped to make this change, so another executive decides.")
    window = FreezeWindow.objects.select_for_update(of=("self",)).get(pk=window_id)
    if window.workflow_id not in (None, promotion.workflow_id):
        raise InvalidInputError("That freeze is about another workflow.")
    if window.exceptions.filter(promotion=promotion).exists():
        raise StateConflictError("This promotion may go through that freeze already.")
    signature = sign(
        actor, "freeze_exception", reason=reason,
        subject={
            "type": "freeze", "id": str(window.pk), "promotion": str(promotion.pk),
            "candidate_digest": promotion.release_id, "workflow": promotion.workflow.slug,
        },
        role=rules.role_in_words(actor, "freeze_exception", None),
        authenticated_at=authenticated_at, authenticated_by=authenticated_by,
    )  # fmt: skip
    granted = FreezeException.objects.create(
        window=window,
        promotion=promotion,
        granted_by=actor,
        signature=signature,
        reason=reason,
        granted_at=now(),
    )
    audit.record(
        "freeze.excepted", window, actor=actor, workflow=promotion.workflow.slug, reason=reason,
        promotion=promotion.pk, digest=promotion.release_id,
        references={"signature": signature.pk},
    )  # fmt: skip
    return granted
