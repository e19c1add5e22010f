"""`countersign gate`: a pipeline proposes, waits, and gets an exit code and a JUnit file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from countersign import command, gate
from pytest_django.live_server_helper import LiveServer

from governance.common.canonical import digest_text
from governance.people.services import create_token
from governance.releases.models import Release
from governance.rollouts.models import Promotion
from tests.clients.server import Scripted
from tests.conftest import TESTER
from tests.rollouts.conftest import live, model, policy, suites, work  # noqa: F401 - fixtures

# ruff: noqa: F811 - a fixture's name is also a parameter
DIGEST = "sha256:" + "a" * 64
ROW = {
    "role": "primary", "suite": "golden", "suite_label": "Golden", "outcome": "pass",
    "metric_label": "Correct answers", "sentence": "Better.",
}  # fmt: skip


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client does not sleep; the pauses it asked for."""
    pauses: list[float] = []
    monkeypatch.setattr(command, "GateClient", partial(gate.GateClient, sleep=pauses.append))
    return pauses


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """The command as a pipeline calls it."""
    for name in ("GITHUB_RUN_ID", "CI_PIPELINE_ID", "CI_COMMIT_TITLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COUNTERSIGN_TOKEN", "cs_test")

    def call(url: str, *words: str) -> int:
        junit = str(tmp_path / "out" / "gate.xml")
        return command.main(["gate", "--url", url, "--junit", junit, *words])

    return call


def answers(server: Scripted, **promotion: Any) -> None:
    """Countersign as it answers for one promotion; `report` is its gate's table."""
    report = {"rows": [ROW], "refusals": [], "settle": [], **promotion.pop("report", {})}
    said = {
        "promotion": 7, "release": DIGEST, "state": "awaiting_owner", "verdict": "pass",
        "verdict_says": "Pass: every test is met.", "gate_report": "sha256:b",
        "page": "/promotions/7/", **promotion,
    }  # fmt: skip

    def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = report if path.endswith("/gate-report") else said
        return (201 if method == "POST" else 200), {}, json.dumps(found).encode()

    server.answer = answer


def parsed(folder: Path) -> ElementTree.Element:
    """The JUnit file that the command wrote."""
    return ElementTree.fromstring((folder / "out" / "gate.xml").read_bytes())  # noqa: S314 - ours


@pytest.mark.parametrize(
    ("verdict", "state", "words", "code"),
    [
        ("pass", "awaiting_owner", (), 0),
        ("pass", "live", ("--suite", "golden"), 0),
        ("pass", "awaiting_owner", ("--suite", "golden", "--suite", "recent"), 2),
        ("fail", "refused", (), 1),
        ("fail", "refused", ("--suite", "recent"), 1),
        ("not_enough_evidence", "refused", (), 2),
    ],
)
def test_the_exit_code_says_the_verdict(
    server: Scripted, run: Callable[..., int], verdict: str, state: str, words: tuple[str, ...],
    code: int,
) -> None:  # fmt: skip
    answers(server, verdict=verdict, state=state)
    assert run(server.url, "--release", DIGEST, *words) == code


def test_a_verdict_that_cannot_be_written_is_said_and_is_no_failed_gate(
    server: Scripted, run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answers(server)
    (tmp_path / "file").write_text("")
    assert run(server.url, "--release", DIGEST, "--junit", str(tmp_path / "file" / "x.xml")) == 3
    said = capsys.readouterr()
    assert "Pass: every test is met." in said.out
    assert "could not be written" in said.err


def test_what_cannot_be_asked_is_an_exit_code_of_its_own(
    server: Scripted, run: Callable[..., int], no_waiting: list[float],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    server.says({"error": "r7 is live already."}, status=409)
    assert run(server.url, "--release", DIGEST) == 3
    assert "r7 is live already." in capsys.readouterr().err
    server.says(b"<html>a proxy</html>")
    assert run(server.url, "--release", DIGEST) == 3
    answers(server, state="withdrawn", verdict=None, closing_reason="Not now.")
    assert run(server.url, "--release", DIGEST) == 3
    assert "Not now." in capsys.readouterr().err
    assert run("http://127.0.0.1:9", "--release", DIGEST) == 3
    assert run("ftp://nowhere", "--release", DIGEST) == 3
    assert run(server.url, "--release", str(tmp_path / "missing.json")) == 3
    (tmp_path / "deep.json").write_text("[" * 20_000)
    deep = str(tmp_path / "deep.json")
    assert run(server.url, "--workflow", "w", "--release", deep) == 3
    for seconds in ("nan", "inf", "-1", "soon"):
        with pytest.raises(SystemExit):
            run(server.url, "--release", DIGEST, "--timeout", seconds)
    monkeypatch.delenv("COUNTERSIGN_TOKEN")
    assert run(server.url, "--release", DIGEST) == 3
    assert not (tmp_path / "out").exists()  # no verdict, no file that could be taken for one


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"state": "withdrawn", "closing_reason": "Not now."}, "is withdrawn: Not now."),
        ({"state": "rolled_back", "closing_reason": "It hurt."}, "is rolled_back: It hurt."),
        ({"stale": "What is live changed."}, "counts no more: What is live changed."),
    ],
)
def test_a_verdict_that_counts_no_more_is_no_pass(
    server: Scripted, run: Callable[..., int], capsys: pytest.CaptureFixture[str],
    said: dict[str, str], words: str,
) -> None:  # fmt: skip
    answers(server, **said)
    assert run(server.url, "--release", DIGEST) == 3
    assert words in capsys.readouterr().err


