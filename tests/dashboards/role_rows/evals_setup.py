"""How releases are called and scored, and runs: who reads, changes, confirms, asks, cancels."""

from __future__ import annotations

import json
from datetime import timedelta
from io import BytesIO
from typing import Any

from governance.common.canonical import canonical, digest_text
from governance.common.time import now
from governance.evals import calibration
from governance.evals import services as evals
from governance.evals.bake_offs import finish_bake_offs
from governance.evals.decision_models import BakeOff, GateWaiver
from governance.evals.models import EvalRun, GateReport, Score
from governance.evals.setup_models import HumanLabel
from governance.evals.suites import evidence_suites
from governance.people.models import User
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER, slots
from tests.dashboards.role_rows import (
    ANALYST,
    BUILDER,
    EXECUTIVE,
    NONE,
    OWNER,
    READERS,
    Cast,
    Row,
    World,
)

EDITS = {OWNER, ANALYST, BUILDER}
SECOND = {EXECUTIVE, OWNER}  # the analyst set it, and builders confirm nothing
TARGET = {"content": '{"kind": "callable", "seconds": 30}', "reason": "Slow cases are given up."}
SCORERS = {"content": '{"scorers": [{"name": "a", "kind": "exact"}]}', "reason": "To the letter."}
RULES = {"suites": {"golden": {}}, "floors": [{"metric": "correct", "limit_percent": 5}]}
POLICY = {"content": json.dumps(RULES), "reason": "A start.", "risk": "high"}
WAIVER = {
    "code": "too_few_cases", "suite": "golden", "reason": "More cases come next week.", "days": 7,
}  # fmt: skip


class Again(BytesIO):
    """A file that can be sent more than once."""

    name = "results.xml"

    def read(self, size: int | None = -1, /) -> bytes:
        return self.getvalue()


RESULTS: dict[str, Any] = {"suite": "golden"}  # release and file come with the world
JUDGE = {
    "name": "polite", "kind": "judge", "base_url": "https://8.8.8.8/v1", "model": "m",
    "prompt": "Is it polite?",
}  # fmt: skip
LABEL: dict[str, Any] = {"verdict": "good"}  # the score comes with the world
# The release comes with the world.
ASK: dict[str, Any] = {"suite": "golden", "mark": "once"}
BAKE_OFF: dict[str, Any] = {
    "suite": "golden", "metric": "correct", "title": "Models", "mark": "once",
}  # fmt: skip
ROWS: dict[str, Row] = {
    "eval-target": Row(READERS, key="workflow"),
    "eval-target-set": Row(NONE, EDITS, key="workflow", data=TARGET),
    "eval-target-confirm": Row(NONE, SECOND, key="workflow", data={"version": 1}),
    "scoring": Row(READERS, key="workflow"),
    "scoring-set": Row(NONE, EDITS, key="workflow", data=SCORERS),
    "scoring-confirm": Row(NONE, SECOND, key="judged workflow", data={"version": 1}),
    "scoring-judge": Row(READERS, key="judge"),
    # Nobody graded anything here: whoever may is told so.
    "scoring-judge-label": Row(NONE, EDITS, key="judge", data=LABEL),
    "scoring-judge-calibrate": Row(NONE, EDITS, key="judge"),
    "policies": Row(READERS, key="workflow"),
    "policies-propose": Row(NONE, {OWNER}, key="workflow", data=POLICY),
    "policies-confirm": Row(NONE, {EXECUTIVE, ANALYST}, key="judged workflow", data={"version": 1}),
    "policies-withdraw": Row(NONE, {OWNER}, key="judged workflow", data={"version": 1}),
    # Nothing of it may be set aside, or it is: whoever may is told so.
    "gate-report-waive": Row(NONE, {EXECUTIVE, OWNER}, key="open report", data=WAIVER),
    "gate-waiver-revoke": Row(NONE, {EXECUTIVE, OWNER}, key="waiver"),
    "eval-run-import": Row(NONE, EDITS, key="workflow", data=RESULTS),
    "planner": Row(READERS, key="workflow"),
    "bake-offs": Row(READERS, key="workflow"),
    "bake-off-start": Row(NONE, EDITS, key="workflow", data=BAKE_OFF),
    "bake-off": Row(READERS, key="bake-off"),
    "bake-off-cancel": Row(NONE, EDITS, key="bake-off"),
    "bake-off-csv": Row(READERS, key="finished bake-off"),
    "bake-off-json": Row(READERS, key="finished bake-off"),
    "eval-run-compare": Row(READERS, key="open run"),
    "eval-run-ask": Row(NONE, EDITS, key="workflow", data=ASK),
    "eval-run-cancel": Row(NONE, EDITS, key="open run"),
}


