"""Accuracies of a classifier, the same for every task, and their mean and spread over seeds."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

_DENSE = 100  # classes up to which the confusion matrix is written out in full


def score_classes(scores: Tensor, truth: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Say how well scores find the classes.

    Args:
        scores: N×C, larger for a likelier class.
        truth: N class numbers.
        classes: the C names.

    Returns:
        ``top1``, 0–1; ``top5`` where there are more than five classes; ``per_class``: {name:
        accuracy} of the classes that occur; ``confusion``: C×C counts, rows the truth, or beyond
        100 classes a list of (truth, predicted, count).

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> score_classes(scores, torch.tensor([0, 1]), ["cat", "dog"])["top1"]
        0.5
    """
    scores = scores.cpu()
    truth = truth.cpu()
    best = scores.topk(min(5, len(classes)), dim=1).indices
    hits = best == truth[:, None]
    result: dict[str, Any] = {"top1": hits[:, 0].float().mean().item()}
    if len(classes) > 5:
        result["top5"] = hits.any(1).float().mean().item()
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((truth, best[:, 0]), torch.ones_like(truth), accumulate=True)
    counts = confusion.sum(1)
    per_class = {}
    for number, name in enumerate(classes):
        if counts[number]:
            per_class[name] = confusion[number, number].item() / counts[number].item()
    result["per_class"] = per_class
    if len(classes) <= _DENSE:
        result["confusion"] = confusion.tolist()
    else:
        places = confusion.nonzero()
        values = confusion[places[:, 0], places[:, 1]]
        result["confusion"] = torch.cat([places, values[:, None]], 1).tolist()
    return result


def over_seeds(name: str, runs: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Average the scores of several runs.

    Args:
        name: of what was run.
        runs: what :func:`score_classes` gave for each.

    Returns:
        ``NAME/top1`` and ``NAME/top5``: means; ``NAME/top1_std`` and so on: standard deviation of
        the sample, where there is more than one run.
    """
    runs = list(runs)
    metrics = {}
    for metric in ("top1", "top5"):
        values = [run[metric] for run in runs if metric in run]
        if not values:
            continue
        metrics[f"{name}/{metric}"] = statistics.mean(values)
        if len(values) > 1:
            metrics[f"{name}/{metric}_std"] = statistics.stdev(values)
    return metrics
