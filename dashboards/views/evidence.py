"""Evidence packs: what would be in one, and the file itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import IO

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.audit_rows import parsed_body
from dashboards.auditing import Asked, asked_period
from dashboards.http import UserRequest
from governance.audit.models import AuditEvent
from governance.rollouts.evidence import Packed, pack_period, pack_promotion, period_label
from governance.rollouts.models import LiveChange, Promotion
from governance.workflows.models import Workflow

IN_MEMORY = 8 * 1024 * 1024  # bytes; a larger pack goes through a file
LONGEST = timedelta(days=366)
PACKS_SHOWN = 20
TEMPLATE = "dashboards/audit/evidence.html"


def _mine(request: UserRequest) -> QuerySet[Promotion]:
    """Promotions of workflows that the person may read: a second approver elsewhere may not."""
    workflows = Workflow.objects.visible_to(request.user)
    return Promotion.objects.filter(workflow__in=workflows).for_page()


def _earlier(request: UserRequest, **which: str) -> list[dict[str, object]]:
    """The packs that were made of it before, as the audit chain keeps them."""
    events = AuditEvent.objects.visible_to(request.user).filter(verb="evidence.packed", **which)
    found: list[dict[str, object]] = []
    for event in events.order_by("-seq")[:PACKS_SHOWN]:
        body = parsed_body(event)
        details = body.get("details", {}) if isinstance(body, dict) else {}
        found.append({"event": event, **details})
    return found


def _file(pack: Callable[[IO[bytes]], Packed]) -> FileResponse:
    """Make the pack and send it; its SHA-256 goes along, as the audit chain keeps it."""
    out = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the response closes it
    packed = pack(out)
    response = FileResponse(
        out, as_attachment=True, filename=packed.name, content_type="application/zip"
    )
    response.headers["Content-Length"] = str(packed.size)
    response.headers["X-Content-SHA256"] = packed.sha256
    response.headers["Cache-Control"] = "no-store"
    return response


@require_GET
@login_required
def evidence_pack(request: UserRequest, pk: int) -> HttpResponse:
    """What the pack of this promotion holds, and the packs that were made of it."""
    promotion = get_object_or_404(_mine(request), pk=pk)
    context = {
        "promotion": promotion,
        "decisions": promotion.approvals.count(),
        "changes": LiveChange.objects.filter(promotion=promotion).count(),
        "packs": _earlier(request, object_type="promotion", object_id=str(pk)),
    }
    return render(request, TEMPLATE, context)


@require_POST
@login_required
def make_pack(request: UserRequest, pk: int) -> HttpResponseBase:
    """The pack of one promotion, as a file."""
    promotion = get_object_or_404(_mine(request), pk=pk)
    return _file(lambda out: pack_promotion(promotion, out, actor=request.user))


@require_GET
@login_required
def audit_evidence(request: UserRequest) -> HttpResponse:
    """What the pack of this period holds, and the packs that were made of it."""
    return _period_page(request, asked_period(request))


def _period_page(
    request: UserRequest, asked: Asked, *, error: str = "", status: int = 200
) -> HttpResponse:
    moved = LiveChange.objects.filter(
        workflow__in=asked.workflows, changed_at__gte=asked.start, changed_at__lt=asked.end
    )
    context = {
        "asked": asked,
        "promotions": moved.exclude(promotion=None).values("promotion").distinct().count(),
        "changes": moved.count(),
        "packs": _earlier(
            request, object_type="", object_label=period_label(asked.start, asked.end)
        ),
        "is_too_long": asked.end - asked.start > LONGEST,
        "error": error,
    }
    return render(request, TEMPLATE, context, status=status)


@require_POST
@login_required
def make_period_pack(request: UserRequest) -> HttpResponseBase:
    """The pack of one period, as a file."""
    asked = asked_period(request, request.POST)
    if not asked.workflows:
        raise Http404
    if asked.end - asked.start > LONGEST:
        return _period_page(
            request, asked, status=422,
            error="A page makes packs of at most a year; use manage.py evidence_pack for more.",
        )  # fmt: skip
    whole = request.user.reads_everything and not asked.slug
    return _file(
        lambda out: pack_period(
            asked.workflows, asked.start, asked.end, out, actor=request.user, whole=whole
        )
    )


urlpatterns: list[URLPattern] = [
    path("promotions/<int:pk>/evidence/", evidence_pack, name="evidence-pack"),
    path("promotions/<int:pk>/evidence/make/", make_pack, name="evidence-pack-make"),
    path("audit/evidence/", audit_evidence, name="audit-evidence"),
    path("audit/evidence/make/", make_period_pack, name="audit-evidence-make"),
]
