"""Events of the audit chain as pages and files show them, filtered by the query string."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import QueryDict
from django.urls import NoReverseMatch, reverse

from dashboards.hostile import reveal_json
from dashboards.windows import day, ends, starts, words
from governance.audit.models import AuditEvent, AuditQuerySet
from governance.audit.verbs import VERBS
from governance.common.csv_cells import csv_line, safe_cell
from governance.people.models import User

FILTERS = ("actor", "object", "verb", "workflow", "from", "to")
COLUMNS = (
    "seq", "occurred_at", "recorded_at", "demo", "actor_type", "actor_id", "actor_label", "verb",
    "object_type", "object_id", "object_label", "object_digest", "workflow", "reason", "prev",
    "hash", "body",
)  # fmt: skip

# Where an object's own page is, by the type that the event names.
PAGES = {
    "release": ("release", "object_digest"),
    "promotion": ("promotion", "object_id"),
    "postmortem": ("post-mortem", "object_id"),
    "evalrun": ("eval-run", "object_id"),
    "standingapproval": ("standing-approval", "object_id"),
    "freezewindow": ("freeze", "object_id"),
    "workflow": ("workflow", "workflow"),
    "gatereport": ("gate-report", "object_digest"),
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


def row_of(event: AuditEvent) -> Row:
    return Row(event, object_url(event), readable_body(event))


def filtered(user: User, asked: QueryDict) -> AuditQuerySet:
    """The events that this person may see and that the query string asks for."""
    rows = AuditEvent.objects.visible_to(user)
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


def object_url(event: AuditEvent) -> str:
    """The page of what the event is about, where it has one."""
    name, field = PAGES.get(event.object_type, ("", ""))
    key = getattr(event, field) if field else ""
    try:
        return reverse(name, args=[key]) if key else ""
    except NoReverseMatch:
        return ""


def parsed_body(event: AuditEvent) -> Any:
    """The body as JSON; its text as stored when somebody made it unreadable."""
    try:
        return json.loads(event.body)
    except (ValueError, RecursionError):
        return event.body


def readable_body(event: AuditEvent) -> str:
    return reveal_json(parsed_body(event))


def csv_lines(rows: AuditQuerySet, most: int) -> Iterator[str]:
    """The events as a file, newest first, row by row; the body stands in it as it was hashed."""
    yield csv_line(COLUMNS)
    chosen = rows.order_by("-seq").values_list(*COLUMNS)
    for row in chosen[:most].iterator(chunk_size=500):
        yield csv_line([_cell(value) for value in row])


def _cell(value: object) -> str:
    return safe_cell(value.isoformat() if hasattr(value, "isoformat") else value)
