"""The pages of a bake-off: started once, followed, read, taken along as a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance.common.canonical import digest_text
from governance.common.time import story_time, true_now
from governance.evals.decision_models import BakeOff
from governance.evals.models import SuiteVersion
from governance.evals.services import freeze_suite
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/bake-offs/support-triage/"
HOSTILE = "<script>alert(1)</script>\u202e=1+1"


@pytest.fixture
def suite(workflow: Workflow, analyst: User, settings: Any) -> SuiteVersion:
    settings.EVAL_TARGETS = {workflow.slug: "tests.rollouts.target.build"}
    cases = [
        {"key": f"c{number:03}", "input": {"number": number}, "expected": {"answer": "yes"}}
        for number in range(100)
    ]
    return freeze_suite(workflow, "golden", cases, actor=analyst)


@pytest.fixture
def racers(suite: SuiteVersion, make_release: Callable[..., Release]) -> list[Release]:
    return [
        make_release(model={"provider": "own", "id": "m", "parameters": {"right_of_100": right}})
        for right in (60, 90, 61)
    ]


def typed(racers: list[Release], **changes: Any) -> dict[str, Any]:
    return {
        "title": "Models of the quarter", "suite": "golden", "metric": "correct",
        "reference": racers[0].pk, "releases": [release.pk for release in racers[1:]],
        "repeats": "1", "mark": "page-1", **changes,
    }  # fmt: skip


def start(client: Client, racers: list[Release], **changes: Any) -> BakeOff:
    answer = client.post(f"{URL}start/", typed(racers, **changes))
    assert answer.status_code == 302, answer.content.decode()
    made = BakeOff.objects.latest("pk")
    assert answer["Location"] == f"{URL}{made.pk}/"
    return made


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_a_bake_off_is_started_followed_and_read(
    racers: list[Release], analyst: User, cfo: User, login: Login
) -> None:
    client = login(analyst)
    assert racers[1].pk in client.get(URL).content.decode()
    made = start(client, racers)
    waiting = client.get(f"{URL}{made.pk}/").content.decode()
    assert waiting.count("0 / 100") == 3  # the reference runs as well
    assert "hx-trigger" in waiting
    work()
    page = login(cfo).get(f"{URL}{made.pk}/").content.decode()
    shown = text_of(page)
    made.refresh_from_db()
    for release, run in zip(racers, made.runs.order_by("release__number"), strict=True):
        right = run.scores.filter(correct=True).count()
        assert f"{release.name} {release.title} run {run.pk} {right}.0" in shown
    assert "Better +30.0" in shown
    assert "Not told apart +1.0" in shown
    assert "for all 2 comparisons together" in shown
    assert "hx-trigger" not in page
    assert "race" in page  # the chart
    assert made.title in login(cfo).get(URL).content.decode()


def test_pressing_twice_starts_one_and_another_mark_is_told_of_it(
    racers: list[Release], analyst: User, login: Login
) -> None:
    client = login(analyst)
    assert start(client, racers) == start(client, racers)
    other = client.post(f"{URL}start/", typed(racers, releases=[racers[1].pk]))
    assert other.status_code == 409  # the same page, but not the same bake-off
    answer = client.post(f"{URL}start/", typed(racers, mark="page-2", title="Another"))
    assert answer.status_code == 409
    shown = answer.content.decode()
    assert "still runs" in shown
    assert 'value="Another"' in shown  # what was typed stays
    assert re.findall(r'name="releases" value="([^"]+)" checked', shown) == [
        release.pk for release in (racers[2], racers[1])
    ]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"title": ""}, 422, "Say what this bake-off is about."),
        ({"suite": "recent"}, 422, "no version yet"),
        ({"suite": "x"}, 422, "Select a valid choice"),
        ({"metric": "latency_ms"}, 422, "what the releases race for"),
        ({"releases": []}, 422, "Choose 2 to 8 releases."),
        ({"repeats": "21"}, 422, "less than or equal to 20"),
        ({"mark": "a b"}, 422, "valid value"),
        ({"reference": "sha256:" + "0" * 64}, 422, "Choose releases of this workflow."),
        ({"releases": ["a\x00", "b"]}, 422, "Choose releases of this workflow."),
        ({"title": "x\x00y"}, 422, "Null characters"),
    ],
)
def test_what_cannot_be_started_is_said_and_nothing_is(
    racers: list[Release], analyst: User, login: Login, changes: Any, status: int, words: str
) -> None:
    answer = login(analyst).post(f"{URL}start/", typed(racers, **changes))
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert not BakeOff.objects.exists()


def test_the_files_hold_the_table_as_it_was_hashed(
    racers: list[Release], analyst: User, login: Login
) -> None:
    client = login(analyst)
    made = start(client, racers, title=HOSTILE)
    assert client.get(f"{URL}{made.pk}/table.json").status_code == 404
    work()
    made.refresh_from_db()
    whole = client.get(f"{URL}{made.pk}/table.json").content.decode()
    assert digest_text(whole) == made.digest
    sheet = client.get(f"{URL}{made.pk}/table.csv").getvalue().decode()
    rows = list(csv.DictReader(sheet.splitlines()))
    assert [row["release"] for row in rows] == [release.name for release in racers]
    assert float(rows[1]["change"]) == 30
    assert [row["verdict"] for row in rows] == ["", "better", "even"]
    assert rows[1]["in_front"].split() == ["cost", "latency"]
    page = client.get(f"{URL}{made.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_a_quarter_after_the_last_one_the_next_is_due(
    racers: list[Release], analyst: User, login: Login
) -> None:
    client = login(analyst)
    assert "One is due" not in client.get(URL).content.decode()
    start(client, racers)
    work()
    assert "One is due" not in client.get(URL).content.decode()
    with story_time(true_now() + timedelta(days=93)):
        assert "One is due" in client.get(URL).content.decode()


def test_it_can_be_cancelled_once(racers: list[Release], analyst: User, login: Login) -> None:
    client = login(analyst)
    made = start(client, racers)
    assert client.post(f"{URL}{made.pk}/cancel/").status_code == 302
    assert client.post(f"{URL}{made.pk}/cancel/").status_code == 409
    work()
    page = text_of(client.get(f"{URL}{made.pk}/").content.decode())
    assert "Cancelled by" in page
    assert set(made.runs.values_list("state", flat=True)) == {"cancelled"}


def test_it_is_found_only_under_its_own_workflow(
    racers: list[Release], analyst: User, owner: User, login: Login
) -> None:
    made = start(login(analyst), racers)
    create_workflow("refunds", "Refunds", owner=owner, actor=TESTER)
    assert login(analyst).get(f"/evals/bake-offs/refunds/{made.pk}/").status_code == 404


def test_a_page_costs_as_many_queries_with_three_releases_as_with_two(
    racers: list[Release], analyst: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client = login(analyst)
    made = start(client, racers)
    with django_assert_max_num_queries(12):
        client.get(f"{URL}{made.pk}/")
    work()
    with django_assert_max_num_queries(12):
        client.get(f"{URL}{made.pk}/")
    with django_assert_max_num_queries(16):
        client.get(URL)
