"""The auditor's population: every change of what was live in a period, and a sample of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.auditing import Asked, asked_period
from dashboards.http import UserRequest
from dashboards.windows import whole_number
from governance.common.csv_cells import csv_line
from governance.rollouts import gapless
from governance.rollouts.population import COLUMNS, Member, Population, population, row_of

SHOWN = 200  # rows on the page; the file holds all of them
LARGEST_SAMPLE = 1_000
SAMPLE_COLUMNS = ("sample_rank", "sample_key")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn, and from what: enough to draw it again by hand."""

    size: int
    number: int
    seed: str
    members: list[Member]

    def key(self, member: Member) -> str:
        return gapless.sample_key(self.seed, *member.key)

    @property
    def keyed(self) -> list[tuple[Member, str]]:
        return [(member, self.key(member)) for member in self.members]


def _sample(request: UserRequest, asked: Asked, whole: Population) -> Sample | None:
    size, number = whole_number(request.GET, "size"), whole_number(request.GET, "number")
    if not size or number is None:
        return None
    seed = gapless.seed_for(asked.first, asked.last, asked.slug, number)
    size = min(size, LARGEST_SAMPLE)
    return Sample(size, number, seed, whole.sample(size, seed))


def _read(request: UserRequest) -> tuple[Asked, Population, Sample | None]:
    asked = asked_period(request)
    whole = population(asked.workflows, asked.start, asked.end)
    return asked, whole, _sample(request, asked, whole)


@require_GET
@login_required
def audit_population(request: UserRequest) -> HttpResponse:
    """Every change of what was live, the proof that none is missing, and a sample on request."""
    asked, whole, drawn = _read(request)
    context = {
        "asked": asked,
        "population": whole,
        "rows": whole.members[:SHOWN],
        "more": max(len(whole.members) - SHOWN, 0),
        "sample": drawn,
        "typed_size": request.GET.get("size", "25"),
        "typed_number": request.GET.get("number", ""),
        "largest_sample": LARGEST_SAMPLE,
    }
    return render(request, "dashboards/audit/population.html", context)


@require_GET
@login_required
def audit_population_csv(request: UserRequest) -> StreamingHttpResponse:
    """The whole population; with a sample, which rows were drawn and by which key."""
    asked, whole, drawn = _read(request)
    response = StreamingHttpResponse(_lines(whole, drawn), content_type="text/csv; charset=utf-8")
    name = f"population-{asked.first}-{asked.last}{'-' + asked.slug if asked.slug else ''}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _lines(whole: Population, drawn: Sample | None) -> Iterator[str]:
    ranks = {m.key: rank for rank, m in enumerate(drawn.members, 1)} if drawn else {}
    yield csv_line([*COLUMNS, *(SAMPLE_COLUMNS if drawn else ())])
    for member in whole.members:
        extra = [str(ranks.get(member.key, "")), drawn.key(member)] if drawn else []
        yield csv_line([*row_of(member), *extra])


urlpatterns: list[URLPattern] = [
    path("audit/population/", audit_population, name="audit-population"),
    path("audit/population/population.csv", audit_population_csv, name="audit-population-csv"),
]
