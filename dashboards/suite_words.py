"""What differs between two states of a case, as a person reads it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from governance.evals.cases import SAME_INPUT, Row
from governance.evals.models import Case
from governance.releases.diff import ValueDiff
from governance.releases.values import MISSING, changed, show, words
from governance.releases.wording import TextDiff, is_wording, word_diff

FIELDS = {
    "input": "Input", "expected": "Expected", "reason": "Why it is there",
    "category": "Category", "segment": "Segment", "cluster": "Cluster", "channel": "Channel",
    "must_pass": "Must pass", "labelled_by_label": "Labelled by", "source": "Made from",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """Texts word by word, everything else before and after."""

    texts: tuple[TextDiff, ...]
    values: tuple[ValueDiff, ...]


def changes_of(before: Row, after: Row) -> Changes:
    """Return what differs in one case."""
    texts, values = [], []
    for path, was, becomes in changed(_shown(before), _shown(after)):
        name = " › ".join((FIELDS[path[0]], *(words(part) for part in path[1:])))
        if is_wording(was, becomes):
            old, new = (side if isinstance(side, str) else "" for side in (was, becomes))
            texts.append(TextDiff(name, word_diff(old, new)))
        else:
            values.append(ValueDiff(name, _plain(was), _plain(becomes)))
    return Changes(tuple(texts), tuple(values))


def _shown(row: Row) -> Row:
    found = {name: row[name] for name in FIELDS}
    found["channel"] = dict(Case.Channel.choices).get(row["channel"], "")
    return {name: value for name, value in found.items() if value not in ("", {}, False)}


def _plain(value: Any) -> str:
    if value is MISSING:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else show(value)


def asked_in_short(row: Row) -> str:
    """Return the text of a case, or its first text, for a line of a list."""
    asked = row["input"]
    text = asked.get("text")
    if not isinstance(text, str):
        text = next((value for value in asked.values() if isinstance(value, str)), None)
    return text if text is not None else show(asked)


def expected_in_words(row: Row) -> str:
    """Return what a good release does with a case, in one line."""
    expected, said = row["expected"], []
    if expected.get("must_escalate"):
        said.append("a person is asked")
    if expected.get("must_not_escalate"):
        said.append("answered without a person")
    if expected.get("answer") not in (None, ""):
        said.insert(0, f"answer {show(expected['answer'])}")
    known = ("answer", "must_escalate", "must_not_escalate")
    said += [
        f"{words(name)} {show(value)}" for name, value in expected.items() if name not in known
    ]
    return ", ".join(said) or "not labelled yet"


def source_in_words(row: Row) -> str:
    """Return what a case was made from; "" where it says nothing."""
    source = row["source"]
    kind = source.get("kind", "")
    if kind == "exception":
        return f"exception {source.get('id')}"
    if kind == "receipt":
        return f"run receipt {source.get('id')}"
    if kind == "file":
        name, line = source.get("name", ""), source.get("line")
        return f"file {name}" + (f", line {line}" if line else "")
    return ", ".join(f"{words(name)} {show(value)}" for name, value in source.items())


def is_made_cluster(cluster: str) -> bool:
    """Whether nobody named this cluster: its cases ask the very same thing."""
    return cluster.startswith(SAME_INPUT)
