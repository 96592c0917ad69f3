"""Figures with their SVG: training curves, and the plots that tasks give of their results."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from downstream.figures import Figure, Series, Table
from downstream.finetune.figures import few_label_figure
from downstream.linear.figures import layer_figure
from downstream.published import Published, published_rows
from downstream.report.inputs import TrainingRun
from downstream.report.svg import draw
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
    if results.task == "linear":
        return [layer_figure(results, model_name)]
    if results.task == "finetune":
        return [few_label_figure(results, model_name)]
    return []


def draw_results(results: Results, model_name: str) -> list[DrawnFigure]:
    """Draw the plots of a task's results, with what others published beside them."""
    published = published_rows(results.task, results.data)
    drawn = []
    for figure in task_figures(results, model_name):
        drawn.append(DrawnFigure(figure=figure, svg=draw(figure), published=published))
    return drawn


def draw_curves(runs: Sequence[TrainingRun]) -> list[DrawnFigure]:
    """Draw loss, and kNN accuracy where it was measured, of all runs by epoch."""
    curves = [_curve(runs, "Loss", "epoch", "loss", 1)]
    curves.append(_curve(runs, "kNN top-1, %", "knn", "top1", 100))
    return [DrawnFigure(figure=curve, svg=draw(curve)) for curve in curves if curve.series]


def _curve(runs: Sequence[TrainingRun], title: str, event: str, key: str, scale: float) -> Figure:
    """One value of all runs; without series where no run has it."""
    series = []
    for run in runs:
        points = [(epoch, scale * value) for epoch, value in run.curve(event, key)]
        series.append(Series(name=run.name, points=points))
    if not any(line.points for line in series):
        series = []
    return Figure(
        title=title, x_label="epoch", y_label=title, series=series, table=_epoch_table(series)
    )


def _epoch_table(series: Sequence[Series]) -> Table:
    """A row for each epoch, a column for each series."""
    values = [dict(line.points) for line in series]
    epochs = sorted(set().union(*values))
    rows = []
    for epoch in epochs:
        cells = [f"{line[epoch]:.4g}" if epoch in line else "" for line in values]
        rows.append([f"{epoch:g}", *cells])
    return Table(columns=["epoch", *(line.name for line in series)], rows=rows)
