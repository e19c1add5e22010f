"""What a bad release touched: its cases, what is decided of each, and its post-mortem."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import Release
from governance.rollouts import (
    convergence,
    impact,
    post_mortems,
    services,
)
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.recovery_models import RecallRow
from governance.workflows.models import Workflow
from tests.conftest import TESTER, _flush
from tests.rollouts.conftest import report, work

pytestmark = pytest.mark.django_db(transaction=True)


def written(post_mortem: PostMortem, writer: User) -> None:
    services.write_post_mortem(post_mortem.pk, actor=writer, cause="A bug.", impact="Three cases.")
    services.add_action(post_mortem.pk, actor=writer, text="A test.")


def test_the_recall_list_names_every_case_and_a_post_mortem_waits_for_every_decision(
    better: Promotion, live: Release, workflow: Workflow, builder: User, analyst: User, owner: User,
) -> None:  # fmt: skip
    report(live.pk, workflow, ["untouched"], "live")
    report(better.release_id, workflow, ["a", "b", "a", ""], "bad")
    services.roll_back(workflow, actor=builder, reason="Bad.")
    work()
    post_mortem = PostMortem.objects.get()
    rows = {row.case_id: row for row in RecallRow.objects.all()}
    assert set(rows) == {"a", "b", "run bad-3"}
    assert (rows["a"].runs, rows["a"].amount) == (2, Decimal("12.5000"))
    assert (post_mortem.impact_runs, post_mortem.impact_money) == (4, Decimal("37.50"))

    written(post_mortem, analyst)
    with pytest.raises(StateConflictError, match="3 cases of the recall list wait"):
        services.submit_post_mortem(post_mortem.pk, actor=analyst)
    assert services.decide_recall(
        post_mortem.pk, actor=analyst, state="contacted", cases=["a"], note="Called."
    ) == 1  # fmt: skip
    assert services.decide_recall(
        post_mortem.pk, actor=analyst, state="nothing_needed", cases=None
    ) == 2  # fmt: skip
    report(better.release_id, workflow, ["late", "a"], "late")  # its receipt came afterwards
    with pytest.raises(StateConflictError, match="1 case of the recall list waits"):
        services.submit_post_mortem(post_mortem.pk, actor=analyst)
    assert RecallRow.objects.get(case_id="a").state == "contacted"
    services.decide_recall(post_mortem.pk, actor=analyst, state="rerun", cases=["late"])
    services.submit_post_mortem(post_mortem.pk, actor=analyst)


def test_the_impact_compares_the_bad_release_with_what_ran_before_it_not_after(
    better: Promotion, live: Release, workflow: Workflow, builder: User, owner: User
) -> None:
    Kpi.objects.create(
        workflow=workflow, slug="e", name="Escalation rate", owner=owner, measure="escalated",
        unit="share", is_lead=True,
    )  # fmt: skip

    def ran(release: str, name: str, escalated: list[bool], hours_ago: float = 0) -> None:
        drafts = [
            ReceiptDraft(
                run_id=f"{name}-{number}", workflow=workflow.slug, release=release,
                resolved_by="receipt", started_at=now() - timedelta(hours=hours_ago),
                escalated=one, outcome="answered",
            )
            for number, one in enumerate(escalated)
        ]  # fmt: skip
        assert store(drafts).accepted == len(escalated)

    ran(live.pk, "before", [True, False, False, False], hours_ago=30)
    ran(better.release_id, "bad", [True, True, False, True])
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    ran(live.pk, "after", [True] * 6)

    (effect,) = impact.kpi_effects(rollback)
    assert (effect.on_bad.mean, effect.on_target.mean) == (0.75, 0.25)
    assert effect.is_worse
    post_mortems.refresh(PostMortem.objects.get().pk)
    kept = PostMortem.objects.get()
    assert kept.impact_kpi == (
        "Escalation rate was 75.0 % over 4 runs of r2, against 25.0 % on r1."
    )
    said = [entry["what"] for entry in kept.timeline if entry.get("source") == "receipts"]
    assert said == ["first run on r2", "last run on r2", "first run on r1 after the rollback"]
    post_mortems.refresh(kept.pk)  # the receipts' entries are replaced, not repeated
    assert len(PostMortem.objects.get().timeline) == len(kept.timeline)


def test_a_second_person_finishes_a_post_mortem_and_an_edit_takes_it_back(
    better: Promotion, workflow: Workflow, builder: User, analyst: User, owner: User
) -> None:
    services.roll_back(workflow, actor=builder, reason="Bad.")
    post_mortem = PostMortem.objects.get()
    written(post_mortem, analyst)
    with pytest.raises(StateConflictError, match="handed in"):
        services.finish_post_mortem(post_mortem.pk, actor=owner)
    services.submit_post_mortem(post_mortem.pk, actor=analyst)
    with pytest.raises(NotAllowedError, match="Somebody else"):
        services.finish_post_mortem(post_mortem.pk, actor=analyst)
    services.return_post_mortem(post_mortem.pk, actor=owner, reason="Why so late?")
    services.submit_post_mortem(post_mortem.pk, actor=analyst)
    services.write_post_mortem(post_mortem.pk, actor=analyst, cause="Another.", impact="More.")
    with pytest.raises(StateConflictError):
        services.finish_post_mortem(post_mortem.pk, actor=owner)
    services.submit_post_mortem(post_mortem.pk, actor=analyst)
    services.finish_post_mortem(post_mortem.pk, actor=owner)
    assert PostMortem.objects.get().finished_by == owner


def test_a_recall_list_of_many_cases_is_one_statement(
    better: Promotion, workflow: Workflow, builder: User, django_assert_max_num_queries: Any
) -> None:
    _flush(
        [
            "INSERT INTO governance_receipt (day, run_id, workflow_id, release_digest, resolved_by,"
            " standing, segment, case_id, started_at, currency, outcome, acceptance, refs,"
            " measures, violations, observed, model_answered, error, trace_id, output_sha256,"
            " body_sha256,"
            " received_at) SELECT current_date, 'm' || n, "
            f"{workflow.pk}, '{better.release_id}', 'receipt', 'authorised', '', 'case ' || n,"
            " now(), '', '', '', '{}', '{}', '{}', '{}', '', '', '', '', repeat('a', 64), now()"
            " FROM generate_series(1, 5000) AS n"
        ]
    )
    services.roll_back(workflow, actor=builder, reason="Bad.")
    with django_assert_max_num_queries(18):
        assert post_mortems.refresh(PostMortem.objects.get().pk) == 5000


def test_what_the_bad_release_did_when_it_served_again_belongs_to_the_next_rollback(
    better: Promotion, workflow: Workflow, builder: User, owner: User, cfo: User,
    approve: Callable[..., Promotion],
) -> None:  # fmt: skip
    token = create_token("router", scopes=["receipts:write"], actor=TESTER)[0]
    bad = better.release
    report(bad.pk, workflow, ["a", "b"], "first", token)
    first = services.roll_back(workflow, actor=builder, reason="Bad.")
    report(bad.pk, workflow, ["c"], "late", token)  # against the decision

    def again(**more: Any) -> Promotion:
        asked = services.propose_promotion(
            bad, actor=builder, rationale="Mended around it.", **more,
            fixes=PostMortem.objects.get(rollback=first),
        )  # fmt: skip
        work()
        asked.refresh_from_db()
        approve(asked, owner)
        return approve(asked, cfo)

    pilot = again(pilot_steps=[{"share": 500, "minutes": 30, "runs": 200}])
    report(bad.pk, workflow, ["d"], "pilot", token)
    proof = convergence.proof(first)
    assert proof.moved_on is not None
    assert proof.moved_on.cause == "pilot_opened"
    assert proof.bad_since == 1

    services.stop_pilot(pilot.pk, actor=builder, reason="Enough seen.")
    again()
    report(bad.pk, workflow, ["a"], "second", token)
    second = services.roll_back(workflow, actor=builder, reason="Bad again.")
    of = {}
    for rollback in (first, second):
        post_mortem = PostMortem.objects.get(rollback=rollback)
        post_mortems.refresh(post_mortem.pk)
        post_mortem.refresh_from_db()
        of[rollback] = (
            set(post_mortem.recall.values_list("case_id", "runs")), post_mortem.impact_runs,
        )  # fmt: skip
    assert of == {
        first: ({("a", 1), ("b", 1), ("c", 1)}, 3),
        second: ({("a", 1), ("d", 1)}, 2),
    }
