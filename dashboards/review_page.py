"""What a review page shows: plain typed data, ready to print.

Every field is text, a number, or one of these classes, so a signed-off page can be stored as
JSON and shown again from it, word for word, years later. Pure: no Django, no queries.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.charts import DriftPlot, IntervalBar
from dashboards.sparkline import Sparkline
from dashboards.tones import Chip


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the headline; strong pieces carry the fact."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """One of the numbers beside the headline, a link to what it counts."""

    value: int
    word: str
    url: str
    due: bool = False


@dataclass(frozen=True, slots=True)
class MoneyCell:
    """One figure of the money strip."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class LiveRow:
    """What runs in production, who approved it, and the way back."""

    workflow: str
    workflow_url: str
    release: str
    release_url: str
    title: str
    digest: str
    since: str
    approved_by: str
    gated: bool
    back_to: str = ""
    rollback_url: str = ""
    seq: int = 0
    reasons: tuple[str, ...] = ()
    pilot: str = ""
    off_since: str = ""  # while the kill switch is on


@dataclass(frozen=True, slots=True)
class Happened:
    """One change of what runs, in a period that is over."""

    when: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class KpiRow:
    """One KPI with its owner, its week and thirteen weeks before it."""

    key: str
    name: str
    owner: str
    status: Chip
    value: str
    target: str
    limit: str
    change: str
    change_word: str  # better, worse or empty
    sparkline: Sparkline
    sentence: str
    note: str = ""
    note_url: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Words that lead somewhere."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that stands above the page until it is over."""

    tone: str  # bad, watch
    icon: str
    title: str
    text: str
    links: tuple[Link, ...] = ()
    act: Link | None = None  # what this person can do about it


@dataclass(frozen=True, slots=True)
class Traced:
    """How many of the runs behind the KPIs can be traced to an approved release."""

    sentence: str
    complete: bool
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class GateRow:
    """One check of a gate: result, change against live with its interval, verdict."""

    name: str
    metric: str
    result: str
    change: str
    interval: str
    bar: IntervalBar | None
    verdict: Chip
    allowed: str = ""  # how much worse it may be, or its limit


@dataclass(frozen=True, slots=True)
class DecisionCard:
    """One promotion that waits for people."""

    key: str
    workflow: str
    release: str
    release_url: str
    base: str
    gate: Chip
    risk: Chip
    digest: str
    asked: str
    rationale: str
    changes: tuple[str, ...]
    gates: tuple[GateRow, ...]
    evidence_url: str
    compare_url: str
    review_round: int
    undo: str
    approve_url: str = ""
    reject_url: str = ""
    why_not: str = ""
    stale: str = ""
    blocked_by: Link | None = None
    road: str = ""  # empty on the normal road
    pilot: str = ""
    pilot_note: str = ""
    pilot_url: str = ""
    frozen: str = ""
    second: str = ""  # the owner said yes and a second person has not


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """One exception in the queue."""

    pk: int
    title: str
    url: str
    severity: Chip
    detail: str
    taken_by: str = ""
    take_url: str = ""
    resolve_url: str = ""
    dismiss_url: str = ""


@dataclass(frozen=True, slots=True)
class ChecklistRow:
    """One item of the checklist."""

    key: str
    label: str
    url: str
    done: bool
    when: str
    note: str = ""
    tick_url: str = ""


@dataclass(frozen=True, slots=True)
class Checklist:
    """The checklist with its progress and the sign-off."""

    rows: tuple[ChecklistRow, ...]
    done: int
    total: int
    percent: int
    signed_off: str = ""
    sign_off_url: str = ""
    sign_off_hint: str = ""
    sign_off_note: str = ""
    left_over: tuple[str, ...] = ()  # what it is, or was, signed off over
    left_over_mark: str = ""


@dataclass(frozen=True, slots=True)
class DriftChart:
    """One 6–12 chart with its box row and its numbers as text."""

    name: str
    now: str
    status: Chip
    plot: DriftPlot
    sentence: str
    boxes: tuple[tuple[str, str], ...]
    weeks: tuple[tuple[str, str], ...]
    months: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DriftGroup:
    """The drift charts of one workflow."""

    workflow: str
    charts: tuple[DriftChart, ...]
    has_prior: bool = False


@dataclass(frozen=True, slots=True)
class ExplorerChoice:
    """One series the daily explorer can draw."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Period:
    """One week, month or quarter, its neighbours and what it is called."""

    kind: str
    kind_word: str
    key: str
    title: str
    short: str
    span: str
    previous_url: str = ""
    next_url: str = ""
    current: bool = True


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Everything one review page shows, top to bottom."""

    period: Period
    workflows: str
    tone: str
    headline: tuple[Part, ...]
    counts: tuple[Count, ...]
    live: tuple[LiveRow, ...]
    money: tuple[MoneyCell, ...]
    cost_note: str
    kpis: tuple[KpiRow, ...]
    decisions: tuple[DecisionCard, ...]
    exceptions: tuple[ExceptionRow, ...]
    exceptions_total: int
    checklist: Checklist
    drift: tuple[DriftGroup, ...]
    explorer: tuple[ExplorerChoice, ...]
    data_complete_to: str
    status_rule: str
    alerts: tuple[Alert, ...] = ()
    happened: tuple[Happened, ...] = ()
    decide_word: str = ""
    traced: Traced | None = None
    series_label: str = "13 weeks"
    frozen_at: str = ""
