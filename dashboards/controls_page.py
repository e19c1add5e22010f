"""What the pages of roads and registers read: everything in force now, and what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Prefetch, Q

from dashboards import controls_words as words
from dashboards.tones import Chip
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.people.delegations import coming_gaps
from governance.people.models import Delegation, User
from governance.people.permissions import can
from governance.releases.models import Slot
from governance.rollouts import rules
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.recovery_models import Drill
from governance.rollouts.road_models import FreezeException, FreezeWindow, StandingApproval
from governance.workflows.models import Workflow

AHEAD = timedelta(days=90)
RUNNING = Chip("Holds now", "watch", "snowflake")
COMING = Chip("Coming", "accent", "clock")
IN_FORCE = Chip("In force", "good", "circle-check")
ENDED = Chip("Ended", "none", "circle-minus")
LIFTED = Chip("Lifted", "none", "circle-minus")
REVOKED = Chip("Revoked", "none", "circle-minus")
VOID = Chip("Does not count", "watch", "diamond")


@dataclass(frozen=True, slots=True)
class Standing:
    """One standing approval: its envelope in words and how much of it is used."""

    row: StandingApproval
    chip: Chip
    envelope: list[str]
    in_force: bool
    used: int
    why_void: str = ""

    @property
    def slot(self) -> str:
        return Slot(self.row.slot).label


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze window, where it stands and whom it lets through."""

    row: FreezeWindow
    chip: Chip
    span: str
    running: bool
    to_come: bool
    may_lift: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a month as a freeze calendar draws it."""

    number: int
    frozen: bool
    today: bool
    weekend: bool


@dataclass(slots=True)
class Month:
    """One month with its days and the freezes that begin or go on in it."""

    first: date
    days: list[Day] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        frozen = sum(day.frozen for day in self.days)
        verb = "is" if frozen == 1 else "are"
        return f"{self.first:%B %Y}: {frozen} of {len(self.days)} days {verb} frozen."


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nobody decides for an owner."""

    person: User
    workflows: str
    when: str
    running: bool


@dataclass(frozen=True, slots=True)
class Held:
    """One delegation, and what this person may do about it."""

    row: Delegation
    chip: Chip
    span: str
    to_come: bool
    decisions: int
    may_end: bool
    barred: str = ""  # why the delegate will not be able to approve everything


@dataclass(frozen=True, slots=True)
class Emergency:
    """One live emergency change that waits for a second person."""

    promotion: Promotion
    left: str
    may_ratify: bool


def owner_of(workflow: Workflow, leads: dict[int, User]) -> User:
    return leads.get(workflow.pk, workflow.owner)


def leading(workflows: Iterable[Workflow]) -> dict[int, User]:
    """The owner of the lead KPI by workflow, where one is marked."""
    rows = Kpi.objects.filter(is_lead=True, workflow__in=[row.pk for row in workflows])
    return {kpi.workflow_id: kpi.owner for kpi in rows.select_related("owner")}


def owned(user: User) -> list[Workflow]:
    """The workflows whose KPI owner this person is: what they sign for."""
    rows = Workflow.objects.filter(Q(owner=user) | Q(kpis__owner=user, kpis__is_lead=True))
    workflows = list(rows.select_related("owner").distinct())
    leads = leading(workflows)
    return [row for row in workflows if owner_of(row, leads).pk == user.pk]


def standing_approvals(rows: Any, at: datetime) -> list[Standing]:
    """Each with its uses of the last seven days, in three queries."""
    used = Count(
        "uses",
        filter=Q(uses__changes__changed_at__gt=at - timedelta(days=7)),
        distinct=True,
    )
    found = list(
        rows.select_related("workflow__owner", "signed_by", "signature").annotate(used=used)
    )
    leads = leading({row.workflow_id: row.workflow for row in found}.values())
    return [_standing(row, owner_of(row.workflow, leads), at) for row in found]


