from __future__ import annotations

import pytest
from django.template import Context, Template

from dashboards.tones import KPI_STATUS, RISK, SEVERITY, STATE, VERDICT, Chip, chip_for
from governance.evals.models import EvalRun, GateReport
from governance.jobs.models import Job
from governance.kpis.status import KpiStatus
from governance.receipts.models import Receipt
from governance.rollouts.models import Promotion
from governance.triage.models import ExceptionCase

TONES = {"good", "watch", "bad", "none", "accent"}


@pytest.mark.parametrize(
    "states", [Promotion.State, EvalRun.State, ExceptionCase.State, Job.State, Receipt.Standing]
)
def test_every_state_has_its_own_shape_word_and_tone(states: type) -> None:
    assert set(states.values) <= set(STATE)  # type: ignore[attr-defined]


def test_every_status_verdict_risk_and_severity_has_a_chip() -> None:
    assert set(KPI_STATUS) == set(KpiStatus)
    assert set(GateReport.Verdict.values) <= set(VERDICT)
    assert {risk.lower() for risk in Promotion.Risk.labels} <= set(RISK)
    assert {label.lower() for label in ExceptionCase.Severity.labels} <= set(SEVERITY)


def test_no_two_statuses_of_a_kpi_share_a_shape() -> None:
    assert len({chip.icon for chip in KPI_STATUS.values()}) == len(KPI_STATUS)
    for table in (KPI_STATUS, VERDICT, RISK, SEVERITY, STATE):
        assert {chip.tone for chip in table.values()} <= TONES


def test_every_chip_is_drawn_with_its_word_and_a_silent_icon() -> None:
    template = Template("{% load countersign %}{% chip shown %}")
    for table in (KPI_STATUS, VERDICT, RISK, SEVERITY, STATE):
        for shown in table.values():
            drawn = template.render(Context({"shown": shown}))
            assert shown.word in drawn
            assert "<svg" in drawn
            assert 'aria-hidden="true"' in drawn


def test_a_state_nobody_listed_keeps_its_own_word_and_is_escaped() -> None:
    assert chip_for("state", "half_way").word == "Half way"
    template = Template("{% load countersign %}{% chip shown %}")
    assert "<b>" not in template.render(Context({"shown": "<b>"}))
    assert "&lt;b&gt;" in template.render(Context({"shown": Chip("<b>", "none", "circle-x")}))
