"""The recall list: every case that a bad release touched, and what is decided about it."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.forms import first_error
from dashboards.http import UserRequest
from dashboards.recall_page import (
    CHIPS,
    DECISIONS,
    ORDERS,
    Rows,
    asked_of,
    outcomes,
    rows_of,
    summary,
)
from dashboards.recovery_forms import RecallForm
from governance.common.csv_cells import csv_line, safe_cell
from governance.common.errors import GovernanceError
from governance.people.permissions import can
from governance.rollouts import services
from governance.rollouts.models import PostMortem
from governance.rollouts.recovery_models import RecallRow

PER_PAGE = 100
AT_ONCE = 1_000  # rows of the CSV that are read together
COLUMNS = (
    "case", "amount", "currency", "outcome", "escalated", "runs", "first run (UTC)",
    "last run (UTC)", "state", "decided by", "decided at (UTC)", "note",
)  # fmt: skip


def _found(request: UserRequest, pk: int) -> PostMortem:
    rows = PostMortem.objects.visible_to(request.user).select_related(
        "rollback__workflow__owner", "rollback__from_release"
    )
    return get_object_or_404(rows, pk=pk)


@require_GET
@login_required
def recall(request: UserRequest, pk: int) -> HttpResponse:
    """One page of the list, with its filters and the decisions."""
    return _page(request, _found(request, pk), request.GET)


def _page(
    request: UserRequest,
    found: PostMortem,
    query: QueryDict,
    *,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    asked = asked_of(query)
    rows = rows_of(found, asked)
    paginator = Paginator(rows, PER_PAGE)
    page = paginator.get_page(query.get("page"))
    counted = summary(found)
    context = {
        "post_mortem": found,
        "workflow": found.rollback.workflow,
        "asked": asked,
        "here": asked.query(),
        "page_obj": page,
        "rows": [(row, CHIPS[row.state]) for row in page],
        "summary": counted,
        "open_ones": rows.filter(state=RecallRow.State.UNDECIDED).count()
        if asked.filters
        else counted.undecided,
        "outcomes": outcomes(found),
        "states": [(state, chip.word) for state, chip in CHIPS.items()],
        "orders": [(key, label) for key, (label, _) in ORDERS.items()],
        "decisions": DECISIONS,
        "may_decide": found.finished_at is None and can(request.user, "post_mortem.edit", found),
        "typed": request.POST,
        "error": error,
    }
    return render(request, "dashboards/post_mortems/recall.html", context, status=status)


@require_POST
@login_required
def decide(request: UserRequest, pk: int) -> HttpResponse:
    """Decide the chosen rows, or every undecided one that the filters leave."""
    found = _found(request, pk)
    form = RecallForm(request.POST)
    here = QueryDict(request.POST.get("here", "")[:2_000])
    if not form.is_valid():
        return _page(request, found, here, error=first_error(form), status=422)
    asked = asked_of(here)
    cases: list[str] | None = form.cleaned_data["cases"]
    if form.cleaned_data["scope"] == "matching":
        rows = rows_of(found, asked).filter(state=RecallRow.State.UNDECIDED)
        cases = list(rows.values_list("case_id", flat=True)) if asked.filters else None
    try:
        count = services.decide_recall(
            found.pk,
            actor=request.user,
            state=form.cleaned_data["state"],
            cases=cases,
            note=form.cleaned_data["note"],
        )
    except GovernanceError as refusal:
        return _page(request, found, here, error=str(refusal), status=refusal.status)
    messages.success(request, f"Decided for {count:,} case{'' if count == 1 else 's'}.")
    query = asked.query(page=here.get("page", ""))
    return redirect(reverse("post-mortem-recall", args=(pk,)) + (f"?{query}" if query else ""))


@require_GET
@login_required
def recall_csv(request: UserRequest, pk: int) -> StreamingHttpResponse:
    """The rows that the filters leave, every one of them."""
    found = _found(request, pk)
    lines = _lines(rows_of(found, asked_of(request.GET)), found.rollback.workflow.currency)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    name = f"recall-{found.rollback.workflow.slug}-{found.rollback.from_release.name}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _lines(rows: Rows, currency: str) -> Iterator[str]:
    yield _line(list(COLUMNS))
    for row in rows.iterator(chunk_size=AT_ONCE):
        decided_at = row.decided_at.isoformat() if row.decided_at else ""
        yield _line(
            [
                row.case_id, row.amount, currency if row.amount is not None else "", row.outcome,
                {True: "yes", False: "no", None: ""}[row.escalated], row.runs,
                row.first_at.isoformat(), row.last_at.isoformat(), row.get_state_display(),
                row.decided_by or "", decided_at, row.note,
            ]
        )  # fmt: skip


def _line(cells: list[object]) -> str:
    return csv_line([safe_cell(cell) for cell in cells])


urlpatterns: list[URLPattern] = [
    path("post-mortems/<int:pk>/recall/", recall, name="post-mortem-recall"),
    path("post-mortems/<int:pk>/recall/decide/", decide, name="post-mortem-recall-decide"),
    path("post-mortems/<int:pk>/recall/recall.csv", recall_csv, name="post-mortem-recall-csv"),
]