def extend(world: World, cast: Cast) -> None:
    """A target that the analyst set, and a run that waits."""
    workflow, analyst = cast.workflow, User.objects.get(username="analyst")
    evals.set_target(workflow, {"kind": "callable"}, actor=analyst, reason="One at a time.")
    release = workflow.releases.order_by("number")[0]
    ASK["release"] = release.pk
    suite = evidence_suites(workflow)["golden"]
    # Without a job: nothing that others do here finishes it.
    run = EvalRun.objects.create(
        release=release, suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="role rows", requested_by_label="Analyst", requested_at=now(),
        cases_total=suite.case_count,
    )  # fmt: skip
    world["open run"] = (run.pk,)
    BAKE_OFF["reference"] = release.pk
    BAKE_OFF["releases"] = [one.pk for one in workflow.releases.all()[:2]]
    tests = "".join(f'<testcase name="{case.key}"/>' for case in suite.cases.all())
    RESULTS["release"] = release.pk
    RESULTS["file"] = Again(f"<testsuite name='s'>{tests}</testsuite>".encode())
    open_report = _open_report(cast)
    world["open report"] = (open_report.pk,)
    waiver = GateWaiver.objects.create(
        workflow=workflow, candidate=open_report.candidate, policy=open_report.policy,
        code="stale", finding="It is old.", reason="It is the newest there is.",
        granted_by=cast.owner, granted_by_label="Head of Support", granted_at=now(),
        expires_at=now() + timedelta(days=1),
    )  # fmt: skip
    world["waiver"] = (open_report.pk, waiver.pk)
    judged = _judged(cast, analyst)
    world["judged workflow"], world["judge"] = (judged.slug,), (judged.slug, "polite")
    for name in ("bake-off", "finished bake-off"):
        bake_off = BakeOff.objects.create(
            workflow=judged, title="Models", suite=judged.suites.get(), metric="correct",
            reference=judged.releases.get(), slot=name, requested_by_label="Analyst",
            requested_at=now(),
        )  # fmt: skip
        world[name] = (judged.slug, bake_off.pk)
    finish_bake_offs(BakeOff.objects.filter(slot="finished bake-off"))


def _open_report(cast: Cast) -> GateReport:
    """A report on the waiting release that says: too few cases."""
    promotion = cast.promotion
    content = {
        "verdict": "not_enough_evidence", "rows": [],
        "refusals": [
            {"code": "too_few_cases", "suite": "golden", "sentence": "Few.", "remedy": "Add."}
        ],
    }  # fmt: skip
    text = canonical(content)
    assert promotion.gate_policy is not None
    return GateReport.objects.create(
        digest=digest_text(text), workflow=cast.workflow, candidate=promotion.release,
        base=promotion.base, policy=promotion.gate_policy, verdict="not_enough_evidence",
        attempt=9, content_text=text, created_at=now(),
    )  # fmt: skip


def _judged(cast: Cast, analyst: User) -> Workflow:
    """A workflow with a judge that has graded 21 answers, 20 of which people labelled."""
    workflow = create_workflow("letters", "Letters", owner=cast.owner, actor=TESTER)
    evals.set_evaluator(workflow, {"scorers": [JUDGE]}, actor=analyst, reason="Tone.")
    evals.set_policy(workflow, RULES, actor=cast.owner)
    (judge,) = calibration.judges_of(workflow)
    cases = [
        {"key": f"c{n}", "input": {"n": n}, "expected": {"rubric": "It is polite."}}
        for n in range(21)
    ]
    suite = evals.freeze_suite(workflow, "golden", cases, actor=analyst)
    release, _ = register_release(workflow, slots(), title="First", actor=TESTER)
    moment = now()
    run = EvalRun.objects.create(
        release=release, suite=suite, evaluator="sha256:" + "0" * 64, purpose="request",
        slot="judged", requested_by_label="Analyst", requested_at=moment, started_at=moment,
        finished_at=moment, state=EvalRun.State.DONE, cases_total=21, cases_done=21,
        scorers={"polite": judge.fingerprint}, definition=evals.current_evaluator(workflow),
    )  # fmt: skip
    scores = Score.objects.bulk_create(
        Score(run=run, case=case, metrics={"polite": n % 2 == 0}, scored_at=moment)
        for n, case in enumerate(suite.cases.all())
    )
    HumanLabel.objects.bulk_create(
        HumanLabel(
            score=score, scorer="polite", good=n % 2 == 0, labelled_by=cast.cfo,
            labelled_by_label="CFO", labelled_at=moment,
        )
        for n, score in enumerate(scores[:20])
    )  # fmt: skip
    LABEL["score"] = scores[20].pk
    return workflow
