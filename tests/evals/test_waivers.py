"""What people may set aside, what never, and what a pilot settles."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.decision_models import GateWaiver
from governance.evals.gate import Verdict
from governance.evals.gate import judge as judge_purely
from governance.evals.gate_beside import OPEN_FLOOR, OPEN_ROW, PilotEvidence, Waiver
from governance.evals.models import EvalRun, GateReport, SuiteVersion
from governance.evals.services import (
    confirm_policy,
    ended_waiver,
    grant_waiver,
    judge,
    revoke_waiver,
    set_policy,
)
from governance.evals.waivers import waivable
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from tests.conftest import slots
from tests.evals.worlds import NOW, pair, policy

Make = Callable[..., Release]
Do = Callable[..., EvalRun]
REASON = "The suite is being extended this week."


def waiver(code: str, suite: str = "golden", metric: str = "", **changes: Any) -> Waiver:
    facts = {"by": "CFO", "reason": REASON, "until": NOW + timedelta(days=3), **changes}
    return Waiver(code=code, suite=suite, metric=metric, **facts)


def test_an_open_guardrail_may_be_set_aside_and_the_verdict_says_so() -> None:
    candidate, baseline = pair(mended=30, broken=5, good=40, bad=5)
    rules = policy(guardrails=[{"metric": "escalated", "margin_points": 1}])
    alone = judge_purely(rules, candidate, baseline, now=NOW)
    assert alone.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    mine = waiver(OPEN_ROW, metric="escalated")
    found = judge_purely(rules, candidate, baseline, now=NOW, waivers=[mine])
    assert found.verdict is Verdict.PASS
    assert found.summary.startswith("Pass, with one finding set aside")
    row = next(row for row in found.rows if row.metric == "escalated")
    assert row.word == "Waived"
    assert "CFO until 23 Nov 2026" in row.sentence
    content = found.to_content()
    assert content["waivers"][0]["by"] == "CFO"
    late = replace(mine, until=NOW)
    assert judge_purely(rules, candidate, baseline, now=NOW, waivers=[late]) == alone


def test_a_waiver_of_a_guardrail_leaves_the_floor_of_the_same_metric_open() -> None:
    candidate, baseline = pair(mended=14, broken=2, good=19, bad=15)
    rules = policy(
        guardrails=[{"metric": "silent_error", "margin_points": 1}],
        floors=[{"metric": "silent_error", "limit_percent": 35}],
    )
    rows = judge_purely(rules, candidate, baseline, now=NOW).rows
    opened = {row.role for row in rows if row.outcome.value == "open"}
    one = judge_purely(
        rules, candidate, baseline, now=NOW, waivers=[waiver(OPEN_FLOOR, metric="silent_error")]
    )
    assert "floor" in opened
    assert [row.role for row in one.rows if row.word == "Waived"] == ["floor"]
    other = judge_purely(
        rules, candidate, baseline, now=NOW, waivers=[waiver(OPEN_ROW, metric="silent_error")]
    )
    assert "floor" not in [row.role for row in other.rows if row.word == "Waived"]


def test_what_later_runs_show_was_not_set_aside() -> None:
    rules = policy(guardrails=[{"metric": "silent_error", "margin_points": 1}], floors=[])
    first = pair(mended=8, broken=5, good=20, bad=7)
    (row,) = [r for r in judge_purely(rules, *first, now=NOW).rows if r.role == "guardrail"]
    held = [waiver(OPEN_ROW, metric="silent_error", finding=row.reason)]
    again = judge_purely(rules, *first, now=NOW, waivers=held)
    assert "Waived" in [r.word for r in again.rows]
    worse = pair(mended=7, broken=6, good=20, bad=7)
    later = judge_purely(rules, *worse, now=NOW, waivers=held)
    assert "Waived" not in [r.word for r in later.rows]


def test_neither_the_primary_nor_harm_nor_missing_evidence_can_be_set_aside() -> None:
    everything = [
        waiver(code, suite, metric)
        for code in (
            OPEN_ROW, "missing_suite", "unfinished", "duplicate_cases", "not_a_number", "evaluator",
            "different_cases", "mixed_releases", "no_difference", "no_floor", "errored", "stale",
            "too_few_cases", "uncalibrated",
        )
        for suite in ("golden", "")
        for metric in ("correct", "escalated", "silent_error", "must_pass", "")
    ]  # fmt: skip

    def asked(candidate: Any, baseline: Any, **changes: Any) -> Verdict:
        verdict = judge_purely(policy(**changes), candidate, baseline, now=NOW, waivers=everything)
        return verdict.verdict

    assert asked(*pair(mended=3, broken=2, good=40, bad=5)) is Verdict.NOT_ENOUGH_EVIDENCE
    assert asked(*pair(mended=5, broken=30, good=150, bad=15)) is Verdict.FAIL
    candidate, baseline = pair(mended=30, broken=5, good=150, bad=15)
    assert asked({}, baseline) is not Verdict.PASS
    assert asked(candidate, {}) is not Verdict.PASS
    other = {"golden": replace(baseline["golden"], evaluator="sha256:other")}
    assert asked(candidate, other) is not Verdict.PASS
    short = {"golden": replace(candidate["golden"], results=candidate["golden"].results[:-1])}
    assert asked(short, baseline) is not Verdict.PASS


def test_a_pilot_settles_what_the_cases_left_open_both_ways() -> None:
    candidate, baseline = pair(mended=8, broken=5, good=20, bad=7)
    rules = policy(guardrails=[], floors=[{"metric": "correct", "limit_percent": 30}])

    def asked(low: float, high: float) -> Verdict:
        seen = PilotEvidence("correct", 900, 8_000, (low + high) / 2, low, high)
        return judge_purely(rules, candidate, baseline, now=NOW, pilot=[seen]).verdict

    assert asked(1.0, 6.0) is Verdict.PASS
    assert asked(-2.0, 6.0) is Verdict.NOT_ENOUGH_EVIDENCE
    assert asked(-6.0, -1.0) is Verdict.FAIL
    guarded = policy(primary=None, guardrails=[{"metric": "correct", "margin_points": 5}])
    for low, high, wanted in ((-4.0, 2.0, Verdict.PASS), (-6.0, 2.0, None), (-9.0, -6.0, None)):
        seen = PilotEvidence("correct", 900, 8_000, 0.0, low, high)
        verdict = judge_purely(guarded, candidate, baseline, now=NOW, pilot=[seen]).verdict
        assert (verdict is Verdict.PASS) == (wanted is Verdict.PASS)


@pytest.fixture
def open_report(
    workflow: Workflow, owner: User, analyst: User, golden: SuiteVersion, make_release: Make,
    score: Do,
) -> GateReport:  # fmt: skip
    """Sixty cases where the policy asks for a hundred."""
    rules = {
        "suites": {"golden": {"min_cases": 100}}, "primary": {"metric": "correct"},
        "guardrails": [{"metric": "escalated", "margin_points": 30}],
    }  # fmt: skip
    made = confirm_policy(set_policy(workflow, rules, actor=owner), actor=analyst)
    base = make_release()
    candidate = make_release(guardrails={"escalation_threshold": 0.35, "gap": 0.05})
    score(base, golden)
    score(candidate, golden)
    report = judge(workflow, candidate, base, made)
    assert report.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    return report


def test_a_waiver_is_named_reasoned_ends_and_is_seen_by_the_next_gate(
    open_report: GateReport, owner: User, cfo: User, analyst: User, builder: User,
    workflow: Workflow,
) -> None:  # fmt: skip
    (finding,) = waivable(open_report)
    assert finding["code"] == "too_few_cases"
    ask: dict[str, Any] = {
        "code": "too_few_cases", "suite": "golden", "metric": "", "reason": REASON, "days": 7,
    }  # fmt: skip
    for stranger in (analyst, builder):
        with pytest.raises(NotAllowedError):
            grant_waiver(open_report, actor=stranger, **ask)
    for wrong in ({"reason": "Why not"}, {"days": 31}, {"days": 0}, {"code": "missing_suite"},
                  {"code": OPEN_ROW, "metric": "correct"}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            grant_waiver(open_report, actor=cfo, **{**ask, **wrong})
    made = grant_waiver(open_report, actor=cfo, **ask)
    with pytest.raises(StateConflictError):
        grant_waiver(open_report, actor=owner, **ask)
    base = open_report.base
    report = judge(workflow, open_report.candidate, base, open_report.policy)
    assert report.verdict == GateReport.Verdict.PASS
    assert report.content["waivers"][0]["by"] == "CFO (cfo)"
    assert ended_waiver(report) == ""
    with pytest.raises(NotAllowedError):
        revoke_waiver(made, actor=analyst)
    revoke_waiver(made, actor=owner)
    with pytest.raises(StateConflictError):
        revoke_waiver(made, actor=owner)
    assert "CFO" in ended_waiver(report)
    again = judge(workflow, open_report.candidate, base, open_report.policy)
    assert again.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"gate.waived", "gate.waiver_revoked"} <= verbs
    assert made.expires_at - now() <= timedelta(days=7)


@pytest.mark.django_db(transaction=True)
def test_two_who_set_the_same_finding_aside_at_once_make_one_waiver(
    open_report: GateReport, owner: User, cfo: User
) -> None:
    ready = threading.Barrier(2, timeout=30)

    def ask(actor: User) -> str:
        try:
            ready.wait()
            grant_waiver(
                GateReport.objects.get(pk=open_report.pk), code="too_few_cases", suite="golden",
                metric="", reason=REASON, days=7, actor=actor,
            )  # fmt: skip
        except StateConflictError:
            return "refused"
        finally:
            connection.close()
        return "made"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(ask, (owner, cfo))) == ["made", "refused"]
    assert GateWaiver.objects.count() == 1


def test_nothing_is_set_aside_of_a_policy_that_judges_no_more(
    open_report: GateReport, workflow: Workflow, owner: User, analyst: User, cfo: User
) -> None:
    rules = {"suites": {"golden": {"min_cases": 50}}, "primary": {"metric": "correct"}}
    confirm_policy(set_policy(workflow, rules, actor=owner), actor=analyst)
    with pytest.raises(StateConflictError, match="Another gate policy"):
        grant_waiver(
            open_report, code="too_few_cases", suite="golden", metric="", reason=REASON, days=7,
            actor=cfo,
        )  # fmt: skip


def test_whoever_made_something_of_the_release_does_not_set_its_finding_aside(
    open_report: GateReport, workflow: Workflow, cfo: User, builder: User
) -> None:
    """Who wrote a slot that is new, as little as who registered it."""
    ask: dict[str, Any] = {
        "code": "too_few_cases", "suite": "golden", "metric": "", "reason": REASON, "days": 1,
    }  # fmt: skip
    # An executive who was a builder, and wrote the guardrails that a builder registers again.
    User.objects.filter(pk=cfo.pk).update(role=User.Role.BUILDER)
    writer = User.objects.get(pk=cfo.pk)
    guardrails = {"escalation_threshold": 0.3, "gap": 0.05}
    register_release(workflow, slots(guardrails=guardrails), title="Theirs", actor=writer)
    User.objects.filter(pk=cfo.pk).update(role=User.Role.EXECUTIVE)
    cfo.refresh_from_db()
    routing = {"default": "router", "fallback": "nobody"}
    candidate, _ = register_release(
        workflow, slots(guardrails=guardrails, routing=routing), title="Both", actor=builder
    )
    assert candidate.registered_by == builder
    mine = judge(workflow, candidate, open_report.base, open_report.policy)
    with pytest.raises(NotAllowedError, match="of their own"):
        grant_waiver(mine, actor=cfo, **ask)
    # What stood in the release before bars nobody.
    kept = judge(workflow, candidate, candidate, open_report.policy)
    assert can(cfo, "gate.waive", kept)
    assert can(cfo, "gate.waive", open_report)
