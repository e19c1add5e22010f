"""A gate's verdict as a JUnit file, which every CI system can show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from countersign.gate import Gate

# What XML 1.0 cannot hold; a release's name may come from anywhere.
UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(gate: Gate) -> bytes:
    """Return the file: a suite per kind of cases, a test per line of the gate's table.

    A failed line is a failure; one without enough evidence, and each refusal, an error; a line
    that is only reported is skipped.
    """
    root = ElementTree.Element("testsuites", name="countersign gate")
    by_suite: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in gate.rows:
        by_suite[str(row.get("suite_label") or row.get("suite") or "All suites")].append(row)
    for name, rows in by_suite.items():
        suite = _suite(root, name)
        for row in rows:
            _line(suite, name, row)
        _count(suite)
    verdict = _suite(root, "Gate")
    case = _case(verdict, "Gate", "Verdict")
    if gate.exit_code == 1:
        _say(case, "failure", gate.sentence)
    elif gate.verdict != "pass":
        _say(case, "error", gate.sentence)
    for refusal in gate.refusals:
        case = _case(verdict, "Gate", f"{refusal.get('code')} {refusal.get('suite', '')}".strip())
        _say(case, "error", f"{refusal.get('sentence', '')} {refusal.get('remedy', '')}")
    for missing in gate.missing_suites:
        _say(_case(verdict, "Gate", f"suite {missing}"), "error", "It was not judged on.")
    ElementTree.SubElement(verdict, "system-out").text = _clean(
        "\n".join([gate.sentence, *gate.settle, gate.page])
    )
    _count(verdict)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _line(suite: ElementTree.Element, name: str, row: Mapping[str, Any]) -> None:
    case = _case(suite, name, f"{row.get('metric_label')} ({row.get('role')})")
    outcome, sentence = row.get("outcome"), str(row.get("sentence", ""))
    if outcome == "fail":
        _say(case, "failure", sentence)
    elif outcome == "open":
        _say(case, "error", sentence)
    elif outcome != "pass":
        _say(case, "skipped", sentence)


def _suite(root: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(root, "testsuite", name=_clean(name))


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=_clean(classname), name=_clean(name), time="0"
    )


def _say(case: ElementTree.Element, tag: str, sentence: str) -> None:
    ElementTree.SubElement(case, tag, message=_clean(sentence))


def _count(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(1 for case in cases if case.find(tag) is not None)))
    suite.set("tests", str(len(cases)))


def _clean(text: str) -> str:
    return UNPRINTABLE.sub("�", text)
