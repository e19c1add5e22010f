"""Import is seen before it is done, whole or not at all; export comes back as it went."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from governance.audit.models import AuditEvent
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import SuiteVersion
from governance.evals.services import freeze_suite
from governance.people.models import User
from governance.workflows.models import Workflow
from tests.dashboards.test_suites import cases

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/suites/support-triage/golden/import/"
FILE = (
    "id,input,expected,category\n"
    "c000,Where is parcel 0?,parcel,parcels\n"
    "c001,Where is letter 1?,letter,letters\n"
    "n1,Hello?,greeting,\n"
    "n1,Hello again?,greeting,\n"
    "n2,No answer.,,\n"
)


def send(client: Client, content: str | bytes = FILE, **said: Any) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    name = said.pop("filename", "cases.csv")
    data = {"act": "preview", "into": "draft", **said}
    return client.post(URL, {**data, "upload": SimpleUploadedFile(name, raw)})


def test_a_file_is_previewed_then_imported_into_the_draft(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    client = login(analyst)
    shown = send(client)
    plan = shown.context["plan"]
    assert (plan.added, plan.changed, plan.removed, plan.same) == (["n1"], ["c001"], [], 1)
    assert [(line.number, line.key) for line in plan.refused] == [(5, "n1"), (6, "n2")]
    assert not SuiteEdit.objects.exists()
    # Without JavaScript the file stays in the page.
    answer = client.post(
        URL,
        {"act": "import", "into": "draft", "seen": plan.seen, "kept": shown.context["kept"],
         "name": "cases.csv"},
    )  # fmt: skip
    assert answer.status_code == 302
    edits = {edit.key: edit.content or {} for edit in SuiteEdit.objects.all()}
    assert set(edits) == {"n1", "c001"}
    assert edits["n1"]["source"] == {"kind": "file", "name": "cases.csv", "line": 4}
    assert edits["n1"]["reason"] == "Imported from cases.csv"
    assert edits["c001"]["reason"] == "Everyday mail."
    event = AuditEvent.objects.order_by("-seq")[0]
    assert event.verb == "suite.imported"
    assert json.loads(event.body)["details"]["added"] == 1


def test_what_a_file_does_not_speak_of_stays_as_it_is(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(
        workflow, "golden", cases(2, segment="en", must_pass=True, cluster="k"), actor=analyst
    )
    client = login(analyst)
    silent = send(client, "id,input,expected\nc000,Where is parcel 0?,parcel\n").context["plan"]
    assert (silent.same, silent.edits) == (1, 0)
    speaks = "id,input,expected,segment,must_pass\nc000,Where is parcel 0?,parcel,,no\n"
    row = send(client, speaks).context["plan"].rows["c000"]
    assert (row["segment"], row["must_pass"], row["cluster"]) == ("", False, "k")


def test_a_file_becomes_a_version_at_once_and_takes_the_rest_out(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    client = login(analyst)
    wish = {"into": "version", "replaces": "on", "reason": "From the help desk."}
    plan = send(client, **wish).context["plan"]
    assert plan.removed == ["c002"]
    assert send(client, act="import", seen=plan.seen, **wish).status_code == 302
    suite = SuiteVersion.objects.get(version=2)
    assert list(suite.cases.values_list("key", flat=True)) == ["c000", "c001", "n1"]
    assert list(suite.editors.all()) == [analyst]
    assert suite.origin["refused"] == 2
    assert not SuiteEdit.objects.exists()


def test_what_was_not_previewed_is_not_imported(
    workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    client = login(analyst)
    seen = send(client).context["plan"].seen
    other = FILE.replace("greeting", "hello")
    assert send(client, other, act="import", seen=seen).status_code == 409
    # Somebody edits the draft between preview and import.
    url = "/evals/suites/support-triage/golden/edit/"
    login(builder).post(url, {"key": "x", "text": "x", "answer": "x", "reason": "x"})
    assert send(client, act="import", seen=seen).status_code == 409
    fresh = send(client, into="version").context["plan"]
    waits = send(client, act="import", seen=fresh.seen, into="version")
    assert waits.status_code == 409
    assert "Edits wait in the draft" in waits.content.decode()
    assert waits.context["kept"]  # the file stays: no need to choose it again
    assert SuiteEdit.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"id,input\n1,caf\xe9\n", "a.csv"),
        (b"id,input,expected\n1,a\0b,x\n", "a.csv"),
        (b'{"id": "\\ud800", "input": "x", "expected": "y"}\n', "a.jsonl"),
        (b'{"id": 1, "input": {"n": 9007199254740993}, "expected": "y"}\n', "a.jsonl"),
        (b'{"id": 1, "input": {"n": 1e400}, "expected": "y"}\n', "a.jsonl"),
        (b'{"id": 1, "input": {"t": "' + b"x" * 300_000 + b'"}, "expected": "y"}\n', "a.jsonl"),
        (b"PK\x03\x04", "a.eval"),
        (b"\x00" * 5000, "a.csv"),
    ],
)
def test_bad_files_leave_a_sentence_and_nothing_else(
    content: bytes, name: str, workflow: Workflow, analyst: User, login: Login
) -> None:
    answer = send(login(analyst), content, filename=name)
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.context["plan"].refused
        assert not answer.context["plan"].rows
    else:
        assert "Nothing was imported." in answer.content.decode()


def test_a_file_of_any_name_is_imported(workflow: Workflow, analyst: User, login: Login) -> None:
    client = login(analyst)
    for name in ("n" * 240 + ".csv", " begins with a blank.csv"):
        shown = send(client, filename=name)
        said = {"act": "import", "into": "draft", "seen": shown.context["plan"].seen}
        kept = {"kept": shown.context["kept"], "name": shown.context["plan"].name}
        assert client.post(URL, {**said, **kept}).status_code == 302, name
        login(analyst).post(URL.replace("import", "undo"), {"mark": _mark(client)})


def _mark(client: Client) -> str:
    return str(client.get(URL.replace("import/", "")).context["mark"])


def test_hidden_fields_that_are_broken_ask_for_the_file_again(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    client = login(analyst)
    for kept in ("", "###", "eJwDAAAAAAE=", "AAAA"):
        answer = client.post(URL, {"act": "preview", "into": "draft", "kept": kept})
        assert answer.status_code == 422, kept


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_was_exported_comes_back_unchanged(
    form: str, workflow: Workflow, analyst: User, cfo: User, login: Login
) -> None:
    odd: list[dict[str, Any]] = [
        {
            "key": "=cmd|' /C calc'!A0", "input": {"text": "=1+1", "n": [1, 2.5, None, True]},
            "expected": {"must_escalate": True}, "reason": "-1 or @x", "must_pass": True,
            "cluster": "k", "segment": "de",
        },
        {"key": "twin 1", "input": {"text": "a\nb"}, "expected": {"answer": "x;y,z\t"},
         "reason": "\u202etxt"},
        {"key": "twin 2", "input": {"text": "a\nb"}, "expected": {"answer": "x"}, "reason": "r"},
        {"key": "'=1", "input": {"text": "''+2"}, "expected": {"answer": "'x"}, "reason": "'"},
    ]  # fmt: skip
    freeze_suite(workflow, "golden", odd, actor=analyst)
    url = "/evals/suites/support-triage/golden/export/"
    answer: Any = login(cfo).post(url, {"format": form})
    raw = b"".join(answer.streaming_content)
    assert f"golden-v1.{form}" in answer["Content-Disposition"]
    if form == "csv":
        assert "\n=cmd" not in raw.decode()
    plan = send(login(analyst), raw, filename=f"x.{form}", replaces="on").context["plan"]
    assert (plan.same, plan.edits, plan.refused) == (4, 0, [])
    assert AuditEvent.objects.filter(verb="suite.exported").count() == 1
    assert login(cfo).post(url, {"format": "xls"}).status_code == 422


def test_refused_lines_are_handed_back_as_a_file(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    client = login(analyst)
    shown = send(client, "id,input,expected\n=x,,y\n")
    answer = client.post(f"{URL}refused/download/", {"refused": shown.context["refused_csv"]})
    assert "'=x" in answer.content.decode()
    assert answer["Content-Type"].startswith("text/csv")


def test_adversarial_cases_without_a_channel_take_the_one_that_was_chosen(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    client = login(analyst)
    url = URL.replace("golden", "adversarial")
    raw = b"id,input,must_escalate,channel\na,Do it,yes,\nb,Do it now,yes,tool\n"
    for chosen, keys in (("", {"b"}), ("memory", {"a", "b"})):
        answer = client.post(
            url,
            {"act": "preview", "into": "draft", "channel": chosen,
             "upload": SimpleUploadedFile("a.csv", raw)},
        )  # fmt: skip
        assert set(answer.context["plan"].rows) == keys
