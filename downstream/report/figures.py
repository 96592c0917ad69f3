"""Curves, plots of layers and of few labels, and confusion matrices, each with the table of its numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from downstream.report.inputs import Inputs, Run
from downstream.report.published import Published, beside
from downstream.report.svg import Series, plot
from zoo.results import Results

DENSE = 30  # classes up to which the confusion matrix is shown whole
PAIRS = 20


@dataclass(kw_only=True)
class Table:
    """Heads and rows of text; columns of numbers are set to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(kw_only=True)
class Figure:
    """A plot with its legend, the numbers behind it, and what others published."""

    title: str
    svg: Markup
    series: Sequence[Series]
    table: Table
    note: str = ""
    published: Sequence[Published] = field(default_factory=tuple)


@dataclass(kw_only=True)
class Confusion:
    """Counts by true class (row) and found class: the whole matrix, or only its largest entries off the diagonal.

    Attributes:
        counts: C×C, where there are few classes.
        shares: C×C: each count as a share of its row, 0–1.
        pairs: (truth, found, count), falling.
    """

    title: str
    classes: Sequence[str]
    counts: list[list[int]] | None = None
    shares: list[list[float]] | None = None
    pairs: list[tuple[str, str, int]] = field(default_factory=list)


def percent(value: float) -> str:
    """A share, 0–1, in percent."""
    return f"{100 * value:.2f}"


def curves(runs: Sequence[Run]) -> list[Figure]:
    """Loss, and kNN accuracy where it was measured, of all runs by epoch."""
    figures = []
    for title, event, key, scale in (
        ("Loss", "epoch", "loss", 1),
        ("kNN top-1, %", "knn", "top1", 100),
    ):
        series = [
            Series(name=r.name, points=[(x, scale * y) for x, y in r.curve(event, key)])
            for r in runs
        ]
        if not any(s.points for s in series):
            continue
        epochs = sorted({x for s in series for x, _ in s.points})
        values = [dict(s.points) for s in series]
        rows = [[f"{x:g}", *(f"{v[x]:.4g}" if x in v else "" for v in values)] for x in epochs]
        figures.append(
            Figure(
                title=title,
                svg=plot(series, x_label="epoch", y_label=title),
                series=series,
                table=Table(heads=["epoch", *(s.name for s in series)], rows=rows),
            )
        )
    return figures


