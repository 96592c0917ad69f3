"""Weighted k-nearest-neighbour classification (Wu et al. 2018, section 3.4): a test without any training."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from downstream.features.extract import OnImages
from downstream.features.layers import layer_features
from downstream.nearest import nearest
from zoo import DataError, SettingsError
from zoo.data.splits import labelled_splits
from zoo.models.model_dir import WEIGHTS, sha256
from zoo.results import Results


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        k: neighbours that vote.
        temperature: τ of the weights exp(cos/τ).
        device, workers, batch: how images are embedded.
        skip_bad: whether unreadable images are left out.
        cache: whether embeddings are kept on disk for the next time.
    """

    k: int = 200
    temperature: float = 0.07
    device: str = "cpu"
    workers: int = 0
    batch: int = 256
    skip_bad: bool = False
    cache: bool = True


def knn(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.07,
    classes: int | None = None,
) -> Tensor:
    """The class with the largest sum of weights exp(cos/τ) among the k nearest rows.

    Args:
        bank: N×D unit rows, fp32 or bf16.
        labels: N int64.
        queries: Q×D unit vectors.
        k: neighbours that vote.
        temperature: τ, positive.
        classes: how many there are; by default as many as the labels show.

    Returns:
        Q int64 class numbers.

    Raises:
        SettingsError: if k or the temperature is out of range.
    """
    if temperature <= 0:
        raise SettingsError(f"temperature must be positive, got {temperature}")
    cosines, rows = nearest(bank, queries, k)
    return votes(
        cosines, labels.to(bank.device)[rows], temperature, classes or int(labels.max()) + 1
    ).argmax(1)


def votes(cosines: Tensor, labels: Tensor, temperature: float, classes: int) -> Tensor:
    """Sums of the weights exp(cos/τ), the largest weight being 1.

    Args:
        cosines: Q×K, falling.
        labels: Q×K int64, of the same neighbours.

    Returns:
        Q×classes.
    """
    weights = torch.exp(
        (cosines - cosines[:, :1]) / temperature
    )  # the largest is 1: no overflow at any τ
    return torch.zeros(len(cosines), classes, device=cosines.device).scatter_add_(
        1, labels, weights
    )


def run(
    model: str | Path, data: str, settings: Settings, progress: OnImages | None = None
) -> Results:
    """Embed both splits and let the training images vote on the test images.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes, with labels.
        settings: of the task.
        progress: is called with the number of images embedded at a time.

    Returns:
        Metrics ``top1``, 0–1.
    """
    began = time.monotonic()
    train, test = labelled_splits(data, skip_bad=settings.skip_bad)
    (labels, classes), (answer, _) = train.require_labels(), test.require_labels()
    if settings.k > len(train):
        raise SettingsError(
            f"k={settings.k} is larger than the {len(train)} training images of {data}; lower --k"
        )
    folder = zoo.locate(model)
    backbone, digest = zoo.load(folder), sha256(folder / WEIGHTS)
    how: dict[str, Any] = {
        "batch_size": settings.batch,
        "device": settings.device,
        "workers": settings.workers,
    }
    how |= {"sha256": digest if settings.cache else None, "on_progress": progress}
    found = [layer_features(backbone, source, ["embedding"], **how) for source in (train, test)]
    (rows, kept), (queries, asked) = ((one["embedding"], one["good"]) for one in found)
    if not asked.any():
        raise DataError(f"{data}: none of the {len(test)} test images could be read")
    votes = knn(
        rows[kept],
        torch.from_numpy(labels)[kept],
        queries[asked],
        k=settings.k,
        temperature=settings.temperature,
        classes=len(classes),
    )
    top1 = (votes == torch.from_numpy(answer)[asked]).float().mean().item()
    return Results(
        task="knn",
        data=data,
        split_sizes={"train": int(kept.sum()), "test": int(asked.sum())},
        settings=asdict(settings),
        metrics={"top1": top1},
        model_sha256=digest,
        seconds=round(time.monotonic() - began, 1),
    )
