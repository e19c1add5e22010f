"""Bake-offs: asked for once, run on the same cases, one table at the end, kept as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from governance.audit.models import AuditEvent
from governance.common.canonical import digest_text
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import true_now
from governance.evals import bake_offs
from governance.evals.decision_models import BakeOff
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.services import cancel_bake_off, cancel_run, request_bake_off, set_evaluator
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER, slots
from tests.evals import target
from tests.evals.conftest import work

pytestmark = pytest.mark.django_db


@pytest.fixture
def racers(make_release: Callable[..., Release]) -> list[Release]:
    """Three that know ever more answers: 20, 30 and 50 of the 60."""
    return [make_release(guardrails=guardrails(gap)) for gap in (0.4, 0.3, 0.1)]


def guardrails(gap: float) -> dict[str, Any]:
    return {"escalation_threshold": 0.25, "gap": gap}


@pytest.fixture
def asked(golden: SuiteVersion, racers: list[Release], builder: User) -> BakeOff:
    return ask(golden, racers, builder)


def ask(suite: SuiteVersion, racers: list[Release], actor: User, **changes: Any) -> BakeOff:
    facts: dict[str, Any] = {
        "reference": racers[0], "metric": "correct", "title": "Quarter 4", "slot": "once",
    }  # fmt: skip
    return request_bake_off(suite, racers, actor=actor, **{**facts, **changes})


def finish(bake_off: BakeOff) -> BakeOff:
    """Do every run and then whatever they woke, as workers would."""
    for run in bake_off.runs.all():
        work(run)
    for job in Job.objects.filter(kind="evals.bake_off", state=Job.State.WAITING):
        jobs.run(job.pk)
    bake_off.refresh_from_db()
    return bake_off


def lines(bake_off: BakeOff) -> dict[str, Any]:
    return {line["name"]: line for line in bake_off.content["releases"]}


def test_the_table_says_who_is_better_and_who_is_in_front(
    asked: BakeOff, racers: list[Release]
) -> None:
    found = finish(asked)
    assert found.state == BakeOff.State.DONE
    assert found.digest == digest_text(found.content_text)
    first, *others = found.content["releases"]
    assert first["release"] == racers[0].pk  # the reference leads the table
    assert first["against"] is None
    assert found.content["comparisons"] == 2
    best = lines(found)[racers[2].name]
    assert best["against"]["verdict"] == "better"
    assert best["against"]["better_holm"] >= best["against"]["better_p"]
    runs = {run.release_id: run for run in found.runs.all()}
    for line in found.content["releases"]:
        run = runs[line["release"]]
        right = run.scores.filter(correct=True).count()
        assert line["standing"]["quality"]["value"] == pytest.approx(100 * right / 60)
        assert line["standing"]["cost"]["value"] == pytest.approx(0.002)
        assert line["spent"] == f"{run.cost:.8f}"
    # All cost the same and are as fast, so the best answers alone are in front.
    front = [line["name"] for line in found.content["releases"] if line["dominated_by"] == []]
    assert front == [racers[2].name]
    assert others


def test_a_second_press_is_the_same_bake_off(
    asked: BakeOff, golden: SuiteVersion, racers: list[Release], builder: User
) -> None:
    assert ask(golden, racers, builder) == asked
    assert BakeOff.objects.count() == 1
    assert EvalRun.objects.count() == 3
    with pytest.raises(StateConflictError, match="still runs"):
        ask(golden, racers, builder, slot="another")


def test_what_cannot_race_is_refused(
    golden: SuiteVersion, racers: list[Release], builder: User, auditor: User, owner: User
) -> None:
    elsewhere = create_workflow("refunds", "Refunds", owner=owner, actor=TESTER)
    stranger, _ = register_release(elsewhere, slots(), title="Another", actor=builder)
    for changes, words in (
        ({"title": "  "}, "characters"),
        ({"metric": "cost"}, "race for"),
        ({"metric": "nonsense"}, "race for"),
        ({"repeats": 0}, "1 to 20 times"),
        ({"reference": stranger}, "has to run as well"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            ask(golden, racers, builder, **changes)
    for few in (racers[:1], [racers[0], racers[0]]):
        with pytest.raises(InvalidInputError, match="2 to 8"):
            ask(golden, few, builder)
    with pytest.raises(InvalidInputError, match="one workflow"):
        ask(golden, [*racers, stranger], builder)
    with pytest.raises(NotAllowedError):
        ask(golden, racers, auditor)
    assert not BakeOff.objects.exists()
    assert not EvalRun.objects.exists()


def test_cancelling_stops_every_run_and_makes_no_table(asked: BakeOff, builder: User) -> None:
    first = asked.runs.order_by("pk")[0]
    work(first)
    cancel_bake_off(asked, actor=builder)
    finish(asked)
    assert asked.state == BakeOff.State.CANCELLED
    assert asked.content == {}
    states = set(asked.runs.values_list("state", flat=True))
    assert states == {EvalRun.State.DONE, EvalRun.State.CANCELLED}
    with pytest.raises(StateConflictError, match="ended already"):
        cancel_bake_off(asked, actor=builder)


def test_a_run_that_failed_stands_in_the_table_with_its_reason(
    golden: SuiteVersion, racers: list[Release], make_release: Callable[..., Release], builder: User
) -> None:
    broken = make_release(guardrails={**guardrails(0.2), "refuse": True})
    found = finish(ask(golden, [*racers, broken], builder))
    line = lines(found)[broken.name]
    assert (line["state"], line["standing"], line["against"]) == ("failed", None, None)
    assert "cannot run" in line["error"]
    assert found.content["comparisons"] == 2


def test_without_its_reference_it_compares_nothing_and_says_so(
    asked: BakeOff, builder: User, racers: list[Release]
) -> None:
    cancel_run(asked.runs.get(release=racers[0]), actor=builder)
    found = finish(asked)
    assert found.state == BakeOff.State.DONE
    assert found.content["comparisons"] == 0
    assert all(line["against"] is None for line in found.content["releases"])
    assert lines(found)[racers[2].name]["standing"]["quality"]["total"] == 60


def test_the_watch_finishes_what_nobody_woke(asked: BakeOff) -> None:
    for run in asked.runs.all():
        work(run)
    assert bake_offs.finish_bake_offs() == 1
    assert bake_offs.finish_bake_offs() == 0
    asked.refresh_from_db()
    assert asked.state == BakeOff.State.DONE
    assert AuditEvent.objects.filter(verb="bake_off.finished").count() == 1


def test_a_worker_that_dies_in_the_middle_changes_nothing_of_the_table(asked: BakeOff) -> None:
    target.die_at.add(20)
    run = asked.runs.order_by("pk")[0]
    with pytest.raises(target.WorkerDied):
        work(run)
    Job.objects.filter(kind="evals.run").update(lease_until=true_now() - timedelta(minutes=5))
    found = finish(asked)
    assert all(line["results"] == 60 for line in found.content["releases"])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE governance_bakeoff SET content_text = '{}'",
        "UPDATE governance_bakeoff SET title = 'x'",
        "UPDATE governance_bakeoff SET state = 'running', finished_at = NULL",
        "DELETE FROM governance_bakeoff_runs",
        "UPDATE governance_bakeoff_releases SET release_id = release_id",
    ],
)
def test_the_database_keeps_a_finished_table(asked: BakeOff, change: str) -> None:
    finish(asked)
    with (
        pytest.raises(DatabaseError, match=r"closed|stays|permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change)


def test_a_running_one_changes_only_in_what_ends_it(asked: BakeOff) -> None:
    with pytest.raises(DatabaseError, match="stays as it was"), transaction.atomic():
        BakeOff.objects.update(metric="policy_ok")


def test_a_scorer_with_numbers_is_compared_as_numbers(
    workflow: Workflow, golden: SuiteVersion, racers: list[Release], analyst: User
) -> None:
    set_evaluator(
        workflow,
        {"scorers": [{"name": "near", "kind": "similarity"}]},
        actor=analyst, reason="How near it comes.",
    )  # fmt: skip
    assert bake_offs.race_metrics(workflow)["score:near"] == "Near"
    found = finish(ask(golden, racers, analyst, metric="score:near"))
    assert found.content["metric"]["unit"] == "number"
    assert lines(found)[racers[2].name]["against"]["verdict"] == "better"
