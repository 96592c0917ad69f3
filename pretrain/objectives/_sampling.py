"""Sampled negatives: drawing them, and visiting their rows without ever holding B×m×D."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from pretrain.objectives._base import Rows

CHUNK = 128  # negatives per row and step: B×CHUNK×D stays in cache
CHUNK_SHARED = 4096


def draw(index: Tensor, size: int, settings, generator: Generator) -> Tensor:
    """Negatives, uniform over the N images (paper's noise distribution 1/n).

    Args:
        index: B int64, the positives.
        size: N.
        settings: ``negatives`` m, ``shared``, ``exclude_positive`` are read.
        generator: of the CPU, so that a run draws the same on every device.

    Returns:
        B×m, or m where shared. Rows of their own are drawn from the N − 1 others if positives are excluded; shared
        ones may hit and are left out by the objective.
    """
    m = settings.negatives
    if settings.shared:
        return torch.randint(size, (m,), generator=generator).to(index.device)
    if not settings.exclude_positive:
        return torch.randint(size, (len(index), m), generator=generator).to(index.device)
    others = torch.randint(size - 1, (len(index), m), generator=generator).to(index.device)
    return others + (others >= index[:, None])


def blocks(v: Tensor, negatives: Tensor, bank: Rows, index: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cosines with the negatives, some at a time.

    Args:
        v: B×D, in the bank's type.
        negatives: B×m or m.
        index: B positives to mark, or None to mark nothing.

    Yields:
        cosines (B×c fp32); hits, the places (row, column) where a negative is the positive itself; rows (B×c×D or
        c×D).
    """
    step = CHUNK_SHARED if negatives.ndim == 1 else CHUNK
    for some in negatives.split(step, dim=-1):
        rows = bank[some]
        cosines = (v @ rows.T if some.ndim == 1 else torch.bmm(rows, v[:, :, None])[:, :, 0]).float()
        yield cosines, some.new_empty(2, 0) if index is None else _hits(some, index), rows


def _hits(negatives: Tensor, index: Tensor) -> Tensor:
    """Places (2×n: rows, columns) where a negative is the row's positive."""
    if negatives.ndim == 2:
        return (negatives == index[:, None]).nonzero().T
    known = index.sort().values
    found = known[torch.searchsorted(known, negatives).clamp_(max=len(known) - 1)] == negatives
    columns = found.nonzero()[:, 0]  # few: comparing all B×m would cost as much as the softmax
    rows, at = (negatives[columns] == index[:, None]).nonzero().T
    return torch.stack([rows, columns[at]])


def weighted(weights: Tensor, rows: Tensor) -> Tensor:
    """Σ_j w_bj · row_j: B×c weights and the rows of :func:`blocks` → B×D fp32."""
    weights = weights.to(rows.dtype)
    return (weights @ rows if rows.ndim == 2 else torch.bmm(weights[:, None], rows)[:, 0]).float()
