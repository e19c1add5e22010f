"""Releases: the list, one release with its seven slots, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Min, Sum
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.comparing import csv_lines, search
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest
from dashboards.observed import RULE
from dashboards.reauthentication import how, kept_fields, reauthenticated
from dashboards.registering import as_file
from dashboards.release_page import lineage, revocation, slot_views
from dashboards.windows import words
from dashboards.workflow_page import history, move_of
from governance.common.canonical import digest_text
from governance.common.errors import GovernanceError
from governance.evals.models import EvalRun
from governance.people.permissions import can
from governance.receipts.models import RollUp
from governance.releases.comparing import compare_releases
from governance.releases.models import (
    LiveRelease,
    Release,
    ReleaseApproval,
    ReleaseQuerySet,
    Slot,
)
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow

PER_PAGE = 50
RUNS_SHOWN = 12
REGISTER_BUTTONS = 3  # of the workflows that are shown


def _visible(request: UserRequest) -> ReleaseQuerySet:
    return Release.objects.visible_to(request.user).select_related("workflow__owner")


@require_GET
@login_required
def releases(request: UserRequest) -> HttpResponse:
    """Every release, newest first, of one workflow where the query string names it."""
    rows = _visible(request).order_by("-registered_at", "-number")
    slug = request.GET.get("workflow", "")
    if slug:
        rows = rows.filter(workflow__slug=slug)
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    live = LiveRelease.objects.filter(release__in=[release.pk for release in page])
    workflows = list(Workflow.objects.visible_to(request.user).only("slug", "name"))
    offered = [workflow for workflow in workflows if not slug or workflow.slug == slug]
    context = {
        "page_obj": page,
        "slug": slug,
        "workflows": workflows,
        "may_register": [
            workflow
            for workflow in offered[:REGISTER_BUTTONS]
            if can(request.user, "release.register", workflow)
        ],
        "live": set(live.values_list("release_id", flat=True)),
    }
    return render(request, "dashboards/releases/list.html", context)


@require_GET
@login_required
def release(request: UserRequest, digest: str) -> HttpResponse:
    """What this release is, where it was live, how it scored, and how to ask for it."""
    found = get_object_or_404(_visible(request), pk=digest)
    return _page(request, found)


def _page(
    request: UserRequest,
    found: Release,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    workflow = found.workflow
    live = LiveRelease.objects.filter(workflow=workflow).select_related("release").first()
    receipts = RollUp.objects.filter(
        workflow=workflow, grain=RollUp.Grain.DAY, measure="runs", release_digest=found.pk
    )
    is_live = live is not None and live.release_id == found.pk
    serves = is_live or (live is not None and live.pilot_release_id == found.pk)
    promotions = list(Promotion.objects.filter(workflow=workflow, release=found).for_page())
    moves = [move_of(change) for change in history(workflow, about=found)]
    may_propose = not is_live and can(request.user, "promotion.propose", workflow)
    open_one = Promotion.objects.filter(workflow=workflow).open() if may_propose else None
    rights = revocation(found) if serves else None
    slots = slot_views(found, rights.use if rights else None)
    context = {
        "release": found,
        "workflow": workflow,
        "live": live,
        "is_live": is_live,
        "serves": serves,
        "slots": slots,
        "differing": [slot for slot in slots if slot.observed.differs],
        "observed_rule": RULE,
        "revocation": rights,
        "verified": digest_text(found.manifest_text) == found.pk,
        "periods": ReleaseApproval.objects.filter(release=found).order_by("-valid_from"),
        "runs": EvalRun.objects.filter(release=found).select_related("suite")[:RUNS_SHOWN],
        "promotions": promotions,
        "moves": moves,
        "receipts": receipts.aggregate(count=Sum("n"), first=Min("starts_at")),
        "lineage": lineage(found, moves, promotions),
        "may_register": can(request.user, "release.register", workflow),
        "may_propose": may_propose,
        "open_promotion": open_one.first() if open_one is not None else None,
        "may_adopt": live is None and can(request.user, "promotion.adopt", workflow),
        "typed": typed or kept_fields(request),
        "error": error,
    }
    return render(request, "dashboards/releases/release.html", context, status=status)


def _pair(request: UserRequest, a: str, b: str) -> tuple[Release, Release]:
    return get_object_or_404(_visible(request), pk=a), get_object_or_404(_visible(request), pk=b)


@require_GET
@login_required
def release_compare(request: UserRequest, a: str, b: str) -> HttpResponse:
    """What changes from release `a` to release `b`: words first, then the text."""
    before, after = _pair(request, a, b)
    diff = compare_releases(before, after)
    corpus = next((slot.documents for slot in diff.slots if slot.documents), None)
    documents = corpus and search(
        corpus,
        find=words(request.GET, "find"),
        kind=request.GET.get("kind", ""),
        action=request.path,
        csv_url=reverse("release-compare-documents", args=(a, b)),
    )
    context = {"before": before, "after": after, "diff": diff, "documents": documents}
    return render(request, "dashboards/releases/compare.html", context)


@require_GET
@login_required
def release_compare_documents(request: UserRequest, a: str, b: str) -> HttpResponseBase:
    """Every document that differs between two corpora, as CSV."""
    before, after = _pair(request, a, b)
    contents = [found.components.filter(slot=Slot.RETRIEVAL).first() for found in (before, after)]
    old, new = (component.content if component else None for component in contents)
    name = f"{before.workflow.slug}-{before.name}-{after.name}-documents.csv"
    return StreamingHttpResponse(
        csv_lines(old, new), content_type="text/csv; charset=utf-8", headers=_download(name)
    )


@require_GET
@login_required
def release_file(request: UserRequest, digest: str) -> HttpResponse:
    """The release as the file that registers it: to change, and to send again."""
    found = get_object_or_404(_visible(request), pk=digest)
    name = f"{found.workflow.slug}-{found.name}.json"
    return HttpResponse(as_file(found), content_type="application/json", headers=_download(name))


def _download(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


@require_POST
@login_required
@reauthenticated("release")
def adopt(request: UserRequest, digest: str) -> HttpResponse:
    """Acknowledge what already runs, once per workflow."""
    found = get_object_or_404(_visible(request), pk=digest)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, found, error=first_error(form), typed=request.POST, status=422)
    at, by = how(request)
    try:
        services.adopt_as_found(
            found,
            actor=request.user,
            reason=form.cleaned_data["reason"],
            authenticated_at=at,
            authenticated_by=by,
        )
    except GovernanceError as refusal:
        return _page(request, found, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(
        request,
        f"{found.name} is under control now, marked “not gated”: it was adopted as found.",
    )
    return redirect("workflow", slug=found.workflow.slug)


urlpatterns: list[URLPattern] = [
    path("releases/", releases, name="releases"),
    path("releases/<digest:digest>/", release, name="release"),
    path("releases/<digest:a>/compare/<digest:b>/", release_compare, name="release-compare"),
    path(
        "releases/<digest:a>/compare/<digest:b>/documents.csv",
        release_compare_documents,
        name="release-compare-documents",
    ),
    path("releases/<digest:digest>/release.json", release_file, name="release-file"),
    path("releases/<digest:digest>/adopt/", adopt, name="release-adopt"),
]
