"""The signed checkpoints: what each covers, whether its signature holds, where it was delivered."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.http import UserRequest
from governance.audit import sinks
from governance.audit.alarms import alarms
from governance.audit.checkpoint_models import Checkpoint
from governance.audit.checkpoint_reading import known_keys, look_at
from governance.audit.checkpoints import newest, uncovered
from governance.workflows.models import Workflow

PER_PAGE = 50


def _visible(request: UserRequest) -> QuerySet[Checkpoint]:
    """They hold digests only, but tell how much happens: for people who may read something."""
    rows = Checkpoint.objects.order_by("-number").defer("edge", "blocks")
    return rows if Workflow.objects.visible_to(request.user).exists() else rows.none()


@require_GET
@login_required
def audit_checkpoints(request: UserRequest) -> HttpResponse:
    """Newest first, each one's signature checked again."""
    visible = _visible(request)
    page = Paginator(visible, PER_PAGE).get_page(request.GET.get("page"))
    waiting, oldest, _ = uncovered()
    context = {
        "page_obj": page,
        "rows": look_at(page.object_list),
        "newest": newest() if page.object_list else None,
        "waiting": waiting,
        "oldest": oldest,
        "alarms": alarms() if page.object_list else [],
        "seen": Workflow.objects.visible_to(request.user),  # read only where nothing is listed
        "key_ids": sorted(known_keys()),
    }
    return render(request, "dashboards/audit/checkpoints.html", context)


@require_GET
@login_required
def audit_checkpoint_json(request: UserRequest, number: int) -> HttpResponse:
    """One checkpoint as it leaves the database, byte for byte as in the folder."""
    found = get_object_or_404(_visible(request), pk=number)
    response = HttpResponse(sinks.file_text(found), content_type="application/json")
    name = sinks.file_name(found.number)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


urlpatterns: list[URLPattern] = [
    path("audit/checkpoints/", audit_checkpoints, name="audit-checkpoints"),
    path(
        "audit/checkpoints/<int:number>/checkpoint.json",
        audit_checkpoint_json,
        name="audit-checkpoint-json",
    ),
]
