"""The page on which a builder asks: the choices, and what would become of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from dashboards.controls_words import days
from dashboards.promotion_forms import STANDING
from dashboards.promotion_page import change_in_words, duration, plan_in_words
from governance.evals import services as evals
from governance.evals.policy import metric_named
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts.guard_statistics import SMALLEST_SAMPLE
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.pilots import LONGEST_DAYS, percent
from governance.rollouts.previews import Hindrance, Preview, preview
from governance.rollouts.road_models import StandingApproval

CAREFUL_SHARES = (500, 2_500)  # basis points
ROWS_OFFERED = 3
EMPTY_ROW = {"share": "", "minutes": "", "runs": ""}
A_DAY = 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class Choice:
    """One road or one way of going live, with what it means or why it is closed."""

    value: str
    title: str
    text: str
    open: bool = True


@dataclass(frozen=True, slots=True)
class InTheWay:
    """A hindrance with the page on which it can be dealt with."""

    text: str
    refuses: bool
    url: str


@dataclass(slots=True)
class ProposePage:
    """What the template prints."""

    preview: Preview
    roads: list[Choice] = field(default_factory=list)
    plans: list[Choice] = field(default_factory=list)
    kpis: list[Kpi] = field(default_factory=list)
    unfinished: list[PostMortem] = field(default_factory=list)
    in_the_way: list[InTheWay] = field(default_factory=list)
    plan: str = ""
    waits: list[str] = field(default_factory=list)
    expected: str = ""
    judged_on: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)


def careful_steps(runs_a_week: int) -> list[dict[str, int]]:
    """5 %, then 25 %: each as long as the smallest sample takes at the present volume.

    At least an hour, at most two weeks; without any runs a day each.
    """
    return [
        {"share": share, "minutes": _time_for(share, SMALLEST_SAMPLE, runs_a_week), "runs": 50}
        for share in CAREFUL_SHARES
    ]


def _time_for(share: int, runs: int, runs_a_week: int) -> int:
    """Minutes until so many runs fell to the share, in whole hours."""
    a_minute = runs_a_week / (7 * A_DAY) * share / 10_000
    if a_minute <= 0:
        return A_DAY
    hours = math.ceil(runs / a_minute / 60)
    return min(max(hours, 1) * 60, LONGEST_DAYS * A_DAY)


def propose_page(
    release: Release,
    user: User,
    *,
    asked: Mapping[str, Any],
    steps: Sequence[Mapping[str, int]],
    volume: int,
    rows: Sequence[dict[str, str]],
) -> ProposePage:
    """Read the choices and look at the proposal as it stands.

    Args:
        asked: what is chosen so far, cleaned as far as it could be.
        steps: of the pilot, in basis points.
        volume: runs a week, for what a step takes.
        rows: the own steps as they were typed.
    """
    unfinished = list(
        PostMortem.objects.visible_to(user).unfinished().filter(rollback__workflow=release.workflow)
    )
    key = asked.get("standing")
    envelopes = StandingApproval.objects.filter(workflow=release.workflow)
    envelope = envelopes.filter(pk=key).first() if key else None
    steps = envelope.pilot_steps if envelope is not None else steps
    found = preview(
        release, actor=user, road=asked.get("road") or Promotion.Road.PROMOTION,
        fixes=next((row for row in unfinished if row.pk == asked.get("fixes")), None),
        pilot_steps=steps, envelope=envelope,
    )  # fmt: skip
    kpis = list(Kpi.objects.filter(workflow=release.workflow))
    kpi = next((row for row in kpis if row.pk == asked.get("expected_kpi")), None)
    change = asked.get("expected_change")
    return ProposePage(
        preview=found,
        roads=_roads(found),
        plans=_plans(volume),
        kpis=kpis,
        unfinished=unfinished,
        in_the_way=[_in_the_way(hindrance) for hindrance in found.hindrances],
        plan=plan_in_words([dict(step) for step in steps]),
        waits=_waits(steps, volume),
        expected=f"{kpi.name} {change_in_words(kpi, change)}" if kpi and change else "",
        judged_on=_judged_on(found),
        rows=_offered(rows),
    )


def _offered(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    found = list(rows)
    return found + [EMPTY_ROW] * max(0, ROWS_OFFERED - len(found))


def _roads(found: Preview) -> list[Choice]:
    touches_model = any(slot.slot == "model" for slot in found.difference.changed)
    roads = [
        Choice(
            Promotion.Road.PROMOTION, "Promotion", "The gate has to find it better, people approve."
        ),
        Choice(
            Promotion.Road.MAINTENANCE,
            "Maintenance change",
            "The provider retires a model: nothing has to get better, every guardrail must be no"
            " worse. People approve."
            if touches_model
            else "Only for a change of the model, and this release does not change it.",
            touches_model,
        ),
    ]
    for row, why in found.envelopes:
        roads.append(
            Choice(
                f"{STANDING}{row.pk}",
                f"Standing approval: {row.title}",
                why
                or f"Goes live by itself when its gate passes. Signed by {row.signed_by}, until"
                f" {days(row.valid_to.date(), row.valid_to.date())}.",
                not why,
            )
        )
    return roads


def _plans(volume: int) -> list[Choice]:
    first, second = careful_steps(volume)
    rhythm = f"{volume:,} runs a week" if volume else "no runs in the last 7 days"
    return [
        Choice("once", "At once", "It serves every case when it is approved."),
        Choice(
            "careful",
            "5 % → 25 % → all",
            f"{duration(first['minutes'])}, then {duration(second['minutes'])}, with at least 50"
            f" runs each: what that takes at {rhythm}.",
        ),
        Choice("own", "Own steps", "Up to eight, each with its share, time and runs."),
    ]


def _waits(steps: Sequence[Mapping[str, int]], volume: int) -> list[str]:
    """What each step takes at the present volume, where it is longer than it was given."""
    found = []
    for step in steps:
        needed = max(step["runs"], SMALLEST_SAMPLE)
        if not volume:
            found.append("No run in the last 7 days: nobody can say how long a step takes.")
            break
        days = needed / (volume / 7 * step["share"] / 10_000)
        given = step["minutes"] / A_DAY
        if days > max(3 * given, 1 / 24):
            found.append(
                f"{percent(step['share'])} brings {needed:,} runs in about"
                f" {days:,.1f} days; the guard asks the owner after"
                f" {duration(max(3 * step['minutes'], 60))}."
            )
    return found


def _judged_on(found: Preview) -> str:
    """What the gate policy in force asks for, in one sentence."""
    policy = evals.current_policy(found.promotion.workflow, found.promotion.risk)
    if policy is None:
        return ""

    def name(entry: Mapping[str, Any]) -> str:
        metric = metric_named(str(entry.get("metric")))
        label = metric.label if metric else str(entry.get("metric"))
        return f"“{label}” on {' and '.join(entry.get('suites', ()))}"

    parts = []
    primary = policy.content.get("primary")
    if primary and found.promotion.road != Promotion.Road.MAINTENANCE:
        parts.append(f"{name(primary)} has to get better")
    guardrails = policy.content.get("guardrails", [])
    if guardrails:
        parts.append(f"{', '.join(map(name, guardrails))} may not get worse beyond a margin")
    return f"Gate policy version {policy.version}: {'; '.join(parts)}." if parts else ""


def _in_the_way(hindrance: Hindrance) -> InTheWay:
    about = hindrance.about
    url = ""
    if isinstance(about, Promotion):
        url = reverse("promotion", args=(about.pk,))
    elif isinstance(about, PostMortem):
        url = reverse("post-mortem", args=(about.pk,))
    return InTheWay(hindrance.sentence, hindrance.refuses, url)
