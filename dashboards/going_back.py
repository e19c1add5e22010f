"""Going back from any page: what is offered, to whom, in whose words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from dashboards.forms import ROLLBACK_REASONS
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import LiveRelease
from governance.workflows.models import Workflow

MOST_OFFERED = 5  # in one row of a list

# What a rollback does, by how the workflow learns its release.
EFFECT: dict[str, str] = {
    Workflow.Mode.PULL: "Takes effect at once and opens a post-mortem. No approval is needed to go"
    " back.",
    Workflow.Mode.PUSH: "Its pipeline is asked at once; run receipts show when it obeyed. Opens a"
    " post-mortem. No approval is needed to go back.",
    Workflow.Mode.OBSERVE: "Nobody here can switch this workflow: the rollback is recorded, and"
    " whoever runs it must be asked. Opens a post-mortem.",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """One workflow that this person may roll back from the page they look at."""

    workflow: str
    slug: str
    runs: str
    back_to: str
    url: str
    seq: int
    effect: str
    reasons: tuple[str, ...] = ROLLBACK_REASONS


def offers(user: User, workflows: Iterable[int] | None = None, slug: str = "") -> list[Offer]:
    """What can be rolled back among these workflows, or all that the person sees. One query."""
    rows = LiveRelease.objects.filter(
        workflow__in=Workflow.objects.visible_to(user), last_known_good__isnull=False
    ).select_related("workflow__owner", "release", "last_known_good")
    if workflows is not None:
        rows = rows.filter(workflow__in=list(workflows))
    if slug:
        rows = rows.filter(workflow__slug=slug)
    return [
        offer
        for live in rows.order_by("workflow__name")[:MOST_OFFERED]
        if (offer := offered(user, live)) is not None
    ]


def offered(user: User, live: LiveRelease) -> Offer | None:
    """The offer for one workflow; None where there is nothing to offer, or not to this person."""
    back = live.last_known_good
    if back is None or back.pk == live.release_id:
        return None
    if not can(user, "workflow.roll_back", live.workflow):
        return None
    return Offer(
        workflow=live.workflow.name,
        slug=live.workflow.slug,
        runs=live.release.name,
        back_to=back.name,
        url=reverse("workflow-roll-back", args=(live.workflow.slug,)),
        seq=live.seq,
        effect=EFFECT[live.workflow.mode],
    )