def _parse(metrics: dict[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    """Metrics by (kind, layer): ``untrained/res5/top1_std`` and ``res5`` become {top1, top1_std}."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in metrics.items():
        *path, last = name.split("/")
        if not last.startswith(("top1", "top5")):
            path, last = [*path, last], "top1"
        if path:
            found.setdefault((path[0] if len(path) > 1 else "pretrained", path[-1]), {})[last] = (
                value
            )
    return found


def layers(result: Results, name: str) -> Figure:
    """Top-1 by layer of a linear task: pretrained, untrained, and pixels as a level line."""
    found = _parse(result.metrics)
    names = [layer for kind, layer in found if kind == "pretrained" and layer != "pixels"]
    series = []
    for kind in dict.fromkeys(kind for kind, _ in found):
        there = [(i, found[kind, layer]) for i, layer in enumerate(names) if (kind, layer) in found]
        series.append(_series(kind, [(i, scores) for i, scores in there if "top1" in scores]))
    if ("pretrained", "pixels") in found:
        level = 100 * found["pretrained", "pixels"].get("top1", math.nan)
        series.append(
            Series(name="pixels", points=[(0, level), (max(len(names) - 1, 0), level)], dashed=True)
        )
    rows = beside(result.task, result.data)
    for row in rows:
        if len(row.values) > 1:  # one layer alone is no line
            points = [
                (i, row.values[layer]) for i, layer in enumerate(names) if layer in row.values
            ]
            series.append(Series(name=f"{row.what} ({row.source})", points=points, dashed=True))
    return Figure(
        title=f"Linear probes of {name} on {result.data}",
        svg=plot(series, x_label="layer", y_label="top-1, %", x_names=list(enumerate(names))),
        series=[s for s in series if s.points],
        table=_numbers("layer", found),
        published=rows,
    )


def _series(
    name: str, scored: Sequence[tuple[float, dict[str, float]]], metric: str = "top1"
) -> Series:
    points = [(x, 100 * scores[metric]) for x, scores in scored]
    return Series(
        name=name, points=points, spread=[100 * s.get(f"{metric}_std", 0.0) for _, s in scored]
    )


def _numbers(head: str, found: dict[tuple[str, str], dict[str, float]]) -> Table:
    metrics = [m for m in ("top1", "top5") if any(m in scores for scores in found.values())]
    rows = []
    for (kind, where), scores in found.items():
        cells = [percent(scores[m]) if m in scores else "" for m in metrics]
        spread = [
            f" ± {percent(scores[f'{m}_std'])}" if f"{m}_std" in scores else "" for m in metrics
        ]
        rows.append([kind, where, *(a + b for a, b in zip(cells, spread, strict=True))])
    return Table(heads=["weights", head, *(f"{m}, %" for m in metrics)], rows=rows)


def few_labels(result: Results, name: str) -> Figure:
    """Accuracy of a fine-tuning task against labelled images, ± standard deviation over the seeds."""
    found = _parse(result.metrics)
    rows = beside(result.task, result.data)
    metric = "top5" if rows and any("top5" in scores for scores in found.values()) else "top1"
    parts = {part: result.split_sizes.get(part, 0) for _, part in found}
    parts = {
        part: size for part, size in sorted(parts.items(), key=lambda item: item[1]) if size > 0
    }
    series = []
    for kind in dict.fromkeys(kind for kind, _ in found):
        there = [
            (size, found[kind, part])
            for part, size in parts.items()
            if metric in found.get((kind, part), {})
        ]
        series.append(_series(kind, there, metric))
    for row in rows:
        points = [(parts[part], value) for part, value in row.values.items() if part in parts]
        if points:
            series.append(Series(name=f"{row.what} ({row.source})", points=points, dashed=True))
    label = "top-1, %" if metric == "top1" else "top-5, %"
    marks = [(size, part) for part, size in parts.items()]
    return Figure(
        title=f"{name} fine-tuned on parts of {result.data}",
        svg=plot(series, x_label="labelled images", y_label=label, x_names=marks, log_x=True),
        series=[s for s in series if s.points],
        table=_numbers("labels", found),
        note=", ".join(f"{part}: {size:,} images" for part, size in parts.items()),
        published=rows,
    )


def confusions(inputs: Inputs) -> list[Confusion]:
    """The confusion matrix of each result that holds any: that of its best scored run."""
    out = []
    for result in inputs.results:
        runs = [(name, run) for name, value in result.details.items() for run in _runs(value)]
        if runs:
            name, best = max(runs, key=lambda item: item[1].get("top1", 0.0))
            title = (
                f"{result.task} {name}, {inputs.model_name(result.model_sha256)} on {result.data}"
            )
            if (made := confusion(title, best["confusion"], _classes(result, best))) is not None:
                out.append(made)
    return out


def _runs(value: Any) -> list[dict[str, Any]]:
    some = value if isinstance(value, list) else [value]
    return [run for run in some if isinstance(run, dict) and isinstance(run.get("confusion"), list)]


def _classes(result: Results, run: dict[str, Any]) -> list[str]:
    names = result.details.get("classes") or list(run.get("per_class", {}))
    return [str(name) for name in names]


def confusion(title: str, table: list[list[int]], classes: Sequence[str]) -> Confusion | None:
    """From a C×C table, or from a list of (truth, found, count); None where it is neither."""
    try:
        square = all(len(row) == len(table) for row in table)
        entries = (
            [(i, j, int(n)) for i, row in enumerate(table) for j, n in enumerate(row)]
            if square
            else [(int(i), int(j), int(n)) for i, j, n in table]
        )
    except (TypeError, ValueError):
        return None
    count = max((max(i, j) for i, j, _ in entries), default=-1) + 1
    names = (
        classes if len(classes) == count else [str(i) for i in range(count)]
    )  # a class may not have been seen
    pairs = sorted(
        ((names[i], names[j], n) for i, j, n in entries if i != j and n), key=lambda pair: -pair[2]
    )
    if count > DENSE:
        return Confusion(title=title, classes=names, pairs=pairs[:PAIRS])
    counts = [[0] * count for _ in range(count)]
    for i, j, n in entries:
        counts[i][j] += n
    shares = [[n / max(sum(row), 1) for n in row] for row in counts]
    return Confusion(title=title, classes=names, counts=counts, shares=shares)
