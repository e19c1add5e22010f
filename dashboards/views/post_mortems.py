"""Post-mortems: what happened, why, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.forms import ActionForm, PostMortemForm, ReasonForm, first_error
from dashboards.http import UserRequest, render_part
from dashboards.post_mortem_page import post_mortem_page
from dashboards.recovery_forms import TimelineForm
from dashboards.timeline import entries
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import can
from governance.rollouts import services
from governance.rollouts.models import PostMortem, PostMortemQuerySet
from governance.rollouts.recovery_models import PostMortemAction, RecallRow

PER_PAGE = 40
ENTRIES_SHOWN = 15  # of the timeline, at once


def _visible(request: UserRequest) -> PostMortemQuerySet:
    rows = PostMortem.objects.visible_to(request.user)
    return rows.select_related(
        "owner", "submitted_by", "finished_by", "rollback__workflow__owner",
        "rollback__workflow__live", "rollback__from_release", "rollback__to_release",
        "rollback__change",
    )  # fmt: skip


@require_GET
@login_required
def post_mortems(request: UserRequest) -> HttpResponse:
    """Unfinished ones first, the longest overdue on top."""
    waiting = RecallRow.objects.filter(
        post_mortem=OuterRef("pk"), state=RecallRow.State.UNDECIDED
    ).order_by()
    rows = (
        _visible(request)
        .annotate(
            undecided=Coalesce(
                Subquery(waiting.values("post_mortem").annotate(n=Count("pk")).values("n")), 0
            )
        )
        .order_by(F("finished_at").desc(nulls_first=True), "due_at")
    )
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "dashboards/post_mortems/list.html", {"page_obj": page, "moment": now()})


@require_GET
@login_required
def post_mortem(request: UserRequest, pk: int) -> HttpResponse:
    """The page people write while it is fresh."""
    return _page(request, get_object_or_404(_visible(request), pk=pk))


def _page(
    request: UserRequest,
    found: PostMortem,
    *,
    error: str = "",
    action_error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    moment = now()
    context: dict[str, object] = {
        "post_mortem": found,
        "workflow": found.rollback.workflow,
        "timeline": (timeline := entries(found.timeline))[-ENTRIES_SHOWN:],
        "earlier": timeline[:-ENTRIES_SHOWN],
        "actions": found.actions.select_related("owner"),
        "page": (page := post_mortem_page(found, request.user, moment)),
        "summary": page.recall,
        "rollback": found.rollback,
        "view": page.proof,
        "moment": moment,
        "today": moment.date(),
        "may_edit": can(request.user, "post_mortem.edit", found),
        "may_review": found.submitted_at is not None
        and found.submitted_by_id != request.user.pk
        and can(request.user, "post_mortem.edit", found),
        "people": User.objects.filter(is_active=True)
        .exclude(role=User.Role.NONE)
        .order_by("job_title", "username"),
        "typed": typed or {},
        "error": error,
        "action_error": action_error,
    }
    return render_part(
        request, "dashboards/post_mortems/post_mortem.html", "actions", context, status=status
    )


def _act(
    request: UserRequest,
    found: PostMortem,
    act: Callable[[], object],
    done: str,
    *,
    on_actions: bool = False,
) -> HttpResponse:
    """Run one service and answer: its sentence where it refuses, else the page as it is now."""
    try:
        act()
    except GovernanceError as refusal:
        found = get_object_or_404(_visible(request), pk=found.pk)
        where = "action_error" if on_actions else "error"
        shown = {where: str(refusal)}
        return _page(request, found, typed=request.POST, status=refusal.status, **shown)
    if on_actions and request.htmx:
        return _page(request, get_object_or_404(_visible(request), pk=found.pk))
    messages.success(request, done)
    return redirect("post-mortem", pk=found.pk)


@require_POST
@login_required
def write(request: UserRequest, pk: int) -> HttpResponse:
    """Write the cause and the impact."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = PostMortemForm(request.POST)
    if not form.is_valid():
        return _page(request, found, error=first_error(form), typed=request.POST, status=422)
    return _act(
        request,
        found,
        lambda: services.write_post_mortem(pk, actor=request.user, **form.cleaned_data),
        "Saved.",
    )


@require_POST
@login_required
def add_action(request: UserRequest, pk: int) -> HttpResponse:
    """Note what will be done, by whom and by when."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = ActionForm(request.POST)
    if not form.is_valid():
        sentence = first_error(form)
        return _page(request, found, action_error=sentence, typed=request.POST, status=422)
    return _act(
        request,
        found,
        lambda: services.add_action(pk, actor=request.user, **form.cleaned_data),
        "Action added.",
        on_actions=True,
    )


@require_POST
@login_required
def finish_action(request: UserRequest, pk: int) -> HttpResponse:
    """Mark one action as done; `pk` is the action's."""
    action = get_object_or_404(
        PostMortemAction.objects.filter(
            post_mortem__in=PostMortem.objects.visible_to(request.user)
        ),
        pk=pk,
    )
    found = get_object_or_404(_visible(request), pk=action.post_mortem_id)
    return _act(
        request,
        found,
        lambda: services.finish_action(pk, actor=request.user),
        "Done.",
        on_actions=True,
    )


@require_POST
@login_required
def add_to_timeline(request: UserRequest, pk: int) -> HttpResponse:
    """Note what neither the audit nor the receipts know."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = TimelineForm(request.POST)
    if not form.is_valid():
        return _page(request, found, error=first_error(form), typed=request.POST, status=422)
    return _act(
        request,
        found,
        lambda: services.add_to_timeline(pk, actor=request.user, **form.cleaned_data),
        "Added to the timeline.",
    )


@require_POST
@login_required
def submit(request: UserRequest, pk: int) -> HttpResponse:
    """Hand it to a second person."""
    found = get_object_or_404(_visible(request), pk=pk)
    return _act(
        request,
        found,
        lambda: services.submit_post_mortem(pk, actor=request.user),
        "Handed in. Somebody else reads it now and finishes it.",
    )


@require_POST
@login_required
def give_back(request: UserRequest, pk: int) -> HttpResponse:
    """The reviewer says what is missing."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, found, error=first_error(form), typed=request.POST, status=422)
    reason = form.cleaned_data["reason"]
    return _act(
        request,
        found,
        lambda: services.return_post_mortem(pk, actor=request.user, reason=reason),
        "Given back to its writers.",
    )


@require_POST
@login_required
def finish(request: UserRequest, pk: int) -> HttpResponse:
    """Close it: the next promotion is free again."""
    found = get_object_or_404(_visible(request), pk=pk)
    return _act(
        request,
        found,
        lambda: services.finish_post_mortem(pk, actor=request.user),
        "Finished. The next promotion of this workflow can go ahead.",
    )


urlpatterns: list[URLPattern] = [
    path("post-mortems/", post_mortems, name="post-mortems"),
    path("post-mortems/<int:pk>/", post_mortem, name="post-mortem"),
    path("post-mortems/<int:pk>/write/", write, name="post-mortem-write"),
    path(
        "post-mortems/<int:pk>/add-to-timeline/",
        add_to_timeline,
        name="post-mortem-add-to-timeline",
    ),
    path("post-mortems/<int:pk>/add-action/", add_action, name="post-mortem-add-action"),
    path("post-mortems/actions/<int:pk>/finish/", finish_action, name="post-mortem-finish-action"),
    path("post-mortems/<int:pk>/submit/", submit, name="post-mortem-submit"),
    path("post-mortems/<int:pk>/return/", give_back, name="post-mortem-return"),
    path("post-mortems/<int:pk>/finish/", finish, name="post-mortem-finish"),
]
