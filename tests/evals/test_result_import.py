"""Finished results of promptfoo, Inspect and JUnit: complete, or refused with a sentence."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.evals import result_import
from governance.evals.contributors import editors_since
from governance.evals.models import EvalRun, GateReport, SuiteVersion
from governance.evals.result_files import read_results
from governance.evals.services import (
    confirm_policy,
    finished_run,
    freeze_suite,
    import_results,
    judge,
    set_policy,
)
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals.conftest import cases

Make = Callable[..., Release]
COUNT = 60
ENTITY = '<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>'


def promptfoo(right: int, *, repeats: int = 1, version: int = 3, **changes: Any) -> bytes:
    """Results over the cases of these tests; the first `right` of them are right."""
    rows = [
        {
            "vars": {"number": n}, "success": n < right, "score": 1.0 if n < right else 0.0,
            "namedScores": {"Tone of voice": 0.5}, "latencyMs": 12, "cost": 0.001,
            "failureReason": 0 if n < right else 1, "provider": {"id": "openai:m"},
            "prompt": {"label": "v1"}, "response": {"output": f"said {n} {right}"},
        }
        for _ in range(repeats)
        for n in range(COUNT)
    ]  # fmt: skip
    for n, change in changes.pop("rows", {}).items():
        rows[n].update(change)
    held = {"version": version, "results": rows}
    return json.dumps(
        {"evalId": "e1", "results": held, "metadata": {"promptfooVersion": "0.1"}, **changes}
    ).encode()


def inspect(right: int, **changes: Any) -> dict[str, Any]:
    return {
        "status": "success",
        "eval": {
            "model": "m", "task": "t", "scorers": [{"name": "match"}],
            "packages": {"inspect_ai": "0.3"}, "revision": {"commit": "abc", "dirty": False},
        },
        "samples": [
            {
                "id": f"n{n:04d}", "epoch": epoch, "input": "?", "target": "x",
                "scores": {"match": {"value": "C" if n < right else "I"}},
                "output": {"completion": f"said {n}"}, "total_time": 0.5,
            }
            for epoch in (1, 2)
            for n in range(COUNT)
        ],
        **changes,
    }  # fmt: skip


def junit(right: int) -> bytes:
    tests = "".join(
        f'<testcase classname="suite" name="n{n:04d}" time="0.1">'
        + ("" if n < right else '<failure message="no"/>')
        + "</testcase>"
        for n in range(COUNT)
    )
    return f'<testsuites><testsuite name="s">{tests}</testsuite></testsuites>'.encode()


def archive(log: dict[str, Any]) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps({k: v for k, v in log.items() if k != "samples"}))
        for sample in log["samples"]:
            file.writestr(f"samples/{sample['id']}_{sample['epoch']}.json", json.dumps(sample))
    return packed.getvalue()


@pytest.fixture
def suite(workflow: Workflow, analyst: User, settings: Any) -> SuiteVersion:
    settings.EVAL_TARGETS = {}
    return freeze_suite(workflow, "golden", cases(COUNT), actor=analyst)


@pytest.mark.parametrize(
    ("content", "repeats", "passed"),
    [
        (promptfoo(45), 1, 45), (promptfoo(45, repeats=3, version=2), 3, 135),
        (json.dumps(inspect(45)).encode(), 2, 90), (archive(inspect(45)), 2, 90),
        (junit(45), 1, 45),
    ],
    ids=["promptfoo", "promptfoo 2", "inspect", "inspect archive", "junit"],
)  # fmt: skip
def test_a_whole_file_is_a_finished_run_with_where_it_came_from(
    suite: SuiteVersion, make_release: Make, analyst: User, content: bytes, repeats: int,
    passed: int,
) -> None:  # fmt: skip
    release = make_release()
    run = import_results(release, suite, content, "results.json", actor=analyst)
    assert (run.state, run.repeats, run.cases_done) == (EvalRun.State.DONE, repeats, run.asks_total)
    assert run.summary["passed"] == {"n": COUNT * repeats, "sum": passed}
    assert run.provenance["by"] == analyst.pk
    assert run.provenance["digest"].startswith("sha256:")
    assert finished_run(release, suite) == run
    with pytest.raises(StateConflictError, match="imported already"):
        import_results(release, suite, content, "again.json", actor=analyst)
    event = AuditEvent.objects.get(verb="eval_run.imported")
    assert event.object_id == str(run.pk)


def test_the_gate_judges_imported_results_where_nobody_said_how_to_call(
    suite: SuiteVersion, workflow: Workflow, make_release: Make, analyst: User, owner: User,
    builder: User, settings: Any,
) -> None:  # fmt: skip
    began = workflow.created_at - timedelta(seconds=1)
    base, candidate = make_release(), make_release(0.5)
    import_results(base, suite, promptfoo(25), "old.json", actor=builder)
    import_results(candidate, suite, promptfoo(50), "new.json", actor=builder)
    rules = {
        "suites": {"golden": {"min_cases": 50}}, "primary": {"metric": "correct"},
        "guardrails": [{"metric": "score:tone_of_voice", "as_number": True, "margin": 0.1}],
        "hard_rules": [],
    }  # fmt: skip
    policy = confirm_policy(set_policy(workflow, rules, actor=owner), actor=analyst)
    report = judge(workflow, candidate, base, policy)
    assert report.verdict == GateReport.Verdict.PASS, report.content["reasons"]
    assert builder.pk in editors_since(workflow, began)  # made the evidence
    # Where the workflow has a target of its own, what somebody brought in is no evidence.
    settings.EVAL_TARGETS = {workflow.slug: "tests.evals.target.build"}
    assert finished_run(candidate, suite) is None


def test_results_of_different_making_are_not_compared(
    suite: SuiteVersion, workflow: Workflow, make_release: Make, analyst: User
) -> None:
    first = import_results(make_release(), suite, promptfoo(25), "a.json", actor=analyst)
    config = {"tests": [{"assert": [{"type": "equals"}]}]}
    other = import_results(
        make_release(0.5), suite, promptfoo(50, config=config), "b.json", actor=analyst
    )
    assert first.evaluator != other.evaluator


def test_what_could_not_run_is_an_error_and_not_a_fail(
    suite: SuiteVersion, make_release: Make, analyst: User
) -> None:
    content = promptfoo(60, rows={3: {"failureReason": 2, "error": "429", "success": False}})
    run = import_results(make_release(), suite, content, "r.json", actor=analyst)
    assert run.errors == 1
    assert run.summary["passed"] == {"n": 59, "sum": 59}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"{", "not valid JSON"),
        (b"{}", "none of the results"),
        (promptfoo(45, version=4), "version 2 and 3"),
        (promptfoo(45, rows={1: {"provider": {"id": "other"}}}), "Say which is the release"),
        (promptfoo(45, rows={1: {"vars": {"number": 999}}}), "are of no case"),
        (promptfoo(45, rows={1: {"vars": {"number": 0}}}), "have no result"),
        (json.dumps(inspect(45, status="error")).encode(), "not success"),
        (json.dumps(inspect(45, invalidated=True)).encode(), "invalidated"),
        (json.dumps(inspect(45, eval={"revision": {"dirty": True}})).encode(), "nobody committed"),
        (json.dumps(inspect(45, samples=[])).encode(), "holds no result"),
        (ENTITY.encode(), "no document type"),
        (b"<testsuite>", "not valid XML"),
        (b"<html/>", "no JUnit file"),
        (b"PK\x03\x04nonsense", ".eval file is broken"),
        (
            '<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>'.encode("utf-16-le"),
            "none of the|UTF-8|no doc",
        ),
        (
            '\ufeff<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>'.encode("utf-16"),
            "none of|UTF-8|valid",
        ),
        (
            promptfoo(45, rows={n: {"cost": 9e6} for n in range(COUNT)} | {0: {"vars": {}}}),
            "no case",
        ),
    ],
)
def test_what_is_no_whole_evidence_is_refused_in_one_sentence(
    suite: SuiteVersion, make_release: Make, analyst: User, content: bytes, sentence: str
) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        import_results(make_release(), suite, content, "r.json", actor=analyst)
    assert not EvalRun.objects.exists()


def test_a_pair_of_several_is_named_and_strangers_bring_nothing_in(
    suite: SuiteVersion, make_release: Make, analyst: User, cfo: User
) -> None:
    rows = json.loads(promptfoo(45))
    twins = [{**row, "provider": {"id": "other"}} for row in rows["results"]["results"]]
    rows["results"]["results"] += twins
    content = json.dumps(rows).encode()
    with pytest.raises(NotAllowedError):
        import_results(make_release(), suite, content, "r.json", actor=cfo)
    with pytest.raises(InvalidInputError, match="has no 'nobody'"):
        import_results(make_release(), suite, content, "r", actor=analyst, provider="nobody")
    run = import_results(
        make_release(), suite, content, "r.json", actor=analyst, provider="other · v1"
    )
    assert run.cases_done == COUNT


def test_a_lying_archive_and_odd_values_do_no_harm() -> None:
    log = inspect(1)
    log["samples"][0]["scores"] = {"match": {"value": None}, "9": 3}
    log["samples"][1]["scores"] = None
    found = read_results(json.dumps(log).encode())
    assert found.results[0].error == found.results[1].error == "It has no score."
    odd = promptfoo(5, rows={0: {"cost": "NaN", "latencyMs": None, "namedScores": [1]}})
    first = read_results(odd).results[0]
    assert (first.cost, first.latency_ms, dict(first.metrics)) == (None, None, {"score": 1.0})
    below = read_results(promptfoo(5, rows={0: {"cost": -5, "latencyMs": -500}})).results[0]
    assert (below.cost, below.latency_ms) == (None, None)  # nothing known, which is not zero
    named = b'<?xml version="1.0" encoding="nonsense"?>' + junit(5)
    assert len(read_results(named).results) == COUNT


def test_what_a_file_says_of_itself_is_kept_whatever_is_in_it(
    suite: SuiteVersion, make_release: Make, analyst: User
) -> None:
    odd = promptfoo(
        45, evalId="a\0b\ud800", metadata={"promptfooVersion": "1\0"},
        rows={n: {"prompt": {"label": "v\0" + "x" * 500}} for n in range(COUNT)},
    )  # fmt: skip
    run = import_results(make_release(), suite, odd, "r\0.json", actor=analyst)
    assert "\0" not in "".join(map(str, run.provenance.values()))
    dear = promptfoo(45, rows={n: {"cost": 1e7} for n in range(COUNT)})
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(result_import, "MOST_COST", Decimal(10) ** 8)
        with pytest.raises(InvalidInputError, match="add up to more"):
            import_results(make_release(), suite, dear, "r.json", actor=analyst)
