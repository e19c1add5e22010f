"""Cases into a suite from a file, seen before it is done; and out of it into one."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import zlib
from typing import Any, BinaryIO

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods, require_POST

from dashboards.forms import first_error
from dashboards.http import UserRequest, render_part
from dashboards.suite_forms import DRAFT, IMPORT, LONGEST_NAME, ImportForm
from dashboards.suite_page import Place, place_of
from dashboards.suite_words import asked_in_short
from governance.common.csv_cells import safe_cell
from governance.common.errors import GovernanceError, InvalidInputError
from governance.evals import services
from governance.evals.case_export import TYPES, export_suite
from governance.evals.case_import import MOST_EDITS, Plan, Wish, plan_import
from governance.evals.drafts import WRITTEN
from governance.evals.models import Case
from governance.people.permissions import can

TEMPLATE = "dashboards/suites/import.html"
KEPT = 1024 * 1024  # bytes of a file that stay in the page between preview and import
SHOWN = 20  # cases of each kind in the preview
REFUSED_SHOWN = 100
CHANGED = "This is not what the preview showed. Look at what the file does now, then import it."


@require_http_methods(["GET", "POST"])
@login_required
def import_cases(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Choose a file, see what it would do, then do it: nothing is imported unseen."""
    place = place_of(request, slug, kind)
    if not can(request.user, "suite.freeze", place.workflow):
        raise PermissionDenied("Analysts, builders and the KPI owner edit suites.")
    if place.kind not in WRITTEN:
        raise Http404("A recent suite is drawn by its rule: no file fills it.")
    if request.method != "POST":
        return _page(request, place)
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, place, error=first_error(form), status=422)
    said = form.cleaned_data
    plan, kept = None, ""
    try:
        file, name = _file_of(said)
        kept = _kept(file)
        wish = Wish(said["replaces"], said["reason"], said["channel"])
        plan = plan_import(place.workflow, kind, file, name, wish, actor=request.user)
        if said["act"] != IMPORT:
            return _page(request, place, plan=plan, kept=kept)
        if said["seen"] != plan.seen:
            return _page(request, place, plan=plan, kept=kept, error=CHANGED, status=409)
        done = _import(request, place, plan, said)
    except GovernanceError as refusal:
        return _page(
            request, place, plan=plan, kept=kept, error=str(refusal), status=refusal.status
        )
    messages.success(request, done)
    return redirect(place.url)


def _import(request: UserRequest, place: Place, plan: Plan, said: dict[str, Any]) -> str:
    if said["into"] == DRAFT:
        count = services.import_into_draft(place.workflow, place.kind, plan, actor=request.user)
        return f"{count:,} edit{'' if count == 1 else 's'} in the draft. They judge once frozen."
    suite = services.import_as_version(
        place.workflow, place.kind, plan, actor=request.user,
        reason=said["reason"] or f"Imported from {plan.name}"[:500],
    )  # fmt: skip
    return f"{suite} is frozen, {suite.case_count:,} cases: gates judge on it from now on."


def _page(
    request: UserRequest,
    place: Place,
    *,
    plan: Plan | None = None,
    kept: str = "",
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "place": place,
        "workflow": place.workflow,
        "plan": plan,
        "kept": kept,
        "error": error,
        "typed": request.POST,
        "channels": Case.Channel.choices,
        "most_edits": MOST_EDITS,
        "groups": _groups(plan) if plan else [],
        "refused": plan.refused[:REFUSED_SHOWN] if plan else [],
        "refused_csv": _refused(plan) if plan else "",
    }
    return render_part(request, TEMPLATE, "preview", context, status=status)


def _groups(plan: Plan) -> list[dict[str, Any]]:
    """What is added, changed and removed: how many, and the first of them."""
    return [
        {
            "what": what,
            "count": len(keys),
            "cases": [
                (key, asked_in_short(plan.rows[key]) if key in plan.rows else "")
                for key in keys[:SHOWN]
            ],
        }
        for what, keys in (
            ("added", plan.added), ("changed", plan.changed), ("removed", plan.removed),
        )
    ]  # fmt: skip


def _file_of(said: dict[str, Any]) -> tuple[BinaryIO, str]:
    """The file that was chosen, or the one that stayed in the page."""
    if said["upload"] is not None:
        return said["upload"].file, said["upload"].name.strip()[:LONGEST_NAME]
    try:
        packed = base64.b64decode(said["kept"], validate=True)
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(packed, KEPT + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidInputError("Choose the file again: what stayed of it is broken.") from error
    if not content or len(content) > KEPT:
        raise InvalidInputError("Choose the file again.")
    return io.BytesIO(content), said["name"]


def _kept(file: BinaryIO) -> str:
    """A small file as text for a hidden field; "" where it is too large for a page."""
    file.seek(0)
    content = file.read(KEPT + 1)
    file.seek(0)
    return base64.b64encode(zlib.compress(content)).decode() if len(content) <= KEPT else ""


def _refused(plan: Plan) -> str:
    """The refused lines as CSV, as much of them as a form can carry."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("line", "key", "why"))
    for line in plan.refused:
        writer.writerow((line.number, safe_cell(line.key), safe_cell(line.error)))
        if buffer.tell() > KEPT:
            break
    return buffer.getvalue()


@require_POST
@login_required
def download_refused(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """The refused lines of the preview as a file. It hands back what the page held."""
    place = place_of(request, slug, kind)
    if not can(request.user, "suite.freeze", place.workflow):
        raise PermissionDenied("Analysts, builders and the KPI owner edit suites.")
    text = request.POST.get("refused", "")
    return HttpResponse(
        text, content_type="text/csv; charset=utf-8", headers=_download("refused.csv")
    )


@require_POST
@login_required
def export(request: UserRequest, slug: str, kind: str) -> HttpResponseBase:
    """Every case of a version as CSV or JSONL; that somebody took them is recorded."""
    place = place_of(request, slug, kind)
    if place.suite is None:
        raise Http404("Nothing is frozen yet.")
    form = request.POST.get("format", "csv")
    try:
        pieces = export_suite(place.suite, form, actor=request.user)
    except InvalidInputError as refusal:
        return HttpResponse(str(refusal), status=refusal.status, content_type="text/plain")
    name = f"{place.workflow.slug}-{place.kind}-v{place.suite.version}.{form}"
    return StreamingHttpResponse(pieces, content_type=TYPES[form], headers=_download(name))


def _download(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


urlpatterns: list[URLPattern] = [
    path("evals/suites/<str:slug>/<str:kind>/import/", import_cases, name="suite-import"),
    path(
        "evals/suites/<str:slug>/<str:kind>/import/refused/download/",
        download_refused,
        name="suite-import-refused",
    ),
    path("evals/suites/<str:slug>/<str:kind>/export/", export, name="suite-export"),
]
