"""A pilot on its promotion's page: its steps, what the guard saw and did, what people may do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dashboards.charts import draw_interval
from dashboards.controls_words import at
from dashboards.numbers import NOT_MEASURED, Unit, format_change, format_value
from dashboards.review_page import GateRow
from dashboards.tones import Chip
from governance.common.time import now
from governance.evals.models import GateReport
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import LiveRelease
from governance.rollouts import guard, rules
from governance.rollouts.guard_samples import judged
from governance.rollouts.guard_statistics import SMALLEST_SAMPLE, Compared, Verdict
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.pilots import (
    DIRECTIONS,
    LARGEST_EVIDENCE_SHARE,
    LONGEST_DAYS,
    MEASURE_NAMES,
    percent,
)

DECISIONS_SHOWN = 12
VERDICTS = {
    "pass": Chip("No worse", "good", "circle-check"),
    "fail": Chip("Worse", "bad", "triangle-alert"),
    "inconclusive": Chip("Not enough evidence", "watch", "diamond"),
    "no_data": Chip("No data", "none", "circle-dashed"),
}
ACTIONS = {
    GuardDecision.Action.NONE: Chip("Went on", "none", "clock"),
    GuardDecision.Action.ADVANCED: Chip("Widened", "good", "circle-check"),
    GuardDecision.Action.COMPLETED: Chip("Made it live", "good", "circle-check"),
    GuardDecision.Action.PAUSED: Chip("Paused, asks", "watch", "diamond"),
    GuardDecision.Action.ROLLED_BACK: Chip("Rolled back", "bad", "undo-2"),
    GuardDecision.Action.RECOMMENDED: Chip("Recommends rollback", "watch", "undo-2"),
    GuardDecision.Action.ALARMED: Chip("Alarm", "bad", "triangle-alert"),
}
STATES = {
    Pilot.State.RUNNING: Chip("Running", "accent", "flask-conical"),
    Pilot.State.PAUSED: Chip("Paused: needs a decision", "watch", "diamond"),
    Pilot.State.COMPLETED: Chip("Completed", "good", "circle-check"),
    Pilot.State.STOPPED: Chip("Stopped", "bad", "circle-x"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan with its progress."""

    number: int
    share: str
    state: str  # done, now, stopped or ahead
    time: str
    runs: str
    minutes_done: int = 0
    minutes: int = 0
    runs_done: int = 0
    runs_needed: int = 0


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of the guard with the rule it followed and its evidence."""

    at: datetime
    chip: Chip
    share: str
    sentence: str
    rule: str
    rows: tuple[GateRow, ...]


@dataclass(slots=True)
class PilotPage:
    """The pilot's section; without a pilot only the offer to open one."""

    pilot: Pilot | None = None
    chip: Chip | None = None
    sentence: str = ""
    steps: list[Step] = field(default_factory=list)
    rows: tuple[GateRow, ...] = ()
    unreported: str = ""  # guardrails that nobody reports
    runs: tuple[int, int] = (0, 0)  # since the step began: pilot, stable
    decisions: list[Decided] = field(default_factory=list)
    ends_at: datetime | None = None
    may_resume: bool = False
    may_stop: bool = False
    may_explain: bool = False
    may_ask_gate: bool = False
    may_open: bool = False
    why_not_open: str = ""
    largest_share: int = LARGEST_EVIDENCE_SHARE // 100
    longest_days: int = LONGEST_DAYS

    @property
    def is_open(self) -> bool:
        return self.pilot is not None and self.pilot.state in (
            Pilot.State.RUNNING,
            Pilot.State.PAUSED,
        )

    @property
    def seen(self) -> str:
        """What a page that shows this has seen; another one is loaded when it changes."""
        return f"{self.pilot.state}-{self.pilot.step}" if self.pilot is not None else ""


def pilot_page(promotion: Promotion, user: User, live: LiveRelease | None) -> PilotPage | None:
    """Read the pilot of a promotion; None where there is none and none can be opened."""
    pilot = Pilot.objects.filter(promotion=promotion).first()
    decisions = [_decided(row) for row in promotion.guard_decisions.all()[:DECISIONS_SHOWN]]
    if pilot is None:
        page = PilotPage(decisions=decisions)
        _offer(page, promotion, user, live)
        return page if page.may_open or page.why_not_open or decisions else None
    pilot.promotion = promotion
    page = PilotPage(
        pilot=pilot,
        chip=STATES[Pilot.State(pilot.state)],
        ends_at=pilot.ends_at,
        decisions=decisions,
    )
    stops = can(user, "workflow.roll_back", promotion.workflow)
    decides = can(user, "promotion.open_pilot", promotion)
    if page.is_open:
        compared = judged(pilot)
        runs = compared[0][1]
        page.runs = (runs.pilot.n, runs.stable.n)
        page.rows = evidence_rows([guard.evidence(rule, found) for rule, found in compared[1:]])
        page.unreported = _unreported(compared[1:]) if all(page.runs) else ""
        page.may_resume = decides and pilot.state == Pilot.State.PAUSED
        page.may_stop = stops
        page.may_ask_gate = promotion.road == Promotion.Road.PILOT and (
            decides or can(user, "promotion.propose", promotion.workflow)
        )
    elif decisions:
        page.rows = decisions[0].rows
    page.may_explain = pilot.state == Pilot.State.STOPPED and stops
    page.steps = _steps(pilot, promotion, page.runs[0])
    page.sentence = _sentence(pilot, promotion)
    if pilot.state == Pilot.State.STOPPED:
        _offer(page, promotion, user, live)
    return page


