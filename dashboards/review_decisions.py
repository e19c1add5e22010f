"""What a review asks of people: what runs, what is wrong, what is ticked off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime

from django.db.models import Count, Q, Window
from django.urls import reverse

from dashboards import controls_words
from dashboards.forms import ROLLBACK_REASONS
from dashboards.review_page import (
    Checklist,
    ChecklistRow,
    ExceptionRow,
    Happened,
    LiveRow,
)
from dashboards.tones import chip_for
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import Release
from governance.reviews.cadence import (
    ANALYST,
    CHECKLISTS,
    OWNER,
    PERIOD_WORD,
    Period,
    Task,
)
from governance.reviews.left_over import LeftOver
from governance.reviews.models import Review
from governance.reviews.services import why_not_worked_through
from governance.rollouts.models import Approval, LiveChange
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

EXCEPTIONS_SHOWN = 5


def live_rows(
    workflows: Sequence[Workflow], changes: Sequence[LiveChange], user: User, *, acts: bool
) -> tuple[LiveRow, ...]:
    """Return what runs in each workflow, who said yes to it, and the way back."""
    lives = [workflow.live for workflow in workflows if hasattr(workflow, "live")]
    said = _approvals(live.release_id for live in lives)
    off = off_since(live.workflow_id for live in lives if live.switched_off)
    rows = []
    for live in lives:
        workflow, release = live.workflow, live.release
        # Oldest first: the last one is what made it serve, whatever pilots did since.
        change = next((c for c in reversed(changes) if c.workflow_id == workflow.pk), None)
        back = live.last_known_good
        may = (
            acts
            and back is not None
            and back.pk != release.pk
            and can(user, "workflow.roll_back", workflow)
        )
        rows.append(
            LiveRow(
                workflow=workflow.name,
                workflow_url=reverse("workflow", args=(workflow.slug,)),
                release=release.name,
                release_url=reverse("release", args=(release.pk,)),
                title=release.title,
                digest=release.pk,
                since=f"since {moment(change.changed_at if change else live.decided_at)}",
                approved_by=_who(said.get(release.pk, []), change),
                gated=live.gated,
                back_to=back.name if back is not None else "",
                rollback_url=reverse("workflow-roll-back", args=(workflow.slug,)) if may else "",
                seq=live.seq,
                reasons=ROLLBACK_REASONS,
                pilot=(
                    f"{live.pilot_release.name} serves {live.pilot_share / 100:g} % as a pilot"
                    if live.pilot_release is not None and not live.switched_off
                    else ""
                ),
                off_since=(
                    moment(off.get(workflow.pk, live.decided_at)) if live.switched_off else ""
                ),
            )
        )
    return tuple(rows)


def off_since(workflows: Iterable[int]) -> dict[int, datetime]:
    """Return when each of these workflows was last switched off; none asked, nothing read."""
    return dict(
        LiveChange.objects.filter(workflow__in=list(workflows), cause=LiveChange.Cause.SWITCHED_OFF)
        .order_by("workflow_id", "changed_at")
        .values_list("workflow_id", "changed_at")
    )


def rows_then(
    workflows: Sequence[Workflow], changes: Sequence[LiveChange], period: Period
) -> tuple[LiveRow, ...]:
    """Return what ran in each workflow at the end of a period that is over."""
    before = [change for change in changes if change.changed_at.date() <= period.ends_on]
    last = {change.workflow_id: change for change in before}  # oldest first: the last one stays
    said = _approvals((change.to_release_id for change in last.values()), until=period.ends_on)
    return tuple(
        LiveRow(
            workflow=workflow.name,
            workflow_url=reverse("workflow", args=(workflow.slug,)),
            release=change.to_release.name,
            release_url=reverse("release", args=(change.to_release_id,)),
            title=change.to_release.title,
            digest=change.to_release_id,
            since=f"since {moment(change.changed_at)}",
            approved_by=_who(said.get(change.to_release_id, []), change),
            gated=change.cause != LiveChange.Cause.ADOPT,
        )
        for workflow in workflows
        if (change := last.get(workflow.pk)) is not None
    )


def happened(
    workflows: Sequence[Workflow], changes: Sequence[LiveChange], period: Period
) -> tuple[Happened, ...]:
    """Return what moved in a period, newest first."""
    names = {workflow.pk: workflow.name for workflow in workflows}
    tones = {LiveChange.Cause.ROLLBACK: "bad", LiveChange.Cause.PROMOTION: "good"}
    rows = []
    for change in changes:
        if period.includes(change.changed_at.date()):
            to, name = change.to_release, names[change.workflow_id]
            text = f"{name} {to.name} went live: {to.title}"
            if change.cause == LiveChange.Cause.ROLLBACK and change.from_release is not None:
                text = f"{name} {change.from_release.name} was rolled back to {to.name}"
            elif change.cause == LiveChange.Cause.ADOPT:
                text = f"{name} {to.name} was adopted as found: {to.title}"
            elif change.cause == LiveChange.Cause.DRILL:
                text = f"{name} practised its rollback: {to.name} served for a few minutes"
            elif change.cause == LiveChange.Cause.DRILL_RETURNED:
                text = f"{name} {to.name} returned from the rollback drill"
            tone = tones.get(LiveChange.Cause(change.cause), "accent")
            rows.append(Happened(moment(change.changed_at), text, tone))
    return tuple(reversed(rows))


def _approvals(digests: Iterable[str], *, until: date | None = None) -> dict[str, list[Approval]]:
    """Return the approvals of the promotion that made each release live last, by release."""
    found: dict[str, list[Approval]] = {}
    went_live = Q(
        promotion__changes__cause__in=(LiveChange.Cause.ADOPT, LiveChange.Cause.PROMOTION)
    )
    if until is not None:  # in the same filter: one join, so one row for each approval
        went_live &= Q(promotion__changes__changed_at__date__lte=until)
    rows = Approval.objects.filter(
        went_live, candidate_digest__in=list(digests), decision=Approval.Decision.APPROVED
    )
    for approval in rows.select_related("approver", "promotion").order_by(
        "-promotion__changes__seq", "decided_at"
    ):
        if approval.review_round == approval.promotion.review_round:
            said = found.setdefault(approval.candidate_digest, [])
            # Newest promotion first: what an older one said did not make it live this time.
            if not said or said[0].promotion_id == approval.promotion_id:
                said.append(approval)
    return found


def _who(approvals: Sequence[Approval], change: LiveChange | None) -> str:
    names = list(dict.fromkeys(str(approval.approver) for approval in approvals))
    word = "Approved by"
    if approvals and approvals[-1].meaning == Approval.Meaning.ACKNOWLEDGED:
        word = "Adopted as found, acknowledged by"
    text = f"{word} {' and '.join(names)}" if names else "Approval not recorded"
    if approvals and approvals[0].meaning == Approval.Meaning.EMERGENCY:
        ratified = f", ratified by {' and '.join(names[1:])}" if names[1:] else ", not ratified yet"
        text = f"Emergency change by {names[0]}{ratified}"
    if change is not None and change.cause == LiveChange.Cause.ROLLBACK:
        text += ", restored by a rollback"
    return text


def exception_rows(
    user: User, names: Mapping[str, str], *, acts: bool
) -> tuple[tuple[ExceptionRow, ...], int]:
    """Return the five exceptions to look at first, and how many are open in all."""
    found = list(
        ExceptionCase.objects.visible_to(user)
        .open()
        .ranked()
        .select_related("workflow", "taken_by")
        .annotate(in_all=Window(Count("pk")))[:EXCEPTIONS_SHOWN]
    )
    total: int = vars(found[0])["in_all"] if found else 0
    return tuple(_exception(row, user, names, acts=acts) for row in found), total


def _exception(
    row: ExceptionCase, user: User, names: Mapping[str, str], *, acts: bool
) -> ExceptionRow:
    may = acts and can(user, "triage.work", row)
    release = names.get(row.release_digest, row.release_digest[7:15])
    subject = f"{row.workflow.name} {release}".strip()
    parts = [subject]
    if row.receipt_count:
        word = "run receipt" if row.receipt_count == 1 else "run receipts"
        parts.append(f"{row.receipt_count:,} {word}")
    parts.append(f"since {moment(row.first_at)}")

    def act(name: str) -> str:
        return reverse(name, args=(row.pk,)) if may else ""

    return ExceptionRow(
        pk=row.pk,
        title=row.title,
        url=f"{reverse('exceptions')}#exception-{row.pk}",
        severity=chip_for("severity", row.get_severity_display()),
        detail=" · ".join(parts),
        taken_by=str(row.taken_by) if row.taken_by else "",
        take_url=act("exception-take"),
        resolve_url=act("exception-resolve"),
        dismiss_url=act("exception-dismiss"),
    )


def checklist(
    period: Period,
    review: Review | None,
    user: User,
    *,
    acts: bool,
    is_now: bool = False,
    over: LeftOver | None = None,
) -> Checklist:
    """Return the checklist with who did what, whether this person may sign, and over what."""
    items = {item.key: item for item in review.items.all()} if review else {}
    signed = review is not None and review.signed_off_at is not None
    worked_through = not signed and (is_now or not why_not_worked_through(period))
    acts = acts and worked_through
    may_tick = _remembered(user)
    rows = []
    for task in CHECKLISTS[period.kind]:
        item = items.get(task.key)
        done = item is not None and item.done_at is not None
        rows.append(
            ChecklistRow(
                key=task.key,
                label=task.label,
                url=task.url_name if task.url_name[0] == "#" else reverse(task.url_name),
                done=done,
                when=f"{item.done_by}, {moment(item.done_at)}" if item and done else "",
                note=item.note if item and done else "",
                tick_url=(
                    reverse("review-tick", args=(period.kind, period.key))
                    if acts and not done and may_tick(task)
                    else ""
                ),
            )
        )
    done_count = sum(row.done for row in rows)
    may_sign = acts and can(user, "review.sign_off", review)
    complete = done_count == len(rows)
    word = PERIOD_WORD[period.kind]
    hint = f"An executive signs the {word} off. The page then keeps what it shows."
    if may_sign and not complete:
        hint = f"Tick everything off first; then you can sign the {word} off."
    return Checklist(
        rows=tuple(rows),
        done=done_count,
        total=len(rows),
        percent=round(100 * done_count / len(rows)),
        signed_off=_signed(review),
        sign_off_url=(
            reverse("review-sign-off", args=(period.kind, period.key))
            if may_sign and complete
            else ""
        ),
        sign_off_hint=hint,
        sign_off_note=review.sign_off_note if review else "",
        left_over=over.sentences() if over and worked_through else (),
        left_over_mark=over.mark if over and worked_through else "",
    )


def _signed(review: Review | None) -> str:
    if review is None or review.signed_off_at is None:
        return ""
    return f"{review.signed_off_by}, {moment(review.signed_off_at)}"


def _remembered(user: User) -> Callable[[Task], bool]:
    """Ask the rule once per kind of item: it reads what the person owns."""
    known: dict[tuple[bool, bool], bool] = {}

    def may(task: Task) -> bool:
        # The analyst's items differ from the owner's for analysts alone.
        whose = (OWNER in task.whose, ANALYST in task.whose and user.role == User.Role.ANALYST)
        if whose not in known:
            known[whose] = can(user, "review.tick", task)
        return known[whose]

    return may


def moment(at: datetime | None) -> str:
    """Return a moment as the page prints it; the page says once that times are UTC."""
    return controls_words.at(at) if at else ""


def release_names(changes: Iterable[LiveChange], lives: Iterable[Release]) -> dict[str, str]:
    """Return the short names of the releases at hand, by digest."""
    found = {release.pk: release.name for release in lives}
    for change in changes:
        found[change.to_release_id] = change.to_release.name
        if change.from_release is not None:
            found[change.from_release.pk] = change.from_release.name
    return found
