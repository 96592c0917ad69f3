"""Line plots as inline SVG, in the colours of the page's style sheet, dark and light."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from downstream.figures import Figure, Series

WIDTH = 440
HEIGHT = 290
NUM_COLOURS = 8
"""The style sheet has the classes c0 … c7."""
_LEFT = 46
_RIGHT = 12
_TOP = 10
_BOTTOM = 40
_MAX_DOTS = 30  # points up to which each has a dot with its numbers

_HEAD = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">')
_GRID_LINE = Markup('<path class="grid" d="M{} {}H{}"/>')
_AXIS_LINE = Markup('<path class="axis" d="M{} {}H{}"/>')
_TICK = Markup('<path class="axis" d="M{} {}v4"/>')
_TEXT = Markup('<text x="{}" y="{}" class="{}">{}</text>')
_TURNED_TEXT = Markup('<text transform="translate(11 {}) rotate(-90)" class="mid">{}</text>')
_GROUP = Markup('<g class="c{}{}">')
_CURVE = Markup('<path class="line" d="{}"/>')
_ERROR_BAR = Markup("M{0} {1}V{2}M{3} {1}h8M{3} {2}h8")
_ERROR_BARS = Markup('<path class="bars" d="{}"/>')
_DOT = Markup('<circle cx="{}" cy="{}" r="3"><title>{}: {:.4g}, {:.4g}</title></circle>')

Tick = tuple[float, str]
"""A position on an axis in the data's units, and what is written there."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose round numbers that span an interval.

    Args:
        low: start of the interval.
        high: end of the interval.
        count: how many steps at most.

    Returns:
        Numbers 1, 2 or 5 times a power of ten apart, from at or below ``low`` to at or above
        ``high``.

    Example:
        >>> ticks(3, 48)
        [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    """
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    for multiple in (1, 2, 5, 10):
        step = multiple * power
        if span / step <= count:
            break
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}"


class _Axes:
    """From the data's units to the plot's."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, log_x: bool) -> None:
        """Take the ends of both axes, in the data's units."""
        self._log_x = log_x
        self._x0 = self._scaled(x[0])
        self._x1 = self._scaled(x[1])
        self._y0, self._y1 = y

    def _scaled(self, x: float) -> float:
        return math.log10(x) if self._log_x else x

    def x(self, value: float) -> float:
        """How far from the left edge a value lies."""
        share = 0.5
        if self._x1 > self._x0:
            share = (self._scaled(value) - self._x0) / (self._x1 - self._x0)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """How far from the upper edge a value lies."""
        share = (value - self._y0) / (self._y1 - self._y0)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def draw(figure: Figure) -> Markup:
    """Draw a figure.

    Args:
        figure: its points that are not finite are left out; x must be positive where it is
            logarithmic.

    Returns:
        The SVG element; empty where no point is finite.
    """
    points: list[tuple[float, float]] = []
    spread = 0.0
    for line in figure.series:
        points += filter(_is_finite, line.points)
        spread = max(spread, *line.spread, 0.0)
    if not points:
        return Markup("")
    xs, ys = zip(*points, strict=True)
    y_values = ticks(min(ys) - spread, max(ys) + spread)
    axes = _Axes((min(xs), max(xs)), (y_values[0], y_values[-1]), log_x=figure.log_x)
    parts = [_horizontal_grid(axes, y_values)]
    parts.append(_x_axis(axes, figure.x_names or _x_ticks(min(xs), max(xs))))
    parts.append(_axis_labels(figure))
    for index, line in enumerate(figure.series):
        parts.append(_line(axes, line, index % NUM_COLOURS))
    names = [line.name for line in figure.series]
    label = f"{figure.y_label} by {figure.x_label}: {', '.join(names)}"
    return _HEAD.format(WIDTH, HEIGHT, label) + Markup("").join(parts) + Markup("</svg>")


def _is_finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _x_ticks(low: float, high: float) -> list[Tick]:
    return [(x, _number(x)) for x in ticks(low, high, 6) if low <= x <= high]


def _horizontal_grid(axes: _Axes, y_values: Sequence[float]) -> Markup:
    parts = []
    for value in y_values:
        y = axes.y(value)
        parts.append(_GRID_LINE.format(_LEFT, y, WIDTH - _RIGHT))
        parts.append(_TEXT.format(_LEFT - 6, y + 4, "end", _number(round(value, 10))))
    return Markup("").join(parts)


def _x_axis(axes: _Axes, x_ticks: Sequence[Tick]) -> Markup:
    foot = HEIGHT - _BOTTOM
    parts = []
    for value, name in x_ticks:
        x = axes.x(value)
        is_at_edge = len(x_ticks) > 1 and x > WIDTH - _RIGHT - 8
        parts.append(_TICK.format(x, foot))
        parts.append(_TEXT.format(x, foot + 16, "end" if is_at_edge else "mid", name))
    parts.append(_AXIS_LINE.format(_LEFT, foot, WIDTH - _RIGHT))
    return Markup("").join(parts)


def _axis_labels(figure: Figure) -> Markup:
    middle_x = (_LEFT + WIDTH - _RIGHT) / 2
    middle_y = (_TOP + HEIGHT - _BOTTOM) / 2
    below = _TEXT.format(middle_x, HEIGHT - 5, "mid", figure.x_label)
    return below + _TURNED_TEXT.format(middle_y, figure.y_label)


def _line(axes: _Axes, series: Series, colour: int) -> Markup:
    """A line, its error bars, and its dots where they are few."""
    spread = [*series.spread, *[0.0] * (len(series.points) - len(series.spread))]
    coordinates = []
    bars = []
    dots = []
    for point, deviation in zip(series.points, spread, strict=True):
        if not _is_finite(point):
            continue
        x = axes.x(point[0])
        y = axes.y(point[1])
        coordinates.append(f"{x} {y}")
        dots.append(_DOT.format(x, y, series.name, *point))
        if deviation:
            low = axes.y(point[1] - deviation)
            high = axes.y(point[1] + deviation)
            bars.append(_ERROR_BAR.format(x, low, high, x - 4))
    parts = [_GROUP.format(colour, " dashed" if series.dashed else "")]
    parts.append(_CURVE.format("M" + "L".join(coordinates)))
    if bars:
        parts.append(_ERROR_BARS.format(Markup("").join(bars)))
    if len(dots) <= _MAX_DOTS:
        parts += dots
    return Markup("").join([*parts, Markup("</g>")])
