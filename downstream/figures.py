"""What a task wants to show, as plain data: tables and plots for a terminal, a page or an image."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import SettingsError
from zoo.utils.files import new_file


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under their headings.

    Attributes:
        columns: headings; all empty for a table without any.
        rows: one cell for each heading; numbers are set to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a plot.

    Attributes:
        name: what the legend calls it.
        points: (x, y) pairs; x rises.
        spread: standard deviation of each y, or empty.
        dashed: whether the line is a reference, such as a published number.
    """

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float] = ()
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot and the numbers behind it.

    Attributes:
        title: what is shown.
        x_label, y_label: names of the axes, with units.
        series: the lines.
        x_names: (x, name) of places on the x axis that have names, such as layers.
        log_x: whether the x axis is logarithmic.
        table: the same numbers.
        note: a sentence below it.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_names: Sequence[tuple[float, str]] = ()
    log_x: bool = False
    table: Table = field(default_factory=lambda: Table(columns=(), rows=()))
    note: str = ""


def percent_with_spread(metrics: dict[str, float], name: str) -> str:
    """An accuracy in per cent, with its standard deviation where ``NAME_std`` is there too.

    Example:
        >>> percent_with_spread({"top1": 0.5, "top1_std": 0.012}, "top1")
        '50.00 ± 1.20'
    """
    text = f"{100 * metrics[name]:.2f}"
    spread = metrics.get(f"{name}_std")
    return text if spread is None else f"{text} ± {100 * spread:.2f}"


def draw_on_axes(axes: Any, figure: Figure) -> None:
    """Draw a figure on matplotlib's axes."""
    for series in figure.series:
        x = [point[0] for point in series.points]
        y = [point[1] for point in series.points]
        style = "--" if series.dashed else "-"
        spread = list(series.spread) or None
        axes.errorbar(x, y, spread, fmt=style, marker="o", capsize=3, label=series.name)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label, title=figure.title)
    if figure.log_x:
        axes.set_xscale("log")
    if figure.x_names:
        places = [place for place, _ in figure.x_names]
        names = [_tick(place, name, figure.log_x) for place, name in figure.x_names]
        axes.set_xticks(places, names)
        axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()


def _tick(place: float, name: str, is_number: bool) -> str:
    """A name on the x axis, below its number where the axis is one of numbers."""
    return f"{place:g}\n{name}" if is_number else name


def new_canvas(purpose: str, **size: Any) -> Any:
    """An empty figure of matplotlib.

    Args:
        purpose: what it is for; starts the message where matplotlib is missing.
        size: what matplotlib's ``Figure`` takes.

    Raises:
        SettingsError: saying how to install matplotlib, where it is missing.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise SettingsError(f"{purpose} needs matplotlib: pip install 'npid-zoo[viz]'") from error
    return Canvas(layout="constrained", **size)


def save_plot(figure: Figure, path: str | Path) -> None:
    """Write a figure as an image file; the suffix of the path chooses the format.

    Raises:
        SettingsError: saying how to install matplotlib, where it is missing.
    """
    canvas = new_canvas("--plot", figsize=(6, 4))
    draw_on_axes(canvas.subplots(), figure)
    save_canvas(canvas, path, "--plot", dpi=150)


def save_canvas(canvas: Any, path: str | Path, purpose: str, dpi: int) -> None:
    """Write a canvas of matplotlib in one step; the suffix of the path chooses the format.

    Args:
        canvas: Of :func:`new_canvas`.
        path: The file.
        purpose: What wants it, at the start of the message.
        dpi: Resolution of formats of pixels, dots per inch.

    Raises:
        SettingsError: If the suffix names no format.
        WriteError: If the file cannot be written.
    """
    suffix = Path(path).suffix.lower().removeprefix(".") or "png"
    formats = canvas.canvas.get_supported_filetypes()
    if suffix not in formats:
        raise SettingsError(
            f"{purpose} {path}: .{suffix} is no format of plots; choose one of "
            f"{', '.join(sorted(formats))}"
        )
    with new_file(path) as aside:
        canvas.savefig(aside, dpi=dpi, format=suffix)
