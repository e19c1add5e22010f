"""Cases in files of other tools: CSV, JSON and JSONL, promptfoo configurations, Inspect logs. Pure.

Every reader yields one `Line` per case, in the order of the file, refused ones with the reason. A
file that cannot be read at all raises.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import yaml

from governance.common.canonical import digest, parse_json
from governance.common.csv_cells import STARTS_A_FORMULA
from governance.common.errors import InvalidInputError
from governance.evals.cases import CASE_KEYS, LARGEST_CASE

LARGEST_FILE = 64 * 1024 * 1024  # bytes
LARGEST_UNPACKED = 512 * 1024 * 1024  # bytes, of an .eval file
LARGEST_YAML = 4 * 1024 * 1024  # bytes: YAML takes a second for each of them
LONGEST_LINE = 4 * 1024 * 1024  # characters
YES, NO = {"1", "true", "yes", "y", "x"}, {"", "0", "false", "no", "n"}
# What files call our fields.
NAMES = {
    "id": "key", "text": "text", "question": "text", "prompt": "text", "target": "expected",
    "expected_output": "expected", "expectedOutput": "expected", "label": "expected",
    "answer": "expected", "description": "reason", "labelled_by": "labelled_by_label",
}  # fmt: skip
KNOWN = {*CASE_KEYS, "text", "tags", "must_escalate", "must_not_escalate", "metadata", "choices"}
FLAGS = ("must_escalate", "must_not_escalate")
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

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


def read_cases(file: BinaryIO, name: str) -> Iterator[Line]:
    """Return the cases of a file, whatever tool wrote it.

    Raises:
        InvalidInputError: the file is none of those, or broken; also while it is being read.
    """
    start = file.read(4096)
    file.seek(0)
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InvalidInputError("The file is empty.")
    for mark, coding in MARKS.items():
        if start.startswith(mark):
            raise InvalidInputError(f"The file is written in {coding}. Save it as UTF-8.")
    suffix = name.lower().rpartition(".")[2]
    if start.startswith(b"PK\x03\x04"):
        return _inspect_archive(file)
    if start.startswith((b"\x1f\x8b", b"%PDF", b"\xd0\xcf\x11\xe0")):
        raise InvalidInputError("This is no text: send CSV, JSONL, JSON, YAML or an .eval file.")
    if suffix in ("yaml", "yml"):
        return _document(_yaml(file))
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if suffix in ("jsonl", "ndjson") or (first == b"{" and _is_lines(start)):
        return _lines(file)
    if suffix == "json" or first in (b"{", b"["):
        return _document(parse_json(_text(file)))
    return _csv(file)


def _text(file: BinaryIO) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The file is not UTF-8 at byte {error.start + 1:,}.") from error


def _is_lines(start: bytes) -> bool:
    """Whether the first line is a whole object and something follows it."""
    line, end, rest = start.partition(b"\n")
    try:
        return isinstance(json.loads(line), dict) and bool(end) and bool(rest.strip())
    except ValueError:
        return False


# -- CSV -------------------------------------------------------------------------------------------


def _csv(file: BinaryIO) -> Iterator[Line]:
    stream = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        head = stream.readline(LONGEST_LINE)
        stream.seek(0)
        separator = max(",;\t", key=head.count)
        reader = csv.reader(stream, delimiter=separator)
        csv.field_size_limit(LARGEST_CASE)
        columns = [_column(cell) for cell in next(reader, [])]
        _check_columns(columns)
        number = reader.line_num + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Line(number, None, f"This line cannot be read: {error}.")
                number = reader.line_num + 1
                continue
            if any(cell.strip() for cell in cells):
                yield _csv_line(number, columns, cells)
            number = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "The file is not UTF-8. Save it as “CSV UTF-8”, then choose it again."
        ) from error
    finally:
        stream.detach()


def _column(cell: str) -> str:
    name = cell.strip()
    plain = name.lower().replace(" ", "_").replace("-", "_")
    if plain.startswith("input."):
        return "input." + name[6:]
    return NAMES.get(plain, plain)


def _check_columns(columns: list[str]) -> None:
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InvalidInputError(f"The column {twice[0]!r} stands twice in the first line.")
    if not {"input", "text"} & set(columns) and not any(c.startswith("input.") for c in columns):
        raise InvalidInputError(
            "The first line names no column “input” or “text”. It names the columns, such as"
            " id,input,expected,category,tags."
        )


def _csv_line(number: int, columns: list[str], cells: list[str]) -> Line:
    if len(cells) > len(columns):
        return Line(
            number, None, f"{len(cells)} cells, but the first line names {len(columns)} columns."
        )
    found: Found = {}
    asked: Found = {}
    for name, cell in zip(columns, cells, strict=False):
        value = _unguarded(cell)
        if not name:
            continue
        if name.startswith("input."):
            if value:
                asked[name[6:]] = value
        elif name in ("input", "expected", "source", "metadata"):
            found[name] = _maybe_json(value)
        else:
            found[name] = value
    if asked:
        whole = found.get("input")
        found["input"] = {**(whole if isinstance(whole, dict) else _texts(whole)), **asked}
    return _line(number, found)


def _unguarded(cell: str) -> str:
    """Take the `'` away that an export puts before what a spreadsheet would calculate."""
    guarded = cell.startswith("'") and cell[1:].startswith(STARTS_A_FORMULA)
    return cell[1:] if guarded else cell


def _maybe_json(text: str) -> Any:
    if text[:1] in ("{", "["):
        try:
            return parse_json(text)
        except InvalidInputError:
            return text
    return text


# -- JSON ------------------------------------------------------------------------------------------


def _lines(file: BinaryIO) -> Iterator[Line]:
    number = 0
    while raw := file.readline(LONGEST_LINE):
        number += 1
        text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not text.strip():
            continue
        if not raw.endswith(b"\n") and len(raw) == LONGEST_LINE:
            raise InvalidInputError(f"Line {number:,} is longer than {LONGEST_LINE:,} characters.")
        try:
            yield _line(number, _object(parse_json(text)))
        except InvalidInputError as error:
            yield Line(number, None, str(error))


def _document(value: Any) -> Iterator[Line]:
    """A list of cases, a promptfoo configuration, an Inspect log, or an object with cases."""
    if isinstance(value, Mapping):
        if "tests" in value:
            return _promptfoo(value)
        if "samples" in value:
            return _samples(value["samples"])
        if "cases" in value:
            return _objects(value["cases"])
        raise InvalidInputError(
            "This object holds no “cases”, no “tests” (promptfoo) and no “samples” (Inspect)."
        )
    if isinstance(value, list) and value and all(_is_test(entry) for entry in value):
        return _promptfoo({"tests": value})
    return _objects(value)


def _is_test(entry: Any) -> bool:
    return isinstance(entry, Mapping) and ("vars" in entry or "assert" in entry)


def _objects(value: Any) -> Iterator[Line]:
    if not isinstance(value, list):
        raise InvalidInputError("The cases are a list of objects.")
    return _numbered(enumerate(value, start=1))


def _numbered(entries: Iterable[tuple[int, Any]]) -> Iterator[Line]:
    for number, entry in entries:
        try:
            yield _line(number, _object(entry))
        except InvalidInputError as error:
            yield Line(number, None, str(error))


def _object(value: Any) -> Found:
    if not isinstance(value, Mapping):
        raise InvalidInputError("This is no object with the fields of a case.")
    found = {NAMES.get(str(name), str(name)): inner for name, inner in value.items()}
    if "key" in found and not isinstance(found["key"], str):
        found["key"] = str(found["key"])
    return found


# -- promptfoo -------------------------------------------------------------------------------------


def _yaml(file: BinaryIO) -> Any:
    text = _text(file)
    if len(text) > LARGEST_YAML:
        raise InvalidInputError(
            f"YAML is read up to {LARGEST_YAML // 2**20} MB. Save the configuration as JSON."
        )
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            # One alias of an alias of an alias makes a gigabyte of a kilobyte.
            raise InvalidInputError("The YAML uses aliases (*name). Write them out.")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInputError(
            f"This is not valid YAML: {' '.join(str(error).split())}"
        ) from error


def _promptfoo(config: Mapping[str, Any]) -> Iterator[Line]:
    """The test cases of a configuration: `vars` are what is asked, `assert` what is expected."""
    tests = config["tests"]
    if not isinstance(tests, list):
        raise InvalidInputError("The tests stand in another file: choose that one.")
    common = config.get("defaultTest")
    common = common if isinstance(common, Mapping) else {}
    for number, test in enumerate(tests, start=1):
        try:
            yield _test(number, test, common)
        except InvalidInputError as error:
            yield Line(number, None, str(error))


def _test(number: int, test: Any, common: Mapping[str, Any]) -> Line:
    if not isinstance(test, Mapping):
        raise InvalidInputError("This test stands in another file: choose that one.")
    asked = {**_mapping(common.get("vars")), **_mapping(test.get("vars"))}
    expected: Found = {}
    left_out = []
    for check in [*_list(common.get("assert")), *_list(test.get("assert"))]:
        kind, value = _mapping(check).get("type"), _mapping(check).get("value")
        if kind == "equals" and isinstance(value, str | int | float) and "answer" not in expected:
            expected["answer"] = str(value)
        else:
            left_out.append(str(kind))
    facts = _mapping(test.get("metadata"))
    for name in FLAGS:
        if isinstance(facts.get(name), bool):
            expected[name] = facts[name]
    if not expected:
        kinds = ", ".join(dict.fromkeys(left_out)) or "none"
        raise InvalidInputError(f"No assertion of it has a counterpart here ({kinds}).")
    found: Found = {
        "input": asked, "expected": expected, "key": str(facts.get("id") or ""),
        "reason": str(test.get("description") or ""),
        "category": str(facts.get("category") or facts.get("pluginId") or ""),
    }  # fmt: skip
    for name in ("segment", "channel", "cluster", "must_pass", "tags"):
        if name in facts:
            found[name] = facts[name]
    said = ", ".join(dict.fromkeys(left_out))
    return _line(number, found, note=f"left out: {said}" if said else "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# -- Inspect ---------------------------------------------------------------------------------------


def _samples(value: Any) -> Iterator[Line]:
    """Each sample of a log once, however many epochs it was asked in."""
    if not isinstance(value, list):
        raise InvalidInputError("The samples of an Inspect log are a list.")
    return _numbered((number, entry) for number, entry in enumerate(value, 1) if _is_first(entry))


def _is_first(sample: Any) -> bool:
    return not isinstance(sample, Mapping) or sample.get("epoch", 1) in (1, None)


def _inspect_archive(file: BinaryIO) -> Iterator[Line]:
    """The samples of an `.eval` file: a ZIP of one JSON file per sample."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError) as error:
        raise InvalidInputError(f"This .eval file is broken: {error}") from error
    entries = [
        entry for entry in archive.infolist()
        if entry.filename.startswith("samples/") and entry.filename.endswith(".json")
    ]  # fmt: skip
    if not entries:
        raise InvalidInputError("This archive holds no samples/*.json: it is no Inspect log.")
    if sum(entry.file_size for entry in entries) > LARGEST_UNPACKED:
        raise InvalidInputError(f"Unpacked it is larger than {LARGEST_UNPACKED // 2**20} MB.")
    return _numbered(_unpacked(archive, entries))


