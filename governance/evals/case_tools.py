"""Cases in files of other tools: promptfoo configurations and Inspect logs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import yaml

from governance.common.canonical import parse_json_file
from governance.common.errors import InvalidInputError
from governance.common.json_shapes import list_of, mapping_of
from governance.evals.case_lines import (
    FLAGS,
    Found,
    Line,
    line_of,
    numbered,
    text_of,
)
from governance.evals.inspect_archives import open_archive, unpacked

LARGEST_YAML = 4 * 1024 * 1024  # bytes: YAML takes a second for each of them


def read_yaml(file: BinaryIO) -> Any:
    text = text_of(file)
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


def promptfoo(config: Mapping[str, Any]) -> Iterator[Line]:
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
    asked = {**mapping_of(common.get("vars")), **mapping_of(test.get("vars"))}
    expected: Found = {}
    left_out = []
    for check in [*list_of(common.get("assert")), *list_of(test.get("assert"))]:
        kind, value = mapping_of(check).get("type"), mapping_of(check).get("value")
        if kind == "equals" and isinstance(value, str | int | float) and "answer" not in expected:
            expected["answer"] = str(value)
        else:
            left_out.append(str(kind))
    facts = mapping_of(test.get("metadata"))
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
    return line_of(number, found, note=f"left out: {said}" if said else "")


def samples(value: Any) -> Iterator[Line]:
    """Each sample of a log once, however many epochs it was asked in."""
    if not isinstance(value, list):
        raise InvalidInputError("The samples of an Inspect log are a list.")
    return numbered((number, entry) for number, entry in enumerate(value, 1) if _is_first(entry))


def _is_first(sample: Any) -> bool:
    return not isinstance(sample, Mapping) or sample.get("epoch", 1) in (1, None)


def inspect_archive(file: BinaryIO) -> Iterator[Line]:
    """The samples of an `.eval` file: a ZIP of one JSON file per sample."""
    archive = open_archive(file)
    entries = [
        entry for entry in archive.infolist()
        if entry.filename.startswith("samples/") and entry.filename.endswith(".json")
    ]  # fmt: skip
    if not entries:
        raise InvalidInputError("This archive holds no samples/*.json: it is no Inspect log.")

    def each() -> Iterator[tuple[int, Any]]:
        for number, entry in enumerate(entries, start=1):
            try:
                text = unpacked(archive, entry)
            except InvalidInputError as error:
                yield number, str(error)
                continue
            try:
                sample = parse_json_file(text)
            except InvalidInputError:
                sample = None
            if not isinstance(sample, Mapping):
                yield number, None
            elif _is_first(sample):
                # Of a log with its events only these say what was asked and expected.
                kept = ("id", "input", "target", "metadata", "choices")
                yield number, {name: sample[name] for name in kept if name in sample}

    return numbered(each())
