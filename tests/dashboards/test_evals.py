"""The evals pages: suites, trend and schedule; one run with its cases, failures first."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance.common.time import now
from governance.evals.models import EvalRun, Score, SuiteVersion
from governance.evals.recorded import summary_of
from governance.evals.services import freeze_suite, request_run, set_evaluator
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


@pytest.fixture
def suite(workflow: Workflow, analyst: User, settings: Any) -> SuiteVersion:
    settings.EVAL_TARGETS = {workflow.slug: "tests.rollouts.target.build"}
    cases = [
        {
            "key": f"c{number:03}",
            "input": {"number": number, "text": "<svg onload=alert(1)>\u202e"},
            "expected": {"answer": "yes", "must_escalate": None},
            "category": "even" if number % 2 == 0 else "odd",
            "must_pass": number == 99,
            "reason": "one of a hundred",
        }
        for number in range(100)
    ]
    return freeze_suite(workflow, "golden", cases, actor=analyst)


@pytest.fixture
def run(
    suite: SuiteVersion, make_release: Callable[..., Release], analyst: User
) -> Callable[[int], EvalRun]:
    """Run the suite on a release that answers so many of a hundred."""

    def done(right: int) -> EvalRun:
        model = {"provider": "own", "id": "m", "parameters": {"right_of_100": right}}
        asked = request_run(
            make_release(model=model), suite, actor=analyst, purpose="request", slot=f"{right}"
        )
        work()
        asked.refresh_from_db()
        assert asked.state == EvalRun.State.DONE, asked.error
        return asked

    return done


def test_the_list_shows_suites_trend_and_runs(
    run: Callable[[int], EvalRun], analyst: User, login: Login
) -> None:
    run(50)
    latest = run(80)
    page = login(analyst).get("/evals/").content.decode()
    assert "Golden v1" in page
    assert f"/evals/runs/{latest.pk}/" in page
    assert "Passed: 50.0% with r1 on Golden v1, 80.0% with r2 on Golden v1" in page
    assert "+30.0" in page


def test_shares_of_different_suite_versions_are_not_compared(
    run: Callable[[int], EvalRun], suite: SuiteVersion, workflow: Workflow, analyst: User,
    login: Login,
) -> None:  # fmt: skip
    run(50)
    run(60)
    harder = [
        {
            "key": f"d{number}", "input": {"number": number},
            "expected": {"answer": "yes", "must_escalate": None}, "category": "hard",
            "must_pass": False, "reason": "",
        }
        for number in range(40, 80)
    ]  # fmt: skip
    second = freeze_suite(workflow, "golden", harder, actor=analyst)
    run(70)
    run(80)
    newest = Release.objects.get(number=4)
    request_run(newest, second, actor=analyst, purpose="request", slot="second")
    work()

    response = login(analyst).get("/evals/")
    (trend,) = response.context["trends"]
    shown = [(str(run.suite), change) for run, _, change in trend.points]
    assert shown == [
        ("Golden v2", None), ("Golden v1", pytest.approx(0.1)), ("Golden v1", pytest.approx(0.1)),
        ("Golden v1", None),
    ]  # fmt: skip
    assert trend.spark.path.count("M") == 2  # the line ends where the version changes


def test_what_is_overdue_is_an_alarm_on_the_page(
    suite: SuiteVersion, make_release: Callable[..., Release], analyst: User, login: Login
) -> None:
    client = login(analyst)
    assert "overdue" not in client.get("/evals/").content.decode()
    request_run(make_release(), suite, actor=analyst, purpose="schedule", slot="weekly")
    Job.objects.update(due_by=now() - timedelta(hours=1))
    assert "1 eval overdue" in client.get("/evals/").content.decode()


def test_a_run_shows_failures_first_and_filters_by_the_query_string(
    run: Callable[[int], EvalRun], analyst: User, login: Login
) -> None:
    found = run(60)
    client = login(analyst)
    url = f"/evals/runs/{found.pk}/"

    def cases(query: str = "") -> list[tuple[str, bool]]:
        rows = client.get(f"{url}?{query}").context["rows"]
        return [(score.case.key, score.passed) for score, _ in rows]

    first = cases()
    assert len(first) == 50
    assert [passed for _, passed in first] == sorted(passed for _, passed in first)
    assert first[0][0] == "c099"  # it must pass, and did not
    assert len(cases("page=2")) == 50
    assert {passed for _, passed in cases("result=failed")} == {False}
    assert {passed for _, passed in cases("result=passed")} == {True}
    assert cases("result=errored") == []
    assert {key for key, _ in cases("category=odd&case=c00")} == {
        "c001", "c003", "c005", "c007", "c009",
    }  # fmt: skip
    assert client.get(f"{url}?result=%00&category=%00&case=%00&page=x").status_code == 200


def test_what_cases_hold_is_shown_as_text(
    run: Callable[[int], EvalRun], analyst: User, login: Login
) -> None:
    page = login(analyst).get(f"/evals/runs/{run(60).pk}/").content.decode()
    assert "&lt;svg onload=alert(1)&gt;⟦U+202E⟧" in page
    assert "<svg onload" not in page
    assert "\u202e" not in page


def test_strangers_see_no_run_of_a_workflow_that_is_not_theirs(
    run: Callable[[int], EvalRun],
    owner: User,
    controller: User,
    outsider: User,
    login: Login,
) -> None:
    url = f"/evals/runs/{run(60).pk}/"
    assert login(owner).get(url).status_code == 200
    for stranger in (controller, outsider):
        assert login(stranger).get(url).status_code == 404
        assert "Golden v1" not in login(stranger).get("/evals/").content.decode()
    assert Client().get(url).status_code == 302
    assert login(owner).post(url).status_code == 405


def test_a_page_of_cases_costs_few_queries(
    run: Callable[[int], EvalRun],
    analyst: User,
    login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    found = run(60)
    client = login(analyst)
    with django_assert_max_num_queries(14):
        client.get(f"/evals/runs/{found.pk}/")
    with django_assert_max_num_queries(16):
        client.get("/evals/")


def test_a_label_scorer_shows_which_label_was_taken_for_which(
    suite: SuiteVersion, workflow: Workflow, run: Callable[[int], EvalRun], analyst: User,
    login: Login,
) -> None:  # fmt: skip
    plain, client = run(60), login(analyst)
    assert "Taken for another" not in client.get(f"/evals/runs/{plain.pk}/").content.decode()
    content = {"scorers": [{"name": "intent", "kind": "label"}]}
    set_evaluator(workflow, content, actor=analyst, reason="Labels.")
    found = run(70)
    page = client.get(f"/evals/runs/{found.pk}/").content.decode()
    wrong = found.scores.filter(metrics__intent=False).count()
    assert wrong
    matrix, pairs = page.split("Taken for another")[1].split("</table>")[:2]
    right = found.scores.filter(metrics__intent=True).count()
    assert re.findall(r'heat-\d( right)?">(\d+)<', matrix) == [
        ("", str(wrong)), (" right", str(right))
    ]  # fmt: skip
    assert f"{100 * right / (right + wrong):.1f}" in matrix
    assert '<th scope="row">yes</th>' in pairs
    assert f'<td class="number">{wrong}</td>' in pairs


def test_what_each_scorer_found_and_why_stands_with_its_case(
    workflow: Workflow, make_release: Callable[..., Release], analyst: User, login: Login
) -> None:
    cases = [{"key": "one", "input": {"n": 1}, "expected": {"answer": "yes"}}]
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    content = {"scorers": [{"name": "tone", "kind": "exact"}, {"name": "speed", "kind": "latency"}]}
    run = EvalRun.objects.create(
        release=make_release(), suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="scored", requested_by_label="Analyst", requested_at=now(), finished_at=now(),
        state=EvalRun.State.DONE, cases_total=1, cases_done=1,
        definition=set_evaluator(workflow, content, actor=analyst, reason="Tone."),
        scorers={"tone": "sha256:t", "speed": "sha256:s"},
    )  # fmt: skip
    Score.objects.create(
        run=run, case=suite.cases.get(), metrics={"tone": False, "speed": True},
        notes={"tone": "it <b>shouts</b>"}, output={"answer": "NO"}, scored_at=now(),
    )  # fmt: skip
    run.summary = summary_of(run)
    run.save(update_fields=["summary"])
    page = login(analyst).get(f"/evals/runs/{run.pk}/").content.decode()
    assert "<dt>Tone</dt><dd>0.0" in page
    assert "<dt>Speed</dt><dd>100.0" in page
    assert "no: it &lt;b&gt;shouts" in page.replace("\\u003C", "&lt;").replace("\\u003E", "&gt;")


def test_a_matrix_of_many_labels_shows_those_that_were_mixed_up_most_and_counts_the_rest(
    workflow: Workflow, make_release: Callable[..., Release], analyst: User, login: Login
) -> None:
    content = {"scorers": [{"name": "intent", "kind": "label"}]}
    cases = [
        {
            "key": f"{label:02}-{n}", "input": {"n": n, "l": label},
            "expected": {"answer": f"L{label:02}"},
        }
        for label in range(20)
        for n in range(10)
    ]  # fmt: skip
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    definition = set_evaluator(workflow, content, actor=analyst, reason="Labels.")
    moment = now()
    run = EvalRun.objects.create(
        release=make_release(), suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="matrix", requested_by_label="Analyst", requested_at=moment, finished_at=moment,
        state=EvalRun.State.DONE, cases_total=200, cases_done=200, definition=definition,
    )  # fmt: skip
    # Label n is answered with label n + 1 in n of its ten cases; 0 is always right, 19 unanswered.
    scores = []
    for case in suite.cases.all():
        label, n = map(int, case.key.split("-"))
        is_right = n >= min(label, 10)
        answer = f"l{label:02}" if is_right else "" if label == 19 else f"L{label + 1:02}"
        scores.append(
            Score(
                run=run,
                case=case,
                metrics={"intent": is_right},
                output={"answer": answer},
                scored_at=moment,
            )
        )
    Score.objects.bulk_create(scores)
    run.summary = summary_of(run)
    run.save(update_fields=["summary"])
    page = login(analyst).get(f"/evals/runs/{run.pk}/").content.decode()
    matrix = page.split("Taken for another")[1].split("</table>")[0]
    head, body = matrix.split("</thead>")
    assert head.count("<span title=") == 12
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("</tr>")]
    by_label = {row[0]: row[1:] for row in rows if row}
    assert by_label["L17"][-2:] == ["0.0", "%"]
    assert by_label["L19"].count("10") == 1
    assert "L00" not in by_label
    assert "labels that were mixed up less" in page
    for name, cells in by_label.items():
        counted = sum(int(cell) for cell in cells[:-2] if cell.isdigit())
        assert counted == 10, name  # every case of a row is in it


def test_pages_of_cases_go_from_the_worst_to_the_rest_and_hold_each_once(
    workflow: Workflow, make_release: Callable[..., Release], analyst: User, login: Login
) -> None:
    cases = [
        {
            "key": f"c{n:03}", "input": {"n": n}, "expected": {"answer": "yes"},
            "must_pass": n % 7 == 0, "reason": "must" if n % 7 == 0 else "",
            "category": "odd" if n % 2 else "even",
        }
        for n in range(130)
    ]  # fmt: skip
    suite = freeze_suite(workflow, "golden", cases, actor=analyst)
    moment = now()
    run = EvalRun.objects.create(
        release=make_release(), suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="pages", requested_by_label="Analyst", requested_at=moment, finished_at=moment,
        state=EvalRun.State.DONE, cases_total=130, cases_done=130,
    )  # fmt: skip

    def rank(n: int) -> int:
        return 0 if n % 11 == 0 else 1 if n % 3 == 0 and n % 7 == 0 else 2 if n % 3 == 0 else 3

    Score.objects.bulk_create(
        Score(
            run=run, case=case, scored_at=moment, error="broke" if rank(n) == 0 else "",
            passed={0: None, 1: False, 2: False, 3: n % 5 > 0 or None}[rank(n)],
        )
        for n, case in enumerate(suite.cases.order_by("key"))
    )  # fmt: skip
    client = login(analyst)

    def keys(query: str = "") -> list[str]:
        found: list[str] = []
        for page in range(1, 4):
            html = client.get(f"/evals/runs/{run.pk}/?page={page}{query}").content.decode()
            found += re.findall(r'<tr><th scope="row">(c\d{3})', html)
            if f"?page={page + 1}" not in html and f"page={page + 1}" not in html:
                break
        return found

    expected = sorted(range(130), key=lambda n: (rank(n), n))
    assert keys() == [f"c{n:03}" for n in expected]
    assert keys("&category=odd") == [f"c{n:03}" for n in expected if n % 2]
    assert keys("&result=failed") == [f"c{n:03}" for n in expected if rank(n) in (1, 2)]
    assert keys("&result=errored") == [f"c{n:03}" for n in expected if rank(n) == 0]
