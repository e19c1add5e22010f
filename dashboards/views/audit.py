"""The audit log: who did what, whether the chain still holds, and one event by itself."""

from __future__ import annotations

from datetime import UTC

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.audit_rows import FILTERS, csv_lines, filtered, parsed_body, row_of
from dashboards.auditing import quarters
from dashboards.http import UserRequest, render_part
from dashboards.windows import day, whole_number, words
from governance.audit.alarms import alarms
from governance.audit.checkpoint_reading import proof_of
from governance.audit.checkpoints import newest
from governance.audit.models import AuditEvent
from governance.audit.verbs import VERBS
from governance.audit.verification import Verification, verify_newest
from governance.audit.verification import verify as verify_events
from governance.common.time import true_now
from governance.receipts import seals
from governance.workflows.models import Workflow

PER_PAGE = 50
CHECKED_ON_LOAD = 300  # events: a few milliseconds
CHECKED_ON_REQUEST = 100_000  # events: a few seconds
MOST_IN_A_FILE = 100_000  # events
TEMPLATE = "dashboards/audit/list.html"
# One a minute and workflow would bury what people did: shown where somebody asks for them.
ROUTINE = "receipts.sealed"


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
    asked, checked_at = request.GET, true_now()
    context: dict[str, object] = {
        "rows": [row_of(event) for event in rows],
        "older": older,
        "is_first": not asked.get("before"),
        "chain": chain,
        "checked_at": checked_at,
        "verbs": VERBS,
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
        "actor": words(asked, "actor"),
        "object": words(asked, "object"),
        "verb": asked.get("verb", ""),
        "slug": asked.get("workflow", ""),
        "since": day(asked, "from"),
        "until": day(asked, "to"),
        "without_routine": _without_routine(request),
        "filtered": any(asked.get(name) for name in FILTERS),
        "most_in_a_file": MOST_IN_A_FILE,
        "checkpoint": newest(),
        "alarms": [*alarms(), *seals.alarms()],
        "quarters": quarters(checked_at.date()),
    }
    return render_part(request, TEMPLATE, part or "list", context)


def _window(request: UserRequest) -> tuple[list[AuditEvent], int | None]:
    """The events to show, and the seq to go on from when there are older ones."""
    rows = filtered(request.user, request.GET)
    if _without_routine(request):
        rows = rows.exclude(verb=ROUTINE)
    before = whole_number(request.GET, "before")
    if before is not None:
        rows = rows.filter(seq__lt=before)
    found = list(rows.order_by("-seq")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    return shown, shown[-1].seq if len(found) > PER_PAGE else None


def _without_routine(request: UserRequest) -> bool:
    return not request.GET.get("verb") and not request.GET.get("object")


@require_GET
@login_required
def events_csv(request: UserRequest) -> StreamingHttpResponse:
    """The filtered events as a file, row by row, up to a limit that the page names."""
    rows = filtered(request.user, request.GET)
    response = StreamingHttpResponse(
        csv_lines(rows, MOST_IN_A_FILE), content_type="text/csv; charset=utf-8"
    )
    name = f"audit-events-{true_now().astimezone(UTC):%Y%m%d-%H%M}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@require_GET
@login_required
def event(request: UserRequest, seq: int) -> HttpResponse:
    """One event: what was hashed, its link to the one before, and what proves it is in the log."""
    visible = AuditEvent.objects.visible_to(request.user)
    found = get_object_or_404(visible, pk=seq)
    body = parsed_body(found)
    neighbours = set(visible.filter(pk__in=(seq - 1, seq + 1)).values_list("pk", flat=True))
    proof, proof_fault = proof_of(seq)
    follower = AuditEvent.objects.filter(pk=seq + 1).only("prev").first()
    context = {
        "row": row_of(found),
        "event": found,
        "body": body if isinstance(body, dict) else {},
        "check": verify_events(seq, seq),
        "before": seq - 1 if seq - 1 in neighbours else None,
        "after": seq + 1 if seq + 1 in neighbours else None,
        "proof": proof,
        "proof_fault": proof_fault,
        "follower": follower,
        "is_followed": follower is not None and follower.prev == found.hash,
    }
    return render(request, "dashboards/audit/event.html", context)


urlpatterns: list[URLPattern] = [
    path("audit/", audit, name="audit"),
    path("audit/verify/", verify, name="audit-verify"),
    path("audit/events.csv", events_csv, name="audit-events-csv"),
    path("audit/<int:seq>/", event, name="audit-event"),
]
