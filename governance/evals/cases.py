"""What a case must look like before it is stored, and the digest of a whole suite."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from governance.common.canonical import canonical, digest
from governance.common.errors import InvalidInputError
from governance.evals import expectations
from governance.evals.models import Case, SuiteVersion

MOST_CASES = 100_000
LARGEST_CASE = 256 * 1024  # characters of its canonical JSON
CASE_KEYS = (
    "key", "input", "expected", "category", "segment", "cluster", "channel", "must_pass", "reason",
    "source", "labelled_by_label",
)  # fmt: skip
LONGEST = {"category": 100, "segment": 100, "cluster": 100, "reason": 300, "labelled_by_label": 200}
# Left out of the digest where they are empty: a suite that has none keeps its digest.
ADDED_LATER = ("segment", "channel", "source", "labelled_by_label")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
SAME_INPUT = "same input "

Row = dict[str, Any]


def clean_case(case: Mapping[str, Any]) -> Row:
    """Return one case as it is stored, every field there.

    Raises:
        InvalidInputError: in one sentence that names the case and what is wrong with it.
    """
    key = case.get("key")
    if not isinstance(key, str) or not 1 <= len(key) <= 120 or not is_storable(key):
        raise InvalidInputError("Every case has a key of 1 to 120 characters.")
    if set(case) - set(CASE_KEYS) or not isinstance(case.get("input"), Mapping):
        raise InvalidInputError(f"The case {key!r} needs an input and known fields only.")
    if not case["input"]:
        raise InvalidInputError(f"The case {key!r} has an empty input.")
    row: Row = {
        "key": key,
        "input": dict(case["input"]),
        "expected": expectations.check(key, case.get("expected")),
    }
    for name, longest in LONGEST.items():
        text = str(case.get(name) or "").strip()
        if len(text) > longest:
            raise InvalidInputError(f"The case {key!r}: {name} has at most {longest} characters.")
        row[name] = text
    row["channel"] = str(case.get("channel") or "")
    if row["channel"] and row["channel"] not in Case.Channel.values:
        known = ", ".join(Case.Channel.values)
        raise InvalidInputError(f"The case {key!r}: a channel is one of {known}.")
    row["must_pass"] = bool(case.get("must_pass", False))
    source = case.get("source") or {}
    if not isinstance(source, Mapping):
        raise InvalidInputError(f"The case {key!r}: its source is an object.")
    row["source"] = dict(source)
    told = {name: row[name] for name in ("input", "expected", "source")}
    text = canonical(told)
    if len(text) > LARGEST_CASE:
        raise InvalidInputError(f"The case {key!r} is larger than {LARGEST_CASE // 1024} kB.")
    words = "".join((*(row[name] for name in LONGEST), row["channel"]))
    if not is_storable(words) or ("\\u0000" in text and not is_storable(told)):
        raise InvalidInputError(f"The case {key!r} holds a character that nothing can store.")
    return row


def check_by_hand(kind: str, row: Row) -> None:
    """What a case needs beyond its form when a person or a file puts it into a suite.

    Raises:
        InvalidInputError: a golden case without its reason, an adversarial one without its channel.
    """
    if kind == SuiteVersion.Kind.GOLDEN and not row["reason"]:
        raise InvalidInputError(
            f"Say why the case {row['key']!r} is there: a golden case needs it."
        )
    if kind == SuiteVersion.Kind.ADVERSARIAL and not row["channel"]:
        raise InvalidInputError(
            f"Say how the case {row['key']!r} reaches the workflow: directly, in a document, in a"
            " tool's answer or in memory."
        )


def is_storable(value: Any) -> bool:
    """Whether PostgreSQL can hold every text in it: no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        return UNSTORABLE.search(value) is None
    if isinstance(value, Mapping):
        return all(is_storable(name) and is_storable(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return all(is_storable(inner) for inner in value)
    return True


def clean_cases(cases: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the cases as they are stored and digested, in the order of their keys."""
    if not 1 <= len(cases) <= MOST_CASES:
        raise InvalidInputError(f"A suite has between 1 and {MOST_CASES:,} cases.")
    rows: dict[str, Row] = {}
    for case in cases:
        row = clean_case(case)
        if row["key"] in rows:
            raise InvalidInputError(f"The case {row['key']!r} stands twice in the suite.")
        rows[row["key"]] = row
    return settled(rows)


def settled(rows: Mapping[str, Row]) -> list[Row]:
    """Return cases by key in their order, those that ask the very same thing in one cluster.

    They are no independent evidence. A cluster that was made this way before is made anew.
    """
    by_input: dict[str, list[Row]] = {}
    ordered = [rows[key] for key in sorted(rows)]
    for row in ordered:
        if row["cluster"].startswith(SAME_INPUT):
            row["cluster"] = ""
        by_input.setdefault(digest(row["input"]), []).append(row)
    for input_digest, group in by_input.items():
        if len(group) > 1:
            for row in group:
                row["cluster"] = row["cluster"] or f"{SAME_INPUT}{input_digest[7:19]}"
    return ordered


def suite_digest(workflow_slug: str, kind: str, rows: Iterable[Row]) -> str:
    """Return the digest of a whole suite: of its canonical JSON, made piece by piece."""
    whole = hashlib.sha256(b'{"cases":[')
    for position, row in enumerate(rows):
        whole.update((b"," if position else b"") + canonical(digested(row)).encode())
    end = canonical({"kind": kind, "workflow": workflow_slug})
    whole.update(b"]," + end.removeprefix("{").encode())
    return "sha256:" + whole.hexdigest()


def digested(row: Row) -> Row:
    """Return the part of a case that its suite's digest covers."""
    return {name: value for name, value in row.items() if value or name not in ADDED_LATER}


def row_of(case: Case) -> Row:
    """Return a stored case as the row that it was made from."""
    return {name: getattr(case, name) for name in CASE_KEYS}


def digest_of(row: Row | None) -> str:
    """Return what tells whether two people look at the same case; "" where there is none."""
    return digest(row) if row is not None else ""
