"""Sampled negatives: drawing them, and visiting their rows without ever holding B×m×D."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.losses.base import LossConfig, Rows
from zoo.utils import pairs

# rows fetched per step; on a CPU they stay in a core's cache (2 MiB of fp32 at D = 128)
CHUNK = {"cpu": 4096}
CHUNK_ELSEWHERE = 1 << 20
_BUCKETS = 1 << 16  # a power of two: what an index's last bits tell apart


@dataclass(frozen=True, kw_only=True)
class SampledConfig(LossConfig):
    """Settings of every loss that draws negatives.

    Attributes:
        negatives: m, how many are drawn.
        shared: whether one set serves the whole batch (much faster) or each image draws its own.
        exclude_positive: whether a negative that hits the image itself is left out.
    """

    negatives: int = 4096
    shared: bool = False
    exclude_positive: bool = True

    def faults(self, num_rows: int) -> list[str]:
        """Say what is wrong with the settings; see :meth:`LossConfig.faults`."""
        faults = super().faults(num_rows)
        if self.negatives < 1:
            faults.append(f"loss.negatives must be at least 1, got {self.negatives}")
        return faults


def draw(
    index: Tensor,
    size: int,
    settings: SampledConfig,
    generator: Generator,
    communicator: Communicator = SINGLE_PROCESS,
) -> Tensor:
    """Negatives, uniform over the N images (paper's noise distribution 1/n).

    Args:
        index: B int64, the positives.
        size: N.
        settings: ``negatives`` m, ``shared``, ``exclude_positive`` are read.
        generator: of the CPU, so that a run draws the same on every device.
        communicator: of as many images in each process; each draws for all, so that a run draws
            the same over any number.

    Returns:
        B×m, or m where shared. Rows of their own are drawn from the N − 1 others if positives are excluded; shared
        ones may hit and are left out by the objective.
    """
    m = settings.negatives
    if settings.shared:
        return torch.randint(size, (m,), generator=generator).to(index.device, non_blocking=True)
    exclude = settings.exclude_positive
    everyone = torch.randint(
        size - exclude, (communicator.size * len(index), m), generator=generator
    )
    others = communicator.local_part(everyone).to(index.device, non_blocking=True)
    return others + (others >= index[:, None]) if exclude else others


@dataclass(frozen=True)
class _Chosen:
    """Rows of a table that are not copied out of it: b×c row numbers."""

    table: Tensor
    at: Tensor


def _table(bank: Rows) -> Tensor | None:
    """The bank as one fp32 tensor of the CPU, where it is one."""
    rows = bank if isinstance(bank, Tensor) else getattr(bank, "rows", None)
    return (
        rows
        if rows is not None and rows.dtype == torch.float32 and rows.device.type == "cpu"
        else None
    )


def blocks(
    v: Tensor, negatives: Tensor, bank: Rows
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | _Chosen]]:
    """Products of v with the negatives, some at a time.

    Args:
        v: B×D, in the bank's type.
        negatives: B×m or m.

    Yields:
        the images (b of them) as a slice of the batch; products (b×c, in the bank's type); their negatives (b×c or c);
        and the rows, for :func:`weighted`.
    """
    if negatives.ndim == 2 and (table := _table(bank)) is not None:
        ends = torch.arange(0, negatives.numel() + 1, negatives.shape[1])
        found = pairs.products(v, table, ends, negatives.reshape(-1)).view_as(negatives)
        yield slice(0, len(v)), found, negatives, _Chosen(table, negatives)
        return
    step = getattr(bank, "block", CHUNK.get(v.device.type, CHUNK_ELSEWHERE))
    images = len(v) if negatives.ndim == 1 else max(1, step // negatives.shape[1])
    for start in range(0, len(v), images):
        at = slice(start, start + images)
        for some in (negatives if negatives.ndim == 1 else negatives[at]).split(step, dim=-1):
            rows = bank[some]
            products = (
                v[at] @ rows.T if some.ndim == 1 else torch.bmm(rows, v[at, :, None])[:, :, 0]
            )
            yield at, products, some, rows


def hits(negatives: Tensor, index: Tensor) -> Tensor:
    """Places (2×n: image, negative) where one of B×m or m negatives is the image's positive."""
    if negatives.ndim == 2:
        return (negatives == index[:, None]).nonzero().T
    # by their last bits first, which leaves few: comparing all B×m would cost as much as the softmax
    known = torch.zeros(_BUCKETS, dtype=torch.bool, device=index.device)
    known[index & (_BUCKETS - 1)] = True
    columns = known.index_select(0, negatives & (_BUCKETS - 1)).nonzero()[:, 0]
    rows, at = (negatives[columns] == index[:, None]).nonzero().T
    return torch.stack([rows, columns[at]])


def leave_out(scores: Tensor, negatives: Tensor, index: Tensor, value: float) -> Tensor:
    """Overwrite the scores (B×m) of negatives (B×m or m) that are the image's positive; returns how many, B."""
    if scores.is_cuda:  # comparing is cheap there, and waiting for the number of hits is not
        hit = negatives == index[:, None]
        scores.masked_fill_(hit, value)
        return hit.sum(1)
    rows, columns = hits(negatives, index)
    scores[rows, columns] = value
    return torch.bincount(rows, minlength=len(index))


def weighted(weights: Tensor, rows: Tensor | _Chosen) -> Tensor:
    """Σ_j w_bj · row_j: b×c weights and the rows of :func:`blocks` → b×D fp32."""
    if isinstance(rows, _Chosen):
        return pairs.sums(weights, rows.table, rows.at)
    weights = weights.to(rows.dtype)
    return (weights @ rows if rows.ndim == 2 else torch.bmm(weights[:, None], rows)[:, 0]).float()
