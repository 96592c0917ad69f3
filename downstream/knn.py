"""Weighted k-nearest-neighbour classification (Wu et al. 2018, section 3.4): a test without any training."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from downstream.features import Progress, embeddings
from downstream.results import Results
from zoo import DataError, SettingsError
from zoo.sources import open_source
from zoo.weights import WEIGHTS, sha256

_QUERIES, _ROWS = 512, 1 << 14  # a block of cosines is 32 MiB in fp32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        k: neighbours that vote.
        temperature: τ of the weights exp(cos/τ).
        device, workers, batch: how images are embedded.
        skip_bad: whether unreadable images are left out.
    """

    k: int = 200
    temperature: float = 0.07
    device: str = "cpu"
    workers: int = 0
    batch: int = 256
    skip_bad: bool = False


def nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows with the largest dot product, by blocks: the Q×N matrix never exists.

    Args:
        bank: N×D, fp32 or bf16.
        queries: Q×D.
        k: at most N.

    Returns:
        Q×k products (fp32, falling) and Q×k row numbers.

    Raises:
        SettingsError: if k is not within 1 and N.
    """
    if not 1 <= k <= len(bank):
        raise SettingsError(f"k must lie between 1 and the {len(bank)} images of the bank, got {k}")
    products, numbers = [], []
    for some in queries.to(bank.dtype).split(_QUERIES):
        best = torch.empty(len(some), 0, device=bank.device)
        where = torch.empty(len(some), 0, dtype=torch.int64, device=bank.device)
        for start in range(0, len(bank), _ROWS):
            block = (some @ bank[start : start + _ROWS].T).float()
            top, at = block.topk(min(k, block.shape[1]), dim=1)
            together, ids = torch.cat([best, top], 1), torch.cat([where, at + start], 1)
            best, order = together.topk(min(k, together.shape[1]), dim=1)
            where = ids.gather(1, order)
        products.append(best)
        numbers.append(where)
    return torch.cat(products), torch.cat(numbers)


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
    weights = torch.exp((cosines - cosines[:, :1]) / temperature)  # the largest is 1: no overflow at any τ
    votes = torch.zeros(len(queries), classes or int(labels.max()) + 1, device=bank.device)
    votes.scatter_add_(1, labels.to(bank.device)[rows], weights)
    return votes.argmax(1)


def run(model: str | Path, data: str, settings: Settings, progress: Progress | None = None) -> Results:
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
    train, test = (open_source(data, split, skip_bad=settings.skip_bad) for split in ("train", "test"))
    (labels, classes), (answer, _) = train.require_labels(), test.require_labels()
    if settings.k > len(train):
        raise SettingsError(f"k={settings.k} is larger than the {len(train)} training images of {data}; lower --k")
    folder = zoo.locate(model)
    backbone = zoo.load(folder)
    how: dict[str, Any] = {"batch": settings.batch, "device": settings.device, "workers": settings.workers}
    rows, kept = embeddings(backbone, train, progress=progress, **how)
    queries, asked = embeddings(backbone, test, progress=progress, **how)
    if not asked.any():
        raise DataError(f"{data}: none of the {len(test)} test images could be read")
    found = knn(
        rows[kept],
        torch.from_numpy(labels)[kept],
        queries[asked],
        k=settings.k,
        temperature=settings.temperature,
        classes=len(classes),
    )
    top1 = (found == torch.from_numpy(answer)[asked]).float().mean().item()
    return Results(
        task="knn",
        data=data,
        split_sizes={"train": int(kept.sum()), "test": int(asked.sum())},
        settings=asdict(settings),
        metrics={"top1": top1},
        model_sha256=sha256(folder / WEIGHTS),
        seconds=round(time.monotonic() - began, 1),
    )
