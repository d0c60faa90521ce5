"""Charts as SVG, drawn on the server: columns over time, lines over time, and bars side by side.

A chart is a picture of a table, and the table is shown below it (`templates/charts.html`). Nothing in a
chart is shown by colour alone: areas have patterns of their own, lines have dashes, and both have a legend.
The functions are pure; every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_WIDTH: Final = 480
_LEFT: Final = 46
_RIGHT: Final = 8
_TOP: Final = 10
_PLOT: Final = 180
_LINE: Final = 18
_TICKS: Final = 4
_MOST_LABELS: Final = 6
#: Colours that differ in lightness too; each reaches 3:1 on white (WCAG 2.2, 1.4.11).
_COLOURS: Final = ("#0b4f8a", "#b35900", "#3f7f5f", "#a3161b", "#6b4c9a", "#5a6672")
_DASHES: Final = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")
#: The lines of the pattern of each area: none, rising, falling, level, upright, crossed.
_HATCHES: Final = ("", "M0 6L6 0", "M0 0L6 6", "M0 3H6", "M3 0V6", "M0 3H6M3 0V6")
_INK: Final = "#16202b"
_GRID: Final = "#c5ced8"
_LONGEST_LABEL: Final = 34


@dataclass(frozen=True, slots=True)
class Series:
    """A named series of values, one for each label of the chart; None for a missing value."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """The content of a chart: a title, the labels of the values, and one or more series.

    `name` is unique on the page (it becomes part of the ids). `heading` is the column heading of the
    labels, and `unit` that of the values.
    """

    name: str
    title: str
    heading: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = ""


def list_chart_rows(chart: Chart) -> list[tuple[str, tuple[float | None, ...]]]:
    """Return the label and the values of each row of the chart's table."""
    return [
        (label, tuple(series.values[index] for series in chart.series))
        for index, label in enumerate(chart.labels)
    ]


def draw_columns(chart: Chart) -> Markup:
    """Return a chart with one column for each label; the series stand upon each other."""
    sums = [sum(value or 0 for value in values) for _, values in list_chart_rows(chart)]
    top, axis = _draw_axis(chart, max(sums, default=0))
    column_width = (_WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1)
    body = Markup("").join(
        _draw_column(chart, index, column_width, top) for index in range(len(chart.labels))
    )
    return _frame_chart(chart, _PLOT, axis + body, filled=True)


def draw_lines(chart: Chart) -> Markup:
    """Return a chart with one line for each series; a line is interrupted where there is no value."""
    values = [value for series in chart.series for value in series.values if value is not None]
    top, axis = _draw_axis(chart, max(values, default=0))
    body = Markup("").join(_draw_line(series, index, top) for index, series in enumerate(chart.series))
    return _frame_chart(chart, _PLOT, axis + body, filled=False)


def draw_bars(chart: Chart) -> Markup:
    """Return a chart with one bar for each label, of the first series, with its value beside it."""
    values = [value or 0 for value in chart.series[0].values] if chart.series else []
    max_value = max(values, default=0) or 1
    rows = Markup("").join(
        _draw_bar(label, value, max_value, index)
        for index, (label, value) in enumerate(zip(chart.labels, values, strict=True))
    )
    return _frame_chart(chart, max(len(chart.labels), 1) * 2 * _LINE, rows, filled=True, legend=False)


def _frame_chart(chart: Chart, height: float, body: Markup, *, filled: bool, legend: bool = True) -> Markup:
    """Return the whole picture: title, patterns, body and legend."""
    labels = list(_draw_legend(chart, height, filled)) if legend else []
    bottom = _TOP + height + (_LINE if legend else 0) + _LINE * len(labels) + 4
    frame = Markup(
        '<svg class="chart" role="img" aria-labelledby="chart-{name}" viewBox="0 0 {width} {bottom}" '
        'font-size="13" fill="{ink}"><title id="chart-{name}">{title}</title>'
    )
    start = frame.format(name=chart.name, width=_WIDTH, bottom=round(bottom), ink=_INK, title=chart.title)
    patterns = _draw_patterns(chart) if filled else Markup("")
    return start + patterns + body + Markup("").join(labels) + Markup("</svg>")


def _draw_patterns(chart: Chart) -> Markup:
    """Return the SVG fill patterns of the chart: one for each series, with its own colour and hatching."""
    pattern = Markup(
        '<pattern id="{id}" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<rect width="6" height="6" fill="{colour}"/>'
        '<path d="{hatch}" stroke="#fff" stroke-width="1.2"/></pattern>'
    )
    patterns = Markup("").join(
        pattern.format(
            id=_name_pattern(chart, index), colour=_pick(_COLOURS, index), hatch=_pick(_HATCHES, index)
        )
        for index in range(len(chart.series))
    )
    return Markup("<defs>") + patterns + Markup("</defs>")


def _name_pattern(chart: Chart, index: int) -> str:
    return f"chart-{chart.name}-{index}"


def _pick(values: Sequence[str], index: int) -> str:
    return values[index % len(values)]


