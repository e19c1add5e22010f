"""Finished results in files of other tools: promptfoo, Inspect, JUnit. Pure.

A file that was not finished, or of which nobody can say what it measured, is refused as a whole:
evidence is complete or it is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from governance.common.canonical import digest, parse_json_file
from governance.common.errors import InvalidInputError
from governance.common.json_shapes import list_of, mapping_of
from governance.evals.inspect_archives import open_archive, unpacked

LARGEST_FILE = 64 * 1024 * 1024  # bytes
MOST_RESULTS = 500_000
MOST_AMOUNT = 10_000_000.0  # of money or milliseconds, for one result
ERRORED = 2  # promptfoo's failureReason: it could not run, which is not the same as a fail


@dataclass(frozen=True, slots=True)
class Result:
    """How one case came out once. `names` are what the case may be called here, best first."""

    names: tuple[str, ...]
    input_digest: str  # of the case's input, where the file holds it
    passed: bool | None
    metrics: Mapping[str, float | bool]
    output: str = ""
    cost: float | None = None
    latency_ms: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """A whole file: the tool, what scored (a digest of it), and every result in order."""

    tool: str
    version: str
    scorers: Any
    results: Sequence[Result] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_results(content: bytes, *, provider: str = "") -> Results:
    """Read a file, whatever tool wrote it.

    Args:
        provider: of promptfoo's prompt and provider pairs the one that is the release; needed
            where the file has several.

    Raises:
        InvalidInputError: in one sentence, with what is wrong or what has to be said.
    """
    if len(content) > LARGEST_FILE:
        raise InvalidInputError(f"The file is larger than {LARGEST_FILE // 1024**2} MB.")
    start = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InvalidInputError("The file is empty.")
    if start.startswith(b"PK\x03\x04"):
        return _inspect_archive(content)
    if start.startswith(b"<"):
        return _junit(content)
    found = parse_json_file(content)
    if isinstance(found, Mapping):
        if isinstance(found.get("eval"), Mapping):
            return _inspect(found, list_of(found.get("samples")))
        held = found.get("results")
        if isinstance(held, Mapping) and isinstance(held.get("results"), list):
            return _promptfoo(found, held, provider)
    raise InvalidInputError(
        "This is none of the results that are read here: promptfoo's JSON, an Inspect log, JUnit."
    )


def _promptfoo(found: Mapping[str, Any], held: Mapping[str, Any], provider: str) -> Results:
    if held.get("version") not in (2, 3):
        raise InvalidInputError("Only promptfoo's summaries of version 2 and 3 are read.")
    rows = [row for row in held["results"] if isinstance(row, Mapping)]
    pairs = {_pair(row): None for row in rows}
    if provider:
        rows = [row for row in rows if _pair(row) == provider]
        if not rows:
            known = ", ".join(list(pairs)[:5])
            raise InvalidInputError(f"The file has no {provider!r}. There are: {known}.")
    elif len(pairs) > 1:
        known = "; ".join(list(pairs)[:5])
        raise InvalidInputError(
            f"The file holds {len(pairs)} pairs of provider and prompt. Say which is the release:"
            f" {known}."
        )
    metadata, config = mapping_of(found.get("metadata")), mapping_of(found.get("config"))
    tests = [
        test.get("assert") for test in list_of(config.get("tests")) if isinstance(test, Mapping)
    ]
    scorers = {"assert": tests, "defaultTest": config.get("defaultTest")}
    return Results(
        "promptfoo", str(metadata.get("promptfooVersion") or ""), scorers,
        [_promptfoo_row(row) for row in _bounded(rows)],
        {"eval": str(found.get("evalId") or ""), "pair": provider or next(iter(pairs), "")},
    )  # fmt: skip


def _pair(row: Mapping[str, Any]) -> str:
    provider = row.get("provider")
    name = provider.get("id") if isinstance(provider, Mapping) else provider
    prompt = row.get("prompt")
    label = prompt.get("label") or prompt.get("raw") if isinstance(prompt, Mapping) else prompt
    return f"{name} · {' '.join(str(label).split())[:60]}"


def _promptfoo_row(row: Mapping[str, Any]) -> Result:
    given, test = mapping_of(row.get("vars")), mapping_of(row.get("testCase"))
    names = [
        value
        for held in (test.get("metadata"), given)
        if isinstance(held, Mapping)
        for key in ("key", "id")
        if isinstance(value := held.get(key), str | int)
    ]
    names += [text for text in [test.get("description")] if text]
    is_error = row.get("failureReason") == ERRORED
    response, scores = mapping_of(row.get("response")), mapping_of(row.get("namedScores"))
    return Result(
        names=tuple(map(str, names)),
        input_digest=digest(dict(given)),
        passed=None if is_error else bool(row.get("success")),
        metrics={} if is_error else _numbers({**scores, "score": row.get("score")}),
        output=_words(response.get("output")),
        cost=_amount(row.get("cost")),
        latency_ms=_amount(row.get("latencyMs")),
        error=_words(row.get("error") or "It could not run.")[:500] if is_error else "",
    )


def _inspect_archive(content: bytes) -> Results:
    archive = open_archive(BytesIO(content))
    entries = {entry.filename: entry for entry in archive.infolist()}
    if "header.json" not in entries:
        raise InvalidInputError("This is no .eval file of Inspect: it has no header.json.")
    header = parse_json_file(unpacked(archive, entries["header.json"]))
    if not isinstance(header, Mapping) or not isinstance(header.get("eval"), Mapping):
        raise InvalidInputError("This is no .eval file of Inspect.")
    names = [n for n in sorted(entries) if n.startswith("samples/") and n.endswith(".json")]
    _check_number(len(names))
    # One at a time: a sample with its events is large, what is kept of it is small.
    return _inspect(header, (parse_json_file(unpacked(archive, entries[name])) for name in names))


def _inspect(log: Mapping[str, Any], samples: Iterable[Any]) -> Results:
    about = log["eval"]
    if log.get("status") != "success":
        raise InvalidInputError(f"The log's status is {log.get('status')!r}, not success.")
    if log.get("invalidated"):
        raise InvalidInputError("The log was invalidated.")
    revision, packages = mapping_of(about.get("revision")), mapping_of(about.get("packages"))
    if revision.get("dirty"):
        raise InvalidInputError("It ran on a working tree with changes that nobody committed.")
    rows = [_sample(row) for row in samples if isinstance(row, Mapping)]
    _check_number(len(rows))
    return Results(
        "inspect", str(packages.get("inspect_ai") or ""),
        {"scorers": about.get("scorers"), "metrics": about.get("metrics")},
        rows,
        {"eval": str(about.get("eval_id") or about.get("run_id") or ""),
         "model": str(about.get("model") or ""), "task": str(about.get("task") or ""),
         "commit": str(revision.get("commit") or "")},
    )  # fmt: skip


def _sample(row: Mapping[str, Any]) -> Result:
    error = row.get("error")
    metrics: dict[str, Any] = {}
    for name, score in mapping_of(row.get("scores")).items():
        value = score.get("value") if isinstance(score, Mapping) else score
        metrics[str(name)] = {"C": True, "I": False, "P": 0.5, "N": False}.get(value, value) \
            if isinstance(value, str) else value  # fmt: skip
    known = _numbers(metrics)
    output = mapping_of(row.get("output"))
    return Result(
        names=(str(row.get("id")),),
        input_digest=digest(row["input"]) if isinstance(row.get("input"), Mapping) else "",
        passed=None if error or not known else all(value >= 1 for value in known.values()),
        metrics={} if error else known,
        output=_words(output.get("completion")),
        latency_ms=None if (seconds := _amount(row.get("total_time"))) is None else 1000 * seconds,
        error=_words(error.get("message") if isinstance(error, Mapping) else error)[:500]
        if error
        else "" if known else "It has no score.",
    )  # fmt: skip


def _junit(content: bytes) -> Results:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError("The file is not UTF-8. Save it as UTF-8.") from error
    # Entities can grow without end, and a file of tests needs none.
    if "\0" in text or re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise InvalidInputError("A JUnit file has no document type, and this one does.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - no entities, checked above
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidInputError(f"This is not valid XML: {error}") from error
    if root.tag not in ("testsuites", "testsuite"):
        raise InvalidInputError("This is no JUnit file.")
    cases = list(root.iter("testcase"))
    return Results(
        "junit", "", {"suites": sorted({str(one.get("name") or "") for one in
                                        root.iter("testsuite")})},
        [_test(case) for case in _bounded(cases)],
    )  # fmt: skip


def _test(case: ElementTree.Element) -> Result:
    name, of = str(case.get("name") or ""), str(case.get("classname") or "")
    error, skipped = case.find("error"), case.find("skipped")
    broken = error if error is not None else skipped
    seconds = _amount(case.get("time"))
    return Result(
        names=(f"{of}.{name}" if of else name, name),
        input_digest="",
        passed=None if broken is not None else case.find("failure") is None,
        metrics={},
        latency_ms=None if seconds is None else 1000 * seconds,
        error="" if broken is None else
        _words(broken.get("message") or broken.text or broken.tag)[:500],
    )  # fmt: skip


def _bounded(rows: Sequence[Any]) -> Iterator[Any]:
    _check_number(len(rows))
    yield from rows


def _check_number(results: int) -> None:
    if not results:
        raise InvalidInputError("The file holds no result.")
    if results > MOST_RESULTS:
        raise InvalidInputError(f"More than {MOST_RESULTS:,} results are not read at once.")


def _numbers(values: Mapping[Any, Any]) -> dict[str, float | bool]:
    """Named values as our scorers are called: small letters, digits and _."""
    found: dict[str, float | bool] = {}
    for name, value in values.items():
        clean = re.sub(r"[^a-z0-9_]+", "_", str(name).lower()).strip("_")[:40]
        if not clean or not clean[0].isalpha():
            continue
        if isinstance(value, bool):
            found[clean] = value
        elif (number := _number(value)) is not None:
            found[clean] = number
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e9 else None


def _amount(value: Any) -> float | None:
    """Money or time; a negative one is none, not zero."""
    number = _number(value)
    return number if number is not None and 0 <= number <= MOST_AMOUNT else None


def _words(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
