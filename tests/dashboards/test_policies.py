"""The page of gate policies: what is in force, what a proposal would have done, two people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from governance.evals.models import GatePolicy
from governance.evals.services import current_policy
from governance.people.models import User
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/policies/support-triage/"
RULES: dict[str, Any] = {
    "suites": {"golden": {"min_cases": 50}},
    "primary": {"metric": "correct", "suites": ["golden"]},
    "guardrails": [{"metric": "cost", "suites": ["golden"], "margin_percent": 5}],
    "floors": [{"metric": "correct", "suites": ["golden"], "limit_percent": 99}],
}


def test_a_first_policy_is_proposed_and_confirmed_on_the_page(
    workflow: Workflow, owner: User, analyst: User, login: Login
) -> None:
    assert "No gate policy is in force" in login(analyst).get(URL).content.decode()
    sent = {"content": json.dumps(RULES), "reason": "A start.", "risk": ""}
    assert login(analyst).post(f"{URL}propose/", sent).status_code == 403
    assert login(owner).post(f"{URL}propose/", sent).status_code == 302
    page = login(owner).get(URL).content.decode()
    assert "Proposed: version 1" in page
    assert "Cost per run on golden, by more than 5 % (less is better)" in page
    assert "Confirm version 1" not in page  # not by whoever proposed it
    assert login(owner).post(f"{URL}confirm/", {"version": 1}).status_code == 403
    assert "Confirm version 1" in login(analyst).get(URL).content.decode()
    assert login(analyst).post(f"{URL}confirm/", {"version": 1}).status_code == 302
    found = current_policy(workflow)
    assert found is not None
    assert found.reason == "A start."
    assert "version 1, confirmed by Analyst" in login(owner).get(URL).content.decode()


def test_a_proposal_says_what_it_would_have_made_of_the_last_decisions(
    waiting: Promotion, owner: User, analyst: User, login: Login
) -> None:
    """The waiting promotion passed its gate; a floor of 99 % would have refused it."""
    sent = {"content": json.dumps(RULES), "reason": "Near perfect.", "risk": ""}
    assert login(owner).post(f"{URL}propose/", sent).status_code == 302
    made = GatePolicy.objects.order_by("-version")[0]
    (decision,) = made.effect["decisions"]
    assert (decision["was"], decision["would_be"]) == ("pass", "fail")
    page = login(analyst).get(URL).content.decode()
    assert "1 of 1 would have come out otherwise" in page
    assert "Against what is in force" in page
    assert f"/gate-reports/{decision['report']}/" in page or decision["report"] in page
    assert login(owner).post(f"{URL}withdraw/", {"version": made.version}).status_code == 302
    assert login(analyst).post(f"{URL}confirm/", {"version": made.version}).status_code == 409
    assert login(owner).post(f"{URL}withdraw/", {"version": made.version}).status_code == 409
    page = login(analyst).get(URL).content.decode()
    assert "Proposed: version" not in page
    assert "withdrawn by" in page


def test_a_class_of_change_may_have_its_own_policy_and_others_keep_theirs(
    waiting: Promotion, workflow: Workflow, owner: User, analyst: User, login: Login
) -> None:
    before = current_policy(workflow)
    for risk in ("high", "low"):
        sent = {"content": json.dumps(RULES), "reason": "Stricter.", "risk": risk}
        login(owner).post(f"{URL}propose/", sent)
        version = GatePolicy.objects.order_by("-version")[0].version
        assert login(analyst).post(f"{URL}confirm/", {"version": version}).status_code == 302
    high, low = current_policy(workflow, "high"), current_policy(workflow, "low")
    assert high is not None
    assert low is not None
    assert (high.risk, low.risk) == ("high", "low")
    assert current_policy(workflow) == current_policy(workflow, "medium") == before
    page = login(owner).get(URL).content.decode()
    assert "High risk" in page
    assert "Every change that has no policy of its own" in page


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "suites: expected an object"),
        ('{"suites": {"golden": {}}}', "judges nothing"),
        ('{"suites": {"silver": {}}, "floors": []}', "Unknown suite"),
        ("nonsense", "not valid JSON"),
    ],
)
def test_what_is_no_policy_is_said_and_nothing_typed_is_lost(
    workflow: Workflow, owner: User, login: Login, content: str, sentence: str
) -> None:
    answer = login(owner).post(f"{URL}propose/", {"content": content, "reason": "Mine."})
    page = answer.content.decode().replace("&quot;", '"')
    assert answer.status_code == 422
    assert sentence in page
    assert content in page
    assert not GatePolicy.objects.exists()
