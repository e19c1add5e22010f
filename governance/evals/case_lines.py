"""One case of a file, whatever wrote it: its fields under our names, or why it is refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from governance.common.canonical import digest
from governance.common.errors import InvalidInputError
from governance.common.json_shapes import list_of, mapping_of
from governance.evals.cases import CASE_KEYS

YES, NO = {"1", "true", "yes", "y", "x"}, {"", "0", "false", "no", "n"}
# What files call our fields.
NAMES = {
    "id": "key", "text": "text", "question": "text", "prompt": "text", "target": "expected",
    "expected_output": "expected", "expectedOutput": "expected", "label": "expected",
    "answer": "expected", "description": "reason", "labelled_by": "labelled_by_label",
}  # fmt: skip
KNOWN = {*CASE_KEYS, "text", "tags", "must_escalate", "must_not_escalate", "metadata", "choices"}
FLAGS = ("must_escalate", "must_not_escalate")

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One case of a file: `case` None where it was refused, `error` says why.

    `number` counts lines of CSV and JSONL, cases of everything else. `note` says what of it has no
    counterpart here and was left out.
    """

    number: int
    case: Found | None
    error: str = ""
    key: str = ""
    note: str = ""


def text_of(file: BinaryIO) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The file is not UTF-8 at byte {error.start + 1:,}.") from error


def numbered(entries: Iterable[tuple[int, Any]]) -> Iterator[Line]:
    for number, entry in entries:
        try:
            yield line_of(number, fields_of(entry))
        except InvalidInputError as error:
            yield Line(number, None, str(error))


def fields_of(value: Any) -> Found:
    if not isinstance(value, Mapping):
        raise InvalidInputError("This is no object with the fields of a case.")
    found = {NAMES.get(str(name), str(name)): inner for name, inner in value.items()}
    if "key" in found and not isinstance(found["key"], str):
        found["key"] = str(found["key"])
    return found


def line_of(number: int, found: Found, *, note: str = "") -> Line:
    """Make a case of the fields of a file."""
    key = str(found.get("key") or "").strip()
    try:
        case, left_out = _case(found)
    except InvalidInputError as error:
        return Line(number, None, str(error), key)
    said = "; ".join(part for part in (note, left_out) if part)
    return Line(number, case, "", case["key"], said)


def _case(found: Found) -> tuple[Found, str]:
    asked = found.get("input")
    whole = dict(asked) if isinstance(asked, Mapping) else texts_of(asked)
    if found.get("text"):
        whole.setdefault("text", found["text"])
    if isinstance(found.get("choices"), list) and found["choices"]:
        whole["choices"] = found["choices"]
    if not whole:
        raise InvalidInputError("Nothing is asked: the input is empty.")
    case: Found = {"key": str(found.get("key") or "").strip() or f"case-{digest(whole)[7:15]}"}
    case["input"] = whole
    case["expected"] = _expected(found)
    for name in ("category", "segment", "cluster", "channel", "reason", "labelled_by_label"):
        if found.get(name) is not None:
            case[name] = str(found[name]).strip()
    if "channel" in case:
        case["channel"] = case["channel"].lower()
    if "must_pass" in found:
        case["must_pass"] = _flag("must_pass", found["must_pass"])
    if isinstance(found.get("source"), Mapping) and found["source"]:
        case["source"] = dict(found["source"])
    _tagged(case, found.get("tags"))
    facts = mapping_of(found.get("metadata"))
    for name in ("category", "segment", "channel", "cluster", "reason"):
        if not case.get(name) and isinstance(facts.get(name), str):
            case[name] = facts[name]
    unused = sorted(name for name in found if name not in KNOWN and not name.startswith("input."))
    return case, f"left out: {', '.join(unused)}" if unused else ""


def texts_of(value: Any) -> Found:
    """A text, or the messages of a conversation, as an input."""
    if value in (None, "", []):
        return {}
    return {"messages": value} if isinstance(value, list) else {"text": value}


def _expected(found: Found) -> Found:
    wanted = found.get("expected")
    expected: Found = {}
    if isinstance(wanted, Mapping):
        expected = dict(wanted)
    elif isinstance(wanted, list):
        if len(wanted) != 1:
            raise InvalidInputError("It has several right answers; a case has one.")
        expected = {"answer": str(wanted[0])}
    elif wanted not in (None, ""):
        expected = {"answer": str(wanted)}
    for name in FLAGS:
        if found.get(name) is not None and _flag(name, found[name]):
            expected[name] = True
    return expected


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = "" if value is None else str(value).strip().lower()
    if text not in YES | NO:
        raise InvalidInputError(f"{name} is yes or no, not {str(value)[:40]!r}.")
    return text in YES


def _tagged(case: Found, tags: Any) -> None:
    """`must-pass`, `segment:x`, `channel:x`, `cluster:x`; the first other tag is the category."""
    if isinstance(tags, str):
        tags = tags.replace(";", ",").split(",")
    for tag in list_of(tags):
        name, mark, value = str(tag).strip().partition(":")
        plain = name.lower().replace("-", "_")
        if plain == "must_pass" and not mark:
            case["must_pass"] = True
        elif mark and plain in ("segment", "channel", "cluster", "category"):
            case[plain] = value.strip()
        elif name and not case.get("category"):
            case["category"] = str(tag).strip()
