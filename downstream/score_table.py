"""Scores by starting weights and by layer or share of the labels, as metric names hold them."""

from collections.abc import Mapping, Sequence

from downstream.figures import Series, Table, percent_with_spread

Scores = dict[tuple[str, str], dict[str, float]]
"""Metrics such as top1 and top1_std, 0–1, by (weights, part): a layer or a share of the labels."""


def parse_scores(metrics: Mapping[str, float]) -> Scores:
    """Sort metrics by weights and part.

    Args:
        metrics: values by name: ``WEIGHTS/PART/METRIC``. Without weights it is of the
            pretrained ones, without a metric it is top1; names without a part are left out.

    Example:
        >>> parse_scores({"res5": 0.6, "untrained/res5/top1_std": 0.1})
        {('pretrained', 'res5'): {'top1': 0.6}, ('untrained', 'res5'): {'top1_std': 0.1}}
    """
    scores: Scores = {}
    for name, value in metrics.items():
        path = name.split("/")
        metric = path.pop() if path[-1].startswith(("top1", "top5")) else "top1"
        if not path:
            continue
        weights = path[0] if len(path) > 1 else "pretrained"
        scores.setdefault((weights, path[-1]), {})[metric] = value
    return scores


def weights_of(scores: Scores) -> list[str]:
    """List the weights that were scored, in the order of the metrics."""
    return list(dict.fromkeys(weights for weights, _ in scores))


def score_series(
    scores: Scores, weights: str, positions: Mapping[str, float], metric: str = "top1"
) -> Series:
    """Draw one metric of some weights as a line, in per cent.

    Args:
        scores: of :func:`parse_scores`.
        weights: whose line it is, which is its name too.
        positions: where each part lies on the x axis, rising; parts without a score are left out.
        metric: what is drawn.
    """
    points = []
    spread = []
    for part, position in positions.items():
        values = scores.get((weights, part), {})
        if metric in values:
            points.append((position, 100 * values[metric]))
            spread.append(100 * values.get(f"{metric}_std", 0.0))
    return Series(name=weights, points=points, spread=spread)


def scored_metrics(scores: Scores) -> list[str]:
    """List which of top1 and top5 were measured anywhere."""
    return [metric for metric in ("top1", "top5") if any(metric in s for s in scores.values())]


def score_table(scores: Scores, part_heading: str) -> Table:
    """Set all scores as a table, a row for each weights and part.

    Args:
        scores: of :func:`parse_scores`.
        part_heading: what the parts are, as ``layer``.
    """
    metrics = scored_metrics(scores)
    rows: list[Sequence[str]] = []
    for (weights, part), values in scores.items():
        cells = [percent_with_spread(values, m) if m in values else "" for m in metrics]
        rows.append([weights, part, *cells])
    headings = [f"{metric}, %" for metric in metrics]
    return Table(columns=["weights", part_heading, *headings], rows=rows)
