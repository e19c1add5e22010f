"""Reading suites of any size: pages of cases by key, what differs between two versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Case as Choice
from django.db.models import F, Q, QuerySet, TextField, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from governance.evals.cases import CASE_KEYS, Row, row_of
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import Case, SuiteVersion

PER_PAGE = 50
ADDED, CHANGED, REMOVED = "added", "changed", "removed"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which cases are wanted; empty texts and None ask for nothing."""

    category: str = ""
    segment: str = ""
    channel: str = ""
    must_pass: bool = False
    look_alikes: bool | None = None
    text: str = ""
    after: str = ""

    @property
    def narrows(self) -> bool:
        return (
            bool(self.category or self.segment or self.channel or self.must_pass or self.text)
            or self.look_alikes is not None
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """One case of a page: `edit` where the draft has its own, `row` None where that removes it."""

    key: str
    row: Row | None
    edit: SuiteEdit | None
    was: Row | None

    @property
    def what(self) -> str:
        """Added, changed or removed by the draft; "" where it is as frozen."""
        if self.edit is None:
            return ""
        if self.row is None:
            return REMOVED
        return CHANGED if self.was is not None else ADDED


def page_of(
    suite: SuiteVersion | None, edits: QuerySet[SuiteEdit] | None, asked: Asked
) -> tuple[list[Listed], bool]:
    """Return one page of cases by key, the draft's edits on top, and whether more follow.

    Three queries, whatever the size of the suite and however far the page.
    """
    cases = Case.objects.filter(suite=suite) if suite is not None else Case.objects.none()
    cases = _narrowed(cases, asked)
    keys: QuerySet[Any] = cases.order_by().annotate(where=Value("case")).values_list("key")
    if edits is not None:
        keys = keys.exclude(key__in=edits.values("key")).union(
            _narrowed_edits(edits, asked).order_by().values_list("key"), all=True
        )
    found = [key for (key,) in keys.order_by("key")[: PER_PAGE + 1]]
    shown = found[:PER_PAGE]
    held = (
        {case.key: row_of(case) for case in Case.objects.filter(suite=suite, key__in=shown)}
        if suite is not None
        else {}
    )
    edited = (
        {edit.key: edit for edit in edits.filter(key__in=shown).select_related("edited_by")}
        if edits is not None
        else {}
    )
    page = [
        Listed(
            key,
            edited[key].content if key in edited else held.get(key),
            edited.get(key),
            held.get(key) if key in edited else None,
        )
        for key in shown
    ]
    return page, len(found) > PER_PAGE


def _narrowed(cases: QuerySet[Case], asked: Asked) -> QuerySet[Case]:
    if asked.category:
        cases = cases.filter(category=asked.category)
    if asked.segment:
        cases = cases.filter(segment=asked.segment)
    if asked.channel:
        cases = cases.filter(channel=asked.channel)
    if asked.must_pass:
        cases = cases.filter(must_pass=True)
    if asked.look_alikes is not None:
        cases = cases.annotate(alike=_flag("expected__must_not_escalate"))
        cases = cases.filter(alike=int(asked.look_alikes))
    if asked.text:
        cases = cases.annotate(asks=Cast("input", TextField())).filter(
            Q(key__icontains=asked.text)
            | Q(reason__icontains=asked.text)
            | Q(asks__icontains=asked.text)
        )
    return cases.filter(key__gt=asked.after) if asked.after else cases


def _flag(path: str) -> Choice:
    """1 where the JSON says true, 0 elsewhere: a look-up negated loses what has no such field."""
    return Choice(When(Q(**{path: True}), then=Value(1)), default=Value(0))


def _narrowed_edits(edits: QuerySet[SuiteEdit], asked: Asked) -> QuerySet[SuiteEdit]:
    for name, wanted in (
        ("category", asked.category), ("segment", asked.segment), ("channel", asked.channel),
    ):  # fmt: skip
        if wanted:
            edits = edits.filter(**{f"content__{name}": wanted})
    if asked.must_pass:
        edits = edits.filter(content__must_pass=True)
    if asked.look_alikes is not None:
        edits = edits.annotate(alike=_flag("content__expected__must_not_escalate"))
        edits = edits.filter(alike=int(asked.look_alikes))
    if asked.text:
        edits = edits.annotate(
            asks=Cast(F("content__input"), TextField()), why=KT("content__reason")
        ).filter(
            Q(key__icontains=asked.text)
            | Q(why__icontains=asked.text)
            | Q(asks__icontains=asked.text)
        )
    return edits.filter(key__gt=asked.after) if asked.after else edits


@dataclass(frozen=True, slots=True)
class CaseDiff:
    """One case that differs between two versions; None on the side where it is not there."""

    key: str
    before: Row | None
    after: Row | None

    @property
    def what(self) -> str:
        if self.before is None:
            return ADDED
        return CHANGED if self.after is not None else REMOVED


_FIELDS = [name for name in CASE_KEYS if name != "key"]
_OLD, _NEW = (", ".join(f'{side}."{name}"' for name in _FIELDS) for side in ("old", "new"))
_DIFFERS = (  # our own columns
    " FROM (SELECT * FROM governance_case WHERE suite_id = %(old)s) AS old"  # noqa: S608
    " FULL OUTER JOIN (SELECT * FROM governance_case WHERE suite_id = %(new)s) AS new USING (key)"
    f" WHERE ({_OLD}) IS DISTINCT FROM ({_NEW})"
)


def difference_counts(old: SuiteVersion, new: SuiteVersion) -> dict[str, int]:
    """Return how many cases were added, changed and removed. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE old.suite_id IS NULL),"
            " count(*) FILTER (WHERE old.suite_id IS NOT NULL AND new.suite_id IS NOT NULL),"
            f" count(*) FILTER (WHERE new.suite_id IS NULL) {_DIFFERS}",
            {"old": old.pk, "new": new.pk},
        )
        added, changed, removed = cursor.fetchone()
    return {ADDED: added, CHANGED: changed, REMOVED: removed}


def differences(
    old: SuiteVersion, new: SuiteVersion, *, after: str = "", what: str = ""
) -> tuple[list[CaseDiff], bool]:
    """Return a page of the cases that differ, by key, and whether more follow. Two queries."""
    only = {
        ADDED: " AND old.suite_id IS NULL",
        REMOVED: " AND new.suite_id IS NULL",
        CHANGED: " AND old.suite_id IS NOT NULL AND new.suite_id IS NOT NULL",
    }.get(what, "")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT key {_DIFFERS} {only} AND key > %(after)s ORDER BY key LIMIT %(most)s",
            {"old": old.pk, "new": new.pk, "after": after, "most": PER_PAGE + 1},
        )
        keys = [key for (key,) in cursor.fetchall()]
    shown = keys[:PER_PAGE]
    held: dict[int, dict[str, Row]] = {old.pk: {}, new.pk: {}}
    for case in Case.objects.filter(suite__in=(old, new), key__in=shown):
        held[case.suite_id][case.key] = row_of(case)
    page = [CaseDiff(key, held[old.pk].get(key), held[new.pk].get(key)) for key in shown]
    return page, len(keys) > PER_PAGE


def every_row(suite: SuiteVersion) -> Iterator[Row]:
    """Every case of a version by key, in a stream: what exports and re-readings stand on."""
    for case in suite.cases.order_by("key").iterator(chunk_size=2_000):
        yield row_of(case)
