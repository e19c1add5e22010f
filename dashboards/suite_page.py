"""What the page of one suite shows: a page of its cases, the draft on top, coverage, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse

from dashboards.http import UserRequest, workflow_or_404
from dashboards.suite_forms import asked_of
from dashboards.suite_words import asked_in_short, expected_in_words
from dashboards.windows import whole_number
from governance.common.time import now
from governance.evals.coverage import Coverage, Facet, coverage, facets_of, traffic
from governance.evals.decision_models import SuiteEdit
from governance.evals.drafts import WRITTEN, draft_mark, open_edits
from governance.evals.labelling import sample_of
from governance.evals.models import Case, SuiteVersion
from governance.evals.suite_lists import ADDED, CHANGED, REMOVED, Listed, page_of
from governance.evals.suites import newest_version
from governance.people.permissions import can
from governance.workflows.models import Workflow

VERSIONS_SHOWN = 20
EDITS_SHOWN = 200
Kind = SuiteVersion.Kind


@dataclass(frozen=True, slots=True)
class Place:
    """The suite that an address names; `suite` None where nothing was frozen yet."""

    workflow: Workflow
    kind: Kind
    suite: SuiteVersion | None
    is_newest: bool

    @property
    def args(self) -> tuple[str, str]:
        return self.workflow.slug, str(self.kind)

    @property
    def url(self) -> str:
        return reverse("suite", args=self.args)


def place_of(request: UserRequest, slug: str, kind: str) -> Place:
    """Return the suite in the address, its newest version or the one that `?version=` names.

    Raises:
        Http404: no such suite, or the workflow is none of this person's.
    """
    if kind not in Kind.values:
        raise Http404("There is no such suite.")
    workflow = workflow_or_404(request, slug)
    newest = newest_version(workflow, kind)
    number = whole_number(request.GET, "version")
    if number is None or (newest is not None and newest.version == number):
        return Place(workflow, Kind(kind), newest, True)
    rows = SuiteVersion.objects.filter(workflow=workflow, kind=kind)
    return Place(workflow, Kind(kind), get_object_or_404(rows, version=number), False)


@lru_cache(maxsize=128)
def _facets(suite_id: int, digest: str) -> tuple[Facet, ...]:
    """A version never changes, so its counts are taken once."""
    found = facets_of(SuiteVersion.objects.filter(pk=suite_id, digest=digest))
    return tuple(found.get(suite_id, ()))


def facets(suite: SuiteVersion | None) -> tuple[Facet, ...]:
    return _facets(suite.pk, suite.digest) if suite is not None else ()


def coverage_of(place: Place) -> Coverage:
    runs = {segment: n for (_, segment), n in traffic([place.workflow]).items()}
    return coverage(facets(place.suite), runs)


def context(request: UserRequest, place: Place) -> dict[str, Any]:
    """Everything that the page shows."""
    asked = asked_of(request.GET)
    has_draft = place.is_newest and place.kind in WRITTEN
    edits = open_edits(place.workflow, place.kind) if has_draft else None
    page, has_more = page_of(place.suite, edits, asked)
    own = facets(place.suite)
    versions = list(
        SuiteVersion.objects.filter(workflow=place.workflow, kind=place.kind)
        .select_related("frozen_by", "confirmed_by")
        .prefetch_related("editors")
        .order_by("-version")[:VERSIONS_SHOWN]
    )
    may_edit = can(request.user, "suite.freeze", place.workflow)
    return {
        "place": place,
        "workflow": place.workflow,
        "suite": place.suite,
        "kind": place.kind,
        "rows": [line_of(row) for row in page],
        "next_key": page[-1].key if has_more else "",
        "asked": asked,
        "group": request.GET.get("group", ""),
        "edits": _edits(place, edits) if edits is not None else [],
        "edit_count": edits.count() if edits is not None else 0,
        "mark": draft_mark(place.workflow, place.kind) if has_draft else "",
        "has_draft": has_draft,
        "may_edit": may_edit and has_draft,
        "may_confirm": _may_confirm(request, place),
        "coverage": coverage_of(place) if place.kind != Kind.ADVERSARIAL else None,
        "categories": _tally(own, "category"),
        "segments": _tally(own, "segment"),
        "channels": _channels(own),
        "must_pass": sum(facet.cases for facet in own if facet.must_pass),
        "look_alikes": sum(facet.cases for facet in own if facet.look_alike),
        "versions": versions,
        "sample": sample_of(place.workflow) if place.kind == Kind.RECENT else None,
        "origin": place.suite.origin if place.suite else {},
        "age_days": (now() - place.suite.sampled_to).days
        if place.suite and place.suite.sampled_to
        else None,
    }


def _edits(place: Place, edits: QuerySet[SuiteEdit]) -> list[tuple[SuiteEdit, str]]:
    """The first edits of the draft, each with what it does to the newest version."""
    shown = list(edits.order_by("key")[:EDITS_SHOWN])
    held: set[str] = set()
    if place.suite is not None:
        keys = [edit.key for edit in shown]
        held = set(place.suite.cases.filter(key__in=keys).values_list("key", flat=True))
    return [
        (edit, REMOVED if edit.content is None else CHANGED if edit.key in held else ADDED)
        for edit in shown
    ]


def line_of(listed: Listed) -> dict[str, Any]:
    """One case of the list: what it asks and what it expects, in short."""
    row = listed.row or listed.was
    return {
        "key": listed.key,
        "what": listed.what,
        "edit": listed.edit,
        "row": row,
        "asks": asked_in_short(row) if row else "",
        "expects": expected_in_words(row) if row else "",
        "channel": dict(Case.Channel.choices).get(row["channel"], "") if row else "",
    }


def _may_confirm(request: UserRequest, place: Place) -> bool:
    suite = place.suite
    if suite is None or not place.is_newest or suite.confirmed_at or suite.frozen_by_id is None:
        return False
    if suite.frozen_by_id == request.user.pk or not can(request.user, "suite.confirm", suite):
        return False
    return not suite.editors.filter(pk=request.user.pk).exists()


def _tally(own: Iterable[Facet], name: str) -> list[tuple[str, int, int]]:
    """(word, cases, of them must pass) of every category or segment, the largest first."""
    cases: Counter[str] = Counter()
    must_pass: Counter[str] = Counter()
    for facet in own:
        cases[getattr(facet, name)] += facet.cases
        must_pass[getattr(facet, name)] += facet.cases if facet.must_pass else 0
    return [(word, n, must_pass[word]) for word, n in sorted(cases.items(), key=_largest)]


def _largest(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _channels(own: Iterable[Facet]) -> list[tuple[str, str, int, int]]:
    """(value, word, attacks, look-alikes) of every channel; "" is "not said"."""
    attacks: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    for facet in own:
        (alike if facet.look_alike else attacks)[facet.channel] += facet.cases
    named = [(value, str(word)) for value, word in Case.Channel.choices]
    if attacks[""] or alike[""]:
        named.append(("", "Not said"))
    return [(value, word, attacks[value], alike[value]) for value, word in named]
