"""What stands above everything else on a review page; in a calm week it is empty.

Emergency changes, releases that nobody approved, undeclared changes, workflows that are switched
off, freezes, overdue post-mortems and days on which nobody decides: read in one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Value, Window
from django.db.models.functions import Coalesce, JSONObject, NullIf, TruncDate
from django.urls import reverse

from dashboards import controls_words as words
from dashboards.review_decisions import moment
from dashboards.review_page import Alert, Link
from governance.kpis.models import Kpi
from governance.people.gaps import Away, Cover, uncovered
from governance.people.models import Absence, Delegation, User
from governance.receipts.models import Receipt
from governance.reviews import left_over
from governance.reviews.cadence import Period
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.rollouts.road_models import FreezeWindow
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

SHOWN = 3  # of one kind; more are counted
AHEAD = timedelta(days=14)
Row = dict[str, Any]
KINDS = (ExceptionCase.Kind.UNAUTHORISED, ExceptionCase.Kind.UNDECLARED)
HEADINGS = {
    ExceptionCase.Kind.UNAUTHORISED: "Unauthorised change",
    ExceptionCase.Kind.UNDECLARED: "Undeclared change",
}


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of one page, and the post-mortems that are not finished."""

    shown: tuple[Alert, ...]
    unfinished: int
    overdue: int
    left_over: left_over.LeftOver  # what a sign-off is over; read in the same query


def load_alerts(
    user: User,
    period: Period,
    at: datetime,
    *,
    workflows: Sequence[Workflow],
    kpis: Sequence[Kpi],
    is_now: bool,
    acts: bool,
) -> Alerts:
    """Return what needs attention before the rest of the page. `workflows` come with owners."""
    found = _read(user, period, at, is_now=is_now)
    shown = [
        *_emergencies(found["emergencies"], user, workflows, at, acts=acts),
        *_foreign(found["foreign"]),
    ]
    if is_now:
        shown += [
            *_switched_off(workflows, found["off"]),
            *_freezes(found["freezes"]),
            *_overdue(found["overdue"], found["overdue_count"], at),
            *_gaps(found, workflows, kpis, at),
        ]
    return Alerts(
        tuple(shown),
        found["unfinished_count"] if is_now else 0,
        found["overdue_count"] if is_now else 0,
        left_over.read(found, period, at.date()),
    )


def _read(user: User, period: Period, at: datetime, *, is_now: bool) -> Row:
    starts = datetime.combine(period.starts_on, time(), UTC)
    ends = datetime.combine(period.ends_on, time(), UTC) + words.DAY
    unfinished = PostMortem.objects.visible_to(user).unfinished()
    overdue = unfinished.filter(due_at__lt=at).order_by("due_at")
    row = User.objects.values(
        emergencies=_emergency_rows(user, starts, ends, is_now=is_now),
        foreign=_foreign_rows(user, starts, ends, is_now=is_now),
        off=ArraySubquery(
            LiveChange.objects.filter(
                workflow__in=Workflow.objects.visible_to(user),
                workflow__live__switched_off=True,
                cause=LiveChange.Cause.SWITCHED_OFF,
            )
            .order_by("workflow_id", "-seq")
            .distinct("workflow_id")
            .values(
                json=JSONObject(
                    workflow="workflow", who="actor_label", at="changed_at", reason="reason"
                )
            )
        ),
        freezes=_listed(
            FreezeWindow.objects.visible_to(user)
            .filter(starts_at__lte=at, ends_at__gt=at, cancelled_at=None)
            .annotate(excepted=Count("exceptions"))
            .order_by("-ends_at"),
            pk="pk", name="name", ends_at="ends_at", workflow="workflow__name",
            reason="reason", excepted="excepted",
        ),
        overdue=_listed(
            overdue, pk="pk", title="title", due_at="due_at", workflow="rollback__workflow__name"
        ),
        overdue_count=_count(overdue),
        unfinished_count=_count(unfinished),
        away=ArraySubquery(
            Absence.objects.to_come(at)
            .filter(starts_at__lt=at + AHEAD)
            .values(json=JSONObject(person="person", starts_at="starts_at", ends_at="ends_at"))
        ),
        covers=ArraySubquery(
            Delegation.objects.filter(revoked_at=None, ends_at__gt=at, delegate__is_active=True)
            .values(
                json=JSONObject(
                    owner="owner", delegate="delegate", starts_at="starts_at", ends_at="ends_at"
                )
            )
        ),
        **left_over.columns(period, user),
    ).get(pk=user.pk)  # fmt: skip
    return dict(row)


def _listed(rows: QuerySet[Any], **fields: str) -> ArraySubquery:
    return ArraySubquery(rows.values(json=JSONObject(**fields))[:SHOWN])


def _count(rows: QuerySet[Any]) -> Coalesce:
    one = rows.order_by().annotate(whole=Value(1)).values("whole")
    return Coalesce(Subquery(one.annotate(number=Count("pk")).values("number")), 0)


