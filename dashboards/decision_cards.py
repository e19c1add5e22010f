"""The cards of the review: a card per promotion on which somebody has to decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from django.urls import reverse

from dashboards.gates import gate_rows
from dashboards.promotion_waits import Wait, waits, with_waits
from dashboards.review_decisions import moment
from dashboards.review_page import DecisionCard, GateRow, Link
from dashboards.tones import RISK, VERDICT, Chip
from governance.evals.models import GateReport
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.diff import compare
from governance.releases.models import LiveRelease, Release
from governance.rollouts import rules
from governance.rollouts.models import Promotion

GATE_WORD = {"pass": "Gate passes", "fail": "Gate fails"}


def decision_cards(user: User, at: datetime, *, acts: bool) -> tuple[DecisionCard, ...]:
    """Return a card per promotion that waits for people, oldest first."""
    waiting = list(
        with_waits(Promotion.objects.visible_to(user).waiting().for_page()).order_by("requested_at")
    )
    known = waits(waiting, at)
    return tuple(_card(promotion, known[promotion.pk], user, acts=acts) for promotion in waiting)


def _card(promotion: Promotion, wait: Wait, user: User, *, acts: bool) -> DecisionCard:
    release, base, report = promotion.release, promotion.base, promotion.gate_report
    verdict = report.verdict if report else "missing"
    known = VERDICT.get(verdict, VERDICT["missing"])
    page = reverse("promotion", args=(promotion.pk,))
    live: LiveRelease | None = getattr(promotion.workflow, "live", None)
    stale = rules.staleness(promotion, live)
    if stale and live is not None and live.release_id != promotion.base_id:
        stale += f" {live.release.name} is live now."
    blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    approves = promotion.waits_for_approval
    why_not = _why_not(promotion, wait, user) if acts else "Signed off; decided on its own page."
    no_yes = bool(why_not or stale or blocking or wait.frozen)  # a no is always possible
    return DecisionCard(
        key=str(promotion.pk),
        workflow=promotion.workflow.name,
        release=release.name,
        release_url=reverse("release", args=(release.pk,)),
        base=base.name if base else "",
        gate=Chip(GATE_WORD.get(verdict, known.word), known.tone, known.icon),
        risk=RISK[promotion.risk],
        digest=release.pk,
        asked=f"Asked by {promotion.requested_by_label} · {moment(promotion.requested_at)}",
        rationale=promotion.rationale,
        changes=_changes(base.pk if base else "", release.pk),
        gates=_gates(report.pk) if report and approves else (),
        evidence_url=page,
        compare_url=reverse("release-compare", args=(base.pk, release.pk)) if base else "",
        review_round=promotion.review_round,
        undo=_undo(promotion),
        approve_url=(
            reverse("promotion-approve", args=(promotion.pk,)) if approves and not no_yes else ""
        ),
        reject_url=(
            reverse("promotion-reject", args=(promotion.pk,)) if approves and not why_not else ""
        ),
        why_not=why_not,
        stale=stale,
        blocked_by=(
            Link(blocking.title, reverse("post-mortem", args=(blocking.pk,))) if blocking else None
        ),
        road=(promotion.get_road_display() if promotion.road != Promotion.Road.PROMOTION else ""),
        pilot=f"{wait.pilot[:1].upper()}{wait.pilot[1:]}" if wait.pilot else "",
        pilot_note=wait.why.removeprefix("Paused: "),
        pilot_url=f"{page}#pilot-section" if wait.pilot and not approves else "",
        frozen=(
            f"{wait.frozen.name}: nothing goes forward until {moment(wait.frozen.ends_at)} UTC."
            if wait.frozen
            else ""
        ),
        second=f"The KPI owner said yes. It waits for {wait.whom}." if wait.needs_second else "",
    )


def _undo(promotion: Promotion) -> str:
    base = promotion.base
    if base is None:
        return "Nothing was live before it, so there is nothing to go back to yet."
    if promotion.state == Promotion.State.PILOTING:
        return f"One click and a reason stop the pilot: {base.name} serves every case again."
    return f"After it is live, two clicks and a reason bring {base.name} back. No approval needed."


def decide_word(cards: Sequence[DecisionCard]) -> str:
    """Say how many decisions wait, and how many of them nobody can say yes to."""
    if not cards:
        return "nothing waits"
    stuck = sum(bool(card.stale or card.blocked_by or card.frozen) for card in cards)
    return f"{len(cards)} waiting" + (f", {stuck} cannot be approved now" if stuck else "")


@lru_cache(maxsize=256)
def _changes(base: str, candidate: str) -> tuple[str, ...]:
    """Say what differs between two releases. Both are immutable, so it is said once."""
    found = Release.objects.prefetch_related("components").in_bulk([base, candidate])
    before = found[base].contents() if base else {}
    return tuple(compare(before, found[candidate].contents()).sentences)


@lru_cache(maxsize=256)
def _gates(digest: str) -> tuple[GateRow, ...]:
    """Lay out a gate report. It is named by its digest, so it never changes."""
    return gate_rows(GateReport.objects.get(pk=digest).content, judged=True)


def _why_not(promotion: Promotion, wait: Wait, user: User) -> str:
    """Say why this person has nothing to decide here; empty when they have."""
    waits_for = f"Waits for {_formal(promotion, wait)}." if wait.whom else ""
    if not promotion.waits_for_approval:
        return "" if can(user, "promotion.open_pilot", promotion) else waits_for
    if not can(user, "promotion.approve", promotion):
        return waits_for
    if user.pk in rules.contributors(promotion):
        return "You helped to make this change, so somebody else decides."
    if any(
        approval.approver_id == user.pk and approval.review_round == promotion.review_round
        for approval in promotion.approvals.all()
    ):
        return f"You have decided. {waits_for}"
    return ""


def _formal(promotion: Promotion, wait: Wait) -> str:
    """The same with the owner's part named: "the KPI owner (Head of Support)"."""
    if wait.whom.startswith("a second"):
        return wait.whom
    owner, _, rest = wait.whom.partition(" and a second")
    return f"the KPI owner ({owner})" + (f" and a second{rest}" if rest else "")
