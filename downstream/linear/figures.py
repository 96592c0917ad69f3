"""The plot of linear probes: accuracy by layer."""

import math

from downstream.figures import Figure, Series
from downstream.published import published_rows, published_series
from downstream.score_table import parse_scores, score_series, score_table, weights_of
from zoo.results import Results

PIXELS = "pixels"


def layer_figure(results: Results, model_name: str) -> Figure:
    """Plot top-1 by layer of a linear task.

    Args:
        results: of the task, also from files that older versions wrote.
        model_name: what the title calls the model.

    Returns:
        A line for each of pretrained and untrained weights, a level dashed line for a probe of
        the pixels, and dashed lines of what others published for several layers.
    """
    scores = parse_scores(results.metrics)
    layers = [part for weights, part in scores if weights == "pretrained" and part != PIXELS]
    positions = {layer: float(index) for index, layer in enumerate(layers)}
    lines = [score_series(scores, weights, positions) for weights in weights_of(scores)]
    pixels = scores.get(("pretrained", PIXELS))
    if pixels is not None:
        lines.append(_level_line(pixels.get("top1", math.nan), max(len(layers) - 1, 0)))
    for row in published_rows(results.task, results.data):
        if len(row.values) > 1:  # one layer alone is no line
            lines.append(published_series(row, positions))
    return Figure(
        title=f"Linear probes of {model_name} on {results.data}",
        x_label="layer",
        y_label="top-1, %",
        series=[line for line in lines if line.points],
        x_names=[(position, layer) for layer, position in positions.items()],
        table=score_table(scores, "layer"),
    )


def _level_line(share: float, last: float) -> Series:
    level = 100 * share
    return Series(name=PIXELS, points=[(0, level), (last, level)], dashed=True)
