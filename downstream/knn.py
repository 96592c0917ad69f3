"""Weighted k-nearest-neighbour classification (Wu et al. 2018, section 3.4): a test without any training."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from downstream.features import Progress
from downstream.layers import layer_features
from downstream.results import Results
from downstream.splits import labelled
from zoo import DataError, SettingsError
from zoo.precision import fast_bf16
from zoo.weights import WEIGHTS, sha256

_QUERIES, _ROWS = 256, 51200  # a block of cosines is 50 MiB in fp32
_AT_ONCE = 2048  # queries whose candidates are held
_GROUP = 8
_SPARE = 0.5  # candidates that are rescored beyond k, as a share of it


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


def nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows with the largest dot product, by blocks: the Q×N matrix never exists.

    Where bf16 is multiplied faster than fp32, an fp32 bank is screened in bf16 and the candidates are rescored in
    fp32. Rounding is bounded, so for each query it is known whether a row that was left out could belong to the
    nearest; those few are searched again in fp32. The answer is that of fp32 throughout.

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
    if len(queries) > _AT_ONCE:
        found = [nearest(bank, some, k) for some in queries.split(_AT_ONCE)]
        products, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
        return products, rows
    if bank.dtype != torch.float32 or not fast_bf16(bank.device):
        return _scan(bank, queries.to(bank.dtype), k)
    some = min(len(bank), k + max(16, math.ceil(_SPARE * k)))
    rough, rows = _scan(bank, queries.bfloat16(), some)
    products, rows = _rescore(bank, queries, rows, k)
    missed = products[:, -1] <= rough[:, -1] + _rounding(bank, queries, rough[:, -1])
    if some < len(bank) and missed.any():
        products[missed], rows[missed] = _scan(bank, queries[missed], k)
    return products, rows


def _scan(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """:func:`nearest` by products in the type of the queries, to which the bank is brought a block at a time."""
    best = torch.empty(len(queries), 0, device=bank.device)
    where = torch.empty(len(queries), 0, dtype=torch.int64, device=bank.device)
    for start in range(0, len(bank), _ROWS):
        block = bank[start : start + _ROWS].to(queries.dtype)
        room = torch.empty(min(_QUERIES, len(queries)), len(block), dtype=block.dtype, device=block.device)
        found = []
        for some in queries.split(_QUERIES):
            products, at = _top(torch.mm(some, block.T, out=room[: len(some)]), min(k, len(block)))
            found.append((products.float(), at + start))
        products, at = (torch.cat(parts) for parts in zip(*found, strict=True))
        if start:
            products, at = torch.cat([best, products], 1), torch.cat([where, at], 1)
            products, order = products.topk(min(k, products.shape[1]), dim=1)
            at = at.gather(1, order)
        best, where = products, at
    return best, where


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)``, in less time: the k largest of all lie in the k groups with the largest maxima.

    Groups are strided, so that the maxima are taken of whole vectors.
    """
    part = scores.shape[1] // _GROUP
    if part <= 2 * k:
        return scores.topk(k, dim=1)
    _, groups = _top(scores[:, : part * _GROUP].unflatten(1, (_GROUP, part)).amax(1), k)
    at = groups.repeat(1, _GROUP) + part * torch.arange(_GROUP, device=scores.device).repeat_interleave(k)
    rest = torch.arange(part * _GROUP, scores.shape[1], device=scores.device)
    at = torch.cat([at, rest.expand(len(scores), -1)], 1)
    top, order = scores.gather(1, at).topk(k, dim=1)
    return top, at.gather(1, order)


def _rescore(bank: Tensor, queries: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each query's candidates (Q×c row numbers), by fp32 products."""
    found = []
    for query, at in zip(queries.float().split(16), rows.split(16), strict=True):  # 16 queries' rows stay in cache
        some = bank.index_select(0, at.reshape(-1)).view(*at.shape, -1)
        products, order = torch.bmm(some, query[:, :, None])[:, :, 0].topk(k, dim=1)
        found.append((products, at.gather(1, order)))
    products, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return products, rows


def _rounding(bank: Tensor, queries: Tensor, products: Tensor) -> Tensor:
    """How far a bf16 product near the given ones (Q) may be from the fp32 one, by Cauchy-Schwarz on what is lost."""

    def lost(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - x.bfloat16().float()).norm(dim=1), x.norm(dim=1)

    parts = [lost(some) for some in bank.split(1 << 16)]
    row_lost, row_norm = (torch.stack([part[i].amax() for part in parts]).amax() for i in (0, 1))
    query_lost, query_norm = lost(queries.float())
    inputs = query_lost * (row_norm + row_lost) + query_norm * row_lost
    return inputs + (products.abs() + inputs) * 2**-8 + 1e-5  # 2⁻⁸: the product itself; 1e-5: fp32 sums


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
    return votes(cosines, labels.to(bank.device)[rows], temperature, classes or int(labels.max()) + 1).argmax(1)


def votes(cosines: Tensor, labels: Tensor, temperature: float, classes: int) -> Tensor:
    """Sums of the weights exp(cos/τ), the largest weight being 1.

    Args:
        cosines: Q×K, falling.
        labels: Q×K int64, of the same neighbours.

    Returns:
        Q×classes.
    """
    weights = torch.exp((cosines - cosines[:, :1]) / temperature)  # the largest is 1: no overflow at any τ
    return torch.zeros(len(cosines), classes, device=cosines.device).scatter_add_(1, labels, weights)


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
    train, test = labelled(data, skip_bad=settings.skip_bad)
    (labels, classes), (answer, _) = train.require_labels(), test.require_labels()
    if settings.k > len(train):
        raise SettingsError(f"k={settings.k} is larger than the {len(train)} training images of {data}; lower --k")
    folder = zoo.locate(model)
    backbone, digest = zoo.load(folder), sha256(folder / WEIGHTS)
    how: dict[str, Any] = {"batch": settings.batch, "device": settings.device, "workers": settings.workers}
    how |= {"sha256": digest if settings.cache else None, "progress": progress}
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
