"""The plot of fine-tuning: accuracy by the number of labelled images."""

from downstream.figures import Figure
from downstream.published import published_rows, published_series
from downstream.score_table import (
    Scores,
    parse_scores,
    score_series,
    score_table,
    scored_metrics,
    weights_of,
)
from zoo.results import Results


def few_label_figure(results: Results, model_name: str) -> Figure:
    """Plot the accuracy of fine-tuning against labelled images, ± standard deviation over seeds.

    Args:
        results: of the task, also from files that older versions wrote.
        model_name: what the title calls the model.

    Returns:
        A line for each of pretrained weights and weights from scratch, and dashed lines of what
        others published. Top-5 is drawn where both sides have it, top-1 elsewhere.
    """
    scores = parse_scores(results.metrics)
    published = published_rows(results.task, results.data)
    metric = "top5" if published and "top5" in scored_metrics(scores) else "top1"
    sizes = _sizes(scores, results.split_sizes)
    lines = [score_series(scores, weights, sizes, metric) for weights in weights_of(scores)]
    lines += [published_series(row, sizes) for row in published]
    counts = [f"{part}: {size:,} images" for part, size in sizes.items()]
    return Figure(
        title=f"{model_name} fine-tuned on parts of {results.data}",
        x_label="labelled images",
        y_label="top-1, %" if metric == "top1" else "top-5, %",
        series=[line for line in lines if line.points],
        x_names=[(size, part) for part, size in sizes.items()],
        log_x=True,
        table=score_table(scores, "labels"),
        note=", ".join(counts),
    )


def _sizes(scores: Scores, split_sizes: dict[str, int]) -> dict[str, int]:
    """The number of labelled images of each part that has any, rising."""
    sizes = {}
    for _, part in scores:
        size = split_sizes.get(part, 0)
        if size > 0:
            sizes[part] = size
    return dict(sorted(sizes.items(), key=lambda item: item[1]))