def _unreported(compared: Sequence[tuple[dict[str, Any], Compared]]) -> str:
    """The guardrails that one side or both report nothing of."""
    names = [
        f"“{MEASURE_NAMES.get(rule['measure'], str(rule['measure']).replace('_', ' '))}”"
        for rule, found in compared
        if rule["level"] == "guardrail" and found.verdict == Verdict.NO_DATA
    ]
    return " and ".join(dict.fromkeys(names))


def _offer(page: PilotPage, promotion: Promotion, user: User, live: LiveRelease | None) -> None:
    """Whether this person may open a pilot because the gate could not tell."""
    report = promotion.gate_report
    if (
        promotion.state != Promotion.State.REFUSED
        or report is None
        or report.verdict != GateReport.Verdict.NOT_ENOUGH_EVIDENCE
        or not can(user, "promotion.open_pilot", promotion)
    ):
        return
    delegation = rules.delegation_for(user, promotion.workflow)
    made_by = rules.contributors(promotion)
    others = Promotion.objects.open().filter(workflow=promotion.workflow)
    if user.pk in made_by or (delegation is not None and delegation.owner_id in made_by):
        page.why_not_open = "Who helped to make a change does not open its pilot."
    elif others.exists():
        page.why_not_open = "Another promotion of this workflow is open: decide it first."
    elif promotion.base is None:
        page.why_not_open = "A pilot needs a stable release beside it."
    else:
        page.why_not_open = rules.staleness(promotion, live)
    page.may_open = not page.why_not_open


def _sentence(pilot: Pilot, promotion: Promotion) -> str:
    base = promotion.base.name if promotion.base else "the stable release"
    name = promotion.release.name
    share = percent(pilot.steps[pilot.step]["share"])
    if pilot.state == Pilot.State.PAUSED:
        return f"{name} stays at {share} of the cases until somebody decides. {pilot.paused_reason}"
    if pilot.state == Pilot.State.RUNNING:
        return f"{name} serves {share} of the cases, {base} the others."
    if pilot.state == Pilot.State.COMPLETED:
        return f"{name} took every step of its pilot, by the guard or by the owner's decision."
    return f"{base} serves every case again. {pilot.what_happened}"


