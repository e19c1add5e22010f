"""`{% ways_back %}`: the rollback, offered on every page that shows a workflow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboards.drill_chart import Bars
from dashboards.going_back import offers
from dashboards.numbers import NBSP, NOT_MEASURED, Unit, format_value
from dashboards.recall_page import StateCount
from governance.workflows.models import Workflow

register = template.Library()


@register.inclusion_tag("dashboards/elements/ways_back.html", takes_context=True)
def ways_back(
    context: template.Context, workflow: Workflow | None = None, slug: str = ""
) -> dict[str, Any]:
    """Offer the rollback of one workflow, of the one that `slug` names, or of all in sight."""
    chosen = [workflow.pk] if workflow is not None else None
    return {
        "offers": offers(context["request"].user, chosen, slug),
        "single": workflow is not None,
    }


@register.simple_tag
def clock(at: datetime | None, tenths: str = "") -> SafeString | str:
    """A time of day in UTC to the second, or to the tenth; the whole moment on hover."""
    if at is None:
        return NOT_MEASURED
    text = f"{at:%H:%M:%S}" + (f".{at.microsecond // 100_000}" if tenths else "")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        at.strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        text,
    )


@register.filter
def share(basis_points: object) -> str:
    """A pilot's share of the cases: 250 basis points are 2.5 %."""
    if not isinstance(basis_points, int):
        return NOT_MEASURED
    return f"{basis_points / 100:g}{NBSP}%"


@register.filter
def authority(level: object) -> str:
    """An authority level in words."""
    return dict(Workflow.Authority.choices).get(str(level), str(level))


@register.simple_tag
def seconds_between(first: datetime | None, second: datetime | None) -> str:
    """How long something took; a dash where one end is not known."""
    if first is None or second is None:
        return NOT_MEASURED
    return format_value((second - first).total_seconds(), Unit.SECONDS)


@register.simple_tag
def drill_bars(bars: Bars) -> SafeString:
    """Draw measured times to restore; the table below holds the same numbers."""
    drawn = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}" rx="2"/>'
        '<text class="value" x="{}" y="{}">{}</text><text x="{}" y="{}">{}</text>',
        (
            (
                bar.x, bar.y, bar.width, bar.height, bar.middle, bar.y - 5,
                bar.value if bar.is_measured else "no receipt", bar.middle, bars.base + 16,
                bar.label,
            )
            for bar in bars.bars
        ),
    )  # fmt: skip
    return format_html(
        '<svg class="drill-bars" width="100%" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">'
        '<line x1="0" x2="{0}" y1="{3}" y2="{3}"/>{4}</svg>',
        bars.width, bars.height, bars.sentence, bars.base, drawn,
    )  # fmt: skip


@register.simple_tag
def stacked(states: Iterable[StateCount]) -> SafeString:
    """The states of a recall list beside each other, as wide as they are many."""
    parts, x = [], 0.0
    for one in states:
        parts.append((one.chip.tone, x, one.width))
        x += one.width
    return format_html_join("", '<rect class="{}" x="{}%" y="0" width="{}%" height="8"/>', parts)


@register.simple_tag
def case_query(case_id: str) -> str:
    """The query string of the receipts page for one row of a recall list."""
    if case_id.startswith("run "):
        return urlencode({"run": case_id.removeprefix("run ")})
    return urlencode({"case": case_id})
