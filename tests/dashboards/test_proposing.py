"""Asking for a promotion: the choices, what would happen, and what is sent."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboards.propose_page import careful_steps
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures

Login = Callable[[User], Client]
Make = Callable[..., Release]
HTMX = {"HX-Request": "true"}


def url_of(release: Release) -> str:
    return reverse("promotion-propose", args=(release.pk,))


def test_the_page_says_what_would_happen_before_anything_is_sent(
    live: Release, make_release: Make, builder: User, cfo: User, login: Login
) -> None:
    page = login(builder).get(url_of(make_release(threshold=0.2))).content.decode()
    assert "The escalation threshold goes from 0.35 to 0.20." in page
    assert "High risk" in page
    assert "Why this is high risk" in page
    assert "KPI owner (Head of Support)" in page
    assert "CFO" in page
    assert "Cannot approve: Builder, because they asked for it" in page
    assert "“Correct answers” on golden has to get better" in page
    assert "Nothing holds it back now." in page
    assert "It serves every case at once." in page


def test_only_who_may_ask_sees_the_page(
    live: Release, make_release: Make, owner: User, controller: User, login: Login
) -> None:
    release = make_release(threshold=0.2)
    assert login(owner).get(url_of(release)).status_code == 403
    assert login(controller).get(url_of(release)).status_code == 404
    assert login(owner).post(url_of(release), {"rationale": "x"}).status_code == 403


def test_everything_in_the_way_is_named_with_where_to_deal_with_it(
    propose: Callable[..., Promotion], make_release: Make, model: Any, builder: User, cfo: User,
    login: Login,
) -> None:  # fmt: skip
    waiting = propose(90)
    moment = now()
    services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=moment, ends_at=moment + timedelta(days=2),
        reason="close",
    )  # fmt: skip
    release = make_release(model=model(70))
    page = login(builder).get(url_of(release)).content.decode()
    assert "It cannot be asked now" in page
    assert f'href="/promotions/{waiting.pk}/"' in page
    assert "Month-end close holds everything back" in page
    refused = login(builder).post(url_of(release), {"rationale": "Better."})
    assert refused.status_code == 409
    assert "Better.</textarea>" in refused.content.decode()


def test_a_promotion_is_asked_with_its_road_its_steps_and_what_it_should_do(
    live: Release, make_release: Make, workflow: Workflow, owner: User, builder: User,
    login: Login,
) -> None:  # fmt: skip
    kpi = Kpi.objects.create(
        workflow=workflow, slug="esc", name="Escalation rate", owner=owner, measure="escalated",
        unit="share",
    )  # fmt: skip
    typed = {
        "rationale": "Fewer.", "road": "promotion", "plan": "own",
        "step_share": ["2.5", "25", ""], "step_minutes": ["60", "", ""],
        "step_runs": ["", "300", ""], "expected_kpi": kpi.pk, "expected_change": "-2",
        "expected_note": "By answering more.",
    }  # fmt: skip
    client, release = login(builder), make_release(threshold=0.36)
    looked = client.post(url_of(release), {**typed, "preview": "1"})
    assert looked.status_code == 200
    page = looked.content.decode()
    assert (
        "A pilot first: 2.5 % for at least 1\N{NO-BREAK SPACE}h and at least 50 runs, then 25 %"
        in page
    )
    assert "Escalation rate \N{MINUS SIGN}2\N{NO-BREAK SPACE}points" in page
    assert 'value="2.5"' in page
    assert not Promotion.objects.filter(release=release).exists()

    assert client.post(url_of(release), typed).status_code == 302

    promotion = Promotion.objects.get(release=release)
    assert promotion.pilot_steps == [
        {"share": 250, "minutes": 60, "runs": 0},
        {"share": 2500, "minutes": 0, "runs": 300},
    ]
    assert (promotion.expected_kpi, promotion.expected_change) == (kpi, -2.0)
    page = client.get(f"/promotions/{promotion.pk}/").content.decode()
    assert "Measured seven days after it serves every case." in page


def test_a_look_needs_no_reason_and_htmx_gets_the_preview_alone(
    live: Release, make_release: Make, builder: User, login: Login
) -> None:
    client, url = login(builder), url_of(make_release(threshold=0.36))
    part = client.post(url, {"preview": "1", "plan": "careful"}, headers=HTMX).content.decode()
    assert part.lstrip().startswith('<section id="preview"')
    assert "A pilot first: 5 % for at least 1\N{NO-BREAK SPACE}day and at least 50 runs" in part
    assert client.post(url, {"plan": "once"}).status_code == 422
    more = client.post(url, {"add": "row", "plan": "own", "step_share": ["1", "2", "3"]})
    assert more.content.decode().count('name="step_share"') == 4


def test_what_is_typed_wrong_is_answered_with_a_sentence(
    live: Release, make_release: Make, builder: User, login: Login
) -> None:
    client, url = login(builder), url_of(make_release(threshold=0.36))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"road": "emergency"}, "Pick one of the roads."),
        ({"road": "standing:x"}, "Pick one of the roads."),
        ({"plan": "own"}, "Give the share of the first step"),
        ({"plan": "own", "step_share": ["100"]}, "a share below 100 %"),
        ({"plan": "own", "step_share": ["x"]}, "Step 1"),
        ({"expected_change": "-2"}, "names a KPI and the change of it, or neither"),
        ({"expected_kpi": "1", "expected_change": "many"}, "as a number, such as -2"),
    ]
    for typed, sentence in wrong:
        answer = client.post(url, {"rationale": "Better.", **typed})
        assert answer.status_code == 422, typed
        assert sentence in answer.content.decode()
    falling = {"plan": "own", "step_share": ["25", "5"], "rationale": "Better."}
    answer = client.post(url, falling)
    assert answer.status_code == 422
    assert "the share grows with every step" in answer.content.decode()
    assert Promotion.objects.count() == 1  # what was adopted


def test_a_standing_approval_that_does_not_fit_says_why_and_one_that_fits_is_used(
    live: Release, make_release: Make, model: Any, workflow: Workflow, owner: User, builder: User,
    login: Login,
) -> None:  # fmt: skip
    envelope = services.sign_standing_approval(
        workflow, actor=owner, title="Thresholds", slot="guardrails", uses_per_week=2, days=30,
        reason="Small.", authenticated_at=now(),
    )  # fmt: skip
    client = login(builder)
    page = client.get(url_of(make_release(0.5, model=model(60)))).content.decode()
    assert "Standing approval: Thresholds" in page
    assert "It also changes Model." in page
    fits = make_release(0.36, model=model(50))
    typed = {"rationale": "Small.", "road": f"standing:{envelope.pk}"}
    looked = client.post(url_of(fits), {**typed, "preview": "1"}).content.decode()
    assert "the standing approval was signed" in looked
    assert client.post(url_of(fits), typed).status_code == 302
    assert Promotion.objects.get(release=fits).standing == envelope


def test_a_pilot_that_takes_too_long_at_the_present_volume_is_said(
    live: Release, make_release: Make, builder: User, measured: None, login: Login
) -> None:
    typed = {"preview": "1", "plan": "own", "step_share": ["1"], "step_minutes": ["60"]}
    page = login(builder).post(url_of(make_release(threshold=0.36)), typed).content.decode()
    assert "1 % brings 50 runs in about 50.0 days; the guard asks the owner after" in page


def test_the_careful_plan_gives_each_step_the_time_it_needs() -> None:
    assert [step["minutes"] for step in careful_steps(0)] == [24 * 60, 24 * 60]
    first, second = careful_steps(7 * 1000)  # 1,000 a day: 50 a day at 5 %, 250 at 25 %
    assert (first["minutes"], second["minutes"]) == (24 * 60, 5 * 60)
    assert careful_steps(7)[0]["minutes"] == 14 * 24 * 60  # never longer than two weeks


def test_the_page_reads_in_a_fixed_number_of_queries(
    live: Release, make_release: Make, builder: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client, url = login(builder), url_of(make_release(threshold=0.36))
    client.get(url)
    with django_assert_max_num_queries(36):
        client.get(url)
