"""Accuracies of a classifier, the same for every task, and their mean and spread over seeds."""

import statistics
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_DENSE = 100  # classes up to which the confusion matrix is written out in full


def score(logits: Tensor, truth: Tensor, classes: list[str]) -> dict[str, Any]:
    """How well scores find the classes.

    Args:
        logits: N×C, larger for a likelier class.
        truth: N class numbers.
        classes: the C names.

    Returns:
        ``top1``, 0–1; ``top5`` where there are more than five classes; ``per_class``: {name: accuracy} of the classes
        that occur; ``confusion``: C×C counts, rows the truth, or beyond 100 classes a list of (truth, found, count).
    """
    logits, truth = logits.cpu(), truth.cpu()
    best = logits.topk(min(5, len(classes)), dim=1).indices
    hits = best == truth[:, None]
    out: dict[str, Any] = {"top1": hits[:, 0].float().mean().item()}
    if len(classes) > 5:
        out["top5"] = hits.any(1).float().mean().item()
    table = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    table.index_put_((truth, best[:, 0]), torch.ones_like(truth), accumulate=True)
    seen = table.sum(1)
    out["per_class"] = {
        c: table[i, i].item() / seen[i].item() for i, c in enumerate(classes) if seen[i]
    }
    where = table.nonzero()
    sparse = torch.cat([where, table[where[:, 0], where[:, 1]][:, None]], 1)
    out["confusion"] = (table if len(classes) <= _DENSE else sparse).tolist()
    return out


def over_seeds(name: str, runs: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Means of the runs' ``top1`` and ``top5`` as ``NAME/top1`` and so on, with ``NAME/top1_std`` (of the sample) where
    there is more than one run."""
    runs, out = list(runs), {}
    for metric in ("top1", "top5"):
        if values := [run[metric] for run in runs if metric in run]:
            out[f"{name}/{metric}"] = statistics.mean(values)
            if len(values) > 1:
                out[f"{name}/{metric}_std"] = statistics.stdev(values)
    return out
