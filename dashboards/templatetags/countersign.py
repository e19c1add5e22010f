"""Tags for what every page shows: icons, status chips, numbers, digests, moments."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from lucide.templatetags.lucide import lucide

from dashboards import numbers
from dashboards.charts import PLOTLY_STYLE_IDS, DriftPlot, IntervalBar
from dashboards.drawing import drift_svg, interval_svg, race_svg, sparkline_svg
from dashboards.race_chart import RacePlot
from dashboards.sparkline import Sparkline
from dashboards.tones import Chip, chip_for

register = template.Library()

# Lucide has no dotted ring; drawn on its 24-pixel grid.
_DOTTED_RING = (
    '<svg class="{}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
    'stroke-linecap="round" aria-hidden="true"><circle cx="12" cy="12" r="9" '
    'stroke-dasharray="0 4.04"></circle></svg>'
)


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw one icon, silent for screen readers: the word stands beside it."""
    return _icon(str(name))


@lru_cache(maxsize=256)
def _icon(name: str) -> SafeString:
    # Drawing takes 60 µs and a page has a hundred icons; each is the same text every time.
    if name == "dotted-ring":
        return format_html(_DOTTED_RING, "icon")
    # class replaces lucide's own; size comes from the stylesheet, the width is for no CSS.
    return SafeString(lucide(name, size=16, **{"class": "icon", "aria-hidden": "true"}))


@register.simple_tag
def chip(shown: Chip | str, kind: str = "state", word: str = "") -> SafeString:
    """Draw a status chip: `{% chip row.status %}` or `{% chip promotion.state "state" %}`.

    Takes a Chip or a key of the named kind; `word` replaces the word where a page knows better.
    """
    if isinstance(shown, str) or not hasattr(shown, "icon"):
        shown = chip_for(kind, str(shown))
    return format_html(
        '<span class="chip {}">{}{}</span>', shown.tone, _icon(shown.icon), word or shown.word
    )


@register.filter
def amount(value: object, unit: str) -> str:
    """Return a number with its unit: `{{ score.cost|amount:"money" }}`; None is a dash."""
    number = value if isinstance(value, numbers.Number) else None
    return numbers.format_value(number, numbers.Unit(unit))


@register.filter
def change(value: object, unit: str) -> str:
    """Return a signed difference: `{{ delta|change:"share" }}`."""
    number = value if isinstance(value, numbers.Number) else None
    return numbers.format_change(number, numbers.Unit(unit))


@register.filter
def short_digest(digest: object) -> str:
    """Return the ends of a digest; the whole stands behind it as a link or title."""
    text = str(digest or "")
    return f"{text[:11]}…{text[-4:]}" if len(text) > 24 else text


@register.simple_tag
def digest(value: object) -> SafeString:
    """Show a digest by its ends, the whole on hover."""
    return format_html('<code class="digest" title="{}">{}</code>', value, short_digest(value))


@register.simple_tag
def moment(at: datetime | None, dated: bool = False) -> SafeString | str:
    """Show a moment in UTC with its weekday, `dated` with its year; machine-readable inside."""
    if at is None:
        return numbers.NOT_MEASURED
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        f"{at:%a} {at.day} {at:%b %Y %H:%M}" if dated else f"{at:%a} {at.day} {at:%b %H:%M}",
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """Return the page's query string with some parameters changed: links keep their filters."""
    kept = context["request"].GET.copy()
    for name, value in changes.items():
        kept.pop(name, None)
        if value not in (None, ""):
            kept[name] = str(value)
    return f"?{kept.urlencode()}"


@register.simple_tag
def plotly_style_ids() -> tuple[str, ...]:
    """Return the ids of the style elements that Plotly writes into."""
    return PLOTLY_STYLE_IDS


@register.simple_tag
def sparkline(spark: Sparkline, sentence: str, tone: str) -> SafeString:
    """Draw a sparkline; the sentence says the same."""
    return sparkline_svg(spark, sentence, tone)


@register.simple_tag
def drift_plot(plot: DriftPlot, sentence: str) -> SafeString:
    """Draw a 6–12 chart; the sentence says the same."""
    return drift_svg(plot, sentence)


@register.simple_tag
def interval_bar(bar: IntervalBar | None, tone: str) -> SafeString | str:
    """Draw a change with its interval beside its numbers."""
    return interval_svg(bar, tone)


@register.simple_tag
def race_plot(plot: RacePlot) -> SafeString:
    """Draw releases by quality and cost or time."""
    return race_svg(plot)
