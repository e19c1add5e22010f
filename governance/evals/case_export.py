"""The cases of a version as a file, and the fact that somebody took them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from governance import audit
from governance.common.csv_cells import safe_cell
from governance.common.errors import InvalidInputError
from governance.evals.cases import CASE_KEYS, digested
from governance.evals.models import SuiteVersion
from governance.evals.suite_lists import every_row
from governance.people.models import User

CSV, JSONL = "csv", "jsonl"
TYPES = {CSV: "text/csv; charset=utf-8", JSONL: "application/x-ndjson"}
AT_ONCE = 500  # cases in one piece of the stream


@audit.atomic()
def export_suite(suite: SuiteVersion, form: str, *, actor: User) -> Iterator[str]:
    """Record that somebody takes every case of a version away, and return the file in pieces.

    Raises:
        InvalidInputError: another form than CSV or JSONL.
    """
    if form not in TYPES:
        raise InvalidInputError("Cases are exported as csv or jsonl.")
    audit.record(
        "suite.exported", suite, actor=actor, workflow=suite.workflow.slug, digest=suite.digest,
        cases=suite.case_count, form=form,
    )  # fmt: skip
    return _csv(suite) if form == CSV else _jsonl(suite)


def _jsonl(suite: SuiteVersion) -> Iterator[str]:
    pieces: list[str] = []
    for row in every_row(suite):
        pieces.append(json.dumps(digested(row), ensure_ascii=False) + "\n")
        if len(pieces) >= AT_ONCE:
            yield "".join(pieces)
            pieces.clear()
    yield "".join(pieces)


def _csv(suite: SuiteVersion) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CASE_KEYS)
    for position, row in enumerate(every_row(suite), start=1):
        writer.writerow(
            safe_cell(json.dumps(value, ensure_ascii=False) if value else "")
            if isinstance(value := row[name], dict)
            else safe_cell("yes" if value is True else "" if value is False else value)
            for name in CASE_KEYS
        )
        if position % AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()
