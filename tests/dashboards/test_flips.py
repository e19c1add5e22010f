"""One run beside another: flips first, counted and paged by the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance.evals import flips
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.services import freeze_suite, request_run, set_evaluator
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
Run = Callable[..., EvalRun]


@pytest.fixture
def suite(workflow: Workflow, analyst: User, settings: Any) -> SuiteVersion:
    settings.EVAL_TARGETS = {workflow.slug: "tests.rollouts.target.build"}
    cases = [
        {
            "key": f"c{number:03}", "input": {"number": number, "text": "<b>x</b>"},
            "expected": {"answer": "yes"}, "category": "even" if number % 2 == 0 else "odd",
            "segment": "<i>mail</i>", "reason": "one of 200",
        }
        for number in range(200)
    ]  # fmt: skip
    return freeze_suite(workflow, "golden", cases, actor=analyst)


@pytest.fixture
def run(suite: SuiteVersion, make_release: Callable[..., Release], analyst: User) -> Run:
    def done(right: int, slot: str = "") -> EvalRun:
        model = {"provider": "own", "id": "m", "parameters": {"right_of_100": right}}
        asked = request_run(
            make_release(model=model), suite, actor=analyst, purpose="request",
            slot=slot or f"{right}",
        )  # fmt: skip
        work()
        asked.refresh_from_db()
        assert asked.state == EvalRun.State.DONE, asked.error
        return asked

    return done


def test_what_broke_comes_first_and_every_case_is_counted_once(
    run: Run, cfo: User, login: Login
) -> None:
    old, new = run(90), run(60)
    page = login(cfo).get(f"/evals/runs/{new.pk}/compare/").content.decode()
    assert "r2 against r1" in page
    counted = flips.counts(new, old, flips.Asked())
    assert sum(counted.values()) == 200
    assert (counted["broke"], counted["mended"]) == (60, 0)
    assert 'Broke <span class="quiet">60</span>' in page
    assert page.count('<th scope="row">') == 50
    assert "<b>x</b>" not in page
    assert "<i>mail</i>" not in page
    back = login(cfo).get(f"/evals/runs/{old.pk}/compare/?with={new.pk}&kind=mended")
    assert 'Mended <span class="quiet">60</span>' in back.content.decode()


def test_pages_follow_by_key_and_filters_stay_in_the_address(
    run: Run, cfo: User, login: Login, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run(90)
    new = run(60)
    client = login(cfo)
    url = f"/evals/runs/{new.pk}/compare/?category=even&metric=correct"
    client.get(url)
    with django_assert_max_num_queries(25):
        page = client.get(url).content.decode()
    assert 'Broke <span class="quiet">30</span>' in page
    every: set[str] = set()
    after = ""
    for _ in range(10):
        page = client.get(f"/evals/runs/{new.pk}/compare/{after}").content.decode()
        keys = [part.split("<")[0] for part in page.split('<th scope="row">')[1:]]
        assert not every & set(keys)
        every |= set(keys)
        more = page.split("Next<")[0].rpartition('href="')[2] if "Next<" in page else ""
        if not more:
            break
        after = more.split("#")[0].split('"')[0].replace("&amp;", "&")
    assert len(every) == 60
    assert "None" in client.get(f"{url}&case=nothing%25").content.decode()


def test_runs_of_different_evaluators_have_differences_and_no_flips(
    run: Run, workflow: Workflow, analyst: User, cfo: User, login: Login
) -> None:
    old = run(90)
    content = {"scorers": [{"name": "answer", "kind": "normalised"}]}
    set_evaluator(workflow, content, actor=analyst, reason="By meaning.")
    new = run(60)
    page = login(analyst).get(f"/evals/runs/{new.pk}/compare/").content.decode()
    assert "scored by different evaluators" in page
    assert "differences, not flips" in page
    assert "Score r1 again" in page
    assert "Broke <span" not in page
    assert "Score r1 again" not in login(cfo).get(f"/evals/runs/{new.pk}/compare/").content.decode()
    again = run(90, slot="again")
    assert flips.baseline_of(new) == again
    assert flips.are_comparable(new, again) == ""
    assert flips.are_comparable(new, old)
    assert json.dumps(flips.counts(new, again, flips.Asked()))


def test_nothing_to_compare_with_is_said_and_other_suites_are_refused(
    run: Run, workflow: Workflow, analyst: User, cfo: User, outsider: User, login: Login
) -> None:
    only = run(90)
    page = login(cfo).get(f"/evals/runs/{only.pk}/compare/").content.decode()
    assert "Nothing to compare with" in page
    assert login(outsider).get(f"/evals/runs/{only.pk}/compare/").status_code == 404
    cases = [{"key": "x", "input": {"number": 1}, "expected": {"answer": "yes"}}]
    other = freeze_suite(workflow, "adversarial", cases, actor=analyst)
    there = request_run(only.release, other, actor=analyst, purpose="request", slot="there")
    work()
    url = f"/evals/runs/{only.pk}/compare/?with={there.pk}"
    assert "other versions of a suite" in login(cfo).get(url).content.decode()
    assert login(cfo).get(f"/evals/runs/{only.pk}/compare/?with=999999").status_code == 404
