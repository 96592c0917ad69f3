"""Figures with their SVG: training curves, and the plots that tasks give of their results."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from downstream.figures import Figure, Series, Table
from downstream.published import Published, published_rows
from downstream.report.inputs import TrainingRun
from downstream.report.svg import draw
from downstream.tasks import TASKS
from zoo.results import Results


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure as the page shows it.

    Attributes:
        figure: title, lines and numbers.
        svg: the plot.
        published: rows of others, for a table below it.
    """

    figure: Figure
    svg: Markup
    published: Sequence[Published] = ()


def task_figures(results: Results, model_name: str) -> Sequence[Figure]:
    """Ask the task of some results for its plots; none for a task that has none or is not known."""
    if results.task not in TASKS:
        return ()
    return TASKS[results.task].figures(results, model_name)


def draw_results(results: Results, model_name: str) -> list[DrawnFigure]:
    """Draw the plots of a task's results, with what others published beside them."""
    published = published_rows(results.task, results.data)
    drawn = []
    for figure in task_figures(results, model_name):
        drawn.append(DrawnFigure(figure=figure, svg=draw(figure), published=published))
    return drawn


def draw_curves(runs: Sequence[TrainingRun]) -> list[DrawnFigure]:
    """Draw loss, and kNN accuracy where it was measured, of all runs by epoch."""
    loss = _curve(runs, "Loss", "epoch", "loss", 1)
    accuracy = _curve(runs, "kNN top-1, %", "knn", "top1", 100)
    drawn = []
    for curve in (loss, accuracy):
        if curve.series:
            drawn.append(DrawnFigure(figure=curve, svg=draw(curve)))
    return drawn


def _curve(runs: Sequence[TrainingRun], title: str, event: str, key: str, scale: float) -> Figure:
    """One value of all runs; without series where no run has it."""
    series = []
    has_points = False
    for run in runs:
        points = [(epoch, scale * value) for epoch, value in run.curve(event, key)]
        series.append(Series(name=run.name, points=points))
        has_points = has_points or bool(points)
    if not has_points:
        series = []
    return Figure(
        title=title, x_label="epoch", y_label=title, series=series, table=_epoch_table(series)
    )


def _epoch_table(series: Sequence[Series]) -> Table:
    """A row for each epoch, a column for each series."""
    columns = ["epoch"]
    values = []
    for line in series:
        columns.append(line.name)
        values.append(dict(line.points))
    epochs = sorted(set().union(*values))
    rows = []
    for epoch in epochs:
        cells = [f"{by_epoch[epoch]:.4g}" if epoch in by_epoch else "" for by_epoch in values]
        rows.append([f"{epoch:g}", *cells])
    return Table(columns=columns, rows=rows)
