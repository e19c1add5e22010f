"""Cases in files of other tools: what is read, what is refused line by line, what is no file."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
import yaml

from governance.common.errors import InvalidInputError
from governance.evals import inspect_archives
from governance.evals.case_files import read_cases
from governance.evals.case_lines import Line

PROMPTFOO = """
description: Support
prompts: [p.txt]
providers: [echo]
defaultTest:
  vars: {language: en}
tests:
  - description: A wet parcel.
    vars: {text: My parcel is wet.}
    assert: [{type: equals, value: complaint}, {type: latency, threshold: 900}]
    metadata: {id: wet, pluginId: shipping, must_pass: true}
  - vars: {text: "Who are you?"}
    assert: [{type: llm-rubric, value: polite}]
  - file://more.yaml
"""


def read(content: str | bytes, name: str = "cases.csv") -> list[Line]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_cases(io.BytesIO(raw), name))


def only(lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    assert line.case is not None, line.error
    return line.case


@pytest.mark.parametrize(
    "content",
    [
        "id,input,expected,category,tags\nc1,Where is it?,parcel,post,must-pass;segment:en\n",
        "\ufeffid;input;expected;category;tags\r\nc1;Where is it?;parcel;post;must-pass,"
        "segment:en\r\n",
        "ID\tText\tTarget\tCategory\tTags\nc1\tWhere is it?\tparcel\tpost\tmust_pass,segment: en\n",
    ],
)
def test_csv_is_read_with_commas_semicolons_tabs_and_a_byte_order_mark(content: str) -> None:
    case = only(read(content))
    assert case["key"] == "c1"
    assert case["input"] == {"text": "Where is it?"}
    assert case["expected"] == {"answer": "parcel"}
    assert (case["category"], case["segment"], case["must_pass"]) == ("post", "en", True)


def test_cells_may_hold_json_formulas_and_fields_of_the_input() -> None:
    content = (
        "key,input,input.language,expected,must_escalate\n"
        'a,"{""text"": ""Hi"", ""n"": 1}",de,"{""answer"": ""x""}",no\n'
        "b,'=cmd|calc,en,,yes\n"
        'c,"two\nlines",,x,perhaps\n'
    )
    first, second, third = read(content)
    assert first.case is not None
    assert second.case is not None
    assert first.case["input"] == {"text": "Hi", "n": 1, "language": "de"}
    assert first.case["expected"] == {"answer": "x"}
    assert second.case["input"] == {"text": "=cmd|calc", "language": "en"}
    assert second.case["expected"] == {"must_escalate": True}
    assert (third.number, third.case) == (4, None)
    assert "yes or no" in third.error


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"", "a.csv", "empty"),
        (b"\xef\xbb\xbf \n", "a.csv", "empty"),
        ("id,input\n".encode("utf-16"), "a.csv", "UTF-16"),
        (b"id,input\n1,caf\xe9\n", "a.csv", "not UTF-8"),
        (b"\xff\x80[]", "a.json", "UTF-8|no column"),
        (b"id,question2\n1,x\n", "a.csv", "no column"),
        (b"id,input,input\n1,x,y\n", "a.csv", "twice"),
        (b"\x1f\x8b\x08", "a.csv", "no text"),
        (b'{"a": 1}', "a.json", "holds no"),
        (b'{"cases": 1}', "a.json", "list of objects"),
        (b"[" * 50_000, "a.json", "nested"),
        (b'[{"id": 1, "id": 2}]', "a.json", "twice|two"),
        (b"tests: [", "a.yaml", "not valid YAML"),
        (b"a: &x [1]\ntests: [*x]", "a.yaml", "aliases"),
        (b"tests: more.csv", "a.yaml", "another file"),
        (b"PK\x03\x04broken", "a.eval", "broken"),
        (b"id,input," + b"x" * 300_000 + b"\n1,2,3\n", "a.csv", "first line cannot be read"),
        (b'{"a":' + b"[" * 3_000 + b"\nx", "a.json", "nested|not valid"),
        (b'{"a":' + b"[" * 3_000 + b"\nx", "a.csv", "nested|not valid"),
        (b"[" + b"{}," * 3_000_000 + b"{}]", "a.json", "more than 4,000,000 parts"),
    ],
)
def test_what_is_no_file_of_cases_is_refused_in_one_sentence(
    content: bytes, name: str, sentence: str
) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        read(content, name)


def test_jsonl_refuses_lines_one_by_one() -> None:
    content = "\n".join(
        (
            '{"id": 1, "input": {"text": "a"}, "expected": "x"}',
            "",
            '{"id": 2, "input": "b", "expected": NaN}',
            "not json",
            '{"id": 3, "input": "", "expected": "x"}',
            "[1]",
            '{"id": 4, "input": "c", "expected": ["x", "y"]}',
            '{"id": 5, "input": "d", "expected": "x", "colour": "green"}',
        )
    )
    lines = read(content, "cases.jsonl")
    assert [(line.number, line.case is not None) for line in lines] == [
        (1, True), (3, False), (4, False), (5, False), (6, False), (7, False), (8, True),
    ]  # fmt: skip
    assert lines[0].key == "1"
    assert lines[-1].note == "left out: colour"
    assert "several right answers" in lines[5].error


@pytest.mark.parametrize("name", ["promptfooconfig.yaml", "promptfooconfig.json"])
def test_promptfoo_tests_become_cases(name: str) -> None:
    content = PROMPTFOO
    if name.endswith("json"):
        content = json.dumps(yaml.safe_load(PROMPTFOO))
    first, second, third = read(content, name)
    assert first.case is not None
    assert first.case["key"] == "wet"
    assert first.case["input"] == {"language": "en", "text": "My parcel is wet."}
    assert first.case["expected"] == {"answer": "complaint"}
    assert (first.case["reason"], first.case["category"]) == ("A wet parcel.", "shipping")
    assert first.case["must_pass"] is True
    assert first.note == "left out: latency"
    assert "llm-rubric" in second.error
    assert "another file" in third.error


def _samples() -> list[dict[str, Any]]:
    return [
        {"id": "s1", "epoch": 1, "input": "Where?", "target": "here", "scores": {}},
        {"id": "s1", "epoch": 2, "input": "Where?", "target": "here"},
        {"id": 2, "input": [{"role": "user", "content": "Hi"}], "target": ["hello"]},
        {"id": 3, "input": "Both?", "target": ["a", "b"]},
    ]


def test_inspect_logs_become_cases_each_sample_once() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        for position, sample in enumerate(_samples()):
            archive.writestr(f"samples/{position}.json", json.dumps(sample))
    log = json.dumps({"version": 2, "eval": {}, "samples": _samples()})
    for content, name in ((log.encode(), "log.json"), (packed.getvalue(), "log.eval")):
        one, two, three = read(content, name)
        assert one.case is not None
        assert two.case is not None
        assert (one.key, one.case["expected"]) == ("s1", {"answer": "here"})
        assert two.case["input"] == {"messages": [{"role": "user", "content": "Hi"}]}
        assert "several right answers" in three.error


def test_an_archive_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_archives, "LARGEST_UNPACKED", 1_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1.json", " " * 2_000)
    with pytest.raises(InvalidInputError, match="larger than"):
        read(packed.getvalue(), "log.eval")
    monkeypatch.setattr(inspect_archives, "LARGEST_UNPACKED", 4_000)
    monkeypatch.setattr(inspect_archives, "LARGEST_SAMPLE", 1_000)
    (line,) = read(packed.getvalue(), "log.eval")
    assert line.case is None


@pytest.mark.parametrize("sample", ["5", "true", "null", '["id"]', "{", ""])
def test_a_sample_that_is_no_object_is_refused_by_its_line(sample: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("samples/1.json", sample)
    (line,) = read(packed.getvalue(), "log.eval")
    assert line.case is None


def test_an_archive_that_is_damaged_inside_is_refused_by_its_line_or_as_a_whole() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1.json", "abc" * 1_000)
    whole = packed.getvalue()
    start = whole.index(b"samples/1.json") + len("samples/1.json")
    (line,) = read(whole[:start] + b"\xff\xff\xff\xff" + whole[start + 4 :], "log.eval")
    assert line.case is None
    at = whole.index(b"PK\x01\x02") + 6  # the version that is needed to unpack it
    with pytest.raises(InvalidInputError, match="broken"):
        read(whole[:at] + b"\xc8\x00" + whole[at + 2 :], "log.eval")
