"""The page of a workflow's target, asking for a run, watching it, and cancelling it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from dashboards.target_forms import fits_fields, target_form
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.services import confirm_target, current_target, freeze_suite, set_target
from governance.evals.target_content import clean
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/targets/support-triage/"
HTTP = {
    "kind": "http", "url": "https://8.8.8.8/run", "secret": "env:COUNTERSIGN_KEY",
    "body": {"q": "{{input.text}}"}, "paths": {"answer": "said"},
}  # fmt: skip


@pytest.fixture
def suite(workflow: Workflow, analyst: User, settings: Any) -> SuiteVersion:
    settings.EVAL_TARGETS = {workflow.slug: "tests.rollouts.target.build"}
    cases = [
        {"key": f"c{number}", "input": {"number": number}, "expected": {"answer": "yes"}}
        for number in range(12)
    ]
    return freeze_suite(workflow, "golden", cases, actor=analyst)


def test_a_target_is_written_seen_confirmed_by_another_and_compared(
    workflow: Workflow, analyst: User, cfo: User, login: Login, settings: Any
) -> None:
    settings.EVAL_TARGETS = {}
    writer = login(analyst)
    page = writer.get(URL).content.decode()
    assert "Nobody said how to call it" in page
    assert "https://api.example.com/v1" in page  # something to begin with
    sent = {"content": json.dumps(HTTP), "reason": "<script>x</script>"}
    assert writer.post(f"{URL}set/", sent).status_code == 302
    page = writer.get(URL).content.decode()
    assert "POST https://8.8.8.8/run" in page
    assert "env:COUNTERSIGN_KEY" in page
    assert "<script>x" not in page
    assert "Confirm v1" not in page  # not by its author
    second = login(cfo)
    assert "Confirm v1" in second.get(URL).content.decode()
    assert second.post(f"{URL}confirm/", {"version": 1}).status_code == 302
    assert second.post(f"{URL}confirm/", {"version": 1}).status_code == 409
    changed = {"content": json.dumps({**HTTP, "seconds": 20}), "reason": "Slow days."}
    assert writer.post(f"{URL}set/", changed).status_code == 302
    assert '"seconds": 20' in second.get(URL).content.decode().replace("&quot;", '"')


OPENAI: dict[str, Any] = {
    "kind": "openai", "base_url": "https://8.8.8.8/v1", "secret": "env:COUNTERSIGN_KEY",
    "model": "m-1", "price_in": "0.15", "price_out": "0.6", "parameters": {"temperature": 0},
    "messages": [
        {"role": "system", "content": "{{release.prompt_policy.greeting}}\nShort."},
        {"role": "user", "content": " {{input.text}} "},
    ],
    "paths": {"escalated": "ask"}, "concurrency": 8, "per_minute": 90, "seconds": 30, "tries": 2,
    "budget": "5",
}  # fmt: skip
WHOLE_HTTP: dict[str, Any] = {
    **HTTP, "method": "PUT", "secret_header": "X-Key",
    "headers": {"X-Team": "a: b", "Accept": "*/*"},
    "body": {"q": ["{{input}}", 1, None]}, "budget": "0.5",
}  # fmt: skip


def typed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a browser sends of the form that shows this content."""
    form = target_form(content)
    values = {field.name: field.value() for field in form}
    sent = {name: value for name, value in values.items() if value is not None}
    return {**sent, "reason": "By the form.", **changes}


@pytest.mark.parametrize("content", [OPENAI, WHOLE_HTTP, HTTP, {"kind": "callable", "tries": 2}])
def test_a_target_comes_back_from_its_fields_as_it_was(
    workflow: Workflow, analyst: User, login: Login, content: dict[str, Any]
) -> None:
    client = login(analyst)
    answer = client.post(f"{URL}set/", typed(content))
    assert answer.status_code == 302, answer.content.decode()
    made = current_target(workflow)
    assert made is not None
    assert made.content == clean(content)
    assert fits_fields(made.content)
    page = client.get(URL).content.decode()
    assert f'?start={content["kind"]}#set-title" aria-current="page"' in page
    assert client.post(f"{URL}set/", typed(made.content)).status_code == 409  # nothing changed


@pytest.mark.parametrize(
    ("content", "changes", "words"),
    [
        (OPENAI, {"concurrency": "33"}, "less than or equal to 32"),
        (OPENAI, {"base_url": ""}, "This field is required"),
        (OPENAI, {"base_url": "http://10.0.0.1/"}, "https"),
        (OPENAI, {"parameters": "[1]"}, "Write an object"),
        (OPENAI, {"parameters": "{"}, "not valid JSON"),
        (OPENAI, {"user": "{{input.}}"}, "names nothing"),
        (OPENAI, {"price_in": "NaN"}, "Enter a number"),
        (OPENAI, {"secret": "sk-123"}, "secret"),
        (HTTP, {"headers": "no colon"}, "Write Name: value"),
        (HTTP, {"headers": "Host: x"}, "set by Countersign itself"),
        (HTTP, {"path_answer": "]["}, "no JMESPath"),
        (HTTP, {"kind": "nonsense"}, "The kind of a target"),
        (HTTP, {"reason": ""}, "Write the reason"),
    ],
)
def test_what_is_wrong_in_a_field_of_a_target_is_said_and_nothing_typed_is_lost(
    workflow: Workflow, analyst: User, login: Login, content: dict[str, Any],
    changes: dict[str, Any], words: str,
) -> None:  # fmt: skip
    answer = login(analyst).post(f"{URL}set/", typed(content, seconds="77", **changes))
    page = answer.content.decode().replace("&quot;", '"')
    assert answer.status_code == 422
    assert words in page
    assert 'value="77"' in page
    assert current_target(workflow) is None


