"""Run receipts: found by run, case, workflow, release, standing or day; and one, in full."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from dashboards.case_making import made_cases, make_url, receipt_key
from dashboards.hostile import hides_something
from dashboards.http import UserRequest, render_part
from dashboards.windows import day, ends, starts, whole_number, words
from governance.common.canonical import is_digest
from governance.common.time import today
from governance.people.models import ApiToken, User
from governance.people.permissions import can
from governance.receipts.models import Receipt, ReceiptQuerySet
from governance.releases.models import Release
from governance.triage.models import ExceptionCase, ExceptionReceipt
from governance.workflows.models import Workflow

PER_PAGE = 50
DAYS_SHOWN = 7  # when nothing narrower is asked: a page must not read every partition
MOST_BEHIND = 500  # receipts of one exception that are looked up
RELEASE_NAME = re.compile(r"r(\d{1,9})\Z")
SHORT_DIGEST = re.compile(r"sha256:[0-9a-f]{4,63}\Z")
FILTERS = ("run", "case", "workflow", "release", "standing", "from", "to", "exception")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query string asks for, as far as it can be understood."""

    run: str
    case: str
    slug: str
    release: str
    standing: str
    since: date | None
    until: date | None
    exception: int | None

    @property
    def names_one(self) -> bool:
        """A run or a case is found by its index, so no day is needed."""
        return bool(self.run or self.case or self.exception)


def _asked(request: UserRequest) -> Asked:
    asked = request.GET
    since, until = day(asked, "from"), day(asked, "to")
    found = Asked(
        run=words(asked, "run"),
        case=words(asked, "case"),
        slug=words(asked, "workflow"),
        release=words(asked, "release"),
        standing=asked.get("standing", ""),
        since=since,
        until=until,
        exception=whole_number(asked, "exception"),
    )
    if since is None and until is None and not found.names_one:
        return Asked(
            found.run, found.case, found.slug, found.release, found.standing,
            today() - timedelta(days=DAYS_SHOWN - 1), None, found.exception,
        )  # fmt: skip
    return found


