"""The cases of one run: what is wrong first, and what was asked, answered and scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from django.db.models import Case, IntegerField, Q, QuerySet, When
from django.utils.functional import cached_property

from governance.evals.models import EvalRun, Score


class WorstFirst(Sequence[Score]):
    """The scores of a run as pages ask for them: what could not run, what did not pass, the rest.

    The few that are wrong are sorted; the many that are right come from the index of the cases'
    keys, so that a page of a hundred thousand is as near as one of a hundred.
    """

    def __init__(self, run: EvalRun, scores: QuerySet[Score]) -> None:
        self._wrong = scores.filter(~Q(error="") | Q(passed=False))
        self._right = scores.filter(error="").exclude(passed=False)
        self._suite = run.suite_id

    @cached_property
    def _all(self) -> int:
        return self._wrongs + self._right.count()

    def __len__(self) -> int:
        return self._all

    @cached_property
    def _wrongs(self) -> int:
        return self._wrong.count()

    @overload
    def __getitem__(self, part: int) -> Score: ...
    @overload
    def __getitem__(self, part: slice) -> list[Score]: ...
    def __getitem__(self, part: int | slice) -> Score | list[Score]:
        if isinstance(part, int):
            return self[part : part + 1][0]
        begin, end = part.start or 0, len(self) if part.stop is None else part.stop
        found: list[Score] = []
        ranked = self._listed(self._wrong).annotate(
            rank=Case(
                When(~Q(error=""), then=0),
                When(case__must_pass=True, then=1),
                default=2,
                output_field=IntegerField(),
            )
        )
        if begin < self._wrongs:
            found += ranked.order_by("rank", "case__key", "repeat")[begin:end]
        first, last = max(0, begin - self._wrongs), end - self._wrongs
        if last > first:
            found += self._listed(self._right).order_by("case__key", "repeat")[first:last]
        return found

    def _listed(self, scores: QuerySet[Score]) -> QuerySet[Score]:
        # The suite is said again for the index of its keys.
        return scores.select_related("case").filter(case__suite=self._suite)


def said(score: Score) -> list[tuple[str, Any]]:
    """What was asked, expected and answered, in this order."""
    answered = score.output if isinstance(score.output, dict) else {"answer": score.output}
    return [
        ("Asked", score.case.input),
        ("Expected", score.case.expected),
        ("Answered", answered or None),
        *([("Scored", _scorers_of(score))] if score.metrics else []),
    ]


def _scorers_of(score: Score) -> dict[str, str]:
    """What each scorer of the workflow found, and why."""
    notes = score.notes
    return {name: _value(value, notes.get(name, "")) for name, value in score.metrics.items()}


def _value(value: Any, note: str) -> str:
    said = "does not apply" if value is None else f"{value:.4g}"
    if isinstance(value, bool):
        said = "yes" if value else "no"
    return f"{said}: {note}" if note else said
