"""Background work: what comes again, what is overdue, what failed."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.http import UserRequest, render_part
from governance.common.errors import GovernanceError
from governance.common.time import true_now
from governance.jobs import services
from governance.jobs.models import Job, Schedule
from governance.people.permissions import can

PER_PAGE = 40
MOST_OVERDUE = 50
TEMPLATE = "dashboards/jobs/list.html"


@require_GET
@login_required
def jobs(request: UserRequest) -> HttpResponse:
    """What is overdue comes first: a missed eval is an alarm, not silence."""
    return _page(request)


def _page(request: UserRequest, *, error: str = "", status: int = 200) -> HttpResponse:
    moment = true_now()
    visible = Job.objects.visible_to(request.user)
    state = request.GET.get("state", "")
    rows = visible.order_by("-created_at", "-pk")
    if state in Job.State.values:
        rows = rows.filter(state=state)
    counted = dict(visible.order_by().values_list("state").annotate(number=Count("pk")))
    context: dict[str, object] = {
        "overdue": list(visible.overdue(moment)[:MOST_OVERDUE]),
        "failed": list(visible.filter(state=Job.State.FAILED).order_by("-finished_at")[:PER_PAGE]),
        "schedules": list(Schedule.objects.visible_to(request.user).order_by("next_at", "name")),
        "page_obj": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
        "counts": [(value, label, counted.get(value, 0)) for value, label in Job.State.choices],
        "state": state,
        "moment": moment,
        "may_retry": can(request.user, "job.retry"),
        "error": error,
    }
    return render_part(request, TEMPLATE, "list", context, status=status)


@require_POST
@login_required
def retry(request: UserRequest, pk: int) -> HttpResponse:
    """Give a failed job new attempts."""
    get_object_or_404(Job.objects.visible_to(request.user), pk=pk)
    try:
        job = services.retry(pk, actor=request.user)
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)
    messages.success(request, f"Asked again: {job}.")
    return redirect("jobs")


urlpatterns: list[URLPattern] = [
    path("jobs/", jobs, name="jobs"),
    path("jobs/<int:pk>/retry/", retry, name="job-retry"),
]
