"""Probes of every layer: choose on held-out training images, fit on all of them, score on the test images."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from downstream.features.extract import OnImages
from downstream.features.layers import check_layers, state_digest
from downstream.linear.config import Settings
from downstream.linear.probe_context import SOLVERS, Classifier, Work, logits
from downstream.metrics import over_seeds, score
from zoo import DataError, SettingsError
from zoo.data.splits import labelled_splits
from zoo.models.model_dir import WEIGHTS, sha256
from zoo.results import Results

_HELD_OUT = 0.1  # of the training images, where there is something to choose


def _choose(work: Work, index: Tensor, seed: int) -> dict[str, float]:
    """The best value for each layer, by top-1 on training images that were held out."""
    how = work.how
    if len(how.sweep) == 1:
        return dict.fromkeys(work.layers, how.sweep[0])
    order = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))]
    held, rest = order.split([part := max(1, int(len(index) * _HELD_OUT)), len(index) - part])
    fitted = SOLVERS[how.solver](work, rest, dict.fromkeys(work.layers, how.sweep), seed)
    right = {name: _right(fitted[name], work.rows[name[0]], held, work) for name in fitted}
    return {layer: max(how.sweep, key=lambda value: right[layer, value]) for layer in work.layers}


def _right(classifier: Classifier, rows: Tensor, index: Tensor, work: Work) -> float:
    found = logits(classifier, rows, index, work.how.device)
    if not found.isfinite().all():
        return -1.0  # it diverged
    return (found.argmax(1) == work.labels[index]).float().mean().item()


def probe(work: Work, seed: int) -> dict[str, dict[str, Any]]:
    """Fit and score each layer of one network.

    Returns:
        {layer: what :func:`score` gives, and the ``chosen`` value}.

    Raises:
        SettingsError: for a learning rate that let a classifier diverge.
    """
    index = (
        work.rows["good"].nonzero()[:, 0] if work.how.uses_rows else torch.arange(len(work.train))
    )
    if not (kept := work.test_rows["good"].nonzero()[:, 0]).numel():
        raise DataError(f"{work.test.data}: none of the {len(work.test)} test images could be read")
    chosen = _choose(work, index, seed)
    values: Mapping[str, Sequence[float]] = {layer: (value,) for layer, value in chosen.items()}
    fitted = SOLVERS[work.how.solver](work, index, values, seed)
    labels, classes = work.test.require_labels()
    out = {}
    for layer, value in chosen.items():
        found = logits(fitted[layer, value], work.test_rows[layer], kept, work.how.device)
        if not found.isfinite().all():
            raise SettingsError(
                f"the probe of {layer} diverged at {value:g}; give smaller values, as --sweep {value / 10:g}"
            )
        out[layer] = score(found, torch.from_numpy(labels)[kept], classes) | {"chosen": value}
    return out


def images_to_see(how: Settings, train: int, test: int) -> int:
    """Images that a task counts in all, given the sizes of the splits."""
    networks = 1 + how.seeds * how.untrained
    seen = networks * (test + train * how.uses_rows)
    if how.solver == "sgd" and how.crops:
        passes = 1 + (1 - _HELD_OUT) * (len(how.sweep) > 1)
        seen += round(how.seeds * (1 + how.untrained) * how.epochs * passes * train)
    return seen


def run(
    model: str | Path, data: str, settings: Settings, progress: OnImages | None = None
) -> Results:
    """Probe a model's layers.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes, with labels in both splits.
        settings: of the task.
        progress: is called with the number of images that went through a network, or were kept from an earlier time.

    Returns:
        Metrics ``res5/top1``, ``res5/top5``, … per layer, 0–1, means over the seeds; ``…/top1_std`` with more than one;
        with baselines also ``untrained/res5/top1``, … and ``pixels/top1``. Details: for each the runs, with accuracy
        per class, confusion matrix and the chosen value.

    Raises:
        SettingsError, DataError, ModelError: before anything is trained.
    """
    began = time.monotonic()
    settings.check()
    SOLVERS[settings.solver]
    train, test = labelled_splits(data, skip_bad=settings.skip_bad)
    if len(train) < 2 * len(train.classes or []):
        raise DataError(
            f"{data}: {len(train)} training images are too few to probe {len(train.classes or [])} classes"
        )
    folder = zoo.locate(model)
    backbone, digest = zoo.load(folder), sha256(folder / WEIGHTS)
    layers = settings.layers or backbone.layers
    check_layers(backbone, layers)
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known = (lambda key: key) if settings.cache else lambda key: None
    more = ["pixels"] if settings.pixels else []
    trained = Work(backbone, known(digest), [*layers, *more], train, test, settings, progress)
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for layer, result in probe(trained, seed).items():
            runs[layer].append(result)
        if settings.untrained:
            torch.manual_seed(seed)
            fresh = zoo.create(
                backbone.arch,
                embed_dim=backbone.embed_dim,
                stem=backbone.stem,
                input=backbone.input,
            ).eval()
            work = Work(fresh, known(state_digest(fresh)), layers, train, test, settings, progress)
            for layer, result in probe(work, seed).items():
                runs[f"untrained/{layer}"].append(result)
    metrics: dict[str, float] = {}
    for name in sorted(runs, key=lambda name: name.startswith("untrained/")):
        metrics |= over_seeds(name, runs[name])
    bad = int((~trained.rows["good"]).sum()) if settings.uses_rows else len(train.bad)
    return Results(
        task="linear",
        data=data,
        split_sizes={"train": len(train) - bad, "test": int(trained.test_rows["good"].sum())},
        settings={**asdict(settings), "layers": list(layers)},
        metrics=metrics,
        model_sha256=digest,
        seconds=round(time.monotonic() - began, 1),
        details=dict(runs),
    )
