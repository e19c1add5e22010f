"""The audit log: who did what, and whether the chain still holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.hostile import reveal_json
from dashboards.http import UserRequest, render_part
from dashboards.windows import day, ends, starts, whole_number, words
from governance.audit.models import AuditEvent, AuditQuerySet
from governance.audit.verbs import VERBS
from governance.audit.verification import Verification, verify_newest
from governance.common.time import true_now
from governance.workflows.models import Workflow

PER_PAGE = 50
CHECKED_ON_LOAD = 300  # events: a few milliseconds
CHECKED_ON_REQUEST = 100_000  # events: a few seconds
TEMPLATE = "dashboards/audit/list.html"

# Where an object's own page is, by the type that the event names.
PAGES = {
    "release": ("release", "object_digest"),
    "promotion": ("promotion", "object_id"),
    "postmortem": ("post-mortem", "object_id"),
    "evalrun": ("eval-run", "object_id"),
    "workflow": ("workflow", "workflow"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One event as the page shows it."""

    event: AuditEvent
    url: str
    body: str

    @property
    def named(self) -> bool:
        """Whether the object says more than the actor: who logs in is named once."""
        event = self.event
        return (event.object_type, event.object_id) != (event.actor_type, event.actor_id)


@require_GET
@login_required
def audit(request: UserRequest) -> HttpResponse:
    """Newest first, filtered by the query string, with the state of the newest part."""
    return _page(request, verify_newest(CHECKED_ON_LOAD), "")


@require_POST
@login_required
def verify(request: UserRequest) -> HttpResponse:
    """Verify as much of the chain as a page can wait for, and say how much that was."""
    return _page(request, verify_newest(CHECKED_ON_REQUEST), "chain")


def _page(request: UserRequest, chain: Verification, part: str) -> HttpResponse:
    rows, older = _window(request)
    asked = request.GET
    context: dict[str, object] = {
        "rows": [Row(event, _url(event), _body(event)) for event in rows],
        "older": older,
        "is_first": not asked.get("before"),
        "chain": chain,
        "checked_at": true_now(),
        "verbs": VERBS,
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
        "actor": words(asked, "actor"),
        "object": words(asked, "object"),
        "verb": asked.get("verb", ""),
        "slug": asked.get("workflow", ""),
        "since": day(asked, "from"),
        "until": day(asked, "to"),
        "filtered": any(asked.get(name) for name in ("actor", "object", "verb", "workflow"))
        or any(asked.get(name) for name in ("from", "to")),
    }
    return render_part(request, TEMPLATE, part or "list", context)


def _window(request: UserRequest) -> tuple[list[AuditEvent], int | None]:
    """The events to show, and the seq to go on from when there are older ones."""
    rows = _filtered(request)
    before = whole_number(request.GET, "before")
    if before is not None:
        rows = rows.filter(seq__lt=before)
    found = list(rows.order_by("-seq")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    return shown, shown[-1].seq if len(found) > PER_PAGE else None


def _filtered(request: UserRequest) -> AuditQuerySet:
    asked = request.GET
    rows = AuditEvent.objects.visible_to(request.user)
    if actor := words(asked, "actor"):
        rows = rows.filter(Q(actor_label__icontains=actor) | Q(actor_id=actor))
    if thing := words(asked, "object"):
        rows = rows.filter(
            Q(object_label__icontains=thing)
            | Q(object_id=thing)
            | Q(object_digest=thing)
            | Q(object_type=thing)
        )
    if (verb := asked.get("verb")) in VERBS:
        rows = rows.filter(verb=verb)
    if slug := words(asked, "workflow"):
        rows = rows.filter(workflow=slug)
    if since := day(asked, "from"):
        rows = rows.filter(occurred_at__gte=starts(since))
    if until := day(asked, "to"):
        rows = rows.filter(occurred_at__lt=ends(until))
    return rows


def _url(event: AuditEvent) -> str:
    """The page of what the event is about, where it has one."""
    name, field = PAGES.get(event.object_type, ("", ""))
    key = getattr(event, field) if field else ""
    try:
        return reverse(name, args=[key]) if key else ""
    except NoReverseMatch:
        return ""


def _body(event: AuditEvent) -> str:
    """The body laid out for reading; as stored when somebody made it unreadable."""
    try:
        parsed: Any = json.loads(event.body)
    except (ValueError, RecursionError):
        parsed = event.body
    return reveal_json(parsed)


urlpatterns: list[URLPattern] = [
    path("audit/", audit, name="audit"),
    path("audit/verify/", verify, name="audit-verify"),
]