@require_GET
@login_required
def receipts(request: UserRequest) -> HttpResponse:
    """Newest first, in steps that cost the same however far one goes."""
    asked = _asked(request)
    rows = _filtered(request.user, asked)
    after = _after(request)
    if after is not None:
        moment, run_id = after
        rows = rows.filter(
            Q(started_at__lt=moment) | Q(started_at=moment, run_id__lt=run_id),
            day__lte=moment.date(),
        )
    found = list(rows.select_related("workflow").order_by("-started_at", "-run_id")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    context: dict[str, object] = {
        "rows": shown,
        "names": _names(shown),
        "older": _key(shown[-1]) if len(found) > PER_PAGE else "",
        "is_first": after is None,
        "asked": asked,
        "exception": _exception(request.user, asked),
        "standings": Receipt.Standing.choices,
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
        "filtered": any(request.GET.get(name) for name in FILTERS),
    }
    return render_part(request, "dashboards/receipts/list.html", "list", context)


def _filtered(user: User, asked: Asked) -> ReceiptQuerySet:
    rows = Receipt.objects.visible_to(user)
    if asked.since:
        rows = rows.filter(day__gte=asked.since, started_at__gte=starts(asked.since))
    if asked.until:
        rows = rows.filter(day__lte=asked.until, started_at__lt=ends(asked.until))
    if asked.run:
        rows = rows.filter(run_id=asked.run)
    if asked.case:
        rows = rows.filter(case_id=asked.case)
    if asked.slug:
        rows = rows.filter(workflow__in=Workflow.objects.filter(slug=asked.slug))
    if asked.standing in Receipt.Standing.values:
        rows = rows.filter(standing=asked.standing)
    if asked.release:
        rows = _of_release(rows, user, asked)
    if asked.exception is not None:
        rows = _behind(rows, user, asked.exception)
    return rows


def _of_release(rows: ReceiptQuerySet, user: User, asked: Asked) -> ReceiptQuerySet:
    """By whole digest, by its beginning, or by r7."""
    if is_digest(asked.release):
        return rows.filter(release_digest=asked.release)
    if named := RELEASE_NAME.match(asked.release):
        releases = Release.objects.visible_to(user).filter(number=int(named[1]))
        if asked.slug:
            releases = releases.filter(workflow__slug=asked.slug)
        return rows.filter(release_digest__in=list(releases.values_list("pk", flat=True)))
    if SHORT_DIGEST.match(asked.release):
        return rows.filter(release_digest__startswith=asked.release)
    return rows.none()


def _behind(rows: ReceiptQuerySet, user: User, exception: int) -> ReceiptQuerySet:
    """The receipts that stand behind an exception which this person may see."""
    case = ExceptionCase.objects.visible_to(user).filter(pk=exception).first()
    if case is None:
        return rows.none()
    keys = ExceptionReceipt.objects.filter(exception=case).order_by("-day", "-pk")
    wanted: dict[date, list[str]] = {}
    for on, run_id in keys.values_list("day", "run_id")[:MOST_BEHIND]:
        wanted.setdefault(on, []).append(run_id)
    if not wanted:
        return rows.none()
    chosen = reduce(or_, (Q(day=on, run_id__in=run_ids) for on, run_ids in wanted.items()))
    return rows.filter(chosen, workflow=case.workflow_id)


def _exception(user: User, asked: Asked) -> ExceptionCase | None:
    if asked.exception is None:
        return None
    return ExceptionCase.objects.visible_to(user).filter(pk=asked.exception).first()


def _names(shown: list[Receipt]) -> dict[str, Release]:
    """The releases that these receipts name, by digest. One query."""
    digests = {row.release_digest for row in shown if row.release_digest}
    return Release.objects.in_bulk(digests) if digests else {}


def _key(row: Receipt) -> str:
    """Where the next step goes on, as query parameters."""
    return urlencode({"at": row.started_at.isoformat(), "after": row.run_id})


def _after(request: UserRequest) -> tuple[datetime, str] | None:
    try:
        moment = datetime.fromisoformat(request.GET.get("at", ""))
    except ValueError:
        return None
    return (moment, words(request.GET, "after")) if moment.tzinfo else None


@require_GET
@login_required
def receipt(request: UserRequest, on: str, run_id: str) -> HttpResponse:
    """Everything that is known of one run; `?run=` names those that no path can hold."""
    run_id = request.GET.get("run") or run_id
    try:
        when = date.fromisoformat(on)
    except ValueError as error:
        raise Http404("There is no such day.") from error
    rows = Receipt.objects.visible_to(request.user).select_related("workflow__owner")
    found = get_object_or_404(rows, day=when, run_id=run_id.replace("\0", ""))
    named = found.release_digest
    release = Release.objects.filter(pk=named).first() if named else None
    behind = ExceptionReceipt.objects.filter(day=when, run_id=found.run_id)
    made = (found.workflow_id, receipt_key(found.run_id))
    context = {
        "receipt": found,
        "workflow": found.workflow,
        "release": release if release and release.workflow_id == found.workflow_id else None,
        "token_name": ApiToken.objects.visible_to(request.user)
        .filter(pk=found.token_id or 0)
        .values_list("name", flat=True)
        .first(),
        "exceptions": ExceptionCase.objects.visible_to(request.user)
        .filter(pk__in=behind.values("exception"), workflow=found.workflow)
        .order_by("-opened_at"),
        "made": made_cases([made]).get(made, ""),
        "make_url": make_url(found.workflow.slug, on=found.day.isoformat(), run=found.run_id)
        if can(request.user, "suite.freeze", found.workflow)
        else "",
        "same_case": f"{reverse('receipts')}?{urlencode({'case': found.case_id})}",
        "tables": [
            (title, sorted(content.items()))
            for title, content in (
                ("References", found.refs),
                ("Measures", found.measures),
                ("Observed", found.observed),
            )
            if isinstance(content, dict) and content
        ],
        "hides": _hides(found),
    }
    return render(request, "dashboards/receipts/receipt.html", context)


def _hides(found: Receipt) -> bool:
    texts: list[Any] = [
        found.run_id, found.case_id, found.segment, found.outcome, found.model_answered,
        found.error, *found.violations,
    ]  # fmt: skip
    for content in (found.refs, found.measures, found.observed):
        texts.extend(f"{name}{value}" for name, value in (content or {}).items())
    return any(hides_something(text) for text in texts)


urlpatterns: list[URLPattern] = [
    path("receipts/", receipts, name="receipts"),
    path("receipts/<str:on>/<path:run_id>/", receipt, name="receipt"),
]
