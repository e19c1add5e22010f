"""The pages of a workflow's scorers and of its judges."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from dashboards.scorer_forms import addable, begun, scorer_lines
from governance.common.time import now
from governance.evals import calibration
from governance.evals.evaluators import clean
from governance.evals.models import EvalRun, Score
from governance.evals.services import current_evaluator, freeze_suite, set_evaluator
from governance.evals.setup_models import HumanLabel, JudgeCalibration
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/scoring/support-triage/"
JUDGE = {
    "name": "polite", "kind": "judge", "base_url": "https://8.8.8.8/v1", "model": "m",
    "prompt": "Is it polite?", "bar": 0.6,
}  # fmt: skip


def test_scorers_are_written_in_words_confirmed_and_compared(
    workflow: Workflow, analyst: User, owner: User, login: Login
) -> None:
    writer = login(analyst)
    assert "By label and escalation" in writer.get(URL).content.decode()
    content: dict[str, Any] = {"scorers": [{"name": "amount", "kind": "numeric", "relative": 0.1}]}
    sent = {"content": json.dumps(content), "reason": "Amounts count."}
    assert writer.post(f"{URL}set/", sent).status_code == 302
    page = writer.get(URL).content.decode()
    assert (
        "A number, within a tolerance (relative 0.1); decides whether the answer is right" in page
    )
    assert "Confirm v1" not in page
    assert "Confirm v1" in login(owner).get(URL).content.decode()
    assert login(owner).post(f"{URL}confirm/", {"version": 1}).status_code == 302
    content["scorers"][0]["relative"] = 0.2
    sent["content"] = json.dumps(content)
    assert writer.post(f"{URL}set/", sent).status_code == 302
    assert "&quot;relative&quot;: 0.2" in writer.get(URL).content.decode()
    refused = writer.post(f"{URL}set/", {**sent, "content": '{"scorers": [{"name": "a"}]}'})
    assert refused.status_code == 422
    assert "a kind is one of" in refused.content.decode()


@pytest.fixture
def graded(workflow: Workflow, analyst: User, make_release: Callable[..., Release]) -> list[Score]:
    """Forty answers that a judge has graded: every other one as good."""
    set_evaluator(workflow, {"scorers": [JUDGE]}, actor=analyst, reason="Tone.")
    (judge,) = calibration.judges_of(workflow)
    cases = [
        {"key": f"c{n:02}", "input": {"text": f"<i>Mail {n}</i>"}, "expected": {"rubric": "Kind."}}
        for n in range(40)
    ]
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    run = EvalRun.objects.create(
        release=make_release(), suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="graded", requested_by_label="Analyst", requested_at=now(), started_at=now(),
        finished_at=now(), state=EvalRun.State.DONE, cases_total=40, cases_done=40,
        scorers={"polite": judge.fingerprint}, definition=current_evaluator(workflow),
    )  # fmt: skip
    return Score.objects.bulk_create(
        Score(
            run=run, case=case, metrics={"polite": n % 2 == 0}, output={"answer": f"Dear {n}"},
            scored_at=now(),
        )
        for n, case in enumerate(suite.cases.all())
    )  # fmt: skip


def test_answers_are_labelled_without_the_judges_word_and_then_it_counts(
    graded: list[Score], builder: User, owner: User, cfo: User, login: Login
) -> None:
    client, page_url = login(builder), f"{URL}judges/polite/"
    page = client.get(page_url).content.decode()
    assert "label 10 more that people call good and 10 more that people call bad" in page
    assert page.count('value="good"') == 10
    assert "<i>Mail" not in page
    assert "Label answers" not in login(cfo).get(page_url).content.decode()
    by_pk = {score.pk: n for n, score in enumerate(graded)}
    first = int(page.split('name="score" value="')[1].split('"')[0])
    good = "good" if by_pk[first] % 2 == 0 else "bad"
    sent = {"score": first, "verdict": good}
    assert client.post(f"{page_url}label/", sent).status_code == 302
    assert client.post(f"{page_url}label/", sent).status_code == 409
    assert client.post(f"{page_url}label/", {"score": graded[0].pk}).status_code == 422
    assert client.post(f"{page_url}label/", {"score": 10**12, "verdict": "bad"}).status_code == 404
    assert f'value="{first}"' not in client.get(page_url).content.decode()
    assert client.post(f"{page_url}calibrate/").status_code == 422
    for score in graded:
        if score.pk != first:
            verdict = "good" if by_pk[score.pk] % 2 == 0 else "bad"
            client.post(f"{page_url}label/", {"score": score.pk, "verdict": verdict})
    assert HumanLabel.objects.count() == 40
    assert "Nothing left to label" in client.get(page_url).content.decode()
    assert login(owner).post(f"{page_url}calibrate/").status_code == 302
    assert JudgeCalibration.objects.get().passed
    page = client.get(page_url).content.decode()
    assert "Reached its bar" in page
    assert "1.00" in page  # kappa
    assert "Calibrated" in client.get(URL).content.decode()
    assert client.get(f"{URL}judges/rude/").status_code == 404


def typed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a browser sends of the lines that show this content."""
    lines = scorer_lines(content)
    sent = {f"line-{name}": value for name, value in lines.management_form.initial.items()}
    for line in lines.forms:
        values = {line.add_prefix(field.name): field.value() for field in line}
        sent |= {name: "" if value is None else value for name, value in values.items()}
    return {**sent, "reason": "By the form.", **changes}


