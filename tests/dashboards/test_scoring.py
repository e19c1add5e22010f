"""The pages of a workflow's scorers and of its judges."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from governance.common.time import now
from governance.evals import calibration
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
