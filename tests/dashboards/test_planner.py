"""The planner: the number it says is that of the gate's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.common.time import now
from governance.evals import statistics as st
from governance.evals.models import EvalRun
from governance.evals.services import confirm_policy, set_policy
from governance.people.models import User
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/planner/support-triage/"


def test_without_a_policy_it_says_what_to_do(
    workflow: Workflow, cfo: User, outsider: User, login: Login
) -> None:
    assert "Propose one first" in login(cfo).get(URL).content.decode()
    assert login(outsider).get(URL).status_code == 404


def test_it_says_how_many_cases_a_margin_takes_and_how_many_there_are(
    waiting: Promotion, cfo: User, login: Login
) -> None:
    client = login(cfo)
    page = client.get(URL).content.decode()
    assert "in the last two releases" in page
    page = client.get(f"{URL}?points=3&differ=15").content.decode()
    needed = st.cases_needed(discordance=0.15, change=0.0, null=-0.03, confidence=0.95)
    assert f"{needed:,}" in page
    assert "as you say" in page
    assert "Too few" in page
    sharper = client.get(f"{URL}?points=3&differ=15&power=95&confidence=99").content.decode()
    more = st.cases_needed(discordance=0.15, change=0.0, null=-0.03, confidence=0.99, power=0.95)
    assert f"{more:,}" in sharper
    assert "Enough" in client.get(f"{URL}?points=40&differ=15").content.decode()
    assert "assumed: any gain counts" in client.get(URL).content.decode()
    assert "assumed: any gain counts" not in page


def test_fewer_cases_than_the_policy_asks_for_are_too_few(
    waiting: Promotion, workflow: Workflow, owner: User, cfo: User, login: Login
) -> None:
    rules = {
        "suites": {"golden": {"min_cases": 5_000}},
        "guardrails": [{"metric": "correct", "margin_points": 40}],
    }  # fmt: skip
    confirm_policy(set_policy(workflow, rules, actor=owner), actor=cfo)
    page = login(cfo).get(URL).content.decode()
    assert "Too few" in page
    assert "5,000" in page


def test_results_of_another_tool_say_nothing_where_the_workflow_has_a_target(
    waiting: Promotion, workflow: Workflow, cfo: User, login: Login
) -> None:
    client = login(cfo)
    before = client.get(URL).context["lines"]
    seen = EvalRun.objects.filter(release=waiting.release, state="done").latest("pk")
    strange = EvalRun.objects.get(pk=seen.pk)
    strange.pk, strange.slot, strange.purpose = None, "import x", "import"
    strange.evaluator, strange.finished_at = "sha256:other", now()
    strange.summary = {**seen.summary, "passed": {"n": 100, "sum": 100}}
    strange.save()
    assert client.get(URL).context["lines"] == before
    trend = client.get("/evals/").context["trends"]
    assert strange not in [run for one in trend for run, _, _ in one.points]


@pytest.mark.parametrize("query", ["points=x", "points=-1", "differ=0", "power=1e9", "confidence="])
def test_nonsense_in_the_address_is_as_if_nothing_were_said(
    waiting: Promotion, cfo: User, login: Login, query: str
) -> None:
    client = login(cfo)
    assert client.get(f"{URL}?{query}").status_code == 200
