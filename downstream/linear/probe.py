"""Probes of every layer: chosen on held-out training images, scored on test images."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from downstream.linear import lbfgs, sgd, svm  # noqa: F401  registers the solvers
from downstream.linear.probe_context import SOLVERS, ProbeContext, ScoreFunction, score_rows
from downstream.metrics import score_classes
from zoo.data.splits import hold_out
from zoo.errors import DataError, SettingsError

HELD_OUT = 0.1  # of the training images, where there is something to choose


def choose_values(context: ProbeContext, indices: Tensor, seed: int) -> dict[str, float]:
    """The best value of the sweep for each layer, by top-1 on training images that were held out.

    Args:
        context: the network and its data.
        indices: training images that may be used.
        seed: which of them are held out: a tenth of each class.

    Raises:
        DataError: if no class has two images.
    """
    sweep = context.config.sweep
    if len(sweep) == 1:
        return dict.fromkeys(context.layers, sweep[0])
    kept, held = hold_out(context.labels[indices].numpy(), HELD_OUT, seed)
    if not len(held):
        raise DataError(
            f"{context.train.data}: no class has two training images that can be read; choosing "
            "among values takes one of each class, so give one value (--sweep)"
        )
    fitting = indices[torch.from_numpy(kept)]
    held_out = indices[torch.from_numpy(held)]
    solver = SOLVERS[context.config.solver]
    fitted = solver(context, fitting, dict.fromkeys(context.layers, sweep), seed)
    chosen = {}
    for layer in context.layers:
        features = context.train_features[layer]
        best = -2.0
        for value in sweep:
            accuracy = held_out_accuracy(fitted[layer, value], features, held_out, context)
            if accuracy > best:
                best = accuracy
                chosen[layer] = value
    return chosen


def held_out_accuracy(
    score: ScoreFunction, features: Tensor, indices: Tensor, context: ProbeContext
) -> float:
    """Top-1 of a score function on some training images, 0–1; −1 if it diverged."""
    scores = score_rows(score, features, indices, context.config.device)
    if not scores.isfinite().all():
        return -1.0
    return (scores.argmax(1) == context.labels[indices]).float().mean().item()


def probe_layers(context: ProbeContext, seed: int) -> dict[str, dict[str, Any]]:
    """Fit and score each layer of one network.

    Returns:
        {layer: what :func:`downstream.metrics.score_classes` gives, and the ``chosen`` value}.

    Raises:
        SettingsError: for a learning rate that let a classifier diverge.
        DataError: if no test image could be read.
    """
    config = context.config
    indices = torch.arange(len(context.train))
    if config.uses_features:
        indices = context.train_features["good"].nonzero()[:, 0]
    readable = context.test_features["good"].nonzero()[:, 0]
    if not readable.numel():
        raise DataError(
            f"{context.test.data}: none of the {len(context.test)} test images could be read"
        )
    chosen = choose_values(context, indices, seed)
    values: Mapping[str, Sequence[float]] = {layer: (value,) for layer, value in chosen.items()}
    fitted = SOLVERS[config.solver](context, indices, values, seed)
    labels, classes = context.test.require_labels()
    truth = torch.from_numpy(labels)[readable]
    results = {}
    for layer, value in chosen.items():
        features = context.test_features[layer]
        scores = score_rows(fitted[layer, value], features, readable, config.device)
        if not scores.isfinite().all():
            raise SettingsError(
                f"the probe of {layer} diverged at {value:g}; "
                f"give smaller values, as --sweep {value / 10:g}"
            )
        results[layer] = score_classes(scores, truth, classes) | {"chosen": value}
    return results