def _emergency_rows(user: User, starts: datetime, ends: datetime, *, is_now: bool) -> ArraySubquery:
    """Those that wait now, and those of the period that went back without being ratified."""
    back = LiveChange.objects.filter(
        workflow=OuterRef("workflow"), from_release=OuterRef("release"),
        cause=LiveChange.Cause.ROLLBACK, changed_at__gte=OuterRef("requested_at"),
    ).order_by("seq")  # fmt: skip
    rows = (
        Promotion.objects.visible_to(user)
        .filter(road=Promotion.Road.EMERGENCY, ratified_at=None)
        .annotate(
            back_at=Subquery(back.values("changed_at")[:1]),
            back_why=Subquery(back.values("rollback__reason")[:1]),
            lead=Subquery(
                Kpi.objects.filter(workflow=OuterRef("workflow"), is_lead=True).values("owner")[:1]
            ),
            decider=Coalesce(
                Subquery(
                    Kpi.objects.filter(workflow=OuterRef("workflow"), is_lead=True).values(
                        called=_name("owner__")
                    )[:1]
                ),
                _name("workflow__owner__"),
            ),
        )
    )
    waiting = Q(state=Promotion.State.LIVE) if is_now else Q(pk=None)
    reverted = Q(state=Promotion.State.ROLLED_BACK, back_at__gte=starts, back_at__lt=ends)
    return _listed(
        rows.filter(waiting | reverted).order_by("ratify_by"),
        pk="pk", state="state", workflow="workflow__name", workflow_pk="workflow",
        number="release__number", title="release__title", base="base__number",
        incident="incident", who="requested_by_label", at="requested_at", ratify_by="ratify_by",
        back_at="back_at", back_why="back_why", lead="lead", owner="workflow__owner",
        decider="decider", requested_by="requested_by", registered_by="release__registered_by",
    )  # fmt: skip


def _name(path: str) -> Coalesce:
    """How a person is called, as `str(user)` does for people with a job title."""
    return Coalesce(NullIf(F(f"{path}job_title"), Value("")), F(f"{path}username"))


def _foreign_rows(user: User, starts: datetime, ends: datetime, *, is_now: bool) -> ArraySubquery:
    """Open exceptions of releases nobody approved and of undeclared changes, with a first case."""
    rows = ExceptionCase.objects.visible_to(user).filter(kind__in=KINDS)
    if is_now:
        rows = rows.open()
    else:
        rows = rows.filter(first_at__lt=ends, last_at__gte=starts).exclude(
            state=ExceptionCase.State.DISMISSED
        )
    first = Receipt.objects.filter(
        workflow=OuterRef("workflow"), day=OuterRef("first_day"),
        started_at=OuterRef("first_at"), release_digest=OuterRef("release_digest"),
    )  # fmt: skip
    rows = rows.annotate(
        first_day=TruncDate("first_at", tzinfo=UTC),
        in_all=Window(Count("pk")),
        run=Subquery(first.values("run_id")[:1]),
        case=Subquery(first.values("case_id")[:1]),
    ).order_by("-last_at")
    return _listed(
        rows, pk="pk", kind="kind", title="title", workflow="workflow__name", first_at="first_at",
        last_at="last_at", receipts="receipt_count", in_all="in_all", run="run", case="case",
        state="state",
    )  # fmt: skip


def _emergencies(
    rows: Sequence[Row], user: User, workflows: Sequence[Workflow], at: datetime, *, acts: bool
) -> list[Alert]:
    shown = []
    for row in rows:
        name = f"{row['workflow']} r{row['number']}"
        url = reverse("promotion-ratify", args=(row["pk"],))
        made = f"{row['who']} made it {_said(row['at'])} for {row['incident']}"
        if row["state"] != Promotion.State.LIVE:
            shown.append(
                Alert(
                    tone="bad", icon="undo-2",
                    title=f"Emergency change {name} was reverted {_said(row['back_at'])}",
                    text=f"{made}. {row['back_why'] or ''}",
                    links=(Link("What it was", url),),
                )
            )  # fmt: skip
            continue
        until = datetime.fromisoformat(row["ratify_by"])
        left = f"{words.duration(until - at)} left" if until > at else "The four hours are over"
        back = f"r{row['base']}" if row["base"] else "what served before"
        shown.append(
            Alert(
                tone="bad", icon="siren",
                title=f"Emergency change: {name} serves without a gate",
                text=(
                    f"{made}. {left}: until a second person ratifies it, {back} comes back by"
                    f" itself at {_said(row['ratify_by'])}. {row['decider']}, an executive or"
                    " another KPI owner who did not help to make it may ratify."
                ),
                links=() if acts and until > at and _may(row, user, workflows) else
                (Link("What changed", url),),
                act=(
                    Link("Look and ratify", url)
                    if acts and until > at and _may(row, user, workflows)
                    else None
                ),
            )
        )  # fmt: skip
    return shown


def _may(row: Row, user: User, workflows: Sequence[Workflow]) -> bool:
    """Whether the page of this emergency may offer the yes; the service decides to the letter."""
    if user.pk in (row["requested_by"], row["registered_by"]):
        return False
    return (
        user.role == User.Role.EXECUTIVE
        or user.pk == (row["lead"] or row["owner"])
        or any(each.owner_id == user.pk and each.pk != row["workflow_pk"] for each in workflows)
    )


