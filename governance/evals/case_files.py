"""Cases in files of other tools: CSV, JSON and JSONL, promptfoo configurations, Inspect logs. Pure.

Every reader yields one `Line` per case, in the order of the file, refused ones with the reason. A
file that cannot be read at all raises.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from governance.common.canonical import parse_json, parse_json_file
from governance.common.csv_cells import is_guarded
from governance.common.errors import InvalidInputError
from governance.evals.case_lines import (
    NAMES,
    Found,
    Line,
    fields_of,
    line_of,
    numbered,
    text_of,
    texts_of,
)
from governance.evals.case_tools import inspect_archive, promptfoo, read_yaml, samples
from governance.evals.cases import LARGEST_CASE

LARGEST_FILE = 64 * 1024 * 1024  # bytes
LONGEST_LINE = 4 * 1024 * 1024  # characters
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


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
        return inspect_archive(file)
    if start.startswith((b"\x1f\x8b", b"%PDF", b"\xd0\xcf\x11\xe0")):
        raise InvalidInputError("This is no text: send CSV, JSONL, JSON, YAML or an .eval file.")
    if suffix in ("yaml", "yml"):
        return _document(read_yaml(file))
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if suffix in ("jsonl", "ndjson") or (first == b"{" and _is_lines(start)):
        return _lines(file)
    if suffix == "json" or first in (b"{", b"["):
        return _document(parse_json_file(text_of(file)))
    return _csv(file)


def _is_lines(start: bytes) -> bool:
    """Whether the first line is a whole object and something follows it."""
    line, end, rest = start.partition(b"\n")
    try:
        return isinstance(json.loads(line), dict) and bool(end) and bool(rest.strip())
    except (ValueError, RecursionError):
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
        try:
            columns = [_column(cell) for cell in next(reader, [])]
        except csv.Error as error:
            raise InvalidInputError(f"The first line cannot be read: {error}.") from error
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
        found["input"] = {**(whole if isinstance(whole, dict) else texts_of(whole)), **asked}
    return line_of(number, found)


def _unguarded(cell: str) -> str:
    """Take the `'` away that an export puts before what a spreadsheet would calculate."""
    return cell[1:] if is_guarded(cell) else cell


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
            yield line_of(number, fields_of(parse_json(text)))
        except InvalidInputError as error:
            yield Line(number, None, str(error))


def _document(value: Any) -> Iterator[Line]:
    """A list of cases, a promptfoo configuration, an Inspect log, or an object with cases."""
    if isinstance(value, Mapping):
        if "tests" in value:
            return promptfoo(value)
        if "samples" in value:
            return samples(value["samples"])
        if "cases" in value:
            return _objects(value["cases"])
        raise InvalidInputError(
            "This object holds no “cases”, no “tests” (promptfoo) and no “samples” (Inspect)."
        )
    if isinstance(value, list) and value and all(_is_test(entry) for entry in value):
        return promptfoo({"tests": value})
    return _objects(value)


def _is_test(entry: Any) -> bool:
    return isinstance(entry, Mapping) and ("vars" in entry or "assert" in entry)


def _objects(value: Any) -> Iterator[Line]:
    if not isinstance(value, list):
        raise InvalidInputError("The cases are a list of objects.")
    return numbered(enumerate(value, start=1))
