"""What an auditor samples from: every change of a live pointer in a period, none left out.

Every row is found again in the audit chain, and every audit event of such a change in the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch

from governance.audit.models import AuditEvent
from governance.common.csv_cells import safe_cell
from governance.releases.models import LiveRelease
from governance.rollouts import gapless
from governance.rollouts.gapless import Link, Pointer, Proof
from governance.rollouts.models import Approval, LiveChange, Promotion
from governance.workflows.models import Workflow

Cause = LiveChange.Cause

# Which event tells of a change, by its cause. All but two carry the number of the change.
EVENT_OF: Mapping[str, str] = {
    Cause.ADOPT: "promotion.adopted",
    Cause.PROMOTION: "promotion.went_live",
    Cause.ROLLBACK: "rollback.done",
    Cause.PILOT_OPENED: "pilot.opened",
    Cause.PILOT_WIDENED: "pilot.widened",
    Cause.PILOT_STOPPED: "pilot.stopped",
    Cause.SWITCHED_OFF: "workflow.switched_off",
    Cause.SWITCHED_ON: "workflow.switched_on",
    Cause.DRILL: "drill.started",
    Cause.DRILL_RETURNED: "drill.returned",
}
# The events without a number: they name the promotion. A drill that found the workflow moved, and
# a pilot that ended because something else moved, tell of no change of their own.
BY_PROMOTION = frozenset({"promotion.adopted", "pilot.stopped"})
MAY_STAND_ALONE = frozenset({"pilot.stopped", "drill.returned"})

COLUMNS = (
    "workflow", "seq", "changed_at_utc", "cause", "road", "from_release", "from_digest",
    "to_release", "to_digest", "pilot_release", "pilot_digest", "pilot_share_percent",
    "switched_off", "promotion", "risk", "asked_by", "approved_by", "meaning", "on_behalf_of",
    "approval_signatures", "gate_verdict", "gate_report_digest", "gate_policy_digest", "done_by",
    "reason", "change_signature", "audit_event", "audit_event_hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """One change of the population, with everything that a test of it starts from."""

    change: LiveChange
    approvals: tuple[Approval, ...]
    event: AuditEvent | None

    @property
    def key(self) -> tuple[str, int]:
        return self.change.workflow.slug, self.change.seq

    @property
    def promotion(self) -> Promotion | None:
        return self.change.promotion

    @property
    def road(self) -> str:
        """By which road it came; what needs no promotion is called by its cause."""
        if self.change.promotion is not None:
            return self.change.promotion.get_road_display()
        return self.change.get_cause_display()

    @property
    def asked_by(self) -> str:
        if self.change.promotion is not None:
            return self.change.promotion.requested_by_label
        return self.change.actor_label

    @property
    def signature(self) -> str:
        """The signature that stands behind a change without a promotion."""
        if self.change.signature_id is not None:
            return self.change.signature_id
        drill = self.change.drill
        return drill.signature_id or "" if drill is not None else ""

    @property
    def pilot_percent(self) -> str:
        return f"{self.change.pilot_share / 100:g}" if self.change.pilot_share else ""


@dataclass(frozen=True, slots=True)
class Population:
    """Every change of a period, with the proof that it is every one."""

    members: tuple[Member, ...]
    proofs: tuple[Proof, ...]
    faults: tuple[str, ...]  # of the comparison with the audit chain
    events: int  # audit events of live changes in the period

    @property
    def holds(self) -> bool:
        return not self.faults and all(proof.holds for proof in self.proofs)

    @property
    def sentence(self) -> str:
        """What was compared, with its counts."""
        count, workflows = len(self.members), len(self.proofs)
        what = f"{count:,} change{'' if count == 1 else 's'} of what is live"
        where = f"in {workflows:,} workflow{'' if workflows == 1 else 's'}"
        if self.holds:
            return (
                f"Complete: {what} {where}, numbered without a gap; each stands in the audit chain,"
                " and the audit chain tells of no other."
            )
        broken = sum(len(proof.faults) for proof in self.proofs) + len(self.faults)
        places = f"{broken:,} place{'' if broken == 1 else 's'}"
        return f"NOT complete: {what} {where}, and {places} where the history does not hold."

    def sample(self, size: int, seed: str) -> list[Member]:
        """The same rows for the same seed, whoever draws them."""
        by_key = {member.key: member for member in self.members}
        return [by_key[key] for key in gapless.draw(by_key, size, seed)]


def population(workflows: Iterable[Workflow], start: datetime, end: datetime) -> Population:
    """Read every live change with `start` <= time < `end` of these workflows, and prove it."""
    chosen = sorted(workflows, key=lambda workflow: workflow.slug)
    keys = [workflow.pk for workflow in chosen]
    changes = list(
        LiveChange.objects.filter(workflow__in=keys, changed_at__gte=start, changed_at__lt=end)
        .select_related(
            "workflow", "from_release", "to_release", "pilot_release", "drill",
            "promotion__gate_report", "promotion__gate_policy",
        )
        .prefetch_related(
            Prefetch(
                "promotion__approvals",
                Approval.objects.filter(decision=Approval.Decision.APPROVED)
                .select_related("on_behalf_of")
                .order_by("decided_at", "pk"),
            )
        )
        .order_by("workflow__slug", "seq")
    )  # fmt: skip
    events = _events([workflow.slug for workflow in chosen], start, end)
    members = tuple(_member(change, events) for change in changes)
    return Population(
        members=members,
        proofs=tuple(_proofs(chosen, changes, start, end)),
        faults=tuple(_compared(members, events)),
        events=len({event.seq for event in events.values()}),
    )


EventKey = tuple[str, str, str]  # workflow, verb, number of the change or key of the promotion


def _events(slugs: list[str], start: datetime, end: datetime) -> dict[EventKey, AuditEvent]:
    """The audit events that tell of live changes, by what they tell of."""
    found: dict[EventKey, AuditEvent] = {}
    rows = AuditEvent.objects.filter(
        workflow__in=slugs, verb__in=set(EVENT_OF.values()), occurred_at__gte=start,
        occurred_at__lt=end,
    ).order_by("seq")  # fmt: skip
    for event in rows.iterator():
        key = (event.workflow, event.verb, _named(event))
        # Two that tell of one change: the second one belongs to no row.
        found[key if key not in found else (*key[:2], f"again {event.seq}")] = event
    return found


def _named(event: AuditEvent) -> str:
    if event.verb in BY_PROMOTION:
        return f"promotion {event.object_id}"
    try:
        details: Any = json.loads(event.body).get("details", {})
    except (ValueError, AttributeError):
        return f"unreadable {event.seq}"
    return f"change {details.get('seq')}"


def _member(change: LiveChange, events: Mapping[EventKey, AuditEvent]) -> Member:
    verb = EVENT_OF[change.cause]
    name = f"promotion {change.promotion_id}" if verb in BY_PROMOTION else f"change {change.seq}"
    event = events.get((change.workflow.slug, verb, name))
    return Member(change, tuple(_approvals(change)), event)


def _approvals(change: LiveChange) -> Iterator[Approval]:
    """The yes of the round in which it moved, and the ratification that came afterwards."""
    if change.promotion is None:
        return
    given = list(change.promotion.approvals.all())
    rounds = [row.review_round for row in given if row.decided_at <= change.changed_at]
    for row in given:
        is_later = row.decided_at > change.changed_at
        if row.meaning == Approval.Meaning.RATIFIED or (
            rounds and row.review_round == max(rounds) and not is_later
        ):
            yield row


def _compared(members: Iterable[Member], events: Mapping[EventKey, AuditEvent]) -> Iterator[str]:
    """Rows without their event, and events without their row."""
    told: set[int] = set()
    for member in members:
        slug, seq = member.key
        if member.event is None:
            yield f"Change {seq} of {slug} is in no audit event."
            continue
        told.add(member.event.seq)
        if member.event.occurred_at != member.change.changed_at:
            yield f"Change {seq} of {slug} and audit event {member.event.seq} differ in their time."
    for event in sorted(events.values(), key=lambda event: event.seq):
        if event.seq not in told and event.verb not in MAY_STAND_ALONE:
            yield (
                f"Audit event {event.seq} ({event.verb}) tells of a change of {event.workflow}"
                " that is not in the list."
            )


def _proofs(
    workflows: Iterable[Workflow], changes: Iterable[LiveChange], start: datetime, end: datetime
) -> Iterator[Proof]:
    by_workflow: dict[int, list[Link]] = {}
    for change in changes:
        by_workflow.setdefault(change.workflow_id, []).append(_link(change))
    chosen = list(workflows)
    outside = LiveChange.objects.filter(workflow__in=[workflow.pk for workflow in chosen])
    before = {
        change.workflow_id: _link(change)
        for change in outside.filter(changed_at__lt=start)
        .order_by("workflow_id", "-seq")
        .distinct("workflow_id")
    }
    after = {
        change.workflow_id: _link(change)
        for change in outside.filter(changed_at__gte=end)
        .order_by("workflow_id", "seq")
        .distinct("workflow_id")
    }
    live = {
        pk: Pointer(seq, release)
        for pk, seq, release in LiveRelease.objects.filter(workflow__in=chosen).values_list(
            "workflow_id", "seq", "release_id"
        )
    }
    for workflow in chosen:
        yield gapless.prove(
            workflow.slug,
            workflow.name,
            by_workflow.get(workflow.pk, []),
            before=before.get(workflow.pk),
            after=after.get(workflow.pk),
            live=live.get(workflow.pk),
        )


def _link(change: LiveChange) -> Link:
    return Link(change.seq, change.from_release_id or "", change.to_release_id, change.changed_at)


def row_of(member: Member) -> list[str]:
    """One row of the CSV file, in the order of `COLUMNS`."""
    change, promotion = member.change, member.promotion
    report = promotion.gate_report if promotion is not None else None
    policy = promotion.gate_policy if promotion is not None else None
    approvals = member.approvals
    cells: list[object] = [
        change.workflow.slug,
        change.seq,
        change.changed_at.isoformat(),
        change.cause,
        member.road,
        change.from_release.name if change.from_release else "",
        change.from_release_id or "",
        change.to_release.name,
        change.to_release_id,
        change.pilot_release.name if change.pilot_release else "",
        change.pilot_release_id or "",
        member.pilot_percent,
        "yes" if change.switched_off else "no",
        promotion.pk if promotion is not None else "",
        promotion.risk if promotion is not None else "",
        member.asked_by,
        "; ".join(approval.approver_label for approval in approvals),
        "; ".join(approval.meaning for approval in approvals),
        "; ".join(
            approval.on_behalf_of.as_actor().label if approval.on_behalf_of else "themselves"
            for approval in approvals
        ),
        "; ".join(approval.signature_id or "" for approval in approvals),
        report.verdict if report is not None else "",
        report.pk if report is not None else "",
        policy.digest if policy is not None else "",
        change.actor_label,
        change.reason or (promotion.closing_reason if promotion is not None else ""),
        member.signature,
        member.event.seq if member.event is not None else "",
        member.event.hash if member.event is not None else "",
    ]
    return [safe_cell(cell) for cell in cells]
