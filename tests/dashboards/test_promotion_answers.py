"""What a promotion's page answers: what it costs, what got better or worse, who decides, when."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from dashboards.promotion_evidence import Change, cost_of, findings
from dashboards.promotion_page import duration, plan_in_words
from governance.common.time import now, story_time
from governance.kpis.models import Kpi
from governance.people.models import Delegation, User
from governance.people.signatures import sign
from governance.rollouts import services
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.road_models import FreezeException, PromotionOutcome
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.dashboards.test_promotions import decide, page_of

Login = Callable[[User], Client]
Propose = Callable[..., Promotion]
PT = "\N{NO-BREAK SPACE}pt"
MINUS = "\N{MINUS SIGN}"


def cost_row(suite: str, **more: Any) -> dict[str, Any]:
    row = {
        "metric": "cost", "metric_label": "Cost per run", "suite": suite, "role": "reported",
        "verdict": "reported", "unit": "money", "better": "down", "n": 200, "value": 2.71,
        "base_value": 2.94, "change": -0.23, "low": -0.56, "high": 0.10,
    }  # fmt: skip
    return {**row, **more}


def test_what_it_costs_is_told_per_run_and_per_week_with_its_interval() -> None:
    found = cost_of(
        {"rows": [cost_row("golden", value=9.0), cost_row("recent")]}, runs_a_week=1157, base="r3"
    )
    assert found.per_run == "$2.71 a run against $2.94 of r3"
    assert found.change == Change(f"{MINUS}$0.23", f"{MINUS}$0.56 to +$0.10")
    assert found.by_chance
    assert found.a_week == Change(f"{MINUS}$266", f"{MINUS}$648 to +$116")
    assert found.source == "200 cases of the recent suite"


def test_what_nobody_measured_is_said_and_never_zero() -> None:
    assert cost_of({"rows": []}, runs_a_week=10, base="r3").per_run == (
        "Not measured: the evals report no cost"
    )
    alone = cost_of(
        {"rows": [cost_row("golden", base_value=None, change=None)]}, runs_a_week=10, base=""
    )
    assert alone.per_run == "$2.71 a run; nothing to compare it with"
    idle = cost_of({"rows": [cost_row("recent", high=-0.1)]}, runs_a_week=0, base="r3")
    assert idle.change is not None
    assert (idle.a_week, idle.by_chance) == (None, False)


def test_findings_are_grouped_by_what_was_found_and_say_what_was_not_judged() -> None:
    def row(metric: str, verdict: str, role: str = "guardrail", **more: Any) -> dict[str, Any]:
        return {
            "metric": metric, "metric_label": metric.capitalize(), "suite": "golden",
            "verdict": verdict, "role": role, "unit": "percent", "better": "up", "n": 10,
            "change": 5.0, "low": 1.0, "high": 9.0, **more,
        }  # fmt: skip

    found = findings(
        {
            "rows": [
                row("correct", "better", "primary"),
                row("correct", "no_worse", suite="recent"),
                row("silent", "worse", better="down"),
                row("allowed", "no_worse", low=-9.0, change=-5.0, high=-1.0),
                row("tone", "not_enough_evidence"),
                row("latency", "reported", "reported", better="down"),
                row("sound", "reported", "reported", low=-1.0),
                row("safe", "reported", "reported", change=None, low=None, high=None, passed=9),
                {"metric": "must_pass", "metric_label": "Must-pass cases", "role": "hard_rule",
                 "outcome": "fail", "verdict": "broken", "sentence": "2 of 9 did not pass."},
            ],
            "refusals": [{"sentence": "The recent suite was sampled 20 days ago."}],
        },
        [("Quality", "correct"), ("First response", "first_response_s")],
    )  # fmt: skip
    assert [(item.name, item.parts) for item in found.better] == [
        ("Correct", (f"+5.0{PT} golden",))
    ]
    assert [(item.name, item.note) for item in found.worse] == [
        ("Silent", ""),
        ("Allowed", "within what the policy allows"),
        ("Latency", "not judged"),
        ("Must-pass cases", ""),
    ]
    assert found.worse[3].parts == ("2 of 9 did not pass",)
    assert [item.name for item in found.same] == ["Correct"]
    assert [item.name for item in found.unjudged] == ["Sound", "Safe"]
    assert [(item.name, item.parts) for item in found.unclear] == [("Tone", (f"+5.0{PT} golden",))]
    assert [(item.name, item.parts) for item in found.unknown] == [
        ("The recent suite was sampled 20 days ago.", ()),
        ("First response", ("only production shows it",)),
    ]


def test_the_page_answers_in_the_order_in_which_people_ask(
    propose: Propose, owner: User, kpis: list[Kpi], login: Login
) -> None:
    page = page_of(login(owner), propose(90))
    places = [
        page.index(part)
        for part in (
            "What changes</h2>", "What it costs</h2>", "Better</h3>", "Worse</h3>",
            "Could not be measured</h3>", "How to undo it</h2>",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert f"+40.0{PT} golden" in page
    assert "Time to first response" in page
    assert "only production shows it" in page
    assert "Nothing is shown to be worse." in page
    assert "The first time this release was judged." in page


def test_an_approval_shows_until_when_it_counts_and_its_signature(
    propose: Propose, owner: User, cfo: User, confirmed: Login
) -> None:
    promotion, client = propose(threshold=0.2), confirmed(owner)
    assert decide(client, promotion, "approve").status_code == 302
    approval = Approval.objects.get(promotion=promotion)
    page = page_of(client, promotion)
    until = approval.decided_at + timedelta(hours=24)
    assert "Counts until" in page
    assert f"{until:%Y-%m-%dT%H:%M:%SZ}" in page
    assert "Can be given now by CFO" in page
    assert "Approvals: 1 of 2" in page
    assert "I answer for this KPI" in page
    assert approval.signature_id is not None
    assert f"/signatures/{approval.signature_id}/" in page

    with story_time(until + timedelta(minutes=1)):
        page = page_of(client, promotion)
    assert "it was not used in time and does not count any more" in page
    assert "Approvals: 0 of 2" in page


def test_who_made_the_change_is_listed_with_what_they_did(
    propose: Propose, owner: User, login: Login
) -> None:
    page = page_of(login(owner), propose())
    assert "Cannot approve, because they made it" in page
    assert "Builder: asked for it, registered the release and wrote Model" in page


@pytest.fixture
def stand_in(owner: User, controller: User) -> Delegation:
    moment = now()
    return Delegation.objects.create(
        owner=owner, delegate=controller, starts_at=moment - timedelta(hours=1),
        ends_at=moment + timedelta(days=2), reason="On leave.", created_at=moment,
        signature=sign(
            owner, "delegation", reason="On leave.", subject={"delegate": str(controller.pk)},
            role="KPI owner", authenticated_at=moment, authenticated_by="password",
        ),
    )  # fmt: skip


def test_a_delegate_decides_on_the_page_and_the_decision_says_for_whom(
    propose: Propose, stand_in: Delegation, controller: User, auditor: User, confirmed: Login,
    login: Login,
) -> None:  # fmt: skip
    promotion, client = propose(), confirmed(controller)
    page = page_of(client, promotion)
    assert "Controller (for Head of Support until" in page
    assert "for Head of Support, by delegation" in page
    # No link leads to what this person does not read.
    for url in re.findall(
        r'href="(/(?:releases|gate-reports|workflows|promotions)/[^"#?]+)"', page
    ):
        assert client.get(url).status_code == 200, url
    assert decide(client, promotion, "approve").status_code == 302
    page = page_of(login(auditor), promotion)
    assert "for Head of Support by delegation" in page
    assert "For the KPI owner (Head of Support) by delegation" in page


def test_a_second_approver_of_another_workflow_is_led_to_a_page_they_may_read(
    propose: Propose, owner: User, controller: User, confirmed: Login
) -> None:
    create_workflow("close", "Close", owner=controller, actor=TESTER)
    promotion = propose(threshold=0.2)
    decide(confirmed(owner), promotion, "approve")
    client = confirmed(controller)
    assert "as second approver" in page_of(client, promotion)
    answer = decide(client, promotion, "approve")
    assert (answer.status_code, answer["Location"]) == (302, "/promotions/")
    assert "is live in Support triage now." in client.get("/promotions/").content.decode()


def test_a_freeze_is_said_before_anybody_approves_and_an_executive_lets_one_through(
    propose: Propose, owner: User, cfo: User, builder: User, confirmed: Login
) -> None:
    promotion, moment = propose(), now()
    (window,) = services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=moment, ends_at=moment + timedelta(days=2),
        reason="Nothing moves while the books close.",
    )  # fmt: skip
    page = page_of(confirmed(owner), promotion)
    assert "Month-end close</a>: nothing goes forward until" in page
    assert "Approve promotion" not in page
    assert "Let it through by name…" not in page
    assert decide(confirmed(owner), promotion, "approve").status_code == 409

    url = reverse("promotion-except-freeze", args=(promotion.pk, window.pk))
    assert confirmed(owner).post(url, {"reason": "x"}).status_code == 403
    client = confirmed(cfo)
    assert "Let it through by name…" in page_of(client, promotion)
    assert client.post(url, {"reason": ""}).status_code == 422
    assert client.post(url, {"reason": "The regulator asked for it."}).status_code == 302
    assert client.post(url, {"reason": "again"}).status_code == 409
    assert FreezeException.objects.get().reason == "The regulator asked for it."

    page = page_of(confirmed(owner), promotion)
    assert "CFO let this promotion through Month-end close" in page
    assert decide(confirmed(owner), promotion, "approve").status_code == 302


def test_the_password_comes_first_where_it_is_old_and_the_reason_survives(
    propose: Propose, owner: User, login: Login, confirmed: Login
) -> None:
    promotion = propose()
    page = page_of(login(owner), promotion)
    back = f"/reauthenticate/?next=%2Fpromotions%2F{promotion.pk}%2F%23reason"
    assert f'href="{back}"' in page
    assert 'href="#reason"' in page_of(confirmed(owner), promotion)
    client = login(owner)
    assert decide(client, promotion, "approve")["Location"].startswith("/reauthenticate/?")
    assert "The evidence convinces me.</textarea>" in page_of(client, promotion)


def test_what_was_expected_stands_beside_what_happened(
    propose: Propose, owner: User, kpis: list[Kpi], login: Login
) -> None:
    promotion = propose()
    kpi = next(kpi for kpi in kpis if kpi.slug == "escalation")
    Promotion.objects.filter(pk=promotion.pk).update(expected_kpi=kpi, expected_change=-2.0)
    PromotionOutcome.objects.create(
        promotion=promotion, verdict=PromotionOutcome.Verdict.LESS, measured_at=now(),
        sentence="Escalation rate: -2 points was expected, -1 points happened: less.",
    )  # fmt: skip
    page = page_of(login(owner), promotion)
    assert f"Escalation rate {MINUS}2\N{NO-BREAK SPACE}points" in page
    assert "Less than expected" in page
    assert "-1 points happened" in page


def test_the_list_says_for_whom_since_when_and_filters_by_the_query_string(
    propose: Propose, owner: User, cfo: User, login: Login, confirmed: Login
) -> None:
    promotion = propose(threshold=0.2)
    page = login(owner).get("/promotions/").content.decode()
    assert "Head of Support and a second approver" in page
    assert promotion.gate_judged_at is not None
    assert f"{promotion.gate_judged_at:%Y-%m-%dT%H:%M:%SZ}" in page
    decide(confirmed(owner), promotion, "approve")
    page = login(cfo).get("/promotions/?state=open&risk=high&road=promotion").content.decode()
    assert "the owner said yes" in page
    assert "Decided</h2>" not in page
    link = f"/promotions/{promotion.pk}/"
    assert link not in login(cfo).get("/promotions/?risk=low").content.decode()
    assert link not in login(cfo).get("/promotions/?road=emergency").content.decode()
    assert link in login(cfo).get("/promotions/?road=nonsense").content.decode()


def test_how_it_goes_live_is_one_sentence() -> None:
    assert plan_in_words([]) == "It serves every case at once."
    steps = [{"share": 50, "minutes": 1500, "runs": 0}, {"share": 2500, "minutes": 0, "runs": 1200}]
    assert plan_in_words(steps).replace("\N{NO-BREAK SPACE}", " ") == (
        "A pilot first: 0.5 % for at least 1 day 1 h and at least 50 runs, then 25 % for at"
        " least 1,200 runs, then every case. The guard widens it."
    )
    assert duration(0) == "0\N{NO-BREAK SPACE}min"
