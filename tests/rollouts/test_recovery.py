"""Going back, proved: what is known good, what receipts say, which cases were touched, drills."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction
from django.test import Client

from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now, story_time
from governance.kpis.models import Kpi
from governance.people.models import ApiToken, User
from governance.people.services import create_token, revoke_token
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import KnownGood, LiveRelease, Release
from governance.rollouts import (
    convergence,
    drills,
    impact,
    known_good,
    post_mortems,
    preflight,
    services,
)
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.rollouts.recovery_models import Drill, Preflight, RecallRow
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.conftest import TESTER, _flush
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Release]


@pytest.fixture
def better(
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], owner: User
) -> Promotion:
    return approve(propose(70), owner)


def report(
    release: str, workflow: Workflow, cases: list[str], name: str, token: Any = None
) -> None:
    result = store(
        [
            ReceiptDraft(
                run_id=f"{name}-{number}", workflow=workflow.slug, release=release,
                resolved_by="receipt", started_at=now(), case_id=case, amount=Decimal("12.50"),
                currency="USD", outcome="answered",
            )
            for number, case in enumerate(cases)
        ],
        token=token,
    )  # fmt: skip
    assert result.accepted == len(cases), result.refused


def test_a_release_becomes_known_good_by_its_rule_and_only_once(
    better: Promotion, live: Release, workflow: Workflow, settings: Any
) -> None:
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 5, 2
    assert known_good.mark_by_rule(workflow.pk) is None
    report(better.release_id, workflow, list("abcde"), "x")
    assert known_good.mark_by_rule(workflow.pk) is None  # two days are not over
    with story_time(now() + timedelta(days=2, minutes=1)):
        ExceptionCase.objects.create(
            workflow=workflow, kind="policy_violation", group_key="g", severity=1, title="bad",
            release_digest=better.release_id, first_at=now(), last_at=now(), opened_at=now(),
        )  # fmt: skip
        assert known_good.mark_by_rule(workflow.pk) is None
        ExceptionCase.objects.update(severity=3)
        marked = known_good.mark_by_rule(workflow.pk)
        assert marked is not None
        assert marked.evidence["receipts"] == 5
        assert known_good.mark_by_rule(workflow.pk) is None
    assert LiveRelease.objects.get().last_known_good == live  # it is what serves now


def test_the_days_before_something_else_served_still_count_after_a_rollback_to_it(
    better: Promotion, workflow: Workflow, settings: Any, owner: User, builder: User,
    approve: Callable[..., Promotion], propose: Callable[..., Promotion],
) -> None:  # fmt: skip
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 1, 2
    report(better.release_id, workflow, ["a"], "x")
    with story_time(now() + timedelta(days=3)):
        worse = approve(propose(80), owner)
        rollback = services.roll_back(workflow, actor=builder, reason="Worse.")
        assert rollback.to_release == better.release
        assert known_good.standing(workflow, better.release).days >= 3
        assert known_good.standing(workflow, worse.release).days == 0
        marked = known_good.mark_by_rule(workflow.pk)
        assert marked is not None
        assert marked.release == better.release


def test_a_rollback_returns_to_what_is_known_good_and_not_to_what_served_in_between(
    better: Promotion, live: Release, workflow: Workflow, settings: Any, owner: User,
    approve: Callable[..., Promotion], propose: Callable[..., Promotion], builder: User,
) -> None:  # fmt: skip
    settings.LKG_RECEIPTS, settings.LKG_DAYS = 1, 0
    report(better.release_id, workflow, ["a"], "x")
    assert known_good.mark_by_rule(workflow.pk) is not None
    approve(propose(85), owner)  # serves for a moment, never proves itself
    newest = approve(propose(99), owner)
    assert LiveRelease.objects.get().last_known_good_id == better.release_id
    services.roll_back(workflow, actor=builder, reason="Bad.")
    assert LiveRelease.objects.get().release_id == better.release_id
    assert newest.release_id != better.release_id


def test_the_owner_pins_the_last_known_good_by_hand_and_the_database_refuses_the_rest(
    better: Promotion, live: Release, workflow: Workflow, owner: User, builder: User,
    make_release: Make, approve: Callable[..., Promotion], propose: Callable[..., Promotion],
) -> None:  # fmt: skip
    approve(propose(99), owner)
    pin: dict[str, Any] = {"reason": "It is the safest.", "authenticated_at": now()}
    with pytest.raises(NotAllowedError):
        services.pin_known_good(workflow, live, actor=builder, **pin)
    with pytest.raises(InvalidInputError):
        services.pin_known_good(workflow, make_release(0.7), actor=owner, **pin)
    services.pin_known_good(workflow, live, actor=owner, **pin)
    row = LiveRelease.objects.get()
    assert (row.last_known_good, row.seq) == (live, 3)
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveRelease.objects.update(last_known_good=better.release)
    services.roll_back(workflow, actor=builder, reason="Bad.")
    assert LiveRelease.objects.get().release == live


def test_the_preflight_says_whether_the_target_can_run_and_holds_nothing_up(
    better: Promotion, live: Release, workflow: Workflow, settings: Any, builder: User
) -> None:
    found = preflight.check_target(workflow)
    assert found is not None
    assert (found.release, found.ok) == (live, True)
    assert {check["name"]: check["ok"] for check in found.checks} == {
        "Stored bytes": True, "Slots": True, "Model": True, "Answers": True,
    }  # fmt: skip
    settings.RETIRED_MODELS = ["m"]
    settings.EVAL_TARGETS = {workflow.slug: "tests.nowhere.build"}
    found = preflight.check_target(workflow)
    assert found is not None
    assert {c["name"] for c in found.checks if c["ok"] is False} == {"Model", "Answers"}
    services.roll_back(workflow, actor=builder, reason="Back all the same.")
    with pytest.raises(DatabaseError), transaction.atomic():
        Preflight.objects.update(ok=True)


def test_a_rollback_is_proved_with_receipts(
    better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "batch", "portal")
    }
    for name, token in tokens.items():
        report(better.release_id, workflow, ["c"], f"before-{name}", token)
    clicked = now()
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    kept = convergence.confirm_served(rollback, clicked)
    assert kept is not None
    assert clicked <= kept.served_at
    report(live.pk, workflow, ["d"], "after", tokens["router"])
    report(better.release_id, workflow, ["e"], "late", tokens["batch"])

    proof = convergence.proof(rollback)

    states = {application.name: application.state for application in proof.applications}
    assert states == {"router": "confirmed", "batch": "wrong", "portal": "silent"}
    assert (proof.bad_since, proof.is_complete) == (1, False)
    assert proof.last_bad_at is not None
    assert proof.last_bad_at > kept.served_at


def test_nobody_waits_for_a_sender_that_cannot_send_any_more(
    better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "retired", "revoked since")
    }
    report(better.release_id, workflow, ["h"], "history")
    for name, token in tokens.items():
        report(better.release_id, workflow, ["c"], f"before-{name}", token)
    revoke_token(tokens["retired"].pk, actor=TESTER)
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    convergence.confirm_served(rollback, now())
    report(live.pk, workflow, ["d"], "after", tokens["router"])
    report(better.release_id, workflow, ["e"], "late", tokens["revoked since"])
    revoke_token(tokens["revoked since"].pk, actor=TESTER)

    states = {one.name: one.state for one in convergence.proof(rollback).applications}

    assert states == {"router": "confirmed", "revoked since": "wrong"}


def test_who_fell_silent_a_day_before_is_named_and_holds_nothing_up(
    better: Promotion, live: Release, workflow: Workflow, builder: User, owner: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    tokens = {
        name: create_token(name, scopes=["receipts:write"], actor=TESTER)[0]
        for name in ("router", "old portal", "elsewhere")
    }
    past = now() - convergence.SENDERS_OF - timedelta(hours=1)
    with story_time(past):
        report(better.release_id, workflow, ["c"], "long ago", tokens["old portal"])
    ApiToken.objects.update(last_used_at=past)
    report(better.release_id, workflow, ["c"], "before", tokens["router"])
    rollback = services.roll_back(workflow, actor=builder, reason="Bad.")
    convergence.confirm_served(rollback, now())
    report(live.pk, workflow, ["d"], "after", tokens["router"])

    proof = convergence.proof(rollback)

    assert [one.name for one in proof.applications] == ["router"]
    assert proof.is_complete
    assert [one.name for one in proof.unseen] == ["old portal"]
    assert abs(proof.unseen[0].last_at - past) < timedelta(minutes=1)
    page = login(owner).get(f"/rollbacks/{rollback.pk}/").content.decode()
    assert "Converged" in page
    assert '<span class="strong">old portal</span>, not seen since' in page


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


@pytest.fixture
def drill(better: Promotion, workflow: Workflow, owner: User, builder: User) -> Drill:
    planned = services.plan_drill(workflow, actor=builder, planned_for=now())
    with pytest.raises(StateConflictError, match="not signed"):
        services.start_drill(planned.pk, actor=builder, clicked_at=now())
    with pytest.raises(NotAllowedError):
        services.sign_drill(planned.pk, actor=builder, reason="x", authenticated_at=now())
    return services.sign_drill(
        planned.pk, actor=owner, reason="To be sure.", authenticated_at=now()
    )


def test_a_drill_goes_back_is_measured_and_returns_by_itself(
    drill: Drill, better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    started = services.start_drill(drill.pk, actor=builder, clicked_at=now())
    drills.note_served(started)
    assert LiveRelease.objects.get().release == live
    assert not PostMortem.objects.exists()
    report(live.pk, workflow, ["a"], "drill")
    assert drills.look(drill.pk) is True
    with story_time(now() + timedelta(minutes=10, seconds=1)):
        assert drills.look(drill.pk) is False

    done = Drill.objects.get()
    assert done.state == Drill.State.DONE
    assert done.seconds_to_restore is not None
    assert 0 <= done.seconds_to_restore < 60
    row = LiveRelease.objects.get()
    assert (row.release_id, row.last_known_good) == (better.release_id, live)
    causes = list(LiveChange.objects.order_by("seq").values_list("cause", flat=True))
    assert causes == ["adopt", "promotion", "drill", "drill_returned"]
    with pytest.raises(StateConflictError):
        services.start_drill(drill.pk, actor=builder, clicked_at=now())


def test_a_drill_leaves_alone_what_moved_meanwhile(
    drill: Drill, workflow: Workflow, builder: User
) -> None:
    services.start_drill(drill.pk, actor=builder, clicked_at=now())
    services.switch_off(workflow, actor=builder, reason="A real one.")
    services.return_from_drill(drill.pk, actor=builder)
    done = Drill.objects.get()
    assert (done.returned_at, done.state) == (None, Drill.State.DONE)
    assert LiveRelease.objects.get().switched_off


def test_drills_are_planned_every_quarter_and_once(better: Promotion) -> None:
    assert len(drills.plan_quarterly()) == 1
    assert drills.plan_quarterly() == []
    assert KnownGood.objects.count() == 0