def _steps(pilot: Pilot, promotion: Promotion, runs: int) -> list[Step]:
    """The plan with when each step began; the running one with what it still waits for."""
    began = list(
        promotion.changes.filter(
            cause__in=(LiveChange.Cause.PILOT_OPENED, LiveChange.Cause.PILOT_WIDENED),
            changed_at__gte=pilot.opened_at,
        )
        .order_by("seq")
        .values_list("changed_at", flat=True)
    )
    is_over = pilot.state in (Pilot.State.COMPLETED, Pilot.State.STOPPED)
    ended = pilot.closed_at if is_over else None
    found = []
    for index, step in enumerate(pilot.steps):
        state = "done" if index < pilot.step else "ahead"
        if index == pilot.step:
            state = {"stopped": "stopped", "completed": "done"}.get(pilot.state, "now")
        start = began[index] if index < len(began) else None
        end = began[index + 1] if index + 1 < len(began) else ended
        elapsed = now() - pilot.step_started_at if state == "now" else timedelta()
        minutes = int(elapsed.total_seconds() // 60)
        needed = max(step["runs"], SMALLEST_SAMPLE)
        is_behind = state in ("done", "stopped")
        found.append(
            Step(
                number=index + 1,
                share=percent(step["share"]),
                state=state,
                time=_span(start, end) if is_behind else _minutes(minutes, step, state),
                runs=_runs(runs, step, state, needed),
                minutes_done=min(minutes, step["minutes"]),
                minutes=step["minutes"] if state == "now" else 0,
                runs_done=min(runs, needed),
                runs_needed=needed if state == "now" else 0,
            )
        )
    return found


def _span(start: datetime | None, end: datetime | None) -> str:
    if start is None:
        return "not reached"
    text = at(start)
    if end is None:
        return f"since {text}"
    return f"{text} – {end:%H:%M}" if end.date() == start.date() else f"{text} – {end:%a %H:%M}"


def _minutes(done: int, step: Mapping[str, int], state: str) -> str:
    if state == "now" and step["minutes"]:
        return f"{done:,} of {step['minutes']:,} min"
    if state == "now":
        return f"{done:,} min, no least time"
    return f"at least {step['minutes']:,} min" if step["minutes"] else "no least time"


def _runs(runs: int, step: Mapping[str, int], state: str, needed: int) -> str:
    if state == "now":
        return f"{runs:,} of {needed:,} runs"
    return f"at least {needed:,} runs" if state == "ahead" else ""


def _decided(row: GuardDecision) -> Decided:
    return Decided(
        at=row.decided_at,
        chip=ACTIONS[GuardDecision.Action(row.action)],
        share=percent(row.share),
        sentence=row.sentence,
        rule=rule_in_words(row.rule),
        rows=evidence_rows([line for line in row.evidence if line.get("measure") != "runs"]),
    )


def rule_in_words(rule: Mapping[str, Any]) -> str:
    """What the guard followed: the measure, how far it may go, and what happens beyond."""
    measure = str(rule.get("measure", ""))
    if measure == "runs":
        return "Rule: runs of the pilot have to arrive; none raises an alarm."
    name = MEASURE_NAMES.get(measure, measure.replace("_", " "))
    origin = f" ({rule['from']})" if rule.get("from") else ""
    if rule.get("limit") is not None:
        return f"Rule: {name} stays inside its limit{origin}."
    margin = rule.get("margin_points") or 0.0
    does = "rolls back" if rule.get("level") == "guardrail" else "pauses and asks"
    return f"Rule: {name} more than {margin:g} points worse {does}{origin}."


def evidence_rows(lines: Sequence[Mapping[str, Any]]) -> tuple[GateRow, ...]:
    """Lay out the guard's evidence as the gate's table: each change in the measure's own sense.

    Stored differences are oriented so that positive is better.
    """
    own = [(line, _sign(str(line.get("measure")))) for line in lines]
    reach = max(
        (abs(value) for line, _ in own for value in _drawn(line)),
        default=1.0,
    )
    return tuple(_evidence_row(line, sign, reach) for line, sign in own)


def _drawn(line: Mapping[str, Any]) -> list[float]:
    """The values that a row's bar reaches to."""
    found = [(line.get("margin_points") or 0.0) / 100]
    if min(line.get("pilot_runs") or 0, line.get("stable_runs") or 0) >= SMALLEST_SAMPLE:
        most = 1.0 if _unit(str(line.get("measure", ""))) == Unit.SHARE else math.inf
        ends = (line.get("low"), line.get("high"))
        found += [min(max(end, -most), most) for end in ends if end is not None]
    return found


def _sign(measure: str) -> float:
    return 1.0 if DIRECTIONS.get(measure, "lower") == "higher" else -1.0


def _evidence_row(line: Mapping[str, Any], sign: float, reach: float) -> GateRow:
    measure = str(line.get("measure", ""))
    unit = _unit(measure)
    low, high, change = line.get("low"), line.get("high"), line.get("difference")
    margin = (line.get("margin_points") or 0.0) / 100
    bar, interval = None, ""
    seen = min(line.get("pilot_runs") or 0, line.get("stable_runs") or 0)
    if 0 < seen < SMALLEST_SAMPLE:
        interval = "too few runs to compare yet"
    elif low is not None and high is not None and change is not None:
        ends = sorted((sign * low, sign * high))
        if unit == Unit.SHARE:  # no rate differs by more than everything
            ends = [min(max(end, -1.0), 1.0) for end in ends]
        bar = draw_interval(
            ends[0], sign * change, ends[1], reach=reach or 1.0,
            margin=-sign * margin if margin else None,
        )  # fmt: skip
        interval = f"{format_change(ends[0], unit)} to {format_change(ends[1], unit)}"
    return GateRow(
        name=MEASURE_NAMES.get(measure, measure.replace("_", " ").capitalize()),
        metric="guardrail" if line.get("level") == "guardrail" else "signal",
        result=(
            f"{format_value(line.get('pilot'), unit)} of {line.get('pilot_runs') or 0:,}"
            if line.get("pilot_runs")
            else NOT_MEASURED
        ),
        change=format_change(sign * change, unit) if change is not None else "Not compared",
        interval=interval,
        bar=bar,
        verdict=VERDICTS.get(str(line.get("verdict")), VERDICTS["no_data"]),
        allowed=", ".join(
            filter(
                None,
                (
                    f"stable {format_value(line.get('stable'), unit)} of {line['stable_runs']:,}"
                    if line.get("stable_runs")
                    else "stable not measured",
                    f"may be up to {margin * 100:g} pt worse" if margin else "",
                ),
            )
        ),
    )


def _unit(measure: str) -> Unit:
    if measure == "cost":
        return Unit.MONEY
    return Unit.MILLISECONDS if measure == "latency_ms" else Unit.SHARE
