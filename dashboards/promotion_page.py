"""Everything on a promotion's page: the change in words, the evidence, the people, the digests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.urls import reverse

from dashboards.gates import gate_rows
from dashboards.numbers import MINUS, NBSP
from dashboards.pilot_page import PilotPage, pilot_page
from dashboards.promotion_evidence import Cost, Findings, cost_of, findings
from dashboards.promotion_people import People, as_what, people_of, why_not
from dashboards.review_page import GateRow
from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.evals import services as evals
from governance.evals.models import EvalRun, GateReport
from governance.kpis.models import Kpi
from governance.kpis.readings import daily
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.diff import ReleaseDiff, compare
from governance.releases.models import LiveRelease, Release
from governance.rollouts import freezes, rules
from governance.rollouts.guard_statistics import SMALLEST_SAMPLE
from governance.rollouts.live import live_release
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.outcomes import due_at
from governance.rollouts.pilots import percent
from governance.rollouts.quorum import Part
from governance.rollouts.road_models import FreezeException, FreezeWindow, PromotionOutcome

State = Promotion.State
ASK_AGAIN_FROM = (
    State.WITHDRAWN, State.REFUSED, State.REJECTED, State.AWAITING_OWNER, State.STOPPED,
)  # fmt: skip
FREEZES_AHEAD = timedelta(days=3)  # as long as an approval may wait
ROUNDS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Bound:
    """One of the four digests that an approval holds for."""

    label: str
    digest: str
    url: str
    note: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What the change is meant to do, and what it did."""

    sentence: str
    note: str
    outcome: PromotionOutcome | None
    waits: str


