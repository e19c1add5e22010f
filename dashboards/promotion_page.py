"""Everything on a promotion's page: the change in words, the evidence, the people, the digests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.urls import reverse

from dashboards.gates import gate_rows
from dashboards.review_page import GateRow
from governance.evals import services as evals
from governance.evals.models import EvalRun
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.diff import ReleaseDiff, compare
from governance.releases.models import LiveRelease
from governance.rollouts import rules
from governance.rollouts.live import live_release
from governance.rollouts.models import Approval, PostMortem, Promotion

State = Promotion.State
ASK_AGAIN_FROM = (State.WITHDRAWN, State.REFUSED, State.REJECTED, State.AWAITING_OWNER)


@dataclass(frozen=True, slots=True)
class Bound:
    """One of the four digests that an approval holds for."""

    label: str
    digest: str
    url: str
    note: str


@dataclass(slots=True)
class PromotionPage:
    """What the template prints. Sentences are ready; an empty one says nothing."""

    diff: ReleaseDiff
    live: LiveRelease | None
    gates: tuple[GateRow, ...] = ()
    reported: tuple[GateRow, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    bound: list[Bound] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stale: str = ""
    blocking: PostMortem | None = None
    lasts: timedelta = timedelta()
    runs: list[EvalRun] = field(default_factory=list)
    why_not: str = ""
    may_decide: bool = False
    may_approve: bool = False
    may_withdraw: bool = False
    may_ask_again: bool = False
    undo: str = ""


def promotion_page(promotion: Promotion, user: User) -> PromotionPage:
    """Read what the page shows; the number of queries does not grow with history or cases."""
    base, live = promotion.base, live_release(promotion.workflow)
    page = PromotionPage(
        diff=compare(base.contents() if base else {}, promotion.release.contents()),
        live=live,
        lasts=rules.APPROVAL_LASTS[Promotion.Risk(promotion.risk)],
        approvals=list(promotion.approvals.all()),
        undo=_undo(promotion, live),
    )
    if promotion.gate_report is not None:
        page.report = promotion.gate_report.content
        page.gates = gate_rows(page.report, judged=True)
        page.reported = gate_rows(page.report, judged=False)
    page.bound = _bound(promotion)
    asks = can(user, "promotion.propose", promotion.workflow)
    page.may_withdraw = asks and promotion.is_open
    page.may_ask_again = asks and promotion.state in ASK_AGAIN_FROM
    if promotion.is_open:
        page.stale = rules.staleness(promotion, live)
        page.blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    if promotion.state == State.EVALUATING:
        page.runs = _runs(promotion)
    if promotion.state == State.AWAITING_OWNER:
        page.missing = rules.missing_approvals(promotion)
        page.why_not = _why_not(promotion, user, page.approvals)
        page.may_decide = not page.why_not
        page.may_approve = page.may_decide and not page.stale and page.blocking is None
    return page


def _why_not(promotion: Promotion, user: User, approvals: list[Approval]) -> str:
    """Why this person has no decision to make here; empty when they have one."""
    if not can(user, "promotion.approve", promotion):
        return "You can read everything here; the KPI owner decides."
    if user.pk in rules.contributors(promotion):
        return "You helped to make this change, so somebody else decides."
    if any(
        approval.approver_id == user.pk and approval.review_round == promotion.review_round
        for approval in approvals
    ):
        return "You have decided on this round."
    return ""


def _bound(promotion: Promotion) -> list[Bound]:
    base, report, policy = promotion.base, promotion.gate_report, promotion.gate_policy
    found = [
        Bound(
            "Candidate", promotion.release_id, reverse("release", args=(promotion.release_id,)),
            promotion.release.name,
        )
    ]  # fmt: skip
    if base is not None:
        found.append(
            Bound("Live when asked", base.pk, reverse("release", args=(base.pk,)), base.name)
        )
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
        return f"Roll back on the workflow’s page: {back.name} serves again at once."
    if promotion.is_open and base:
        return (
            f"After it is live, “Roll back” makes {base} serve again at once: two clicks and a"
            " reason, no approval."
        )
    if promotion.is_open:
        return "Nothing is live yet, so there is nothing to go back to after this one."
    return ""