def test_messages_that_no_field_can_show_are_changed_as_json(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    more = [*OPENAI["messages"], {"role": "assistant", "content": "Hm."}]
    set_target(workflow, {**OPENAI, "messages": more}, actor=analyst, reason="Three.")
    page = login(analyst).get(URL).content.decode()
    fields, as_json = page.split('<summary class="strong">As JSON')
    assert fields.rstrip().endswith('<details class="plain" open>')
    assert "Hm." in as_json


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "Write a JSON object"),
        ('{"kind": "http", "url": "http://10.0.0.1/"}', "https"),
        ('{"kind": "http", "kind": "http"}', "stands twice"),
        ("", "Write what shall hold"),
    ],
)
def test_what_is_no_target_is_said_and_nothing_typed_is_lost(
    workflow: Workflow, analyst: User, login: Login, content: str, sentence: str
) -> None:
    answer = login(analyst).post(f"{URL}set/", {"content": content, "reason": "My reason."})
    page = answer.content.decode().replace("&quot;", '"')
    assert answer.status_code == 422
    assert sentence in page
    assert content in page
    assert "My reason." in page
    assert current_target(workflow) is None


def test_a_run_is_asked_for_once_watched_and_cancelled(
    suite: SuiteVersion, make_release: Callable[..., Release], analyst: User, cfo: User,
    login: Login,
) -> None:  # fmt: skip
    release = make_release()
    client = login(analyst)
    page = client.get("/evals/").content.decode()
    assert "Run a suite now" in page
    assert "Run a suite now" not in login(cfo).get("/evals/").content.decode()
    ask = {"release": release.pk, "suite": "golden", "repeats": 2, "budget": "1.50", "mark": "m1"}
    url = "/evals/runs/support-triage/ask/"
    first = client.post(url, ask)
    assert client.post(url, ask).headers["Location"] == first.headers["Location"]
    run = EvalRun.objects.get()
    assert (run.repeats, run.asks_total, str(run.budget)) == (2, 24, "1.50000000")
    watched = client.get(f"/evals/runs/{run.pk}/").content.decode()
    assert "Waiting for a worker" in watched
    part = client.get(f"/evals/runs/{run.pk}/?progress", headers={"HX-Request": "true"})
    assert 'hx-trigger="every 2s"' in part.content.decode()
    assert "<h1>" not in part.content.decode()
    assert login(cfo).post(f"/evals/runs/{run.pk}/cancel/").status_code == 403
    assert client.post(f"/evals/runs/{run.pk}/cancel/").status_code == 302
    assert client.post(f"/evals/runs/{run.pk}/cancel/").status_code == 409
    part = client.get(f"/evals/runs/{run.pk}/?progress", headers={"HX-Request": "true"})
    assert "has ended" in part.content.decode()
    assert "every 2s" not in part.content.decode()
    assert "Cancelled by Analyst" in client.get(f"/evals/runs/{run.pk}/").content.decode()


def test_repeats_stand_beside_each_other_and_bad_numbers_are_refused(
    suite: SuiteVersion, make_release: Callable[..., Release], analyst: User, login: Login
) -> None:
    model = {"provider": "own", "id": "m", "parameters": {"right_of_100": 60}}
    release = make_release(model=model)
    client = login(analyst)
    url = "/evals/runs/support-triage/ask/"
    ask = {"release": release.pk, "suite": "golden", "repeats": 2, "mark": "m2"}
    for wrong in ({"repeats": 0}, {"repeats": 21}, {"budget": "-1"}, {"suite": "silver"},
                  {"mark": "a b"}):  # fmt: skip
        assert client.post(url, {**ask, **wrong}).status_code == 422
    assert client.post(url, {**ask, "release": "sha256:" + "0" * 64}).status_code == 404
    assert client.post(url, {**ask, "suite": "recent"}).status_code == 422
    assert not EvalRun.objects.exists()
    client.post(url, ask)
    work()
    run = EvalRun.objects.get()
    assert (run.state, run.cases_done) == (EvalRun.State.DONE, 24)
    page = client.get(f"/evals/runs/{run.pk}/").content.decode()
    assert "12 cases, 2 times each" in page
    assert page.count("run 2</span>") == 12


def test_whoever_set_the_target_is_named_until_it_is_confirmed(
    workflow: Workflow, analyst: User, owner: User, login: Login
) -> None:
    made = set_target(workflow, HTTP, actor=analyst, reason="Over the network.")
    assert "waits for a second person" in login(owner).get(URL).content.decode()
    confirm_target(made, actor=owner)
    assert "waits for a second person" not in login(owner).get(URL).content.decode()