@dataclass(slots=True)
class PromotionPage:
    """What the template prints. Sentences are ready; an empty one says nothing."""

    diff: ReleaseDiff
    live: LiveRelease | None
    people: People
    asked_before: list[AuditEvent] = field(default_factory=list)  # earlier rounds, newest first
    reads_workflow: bool = True  # who only seconds or stands in reads this page and no other
    cost: Cost | None = None
    findings: Findings = field(default_factory=Findings)
    comparable: list[tuple[EvalRun, int]] = field(default_factory=list)
    gates: tuple[GateRow, ...] = ()
    reported: tuple[GateRow, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    bound: list[Bound] = field(default_factory=list)
    expected: Expected | None = None
    plan: str = ""
    pilot: PilotPage | None = None
    missing: list[str] = field(default_factory=list)
    stale: str = ""
    blocking: PostMortem | None = None
    frozen: list[FreezeWindow] = field(default_factory=list)
    freezes_ahead: list[FreezeWindow] = field(default_factory=list)
    let_through: list[FreezeException] = field(default_factory=list)
    lasts: timedelta = timedelta()
    runs: list[EvalRun] = field(default_factory=list)
    why_not: str = ""
    as_what: str = ""
    may_decide: bool = False
    may_approve: bool = False
    may_except: bool = False
    may_withdraw: bool = False
    may_ask_again: bool = False
    undo: str = ""

    @property
    def whys(self) -> str:
        """Why the risk is what it is, each reason once."""
        whys = dict.fromkeys(
            change.why for slot in self.diff.changed for change in slot.changes if change.why
        )
        text = ", ".join(why[:1].lower() + why[1:] for why in whys)
        return text[:1].upper() + text[1:]


def promotion_page(promotion: Promotion, user: User) -> PromotionPage:
    """Read what the page shows; the number of queries does not grow with history or cases."""
    base, live = promotion.base, live_release(promotion.workflow)
    reads = user.reads_everything or promotion.workflow.owner_id == user.pk
    page = PromotionPage(
        diff=compare(base.contents() if base else {}, promotion.release.contents()),
        live=live,
        people=people_of(promotion),
        lasts=rules.APPROVAL_LASTS[Promotion.Risk(promotion.risk)],
        bound=_bound(promotion, reads=reads),
        reads_workflow=reads,
        expected=_expected(promotion),
        plan=plan_in_words(promotion.pilot_steps),
        pilot=pilot_page(promotion, user, live),
        undo=_undo(promotion, live),
    )
    if promotion.review_round > 1:
        page.asked_before = _asked_before(promotion)
    if promotion.gate_report is not None:
        page.report = promotion.gate_report.content
        page.gates = gate_rows(page.report, judged=True)
        page.reported = gate_rows(page.report, judged=False)
        kpis = Kpi.objects.filter(workflow=promotion.workflow).values_list("name", "measure")
        page.findings = findings(page.report, list(kpis))
        page.comparable = _comparable(promotion, promotion.gate_report)
        page.cost = cost_of(
            page.report,
            runs_a_week=runs_a_week(promotion.workflow_id),
            base=base.name if base else "",
        )
    asks = can(user, "promotion.propose", promotion.workflow)
    page.may_withdraw = asks and promotion.state in (State.EVALUATING, State.AWAITING_OWNER)
    page.may_ask_again = asks and promotion.state in ASK_AGAIN_FROM
    if promotion.is_open:
        _what_holds_it_back(page, promotion, user)
    if promotion.state == State.EVALUATING:
        page.runs = _runs(promotion)
    if promotion.waits_for_approval:
        page.missing = [_needed(part) for part in page.people.parts if part.given is None]
        page.why_not = why_not(promotion, user, page.people)
        page.may_decide = not page.why_not
        page.as_what = as_what(promotion, user) if page.may_decide else ""
        page.may_approve = (
            page.may_decide and not page.stale and page.blocking is None and not page.frozen
        )
    return page


def _comparable(promotion: Promotion, report: GateReport) -> list[tuple[EvalRun, int]]:
    """The candidate's runs, each with the base's run on the same cases."""
    runs = list(report.runs.select_related("suite").order_by("suite__kind"))
    bases = {run.suite_id: run.pk for run in runs if run.release_id == promotion.base_id}
    return [
        (run, bases[run.suite_id])
        for run in runs
        if run.release_id == promotion.release_id and run.suite_id in bases
    ]


def _needed(part: Part) -> str:
    """A missing approval in the middle of a sentence."""
    title = part.title
    return f"the {title}" if title.startswith("KPI") else f"a {title[:1].lower()}{title[1:]}"


def _what_holds_it_back(page: PromotionPage, promotion: Promotion, user: User) -> None:
    """Everything that makes a yes impossible now, said before anybody gives one."""
    page.stale = rules.staleness_at_decision(promotion, page.live)
    page.blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    moment = now()
    for window in freezes.holding(promotion, moment, moment + FREEZES_AHEAD):
        (page.frozen if window.starts_at <= moment else page.freezes_ahead).append(window)
    page.let_through = list(
        promotion.freeze_exceptions.select_related("window", "granted_by").filter(
            window__ends_at__gt=moment
        )
    )
    page.may_except = (
        bool(page.frozen or page.freezes_ahead)
        and can(user, "freeze.except", promotion)
        and all(maker.person.pk != user.pk for maker in page.people.makers)
    )


def runs_a_week(workflow_id: int) -> int:
    """Runs of the last seven whole days."""
    today = now().date()
    days = daily(workflow_id, "runs", today - timedelta(days=7), today)
    return sum(day.n for day in days.values())


def plan_in_words(steps: list[dict[str, int]]) -> str:
    """How it reaches every case: "5 % for 60 min and 100 runs, then all cases"."""
    if not steps:
        return "It serves every case at once."
    parts = []
    for step in steps:
        waits = []
        if step["minutes"]:
            waits.append(f"at least {duration(step['minutes'])}")
        # The guard says nothing on fewer runs, whatever the plan asks for.
        waits.append(f"at least {max(step['runs'], SMALLEST_SAMPLE):,} runs")
        parts.append(f"{percent(step['share'])} for {' and '.join(waits)}")
    return f"A pilot first: {', then '.join(parts)}, then every case. The guard widens it."


def duration(minutes: int) -> str:
    """Minutes as people say them, in at most two units."""
    days, rest = divmod(minutes, 24 * 60)
    hours, left = divmod(rest, 60)
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (left, "min")]
    shown = [f"{number}{NBSP}{unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or f"0{NBSP}min"


def change_in_words(kpi: Kpi, change: float) -> str:
    """An expected change with its sign and unit; rates in points."""
    unit = {"share": "points", "seconds": "s", "ms": "ms", "money": "USD"}[kpi.unit]
    return f"{'+' if change > 0 else MINUS}{abs(change):,.10g}{NBSP}{unit}"


def _asked_before(promotion: Promotion) -> list[AuditEvent]:
    """Why it was asked in earlier rounds, in the words of then: `reason` of each event."""
    asked = AuditEvent.objects.filter(
        object_type="promotion", object_id=str(promotion.pk),
        verb__in=("promotion.proposed", "promotion.reproposed"),
    ).exclude(reason="")  # fmt: skip
    return list(asked.only("seq", "reason", "actor_label", "occurred_at")[1:ROUNDS_SHOWN])


def _expected(promotion: Promotion) -> Expected | None:
    kpi, change = promotion.expected_kpi, promotion.expected_change
    if kpi is None or change is None:
        return None
    outcome = getattr(promotion, "outcome", None)
    waits = ""
    if outcome is None and promotion.state == State.LIVE and promotion.closed_at is not None:
        at = due_at(promotion.closed_at)
        waits = f"Measured on {at:%a} {at.day} {at:%b}, after seven days of serving every case."
    elif outcome is None and promotion.is_open:
        waits = "Measured seven days after it serves every case."
    return Expected(
        f"{kpi.name} {change_in_words(kpi, change)}", promotion.expected_note, outcome, waits
    )


def _bound(promotion: Promotion, *, reads: bool) -> list[Bound]:
    base, report, policy = promotion.base, promotion.gate_report, promotion.gate_policy

    def page_of(release: Release) -> str:
        return reverse("release", args=(release.pk,)) if reads else ""

    release = promotion.release
    found = [Bound("Candidate", release.pk, page_of(release), release.name)]
    if base is not None:
        found.append(Bound("Live when asked", base.pk, page_of(base), base.name))
    if report is not None:
        url = reverse("gate-report", args=(report.pk,))
        found.append(Bound("Gate report", report.pk, url, report.get_verdict_display()))
    if policy is not None:
        found.append(Bound("Gate policy", policy.digest, "", f"version {policy.version}"))
    return found


def _runs(promotion: Promotion) -> list[EvalRun]:
    """The newest run per suite and side: what the gate waits for."""
    suites = [suite.pk for suite in evals.evidence_suites(promotion.workflow).values()]
    sides = [key for key in (promotion.release_id, promotion.base_id) if key is not None]
    newest = EvalRun.objects.filter(suite__in=suites, release__in=sides)
    newest = newest.order_by("suite__kind", "release_id", "-requested_at", "-pk")
    return list(
        newest.distinct("suite__kind", "release_id").select_related("suite", "release__workflow")
    )


def _undo(promotion: Promotion, live: LiveRelease | None) -> str:
    """How to get back, before and after."""
    base = promotion.base.name if promotion.base else ""
    if promotion.state == State.LIVE and live is not None:
        back = live.last_known_good
        if back is None:
            return "There is no earlier good release to go back to."
        return f"Roll back: {back.name} serves again at once, and a post-mortem opens."
    if promotion.state == State.PILOTING:
        return f"“Stop the pilot” makes {base} serve every case again at once: a reason is enough."
    if promotion.is_open and base:
        return (
            f"After it is live, “Roll back” makes {base} serve again at once: two clicks and a"
            " reason, no approval."
        )
    if promotion.is_open:
        return "Nothing is live yet, so there is nothing to go back to after this one."
    return ""