def _unpacked(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]
) -> Iterator[tuple[int, Any]]:
    for number, entry in enumerate(entries, start=1):
        try:
            with archive.open(entry) as packed:
                # The directory may lie about the size: read no more than it says.
                text = packed.read(entry.file_size + 1)
            sample = parse_json(text)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
            yield number, f"{entry.filename} is broken: {error}"
            continue
        except InvalidInputError:
            yield number, None
            continue
        if _is_first(sample):
            # Of a log with its events only these say what was asked and expected.
            kept = ("id", "input", "target", "metadata", "choices")
            yield number, {name: sample[name] for name in kept if name in sample}


# -- one case --------------------------------------------------------------------------------------


def _line(number: int, found: Found, *, note: str = "") -> Line:
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
    whole = dict(asked) if isinstance(asked, Mapping) else _texts(asked)
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
    facts = _mapping(found.get("metadata"))
    for name in ("category", "segment", "channel", "cluster", "reason"):
        if not case.get(name) and isinstance(facts.get(name), str):
            case[name] = facts[name]
    unused = sorted(name for name in found if name not in KNOWN and not name.startswith("input."))
    return case, f"left out: {', '.join(unused)}" if unused else ""


def _texts(value: Any) -> Found:
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
    for tag in _list(tags):
        name, mark, value = str(tag).strip().partition(":")
        plain = name.lower().replace("-", "_")
        if plain == "must_pass" and not mark:
            case["must_pass"] = True
        elif mark and plain in ("segment", "channel", "cluster", "category"):
            case[plain] = value.strip()
        elif name and not case.get("category"):
            case["category"] = str(tag).strip()