def _foreign(rows: Sequence[Row]) -> list[Alert]:
    shown = []
    for row in rows:
        heading = HEADINGS[ExceptionCase.Kind(row["kind"])]
        count = row["receipts"]
        links = [Link("Exception", f"{reverse('exceptions')}#exception-{row['pk']}")]
        case = ""
        if row["run"]:
            day = row["first_at"][:10]
            links.append(Link("First run receipt", reverse("receipt", args=(day, row["run"]))))
            case = f", first case {row['case']}" if row["case"] else ""
        runs = f"{count:,} run receipt{'' if count == 1 else 's'}"
        ended = "" if row["state"] in ("open", "taken") else f" {row['state'].capitalize()}."
        shown.append(
            Alert(
                tone="bad", icon="triangle-alert", title=f"{heading} in {row['workflow']}",
                text=f"{_without(heading, row['title'])}. Since {_said(row['first_at'])}{case};"
                f" {runs}.{ended}",
                links=tuple(links),
            )
        )  # fmt: skip
    more = rows[0]["in_all"] - len(rows) if rows else 0
    if more > 0:
        word = "change" if more == 1 else "changes"
        shown.append(
            Alert(
                tone="bad", icon="triangle-alert",
                title=f"{more} more unauthorised or undeclared {word}", text="",
                links=(Link("All exceptions", reverse("exceptions")),),
            )
        )  # fmt: skip
    return shown


def _without(heading: str, title: str) -> str:
    """A title that does not say again what the heading says."""
    return title.removeprefix(f"{heading} of ")


def _switched_off(workflows: Sequence[Workflow], rows: Sequence[Row]) -> list[Alert]:
    named = {workflow.pk: workflow for workflow in workflows}
    return [
        Alert(
            tone="bad", icon="power-off",
            title=f"{named[row['workflow']].name} is switched off",
            text=(
                "No release serves; applications do without."
                f" {row['who']} switched it off {_said(row['at'])}: “{row['reason']}”"
            ),
            links=(
                Link(
                    named[row["workflow"]].name,
                    reverse("workflow", args=(named[row["workflow"]].slug,)),
                ),
            ),
        )
        for row in rows
        if row["workflow"] in named
    ]  # fmt: skip


def _freezes(rows: Sequence[Row]) -> list[Alert]:
    return [
        Alert(
            tone="watch", icon="snowflake",
            title=f"{row['name']}: {row['workflow'] or 'every workflow'} is frozen",
            text=(
                f"Nothing goes forward until {_said(row['ends_at'])}"
                + (f", but {row['excepted']} let through by name" if row["excepted"] else "")
                + ". Going back stays possible."
            ),
            links=(Link("The freeze", reverse("freeze", args=(row["pk"],))),),
        )
        for row in rows
    ]  # fmt: skip


def _overdue(rows: Sequence[Row], count: int, at: datetime) -> list[Alert]:
    if not rows:
        return []
    lines = [
        f"{row['title']} ({row['workflow']}), due"
        f" {words.duration(at - datetime.fromisoformat(row['due_at']))} ago"
        for row in rows
    ]
    more = f", and {count - len(rows)} more" if count > len(rows) else ""
    word = "post-mortem is" if count == 1 else f"{count} post-mortems are"
    return [
        Alert(
            tone="watch", icon="history",
            title=f"{'A ' if count == 1 else ''}{word} overdue",
            text=f"{'; '.join(lines)}{more}. The next promotion there waits for it.",
            links=tuple(
                Link(row["title"], reverse("post-mortem", args=(row["pk"],))) for row in rows
            ),
        )
    ]  # fmt: skip


def _gaps(
    found: Row, workflows: Sequence[Workflow], kpis: Sequence[Kpi], at: datetime
) -> list[Alert]:
    """The days of the next two weeks on which nobody decides for an owner."""
    if not found["away"]:
        return []
    leads = {kpi.workflow_id: kpi.owner for kpi in kpis if kpi.is_lead}
    owners: dict[int, User] = {}
    of: dict[int, list[str]] = {}
    for workflow in workflows:
        owner = leads.get(workflow.pk, workflow.owner)
        owners[owner.pk] = owner
        of.setdefault(owner.pk, []).append(workflow.name)
    away = [Away(row["person"], *_window(row)) for row in found["away"]]
    covers = [Cover(row["owner"], row["delegate"], *_window(row)) for row in found["covers"]]
    return [
        Alert(
            tone="watch", icon="user-x",
            title=f"{words.gap(gap.starts_at, gap.ends_at)}: nobody decides for"
            f" {owners[gap.person]}",
            text=f"What waits for approval in {' and '.join(of[gap.person])} waits that long.",
            links=(Link("Delegation register", reverse("delegations")),),
        )
        for gap in uncovered(owners, away, covers)
        if gap.ends_at > at and gap.starts_at < at + AHEAD
    ]  # fmt: skip


def _window(row: Row) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(row["starts_at"]), datetime.fromisoformat(row["ends_at"])


def _said(stamp: str) -> str:
    return moment(datetime.fromisoformat(stamp).astimezone(UTC))
