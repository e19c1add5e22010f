"""One run laid beside another: which cases broke, which were mended, and everything else.

Everything is counted and found by the database: a page of a hundred thousand cases is as fast as
one of fifty. A case that was run several times stands once for each repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from governance.evals.models import EvalRun, Score
from governance.releases.models import LiveRelease

# What can flip: a truth value of every score. The first is what a case asks for as a whole.
COLUMNS = {
    "passed": "Passed everything asked",
    "correct": "Correct",
    "policy_ok": "Within policy",
    "escalated": "Escalated",
    "silent_error": "Answered wrong without a person",
}
LESS_IS_BETTER = ("escalated", "silent_error")
BROKE, MENDED, CHANGED, SAME, UNKNOWN = "broke", "mended", "changed", "same", "unknown"
KINDS = {
    BROKE: "Broke",
    MENDED: "Mended",
    CHANGED: "Another answer, as good",
    SAME: "The same",
    UNKNOWN: "Without both scores",
}
PAGE = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a comparison is looked at; `after` is the key and repeat of the last row shown."""

    column: str = "passed"
    kind: str = ""
    category: str = ""
    segment: str = ""
    text: str = ""
    after: tuple[str, int] = ("", -1)


@dataclass(frozen=True, slots=True)
class Pair:
    """One case in both runs."""

    kind: str
    mine: Score
    theirs: Score


def baseline_of(run: EvalRun) -> EvalRun | None:
    """Return what a run is compared with: the live release's newest run on the same cases.

    Scored by the same evaluator where there is such a run, else by another one: then the page says
    that nothing of it is a flip.
    """
    live = LiveRelease.objects.filter(workflow=run.suite.workflow_id).first()
    done = EvalRun.objects.filter(suite=run.suite, state=EvalRun.State.DONE).exclude(pk=run.pk)
    if live is not None and live.release_id != run.release_id:
        done = done.filter(release=live.release_id)
    else:
        done = done.exclude(release=run.release_id)
    rows = list(done.order_by("-finished_at", "-pk")[:20])
    return next((row for row in rows if row.evaluator == run.evaluator), next(iter(rows), None))


def are_comparable(run: EvalRun, other: EvalRun) -> str:
    """Say why two runs cannot be laid side by side; "" where they can."""
    if run.suite_id != other.suite_id:
        return "They answered different cases: other versions of a suite."
    if run.evaluator != other.evaluator:
        return (
            "They were scored by different evaluators, so a difference may come from the scoring."
            " Score the older one again."
        )
    return ""


def _kind_sql(column: str) -> str:
    """The kind of a pair, for one truth value; `m` is this run's score and `t` the other's."""
    better, worse = ("NOT m.{0}", "m.{0}") if column in LESS_IS_BETTER else ("m.{0}", "NOT m.{0}")
    return f"""CASE
        WHEN m.{column} IS NULL OR t.{column} IS NULL THEN '{UNKNOWN}'
        WHEN m.{column} <> t.{column} AND {worse.format(column)} THEN '{BROKE}'
        WHEN m.{column} <> t.{column} AND {better.format(column)} THEN '{MENDED}'
        WHEN m.output <> t.output THEN '{CHANGED}'
        ELSE '{SAME}' END"""


JOIN = """
FROM governance_score m
JOIN governance_score t ON t.run_id = %(theirs)s AND t.case_id = m.case_id AND t.repeat = m.repeat
JOIN governance_case c ON c.id = m.case_id
WHERE m.run_id = %(mine)s
"""


def _where(asked: Asked) -> tuple[str, dict[str, Any]]:
    clauses, values = [], {}
    if asked.category:
        clauses.append("c.category = %(category)s")
        values["category"] = asked.category
    if asked.segment:
        clauses.append("c.segment = %(segment)s")
        values["segment"] = asked.segment
    if asked.text:
        clauses.append("(c.key ILIKE %(text)s OR c.reason ILIKE %(text)s)")
        escaped = asked.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values["text"] = f"%{escaped}%"
    return "".join(f" AND {clause}" for clause in clauses), values


def counts(run: EvalRun, other: EvalRun, asked: Asked) -> dict[str, int]:
    """Return how many pairs there are of each kind, with the filters but that of the kind."""
    where, values = _where(asked)
    sql = f"SELECT {_kind_sql(asked.column)}, count(*) {JOIN}{where} GROUP BY 1"
    with connection.cursor() as cursor:
        cursor.execute(sql, {"mine": run.pk, "theirs": other.pk, **values})
        found = dict(cursor.fetchall())
    return {kind: found.get(kind, 0) for kind in KINDS}


def page(run: EvalRun, other: EvalRun, asked: Asked) -> tuple[list[Pair], tuple[str, int] | None]:
    """Return one page of pairs of one kind, by key, and where the next page begins.

    Without a kind: what broke.
    """
    where, values = _where(asked)
    sql = (
        f"SELECT m.id, t.id, c.key, m.repeat {JOIN}{where}"
        f" AND {_kind_sql(asked.column)} = %(kind)s"
        " AND (c.key, m.repeat) > (%(key)s, %(repeat)s)"
        " ORDER BY c.key, m.repeat LIMIT %(limit)s"
    )
    kind = asked.kind or BROKE
    facts = {
        "mine": run.pk, "theirs": other.pk, "kind": kind, "key": asked.after[0],
        "repeat": asked.after[1], "limit": PAGE + 1, **values,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(sql, facts)
        rows = cursor.fetchall()
    wanted = [pk for mine, theirs, *_ in rows[:PAGE] for pk in (mine, theirs)]
    scores = Score.objects.select_related("case").in_bulk(wanted)
    pairs = [Pair(kind, scores[mine], scores[theirs]) for mine, theirs, *_ in rows[:PAGE]]
    more = (rows[PAGE - 1][2], rows[PAGE - 1][3]) if len(rows) > PAGE else None
    return pairs, more


def facet(run: EvalRun, column: str) -> Sequence[str]:
    """Return the categories or segments of a run's cases, without the empty one."""
    rows = run.suite.cases.exclude(**{column: ""}).order_by(column)
    return list(rows.values_list(column, flat=True).distinct()[:200])
