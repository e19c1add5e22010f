"""Which label was taken for which: the matrix of a run that is scored by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from governance.evals.models import EvalRun

LABELS_SHOWN = 12
PAIRS_SHOWN = 20
SHADES = 4  # classes heat-1 to heat-4


@dataclass(frozen=True, slots=True)
class Cell:
    """How often one label was answered where another, or the same, was expected."""

    count: int
    shade: int  # 0 to 4, by its share of the row
    is_right: bool


@dataclass(frozen=True, slots=True)
class Row:
    """What was answered where one label was expected."""

    label: str
    cells: tuple[Cell, ...]
    others: int  # answered with a label that has no column
    total: int

    @property
    def recall(self) -> float:
        """The share of these cases that got their label."""
        return sum(cell.count for cell in self.cells if cell.is_right) / self.total


@dataclass(frozen=True, slots=True)
class Confusion:
    """The matrix of the labels that were mixed up most, and the pairs, most frequent first."""

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, str, int], ...]
    left_out: int  # labels without a row


def confusion_of(run: EvalRun) -> Confusion | None:
    """Lay out the labels of a finished run; None where it has no such scorer or nothing differs."""
    counts: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    for expected, answered, is_right, times in run.summary.get("labels", ()):
        counts[expected, answered] += times
        if not is_right:
            wrong[expected, answered] += times
    return _laid_out(counts, wrong) if wrong else None


def _laid_out(counts: Mapping[tuple[str, str], int], wrong: Counter[tuple[str, str]]) -> Confusion:
    mixed: Counter[str] = Counter()
    for (expected, answered), times in wrong.items():
        mixed[expected] += times
        mixed[answered] += times
    ranked = sorted(mixed, key=lambda label: (-mixed[label], label))
    shown = sorted(ranked[:LABELS_SHOWN])
    totals: Counter[str] = Counter()
    for (expected, _), times in counts.items():
        totals[expected] += times
    rows = tuple(_row(label, shown, counts, totals[label]) for label in shown if totals[label])
    pairs = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return Confusion(
        labels=tuple(shown),
        rows=rows,
        pairs=tuple((*pair, times) for pair, times in pairs[:PAIRS_SHOWN]),
        left_out=len(totals) - len(rows),
    )


def _row(label: str, shown: list[str], counts: Mapping[tuple[str, str], int], total: int) -> Row:
    cells = tuple(
        Cell(
            count=(times := counts.get((label, answered), 0)),
            shade=min(SHADES, -(-SHADES * times // total)),  # rounded up: what is there is seen
            is_right=answered == label,
        )
        for answered in shown
    )
    return Row(label, cells, total - sum(cell.count for cell in cells), total)
