"""Confusion matrices: whole of few classes, the most frequent confusions of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.results import Results

MAX_CLASSES = 30
"""Classes up to which the matrix is shown whole."""
MAX_PAIRS = 20
"""Confusions that are listed of more classes."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts by true class (row) and predicted class.

    Attributes:
        title: whose predictions they are.
        classes: C names.
        counts: C×C, where there are few classes.
        shares: C×C: each count as a share of its row, 0–1.
        pairs: (true class, predicted class, count) of the most frequent confusions, falling, where
            there are many classes.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]] = ()
    shares: Sequence[Sequence[float]] = ()
    pairs: Sequence[tuple[str, str, int]] = ()


Entry = tuple[int, int, int]
"""(true class, predicted class, count)."""


def confusion(title: str, table: Sequence[Any], classes: Sequence[str]) -> Confusion | None:
    """Make a confusion matrix of what metrics.json holds.

    Args:
        title: whose predictions they are.
        table: C×C counts, or a list of (true class, predicted class, count).
        classes: their names; numbers take their place where there are not as many as classes seen.

    Returns:
        The matrix, or None where the table is neither.
    """
    try:
        entries = _entries(table)
    except (TypeError, ValueError):
        return None
    count = 0
    for truth, predicted, _ in entries:
        count = max(count, truth + 1, predicted + 1)
    names = classes if len(classes) == count else list(map(str, range(count)))
    if count > MAX_CLASSES:
        return Confusion(title=title, classes=names, pairs=_frequent(entries, names))
    counts = np.zeros((count, count), int)
    for truth, predicted, number in entries:
        counts[truth, predicted] += number
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    return Confusion(title=title, classes=names, counts=counts.tolist(), shares=shares.tolist())


def _entries(table: Sequence[Any]) -> list[Entry]:
    entries: list[Entry] = []
    is_square = all(len(row) == len(table) for row in table)
    if not is_square:
        for truth, predicted, number in table:
            entries.append((int(truth), int(predicted), int(number)))
        return entries
    for truth, row in enumerate(table):
        for predicted, number in enumerate(row):
            entries.append((truth, predicted, int(number)))
    return entries


def _frequent(entries: Sequence[Entry], names: Sequence[str]) -> list[tuple[str, str, int]]:
    pairs = []
    for truth, predicted, number in entries:
        if truth != predicted and number:
            pairs.append((names[truth], names[predicted], number))
    pairs.sort(key=lambda pair: -pair[2])
    return pairs[:MAX_PAIRS]


def result_confusion(results: Results, model_name: str) -> Confusion | None:
    """Make the confusion matrix of the best scored run of some results; None without any."""
    best_name = ""
    best: dict[str, Any] | None = None
    for name, value in results.details.items():
        for run in _runs_with_confusion(value):
            if best is None or run.get("top1", 0.0) > best.get("top1", 0.0):
                best_name = name
                best = run
    if best is None:
        return None
    title = f"{results.task} {best_name}, {model_name} on {results.data}"
    classes = results.details.get("classes") or list(best.get("per_class", {}))
    return confusion(title, best["confusion"], list(map(str, classes)))


def _runs_with_confusion(value: Any) -> list[dict[str, Any]]:
    runs = value if isinstance(value, list) else [value]
    return [run for run in runs if isinstance(run, dict) and isinstance(run.get("confusion"), list)]