def test_it_waits_as_long_as_it_is_asked_and_no_longer(
    server: Scripted, run: Callable[..., int], no_waiting: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    states = iter(["evaluating", "evaluating", "awaiting_owner"])
    answers(server)
    settled = server.answer

    def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, _, said = settled(method, path, body)
        if method == "GET" and path.endswith("/7"):
            said = json.dumps({**json.loads(said), "state": next(states)}).encode()
        return status, {"Retry-After": "10"}, said

    server.answer = answer
    assert run(server.url, "--release", DIGEST) == 0
    assert no_waiting == [10.0, 10.0]
    assert capsys.readouterr().out.count("evaluating") == 1

    answers(server, state="evaluating", verdict=None)
    assert run(server.url, "--release", DIGEST, "--timeout", "0") == 3
    assert "It goes on" in capsys.readouterr().err


def test_a_server_that_is_away_for_a_moment_is_asked_again_with_the_same_key(
    server: Scripted, run: Callable[..., int], no_waiting: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("GITHUB_RUN_ID", "4711")
    answers(server)
    settled, asked = server.answer, []

    def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        if len(asked) < 3:
            return 503, {"Retry-After": "3"}, b"{}"
        return settled(method, path, body)

    server.answer = answer
    assert run(server.url, "--release", DIGEST) == 0
    assert no_waiting[:2] == [3.0, 3.0]
    keys = {headers.get("idempotency-key") for method, _, headers, _ in server.asked
            if method == "POST"}  # fmt: skip
    assert len(keys) == 1
    assert keys != {None}


def test_the_junit_file_shows_each_line_whatever_text_it_holds(
    server: Scripted, run: Callable[..., int], tmp_path: Path
) -> None:
    hostile = "<b>\x00\ud800 & ]]>"
    answers(
        server, verdict="fail", state="refused", verdict_says=f"Fail: {hostile}",
        report={
            "rows": [
                ROW,
                {**ROW, "role": "guardrail", "outcome": "fail", "sentence": hostile},
                {**ROW, "role": "floor", "outcome": "open", "sentence": "More cases."},
                {**ROW, "role": "reported", "outcome": "none", "sentence": "Reported."},
            ],
            "refusals": [{"code": "missing_suite", "suite": "recent", "sentence": "Not run.",
                          "remedy": "Run it."}],
        },
    )  # fmt: skip
    assert run(server.url, "--release", DIGEST) == 1
    root = parsed(tmp_path)
    golden, verdict = root.findall("testsuite")
    counted = {name: golden.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    assert [case.get("name") for case in verdict.findall("testcase")] == [
        "Verdict", "missing_suite recent",
    ]  # fmt: skip
    failure = golden.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "<b>�� & ]]>"


@pytest.mark.django_db(transaction=True)
def test_a_pipeline_registers_proposes_and_reads_the_very_report_that_approvals_are_bound_to(
    live: Release, model: Any, live_server: LiveServer, tmp_path: Path, run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _, secret = create_token(
        "ci", scopes=["promotions:propose", "releases:write"], actor=TESTER,
        workflow_slug=live.workflow.slug,
    )  # fmt: skip
    monkeypatch.setenv("COUNTERSIGN_TOKEN", secret)
    monkeypatch.setattr(
        command, "GateClient", partial(gate.GateClient, sleep=lambda seconds: work())
    )
    file = tmp_path / "release.json"
    file.write_text(json.dumps({"title": "From CI", "slots": {"model": model(95)}}))
    words = ("--release", str(file), "--workflow", live.workflow.slug, "--key", "run-1")

    code = run(live_server.url, *words)

    promotion = Promotion.objects.exclude(road="adopt").get()
    said = capsys.readouterr().out
    assert promotion.gate_report is not None
    assert (promotion.gate_report.verdict, code) in (("pass", 0), ("fail", 1),
                                                     ("not_enough_evidence", 2))  # fmt: skip
    assert promotion.gate_report.content["sentence"] in said
    assert f"{live_server.url}/promotions/{promotion.pk}/" in said
    root = parsed(tmp_path)
    assert sum(len(suite.findall("testcase")) for suite in root) > len(
        promotion.gate_report.content["rows"]
    )
    client = gate.GateClient(live_server.url, secret)
    reply = client._send("GET", f"/api/v1/promotions/{promotion.pk}/gate-report")
    client.close()
    assert digest_text(reply.body.decode()) == promotion.gate_report_id
    assert run(live_server.url, *words) == code  # the run again is the same promotion
    assert Promotion.objects.exclude(road="adopt").count() == 1
