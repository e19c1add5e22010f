"""How often the gate is wrong, and how often it sees: simulated worlds with known truth.

A case answers better (+1), worse (-1) or alike (0) with the candidate. `discordance` is the share
of cases that differ, `clustering` the correlation of cases of one cluster of five. In each cell so
many worlds are drawn (seeded), and the gate's own functions judge the counts of each. The design
effect, which needs every case, is computed for all worlds at once; for some worlds of each cell it
is compared with the gate's own function.

`BENCH_GATES_WORLDS` sets the number of worlds per cell (40,000). The tables are written into
docs/gates.md.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from governance.evals import statistics as st
from governance.evals.clusters import (
    cluster_caution,
    design_effect,
    few_clusters,
    independent_pairs,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gates.md"
BEGIN, END = "<!-- bench/gates.py begins -->", "<!-- bench/gates.py ends -->"
SEED = 20261126
WORLDS = int(os.environ.get("BENCH_GATES_WORLDS", "40000"))
SIZES = (20, 30, 50, 100, 200, 500)
MARGINS = (0.03, 0.05, 0.10)
DISCORDANCES = (0.05, 0.15, 0.30)
CLUSTERINGS = (0.0, 0.3, 0.6)
CLUSTER = 5  # cases of one cluster
OTHER_CLUSTERS, OTHER_SIZES = (2, 3, 10, 20), (60, 120, 300, 600)  # half as many worlds each
ALPHA = 0.05
CHECKED = 40  # worlds of each cell whose design effect the gate's own function computes too

Counts = NDArray[Any]
Table = tuple[float, float, float]


def measure() -> Iterator[str]:
    """Simulate every cell, write the tables, and say the worst figures."""
    started = time.monotonic()
    made = np.random.default_rng(SEED)
    rows = [
        _cell(made, size, margin, discordance, clustering)
        for size, margin, discordance in _grid(SIZES)
        for clustering in CLUSTERINGS
    ]
    others = {
        each: [
            _cell(made, size, margin, discordance, clustering, worlds=WORLDS // 2, each=each)
            for size, margin, discordance in _grid(OTHER_SIZES)
            for clustering in CLUSTERINGS[1:]
        ]
        for each in OTHER_CLUSTERS
    }
    plans = [_plan(made, margin, discordance) for _, margin, discordance in _grid((0,))]
    ten = [_ten_points(made, discordance) for discordance in (0.15, 0.30)]
    _write(rows, others, plans, ten, time.monotonic() - started)
    alone = [row for row in rows if not row.clustering]
    gap = max(abs(row.power - row.theory) for row in alone)
    unknown = _blind(row for row in rows if row.clustering)
    yield f"{len(rows)} cells of {WORLDS:,} worlds in {time.monotonic() - started:.0f} s"
    yield f"largest false-ship rate: {100 * _wrong(rows):.2f} % (asked: at most 5.5 %)"
    naive, lax = max(row.naive for row in rows), max(row.not_worse for row in rows)
    yield f"naive rule at the margin: up to {naive:.0%}; “not significantly worse”: {lax:.0%}"
    yield f"power against theory, independent cases: at most {100 * gap:.1f} points apart"
    yield f"clustered cases, against a test that knows the clustering: {100 * unknown:.1f} points"
    for each, cells in others.items():
        yield (
            f"clusters of {each}: ships wrongly in at most {100 * _wrong(cells):.2f} %, at most"
            f" {100 * _blind(cells):.1f} points below such a test"
        )
    for discordance, primary, guardrail in ten:
        yield (
            f"+10 points at 200 cases, discordance {discordance:g}: shown in {primary:.1%};"
            f" no loss of 10 points: {guardrail:.1%}"
        )
    off = max(abs(plan.planned / plan.simulated - 1) for plan in plans)
    yield f"planner against the simulated 80 % point: at most {off:.0%} apart"


def _grid(sizes: Iterable[int]) -> Iterator[tuple[int, float, float]]:
    """Sizes, margins and discordances that can exist together."""
    for size in sizes:
        for discordance in DISCORDANCES:
            for margin in MARGINS:
                if margin <= discordance:
                    yield size, margin, discordance


class Row:
    """One cell: how often it passes although it must not, and how often when it may."""

    def __init__(self, size: int, margin: float, discordance: float, clustering: float) -> None:
        self.size, self.margin = size, margin
        self.discordance, self.clustering = discordance, clustering
        self.not_better = self.at_margin = self.naive = self.not_worse = 0.0
        self.power = self.theory = 0.0


def _cell(
    made: np.random.Generator,
    size: int,
    margin: float,
    discordance: float,
    clustering: float,
    *,
    worlds: int = WORLDS,
    each: int = CLUSTER,
) -> Row:
    row = Row(size, margin, discordance, clustering)
    alike = _worlds(made, size, 0.0, discordance, clustering, worlds, each)
    at_margin = _worlds(made, size, -margin, discordance, clustering, worlds, each)
    row.not_better = _share(alike.reduced, lambda pairs: st.superiority_p(pairs) <= ALPHA)
    row.at_margin = _share(at_margin.reduced, _no_worse(margin))
    row.power = _share(alike.reduced, _no_worse(margin))
    row.naive = _share(at_margin.raw, lambda pairs: pairs.better >= pairs.worse)
    row.not_worse = _share(at_margin.raw, lambda p: st.superiority_p(p.swapped) > ALPHA)
    row.theory = (
        _share(alike.knowing, _no_worse(margin)) if clustering
        else _theory(size, margin, discordance)
    )  # fmt: skip
    return row


def _wrong(rows: Iterable[Row]) -> float:
    """The largest share of worlds that ship although they must not."""
    return max(max(row.not_better, row.at_margin) for row in rows)


def _blind(rows: Iterable[Row]) -> float:
    """By how much the power stays below theory, at most."""
    return max(row.theory - row.power for row in rows)


def _no_worse(margin: float) -> Callable[[st.Pairs], bool]:
    return lambda pairs: _exceeds(pairs.better, pairs.worse, pairs.total, -margin) <= ALPHA


@lru_cache(maxsize=200_000)
def _exceeds(better: float, worse: float, total: float, null: float) -> float:
    return st.exceeds_p(st.Pairs(better, worse, total), null)


class Worlds:
    """The counts of all worlds of one cell: as they are, as the gate reduces them, and as it would
    reduce them if it knew how the cases of a cluster hang together."""

    def __init__(
        self, raw: dict[Table, int], reduced: dict[Table, int], effect: float = 1.0
    ) -> None:
        self.raw, self.reduced = raw, reduced
        self.knowing = {
            (better / effect, worse / effect, total / effect): worlds
            for (better, worse, total), worlds in raw.items()
        }


def _worlds(
    made: np.random.Generator,
    size: int,
    change: float,
    discordance: float,
    clustering: float,
    worlds: int = WORLDS,
    each: int = CLUSTER,
) -> Worlds:
    shares = [(discordance + change) / 2, (discordance - change) / 2, 1 - discordance]
    if not clustering:
        drawn = made.multinomial(size, shares, size=worlds)
        tables = np.column_stack([drawn[:, 0], drawn[:, 1], np.full(worlds, size)])
        counted = _counted(tables)
        return Worlds(counted, counted)
    groups = size // each
    raw_parts: list[Counts] = []
    reduced_parts: list[Counts] = []
    step = max(1, 4_000_000 // size)
    for begin in range(0, worlds, step):
        count = min(step, worlds - begin)
        own = made.choice([1, -1, 0], p=shares, size=(count, groups, each))
        common = made.choice([1, -1, 0], p=shares, size=(count, groups, 1))
        # With this chance a case does what its cluster does; two of them correlate by its square.
        follows = made.random((count, groups, each)) < math.sqrt(clustering)
        values = np.where(follows, common, own)
        raw, reduced = _reduced(values, checked=CHECKED if begin == 0 else 0)
        raw_parts.append(raw)
        reduced_parts.append(reduced)
    effect = (1 + (each - 1) * clustering) * few_clusters(groups)
    raw, reduced = np.concatenate(raw_parts), np.concatenate(reduced_parts)
    return Worlds(_counted(raw), _counted(reduced), effect)


def _reduced(values: NDArray[np.int64], *, checked: int) -> tuple[Counts, Counts]:
    """Counts of (better, worse, total) per world, and those that independent cases would have."""
    count, groups, each = values.shape
    total = groups * each
    better, worse = (values == 1).sum(axis=(1, 2)), (values == -1).sum(axis=(1, 2))
    raw = np.column_stack([better, worse, np.full(count, total)])
    sums = values.sum(axis=2)
    mean = (better - worse) / total
    alone = ((better + worse) - total * mean**2) * total / (total - 1)
    together = ((sums - each * mean[:, None]) ** 2).sum(axis=1) * groups / (groups - 1)
    same = total - better - worse
    stacked = np.column_stack([better, worse, same])
    usual = np.array([1, -1, 0])[stacked.argmax(axis=1)]
    informative = (values != usual[:, None, None]).any(axis=2).sum(axis=1)
    above = (values > usual[:, None, None]).any(axis=2).sum(axis=1)
    complete = float(each)
    estimate = np.where(alone > 0, together / np.where(alone > 0, alone, 1), complete)
    caution = np.where(
        above <= 1,
        cluster_caution(complete, one_sided=True),
        cluster_caution(complete, one_sided=False),
    )
    pulled = (informative * estimate + caution * complete) / (informative + caution)
    effect = np.maximum(1.0, pulled) * few_clusters(groups)
    clusters = [group for group in range(groups) for _ in range(each)]
    for at in range(min(checked, count)):
        cases = [float(value) for value in values[at].ravel()]
        if len({better[at], worse[at], same[at]}) == 3:  # else the usual value is a tie
            theirs = design_effect(cases, clusters)
            if abs(theirs - effect[at]) > 1e-9:
                raise AssertionError("the simulation reduces counts otherwise than the gate")
    tables = [
        independent_pairs(st.Pairs(int(b), int(w), total), float(e))
        for b, w, e in zip(better, worse, effect, strict=True)
    ]
    return raw, np.array([[pairs.better, pairs.worse, pairs.total] for pairs in tables])


def _counted(tables: Counts) -> dict[Table, int]:
    distinct, counts = np.unique(tables, axis=0, return_counts=True)
    return {
        (float(b), float(w), float(t)): int(n)
        for (b, w, t), n in zip(distinct, counts, strict=True)
    }


def _share(counted: dict[Table, int], passes: Callable[[st.Pairs], bool]) -> float:
    """The share of worlds that pass; each distinct table is judged once."""
    passed = sum(n for table, n in counted.items() if passes(st.Pairs(*table)))
    return passed / sum(counted.values())


def _theory(size: int, margin: float, discordance: float) -> float:
    """The power of the gate's test at the true change of zero, over every table it can meet.

    Independent cases: each table with its multinomial probability.
    """
    from scipy.special import gammaln

    p = discordance / 2
    passes, power = _no_worse(margin), 0.0
    for better in range(size + 1):
        for worse in range(size + 1 - better):
            alike = size - better - worse
            log = (
                gammaln(size + 1) - gammaln(better + 1) - gammaln(worse + 1) - gammaln(alike + 1)
                + (better + worse) * math.log(p) + alike * math.log(1 - discordance)
            )  # fmt: skip
            if log > -16 and passes(st.Pairs(better, worse, size)):
                power += math.exp(log)
    return power


def _ten_points(made: np.random.Generator, discordance: float) -> tuple[float, float, float]:
    better = _worlds(made, 200, 0.10, discordance, 0.0)
    alike = _worlds(made, 200, 0.0, discordance, 0.0)
    shown = _share(better.reduced, lambda pairs: st.superiority_p(pairs) <= ALPHA)
    return discordance, shown, _share(alike.reduced, _no_worse(0.10))


class Plan:
    """What the planner says is needed, beside the number that reaches 80 % in worlds."""

    def __init__(self, margin: float, discordance: float, planned: int, simulated: int) -> None:
        self.margin, self.discordance = margin, discordance
        self.planned, self.simulated = planned, simulated


def _plan(made: np.random.Generator, margin: float, discordance: float) -> Plan:
    planned = st.cases_needed(
        discordance=discordance, change=0.0, null=-margin, confidence=1 - ALPHA
    )
    if planned is None:
        raise AssertionError("a margin can always be planned for")
    low, high = planned // 2, planned * 2
    while high - low > max(1, planned // 200):
        middle = (low + high) // 2
        worlds = _worlds(made, middle, 0.0, discordance, 0.0)
        if _share(worlds.reduced, _no_worse(margin)) >= 0.8:
            high = middle
        else:
            low = middle
    return Plan(margin, discordance, planned, high)


def _write(
    rows: list[Row],
    others: dict[int, list[Row]],
    plans: list[Plan],
    ten: list[tuple[float, float, float]],
    seconds: float,
) -> None:
    """Put the tables between the two marks of docs/gates.md."""
    lines = [
        BEGIN, "",
        f"{len(rows)} cells of {WORLDS:,} worlds, seed {SEED}, {seconds:.0f} s"
        f" (`make bench ARGS=gates`). Largest false-ship rate:"
        f" {100 * _wrong(rows):.2f} %.", "",
        "| cases | margin | differ | clustering | ships although not better | ships at the margin |"
        " naive rule | “not significantly worse” | power | theory |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {r.size} | {100 * r.margin:g} | {100 * r.discordance:g} % | {r.clustering:g} |"
            f" {100 * r.not_better:.1f} % | {100 * r.at_margin:.1f} % | {100 * r.naive:.0f} % |"
            f" {100 * r.not_worse:.0f} % | {100 * r.power:.1f} % | {100 * r.theory:.1f} % |"
            for r in rows
        ), "",
        f"Clusters of other sizes, {len(next(iter(others.values())))} cells of {WORLDS // 2:,}"
        f" worlds each, {OTHER_SIZES[0]} to {OTHER_SIZES[-1]} cases:", "",
        "| cases of a cluster | ships wrongly, at most | below a test that knows, at most |",
        "|---:|---:|---:|",
        *(
            f"| {each} | {100 * _wrong(cells):.2f} % | {100 * _blind(cells):.1f} points |"
            for each, cells in others.items()
        ), "",
        "What the planner says, beside the number of cases that showed it in 80 % of worlds:", "",
        "| margin | differ | planner | simulated |", "|---:|---:|---:|---:|",
        *(
            f"| {100 * p.margin:g} | {100 * p.discordance:g} % | {p.planned:,} |"
            f" {p.simulated:,} |"
            for p in plans
        ), "",
        *(
            f"A true improvement of 10 points at 200 cases, {100 * d:g} % of which differ, is shown"
            f" in {100 * primary:.1f} % of worlds, and no loss of 10 points in {100 * guard:.1f} %."
            for d, primary, guard in ten
        ), "", END,
    ]  # fmt: skip
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + "\n".join(lines) + after)
