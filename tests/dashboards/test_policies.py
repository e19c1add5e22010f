"""The page of gate policies: what is in force, what a proposal would have done, two people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from dashboards.policy_forms import PolicyFields
from dashboards.policy_words import EXAMPLE
from governance.evals.models import EvalRun, GatePolicy
from governance.evals.policies import effect_of
from governance.evals.policy import GatePolicy as Rules
from governance.evals.requests import request_run
from governance.evals.services import confirm_policy, current_policy, freeze_suite, set_policy
from governance.people.models import User
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

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


def test_a_proposal_judges_by_its_own_suites_as_its_gate_would(
    waiting: Promotion, workflow: Workflow, analyst: User, owner: User
) -> None:
    """The adversarial runs of a report do not count for a policy that asks for golden cases."""
    report = waiting.gate_report
    assert report is not None
    hard = [{"key": "a0", "input": {"number": 0}, "expected": {"answer": "never"},
             "must_pass": True, "channel": "direct", "reason": "It must hold."}]  # fmt: skip
    suite = freeze_suite(workflow, "adversarial", hard, actor=analyst)
    run = request_run(report.candidate, suite, actor=analyst, purpose="request", slot="hard")
    work()
    report.runs.add(run)
    before = EvalRun.objects.get(pk=run.pk)
    assert before.summary["passed"] == {"n": 1, "sum": 0}
    rules = {
        "suites": {"golden": {}}, "primary": {"metric": "correct"}, "hard_rules": ["must_pass"],
    }  # fmt: skip
    (decision,) = effect_of(workflow, rules)["decisions"]
    assert decision["would_be"] == "pass"


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


def _said(**changes: Any) -> str:
    """A policy with something wrong in it, as JSON."""
    return json.dumps(
        {"suites": {"golden": {}}, "primary": {"metric": "correct"}, "hard_rules": [], **changes}
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "suites: expected an object"),
        ('{"suites": {"golden": {}}}', "judges nothing"),
        ('{"suites": {"silver": {}}, "floors": []}', "Unknown suite"),
        ("nonsense", "not valid JSON"),
        (_said(suites={"recent": {"max_age_days": "7"}}), "whole number of days"),
        (_said(suites={"recent": {"max_age_days": [1]}}), "whole number of days"),
        (_said(hard_rules=5), "hard_rules: expected a list"),
        (_said(hard_rules=None), "hard_rules: expected a list"),
        (_said(hard_rules=[{}]), "hard_rules: expected a list"),
        (_said(primary={"metric": "correct", "suites": 5}), "suites: expected a list"),
        (_said(primary={"metric": "correct", "suites": [["golden"]]}), "suites: expected a list"),
        (_said(evaluator="\0"), "begins with sha256:"),
        (_said(guardrails=[{"metric": "cost", "margin_percent": 1_000_000}]), "to 1,000"),
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


def typed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a browser sends of the form that shows this content."""
    fields = PolicyFields(content)
    sent: dict[str, Any] = {"risk": "", "reason": "By the form."}
    sent |= {f"line-{name}": value for name, value in fields.lines.management_form.initial.items()}
    forms = [("", fields.suites), *((f"{line.prefix}-", line) for line in fields.lines.forms)]
    for prefix, form in forms:
        for name in form.fields:
            value = form[name].value()
            if value not in (None, False, ""):
                sent[f"{prefix}{name}"] = value
    return {**sent, **changes}


EVERYTHING: dict[str, Any] = {
    "suites": {
        "golden": {"min_cases": 50},
        "recent": {"min_cases": 40, "max_age_days": 7},
        "adversarial": {"min_cases": 30},
    },
    "primary": {"metric": "correct", "suites": ["golden"], "min_improvement_points": 1.5},
    "guardrails": [
        {"metric": "escalated", "suites": ["golden", "recent"], "margin_points": 5},
        {"metric": "cost", "suites": ["golden"], "margin_percent": 2.5},
        {"metric": "score:tone", "as_number": True, "suites": ["golden"], "margin": 0.05},
    ],
    "floors": [
        {"metric": "escalated", "suites": ["recent"], "limit_percent": 20, "direction": "lower"},
        {"metric": "score:fast", "suites": ["golden"], "limit_percent": 95},
    ],
    "hard_rules": ["must_pass"],
    "confidence": 0.975,
    "max_errored_percent": 1,
}


@pytest.mark.parametrize("content", [RULES, EXAMPLE, EVERYTHING, {
    "suites": {"golden": {}}, "floors": [{"metric": "correct", "limit_percent": 5}],
    "hard_rules": [],
}])  # fmt: skip
def test_a_policy_comes_back_from_its_fields_as_it_was(
    workflow: Workflow, owner: User, login: Login, content: dict[str, Any]
) -> None:
    answer = login(owner).post(f"{URL}propose/", typed(content))
    assert answer.status_code == 302, answer.content.decode()
    made = GatePolicy.objects.get()
    assert Rules.from_content(made.content) == Rules.from_content(content)
    assert made.reason == "By the form."


def test_the_page_shows_what_is_in_force_in_its_fields(
    workflow: Workflow, owner: User, analyst: User, login: Login
) -> None:
    confirm_policy(set_policy(workflow, EVERYTHING, actor=owner), actor=analyst)
    page = login(owner).get(URL).content.decode()
    assert 'name="line-0-amount" type="number" step="any" min="0"' in page
    for there in (
        'value="score:tone:number" selected', 'name="golden" type="number" min="1" value="50"',
        'value="97.5"', 'value="2.5"',
        'name="recent_days" type="number" min="1" max="14" value="7"',
    ):  # fmt: skip
        assert there in page, there
    assert "Fill in what it asks for" not in login(analyst).get(URL).content.decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"line-0-suites": []}, "Correct answers: choose at least one suite."),
        ({"line-1-amount": ""}, "Cost per run: write its margin."),
        ({"line-1-amount": "much"}, "Amount: Enter a number."),
        ({"line-1-role": "primary"}, "Only one metric has to get better"),
        ({"line-1-metric": "nonsense"}, "There is no metric nonsense."),
        ({"line-1-role": "floor"}, "has no floor"),
        ({"golden": ""}, "at least one suite"),
        ({"golden": "0"}, "Golden: Ensure this value is greater than or equal to 1."),
        ({"line-0-suites": ["recent"]}, "a suite it does not ask for: recent"),
        ({"confidence": "nan"}, "Confidence: Enter a number."),
        ({"line-TOTAL_FORMS": ""}, "ManagementForm data is missing"),
        ({"line-TOTAL_FORMS": "9999999"}, "at most 20"),
        ({"reason": ""}, "Write the reason"),
    ],
)
def test_what_is_wrong_in_a_field_is_said_and_what_was_typed_stays(
    workflow: Workflow, owner: User, login: Login, changes: dict[str, Any], words: str
) -> None:
    answer = login(owner).post(f"{URL}propose/", typed(RULES, max_errored_percent="3.5", **changes))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in page.replace("&#x27;", "'")
    assert 'value="3.5"' in page
    assert not GatePolicy.objects.exists()