def _standing(row: StandingApproval, owner: User, at: datetime) -> Standing:
    chip, why = IN_FORCE, ""
    if row.revoked_at is not None:
        chip = REVOKED
    elif row.valid_to <= at:
        chip = ENDED
    elif row.signed_by_id != owner.pk:
        chip, why = VOID, f"{row.signed_by} is not the KPI owner any more; {owner} signs anew."
    elif not row.signed_by.is_active:
        chip, why = VOID, f"The account of {row.signed_by} is switched off."
    return Standing(
        row=row,
        chip=chip,
        envelope=words.envelope(
            slot=Slot(row.slot).label,
            most_documents=row.most_documents_changed,
            steps=row.pilot_steps,
            uses_per_week=row.uses_per_week,
        ),
        in_force=chip is IN_FORCE,
        used=vars(row).get("used", 0),
        why_void=why,
    )


def freezes(user: User, at: datetime) -> list[Freeze]:
    """Every window this person sees, with its exceptions, in two queries."""
    excepted = FreezeException.objects.select_related(
        "promotion__release", "promotion__workflow", "granted_by"
    ).order_by("granted_at")
    rows = (
        FreezeWindow.objects.visible_to(user)
        .select_related("workflow__owner")
        .prefetch_related(Prefetch("exceptions", excepted))
    )
    mine = {row.pk for row in owned(user)}
    return [freeze_of(row, user, at, mine=mine) for row in rows]


def freeze_of(
    row: FreezeWindow, user: User, at: datetime, *, mine: set[int] | None = None
) -> Freeze:
    to_come = row.cancelled_at is None and row.ends_at > at
    running = to_come and row.starts_at <= at
    chip = ENDED
    if row.cancelled_at is not None:
        chip = LIFTED
    elif to_come:
        chip = RUNNING if running else COMING
    owns = row.workflow_id in mine if mine is not None else can(user, "freeze.set", row.workflow)
    return Freeze(
        row=row,
        chip=chip,
        span=words.span(row.starts_at, row.ends_at),
        running=running,
        to_come=to_come,
        may_lift=to_come and (user.role == User.Role.EXECUTIVE or owns),
    )


def months(found: Sequence[Freeze], today: date) -> list[Month]:
    """The months that have a frozen day, each with its days."""
    ahead = [freeze for freeze in found if freeze.to_come]
    by_month: dict[date, Month] = {}
    for freeze in ahead:
        begins = max(freeze.row.starts_at.date(), today).replace(day=1)
        by_month.setdefault(begins, Month(begins)).freezes.append(freeze)
        last = (freeze.row.ends_at - timedelta(microseconds=1)).date()
        while begins <= last:
            by_month.setdefault(begins, Month(begins))
            begins = (begins + 31 * words.DAY).replace(day=1)
    for month in by_month.values():
        day = month.first
        while day.month == month.first.month:
            frozen = any(_covers(freeze.row, day) for freeze in ahead)
            month.days.append(Day(day.day, frozen, day == today, day.weekday() >= 5))
            day += words.DAY
    return sorted(by_month.values(), key=lambda month: month.first)


def _covers(row: FreezeWindow, day: date) -> bool:
    starts = words.midnight(day)
    return row.starts_at < starts + words.DAY and row.ends_at > starts


def gaps(user: User, at: datetime, ahead: timedelta = AHEAD) -> list[Gap]:
    """The coming times in which nobody decides for an owner of a workflow this person sees."""
    workflows = list(Workflow.objects.visible_to(user).select_related("owner"))
    leads = leading(workflows)
    owners: dict[int, User] = {}
    of: dict[int, list[str]] = {}
    for workflow in workflows:
        owner = owner_of(workflow, leads)
        owners[owner.pk] = owner
        of.setdefault(owner.pk, []).append(workflow.name)
    return [
        Gap(
            owners[gap.person],
            ", ".join(of[gap.person]),
            words.gap(gap.starts_at, gap.ends_at),
            gap.starts_at <= at,
        )
        for gap in coming_gaps(owners, at=at, until=at + ahead)
    ]


