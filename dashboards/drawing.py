"""Drawing instructions to SVG. Every number and word passes through `format_html`, so through
escaping; a template with a thousand variables does the same ten times slower."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboards.charts import PLOT_BOTTOM, DriftPlot, IntervalBar, Panel
from dashboards.race_chart import BOTTOM as RACE_BOTTOM
from dashboards.race_chart import Dot, RacePlot
from dashboards.sparkline import Sparkline

FLAG = "l3.2 6h-6.4z"


def sparkline_svg(spark: Sparkline, sentence: str, tone: str) -> SafeString:
    """Draw thirteen weeks, or say that there is nothing to draw."""
    if not spark.path:
        return format_html('<span class="tiny quiet">{}</span>', "No data yet")
    releases = format_html_join(
        "",
        '<line class="tick" x1="{0}" x2="{0}" y1="2" y2="31"/><path class="flag" d="M{0} 31{1}"/>',
        ((x, FLAG) for x in spark.release_x),
    )
    target = (
        format_html('<line class="target" x1="3" x2="139" y1="{0}" y2="{0}"/>', spark.target_y)
        if spark.target_y is not None
        else ""
    )
    last = (
        format_html(
            '<circle class="last {}" cx="{}" cy="{}" r="4"/>', tone, spark.last[0], spark.last[1]
        )
        if spark.last
        else ""
    )
    return format_html(
        '<svg class="spark" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img"'
        ' aria-label="{2}">{3}{4}<path class="actual" d="{5}"/>{6}</svg>',
        spark.width, spark.height, sentence, releases, target, spark.path, last,
    )  # fmt: skip


def drift_svg(plot: DriftPlot, sentence: str) -> SafeString:
    """Draw six weeks and twelve months beside their common axis."""
    axis = format_html_join("", '<text x="38" y="{}" dy="4">{}</text>', plot.grid)
    return format_html(
        '<div class="plot" role="img" aria-label="{0}"><svg class="y" width="44" height="{1}">'
        '{2}</svg>{3}<div class="months">{4}</div></div>',
        sentence, plot.height, axis, _panel(plot.weeks, plot), _panel(plot.months, plot),
    )  # fmt: skip


def _panel(panel: Panel, plot: DriftPlot) -> SafeString:
    """Draw one half: per cent across, pixels down, so that it fills any width."""
    parts = [
        format_html_join(
            "",
            '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>',
            ((y,) for y, _ in plot.grid),
        ),
        format_html_join(
            "",
            '<line class="tick" x1="{0}%" x2="{0}%" y1="{1}" y2="{5}"/>'
            '<svg x="{0}%" y="{5}" overflow="visible"><path class="flag" d="M0 0{6}"/></svg>'
            '<text class="release" x="{0}%" y="{2}" text-anchor="{3}">{4}</text>',
            (
                (m.x, m.label_y + 4, m.label_y, m.anchor, m.label, PLOT_BOTTOM, FLAG)
                for m in panel.markers
            ),
        ),
        format_html_join(
            "",
            '<circle class="point" cx="{}%" cy="{}" r="2.8"/>',
            panel.points,
        ),
        format_html_join(
            "",
            '<text class="x{}" x="{}%" y="142">{}</text>',
            ((" now" if label.strong else "", label.x, label.text) for label in panel.labels),
        ),
    ]
    grid, markers, points, labels = parts
    target = (
        format_html('<line class="target" x1="0" x2="100%" y1="{0}" y2="{0}"/>', plot.target_y)
        if plot.target_y is not None
        else ""
    )
    prior = format_html('<path class="prior" d="{}"/>', panel.prior) if panel.prior else ""
    last = (
        format_html('<circle class="point now" cx="{}%" cy="{}" r="3.4"/>', *panel.last)
        if panel.last
        else ""
    )
    return format_html(
        '<svg width="100%" height="{0}">{1}{2}{3}<svg width="100%" height="{0}"'
        ' viewBox="0 0 1000 {0}" preserveAspectRatio="none">{4}<path class="actual" d="{5}"/>'
        "</svg>{6}{7}{8}</svg>",
        plot.height, grid, target, markers, prior, panel.line, points, last, labels,
    )  # fmt: skip


def interval_svg(bar: IntervalBar | None, tone: str) -> SafeString | str:
    """Draw a change with its interval; the numbers stand beside it as text."""
    if bar is None:
        return ""
    margin = (
        format_html('<line class="margin" x1="{0}" x2="{0}" y1="3" y2="17"/>', bar.margin)
        if bar.margin is not None
        else ""
    )
    return format_html(
        '<svg class="bars {0}" width="{1}" height="20" viewBox="0 0 {1} 20" aria-hidden="true">'
        '<line class="zero" x1="{2}" x2="{2}" y1="1" y2="19"/>{3}'
        '<rect class="range" x="{4}" y="7" width="{5}" height="6" rx="3"/>'
        '<circle class="dot" cx="{6}" cy="10" r="4"/></svg>',
        tone, bar.total, bar.zero, margin, bar.x, bar.width, bar.dot,
    )  # fmt: skip


def race_svg(plot: RacePlot) -> SafeString:
    """Draw quality against cost or time; the table beside it has the same numbers."""
    rows = format_html_join("", '<text x="44" y="{}" dy="4">{}</text>', plot.rows)
    grid = format_html_join(
        "",
        '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>',
        ((y,) for y, _ in plot.rows),
    )
    columns = format_html_join(
        "", '<text class="x" x="{}%" y="{}">{}</text>',
        ((x, RACE_BOTTOM + 20, word) for x, word in plot.columns),
    )  # fmt: skip
    whiskers = format_html_join(
        "",
        '<line class="whisker" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>',
        ((dot.x, dot.top, dot.bottom) for dot in plot.dots),
    )
    # Pixels beside per cent: a nested svg stands at the dot and has its own zero there.
    dots = format_html_join(
        "",
        '<svg x="{0}%" y="{1}" overflow="visible">{2}<circle class="point{3}" r="5"/>'
        '<text class="racer{4}" x="{5}" y="{6}" dy="4" text-anchor="{7}">{8}</text></svg>',
        (
            (
                dot.x, dot.y, _leader(dot), " now" if dot.in_front else "",
                " reference" if dot.is_reference else "", dot.dx, dot.dy, dot.anchor, dot.name,
            )
            for dot in plot.dots
        ),
    )  # fmt: skip
    return format_html(
        '<div class="plot race" role="img" aria-label="{0}"><svg class="y" width="50" height="{1}">'
        '{2}</svg><svg width="100%" height="{1}">{3}{4}{5}{6}</svg></div>',
        plot.sentence, plot.height, rows, grid, columns, whiskers, dots,
    )  # fmt: skip


def _leader(dot: Dot) -> SafeString | str:
    """A line from a dot to a label that had to move away."""
    if abs(dot.dx) + abs(dot.dy) < 30:
        return ""
    return format_html(
        '<line class="leader" x1="0" y1="0" x2="{}" y2="{}"/>', 0.85 * dot.dx, 0.85 * dot.dy
    )