def test_scorers_of_every_kind_come_back_from_their_lines_as_they_were(
    workflow: Workflow, analyst: User, login: Login, settings: Any
) -> None:
    settings.EVAL_SCORERS = {"ours": "tests.evals.target.build"}
    scorers = {kind: begun(kind) for kind, label in addable() if label}
    scorers["callable"] |= {"call": "ours", "role": "policy"}
    scorers["forbidden"] |= {
        "texts": ["we guarantee", '["a"]'],
        "patterns": ["(?x) a\n b", "[A-Z]"],
    }
    scorers["schema"] |= {"schema": {"type": "object"}}
    scorers["contains"] |= {"all": False}
    content = {"scorers": list(scorers.values())}
    client = login(analyst)
    answer = client.post(f"{URL}set/", typed(content))
    assert answer.status_code == 302, answer.content.decode()
    made = current_evaluator(workflow)
    assert made is not None
    assert made.content == clean(content)
    again = client.post(f"{URL}set/", typed(made.content))
    assert again.status_code == 409  # nothing changed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "exact", "role": []}, "a role is correct"),
        ({"kind": "exact", "role": {}}, "a role is correct"),
        ({"kind": "callable", "call": []}, "EVAL_SCORERS"),
        ({**JUDGE, "price_in": "1e999999"}, "amount of money"),
        ({**JUDGE, "price_in": "1e9999999"}, "amount of money"),
        ({**JUDGE, "tries": 1.5}, "whole number"),
    ],
)
def test_what_is_no_scorer_is_refused_in_one_sentence(
    workflow: Workflow, analyst: User, login: Login, changes: dict[str, Any], words: str
) -> None:
    sent = {"content": json.dumps({"scorers": [{"name": "x", **changes}]}), "reason": "Try."}
    answer = login(analyst).post(f"{URL}set/", sent)
    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_a_scorer_is_added_and_removed_and_what_is_typed_stays(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    client = login(analyst)
    sent = typed({"scorers": [begun("latency")]}, **{"line-0-limit_ms": "77", "add": "1"})
    for _ in range(2):
        answer = client.post(f"{URL}set/", {**sent, "another": "forbidden"})
        sent = {**sent, **_shown(answer.content.decode())}
    assert answer.status_code == 200
    assert current_evaluator(workflow) is None
    assert sent["line-0-limit_ms"] == "77"
    assert [sent[f"line-{at}-name"] for at in range(3)] == ["latency", "forbidden", "forbidden_2"]
    del sent["add"]
    sent |= {"line-1-DELETE": "on", "line-1-name": "", "line-2-texts": " we guarantee \n\nalways"}
    assert client.post(f"{URL}set/", sent).status_code == 302
    made = current_evaluator(workflow)
    assert made is not None
    first, second = made.content["scorers"]
    assert (first["name"], first["limit_ms"]) == ("latency", 77)
    assert (second["name"], second["texts"]) == ("forbidden_2", ["we guarantee", "always"])
    for nonsense in ("", "nonsense", "a" * 1_000):
        answer = client.post(f"{URL}set/", {**sent, "add": "1", "another": nonsense})
        assert answer.status_code == 200
        assert f'name="line-TOTAL_FORMS" value="{sent["line-TOTAL_FORMS"]}"' in (
            answer.content.decode()
        )


def _shown(page: str) -> dict[str, str]:
    """What the fields of the lines hold, as a browser would send them."""
    form = page[page.index("line-TOTAL_FORMS") - 200 : page.index('name="another"')]
    found = {}
    for tag in re.findall(r"<input[^>]*>", form):
        said = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if said.get("type") != "checkbox" or " checked" in tag:
            found[said["name"]] = said.get("value", "")
    return found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"line-0-name": "Not a name"}, "A scorer's name has small letters"),
        ({"line-1-schema": "{"}, "schema, JSON Schema: "),
        ({"line-1-schema": "[1]"}, "schema is a JSON Schema"),
        ({"line-0-kind": "nonsense"}, "answer, Kind: Select a valid choice"),
        ({"line-0-name": ""}, "Name: This field is required"),
        ({"line-0-DELETE": "on", "line-1-DELETE": "on"}, "1 to 30 scorers"),
        ({"line-TOTAL_FORMS": "500"}, "at most 30"),
        ({"reason": ""}, "Write the reason"),
    ],
)
def test_what_is_wrong_in_a_line_is_said_and_nothing_typed_is_lost(
    workflow: Workflow, analyst: User, login: Login, changes: dict[str, Any], words: str
) -> None:
    content = {"scorers": [{"name": "answer", "kind": "normalised"}, begun("schema")]}
    more = {"line-1-schema": '{"type": "string"}', **changes}
    answer = login(analyst).post(f"{URL}set/", typed(content, **more))
    page = html.unescape(answer.content.decode())
    assert answer.status_code == 422
    assert words in page
    assert more["line-1-schema"] in page
    assert current_evaluator(workflow) is None