# Whose daily work makes changes, or what judges them: who helped does not approve.
HELPS_WITH = {User.Role.BUILDER: "makes releases", User.Role.ANALYST: "edits suites"}


def barred(person: User) -> str:
    """Say why this delegate will not be able to approve everything; empty where they will."""
    helps = HELPS_WITH.get(User.Role(person.role))
    if helps is None:
        return ""
    return f"{person} {helps}, and cannot approve a change that they helped to make."


def delegations(user: User, at: datetime) -> list[Held]:
    """Who decides for whom, as far as this person sees it; newest first."""
    rows = (
        Delegation.objects.visible_to(user)
        .select_related("owner", "delegate")
        .annotate(decisions=Count("approvals"))
    )
    return [_held(row, user, at) for row in rows]


def _held(row: Delegation, user: User, at: datetime) -> Held:
    to_come = row.revoked_at is None and row.ends_at > at
    chip = ENDED
    if row.revoked_at is not None:
        chip = REVOKED
    elif to_come:
        chip = IN_FORCE if row.starts_at <= at else COMING
    return Held(
        row=row,
        chip=chip,
        span=words.span(row.starts_at, row.ends_at),
        to_come=to_come,
        decisions=vars(row)["decisions"],
        barred=barred(row.delegate) if to_come else "",
        may_end=to_come and can(user, "delegation.revoke", row),
    )


def emergencies(user: User, at: datetime) -> list[Emergency]:
    """Live emergency changes that wait for a second person, the most urgent first."""
    rows = (
        Promotion.objects.visible_to(user)
        .filter(road=Promotion.Road.EMERGENCY, state=Promotion.State.LIVE, ratified_at=None)
        .for_page()
        .order_by("ratify_by")
    )
    return [emergency_of(row, user, at) for row in rows]


def emergency_of(promotion: Promotion, user: User, at: datetime) -> Emergency:
    over = promotion.ratify_by is None or promotion.ratify_by <= at
    return Emergency(
        promotion,
        "" if over or promotion.ratify_by is None else words.duration(promotion.ratify_by - at),
        not over
        and can(user, "promotion.ratify", promotion)
        and user.pk not in rules.contributors(promotion),
    )


def overview(user: User) -> dict[str, object]:
    """Everything the controls page shows."""
    at = now()
    found = freezes(user, at)
    standing = standing_approvals(
        StandingApproval.objects.visible_to(user).filter(revoked_at=None, valid_to__gt=at), at
    )
    held = delegations(user, at)
    workflows = list(
        Workflow.objects.visible_to(user).select_related("owner", "live__release").order_by("name")
    )
    serving = [row for row in workflows if hasattr(row, "live")]
    return {
        "moment": at,
        "emergencies": emergencies(user, at),
        "rights": User.objects.filter(emergency_changes=True, is_active=True).order_by("job_title"),
        "freezes": [freeze for freeze in found if freeze.to_come][:5],
        "standing": standing,
        "delegations": [row for row in held if row.to_come][::-1],
        "gaps": gaps(user, at),
        "workflows": workflows,
        "off": _switched_off([row for row in serving if row.live.switched_off]),
        "serving": [row for row in serving if not row.live.switched_off],
        "drills": Drill.objects.visible_to(user)
        .filter(state__in=(Drill.State.PLANNED, Drill.State.RUNNING))
        .select_related("workflow", "signed_by")
        .order_by("planned_for")[:5],
        "may_manage": can(user, "people.manage"),
    }


def _switched_off(workflows: Sequence[Workflow]) -> list[tuple[Workflow, LiveChange | None]]:
    """Each with the change that switched it off."""
    rows = LiveChange.objects.filter(
        workflow__in=[row.pk for row in workflows], cause=LiveChange.Cause.SWITCHED_OFF
    ).order_by("seq")
    last = {row.workflow_id: row for row in rows} if workflows else {}
    return [(row, last.get(row.pk)) for row in workflows]