def _draw_axis(chart: Chart, max_value: float) -> tuple[float, Markup]:
    """Return the top of the scale, and the lines and labels of both axes."""
    tick = _choose_tick(max_value)
    count = max(math.ceil(max_value / tick), 1)
    drawn = [_draw_tick(number * tick, count * tick) for number in range(count + 1)]
    column_width = (_WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1)
    every = max(math.ceil(len(chart.labels) / _MOST_LABELS), 1)
    label = Markup('<text x="{x}" y="{y}" text-anchor="middle">{text}</text>')
    for index in range(0, len(chart.labels), every):
        middle = _LEFT + (index + 0.5) * column_width
        drawn.append(
            label.format(x=_round(middle), y=_TOP + _PLOT + _LINE - 2, text=chart.labels[index][:12])
        )
    return count * tick, Markup("").join(drawn)


def _draw_tick(value: float, top: float) -> Markup:
    """Return the SVG grid line and label for `value` on the y axis, which ends at `top`."""
    tick = Markup(
        '<path d="M{left} {y}H{right}" stroke="{grid}"/>'
        '<text x="{before}" y="{below}" text-anchor="end">{text}</text>'
    )
    y = _compute_y_coordinate(value, top)
    return tick.format(
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        y=_round(y),
        grid=_GRID,
        before=_LEFT - 5,
        below=_round(y + 4),
        text=_write_number(value),
    )


def _choose_tick(max_value: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides the scale into about four parts.

    It is at least 1, as the values are counts.
    """
    if max_value <= _TICKS:
        return 0.5 if isinstance(max_value, float) and 0.5 < max_value <= 1 else 1
    raw = max_value / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def _compute_y_coordinate(value: float, top: float) -> float:
    return _TOP + _PLOT * (1 - value / top)


def _draw_column(chart: Chart, index: int, column_width: float, top: float) -> Markup:
    """Return the column of one label: a rectangle for each series, one upon the other."""
    column = Markup(
        '<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="url(#{fill})">'
        "<title>{told}</title></rect>"
    )
    drawn, below = [], 0.0
    for series_index, series in enumerate(chart.series):
        value = series.values[index] or 0
        if value <= 0:
            continue
        y = _compute_y_coordinate(below + value, top)
        drawn.append(
            column.format(
                x=_round(_LEFT + (index + 0.15) * column_width),
                y=_round(y),
                width=_round(column_width * 0.7),
                height=_round(_compute_y_coordinate(below, top) - y),
                fill=_name_pattern(chart, series_index),
                told=f"{chart.labels[index]}: {series.name} {_write_number(value)}",
            )
        )
        below += value
    return Markup("").join(drawn)


def _draw_line(series: Series, index: int, top: float) -> Markup:
    """Return the line of a series, with a circle at each value; `index` chooses its colour and dashes."""
    label_width = (_WIDTH - _LEFT - _RIGHT) / max(len(series.values), 1)
    path, alone = "", []
    for number, value in enumerate(series.values):
        if value is None:
            continue
        x, y = _round(_LEFT + (number + 0.5) * label_width), _round(_compute_y_coordinate(value, top))
        joined = number > 0 and series.values[number - 1] is not None
        path += f"{'L' if joined else 'M'}{x} {y}"
        alone.append(
            Markup('<circle cx="{}" cy="{}" r="2.2" fill="{}"/>').format(x, y, _pick(_COLOURS, index))
        )
    line = Markup('<path d="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>')
    drawn = line.format(path, _pick(_COLOURS, index), _pick(_DASHES, index) or "none")
    return drawn + Markup("").join(alone) if path else Markup("")


def _draw_bar(label: str, value: float, max_value: float, index: int) -> Markup:
    """Return the SVG of the bar at position `index`, with its label; `max_value` has the full length."""
    y = _TOP + index * 2 * _LINE
    longest = _WIDTH - _LEFT - 60
    bar = Markup(
        '<text x="0" y="{label_y}">{label}</text>'
        '<rect x="0" y="{bar_y}" width="{width}" height="10" fill="{colour}"/>'
        '<text x="{value_x}" y="{value_y}">{value}</text>'
    )
    width = max(longest * value / max_value, 1)
    short = label if len(label) <= _LONGEST_LABEL * 2 else label[: _LONGEST_LABEL * 2 - 1] + "…"
    return bar.format(
        label=short,
        label_y=y + 10,
        bar_y=y + 16,
        width=_round(width),
        colour=_COLOURS[0],
        value_x=_round(width + 6),
        value_y=y + 26,
        value=_write_number(value),
    )


def _draw_legend(chart: Chart, height: float, filled: bool) -> Iterator[Markup]:
    """Yield one line of the legend for each series; a chart of one series needs none."""
    if len(chart.series) < 2:
        return
    area = Markup('<rect x="{left}" y="{top}" width="22" height="12" fill="url(#{fill})"/>')
    line = Markup(
        '<path d="M{left} {middle}h22" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    )
    text = Markup('<text x="{x}" y="{y}">{text}</text>')
    for index, series in enumerate(chart.series):
        y = _TOP + height + _LINE * (index + 2) + 2
        if filled:
            mark = area.format(left=_LEFT, top=y - 11, fill=_name_pattern(chart, index))
        else:
            dash = _pick(_DASHES, index) or "none"
            mark = line.format(left=_LEFT, middle=y - 5, colour=_pick(_COLOURS, index), dash=dash)
        yield mark + text.format(x=_LEFT + 30, y=y, text=series.name)


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _write_number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:g} k" if value < 1_000_000 else f"{value / 1_000_000:g} M"
    return f"{value:.1f}".removesuffix(".0")
