"""Line plots as inline SVG. Colours come from the page's style sheet, so that they follow dark and light."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

WIDTH, HEIGHT = 440, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40
COLOURS = 8  # that the style sheet has: classes c0 … c7


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line: ``points`` as (x, y), ``spread`` as ± of each y, dashed where it is not one's own."""

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float] = field(default_factory=tuple)
    dashed: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at or below ``low`` to at or above ``high``."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}"


class _Axes:
    """From data to the picture's coordinates."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], log_x: bool) -> None:
        self.log_x, self.y = log_x, y
        self.x = self._warp(x[0]), self._warp(x[1])

    def _warp(self, x: float) -> float:
        return math.log10(x) if self.log_x else x

    def at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self.x, self.y
        right = (self._warp(x) - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (y - y0) / (y1 - y0)
        across, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + right * across, 1), round(HEIGHT - _BOTTOM - up * down, 1)


def plot(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_names: Sequence[tuple[float, str]] = (),
    log_x: bool = False,
) -> Markup:
    """A line plot.

    Args:
        series: at least one finite point in all; others are left out.
        x_label, y_label: of the axes.
        x_names: (x, name) in place of numbers below the axis.
        log_x: whether x, which must be positive then, is on a logarithmic scale.
    """
    finite = [(x, y) for s in series for x, y in s.points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return Markup("")
    spread = max((s for one in series for s in one.spread), default=0.0)
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    y_ticks = ticks(min(ys) - spread, max(ys) + spread)
    marks = list(x_names) or [
        (x, _number(x)) for x in ticks(min(xs), max(xs), 6) if min(xs) <= x <= max(xs)
    ]
    axes = _Axes((min(xs), max(xs)), (y_ticks[0], y_ticks[-1]), log_x)
    parts = [_grid(axes, y_ticks, marks, x_label, y_label)]
    parts += [_line(axes, s, i % COLOURS) for i, s in enumerate(series)]
    label = f"{y_label} by {x_label}: {', '.join(s.name for s in series)}"
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, label
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def _grid(
    axes: _Axes,
    y_ticks: Sequence[float],
    marks: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
) -> Markup:
    parts = []
    left = _LEFT
    for y in y_ticks:
        _, at = axes.at(0 if not axes.log_x else 1, y)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(left, at, WIDTH - _RIGHT))
        parts.append(
            Markup('<text x="{}" y="{}" class="end">{}</text>').format(
                left - 6, at + 4, _number(round(y, 10))
            )
        )
    foot = HEIGHT - _BOTTOM
    for x, name in marks:
        at, _ = axes.at(x, axes.y[0])
        anchor = "end" if len(marks) > 1 and at > WIDTH - _RIGHT - 8 else "mid"
        parts.append(Markup('<path class="axis" d="M{} {}v4"/>').format(at, foot))
        parts.append(
            Markup('<text x="{}" y="{}" class="{}">{}</text>').format(at, foot + 16, anchor, name)
        )
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(left, foot, WIDTH - _RIGHT))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(
        Markup('<text x="{}" y="{}" class="mid">{}</text>').format(middle, HEIGHT - 5, x_label)
    )
    turned = '<text transform="translate(11 {}) rotate(-90)" class="mid">{}</text>'
    parts.append(Markup(turned).format((_TOP + foot) / 2, y_label))
    return Markup("").join(parts)


def _line(axes: _Axes, series: Series, colour: int) -> Markup:
    points, bars = [], []
    for i, (x, y) in enumerate(series.points):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        points.append((*axes.at(x, y), x, y))
        if i < len(series.spread) and series.spread[i]:
            (at, low), (_, high) = (
                axes.at(x, y - series.spread[i]),
                axes.at(x, y + series.spread[i]),
            )
            bars.append(Markup("M{0} {1}V{2}M{3} {1}h8M{3} {2}h8").format(at, low, high, at - 4))
    path = "M" + "L".join(f"{a} {b}" for a, b, _, _ in points)
    dashed = " dashed" if series.dashed else ""
    parts = [Markup('<g class="c{}{}"><path class="line" d="{}"/>').format(colour, dashed, path)]
    if bars:
        parts.append(Markup('<path class="bars" d="{}"/>').format(Markup("").join(bars)))
    if len(points) <= 30:
        dot = Markup('<circle cx="{}" cy="{}" r="3"><title>{}: {:.4g}, {:.4g}</title></circle>')
        parts += [dot.format(a, b, series.name, x, y) for a, b, x, y in points]
    return Markup("").join([*parts, Markup("</g>")])
