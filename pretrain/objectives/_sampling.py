"""Sampled negatives: drawing them, and visiting their rows without ever holding B×m×D."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from pretrain.objectives._base import Rows

# rows fetched per step; on a CPU they stay in a core's cache (2 MiB of fp32 at D = 128)
CHUNK = {"cpu": 4096}
CHUNK_ELSEWHERE = 1 << 20


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


def blocks(
    v: Tensor, negatives: Tensor, bank: Rows, index: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Cosines with the negatives, some at a time.

    Args:
        v: B×D, in the bank's type.
        negatives: B×m or m.
        index: B positives to mark, or None to mark nothing.

    Yields:
        the images (b of them) as a slice of the batch; cosines (b×c fp32); the places in them that :func:`hits` finds;
        rows (b×c×D or c×D).
    """
    step = CHUNK.get(v.device.type, CHUNK_ELSEWHERE)
    images = len(v) if negatives.ndim == 1 else max(1, step // negatives.shape[1])
    for start in range(0, len(v), images):
        at = slice(start, start + images)
        for some in (negatives if negatives.ndim == 1 else negatives[at]).split(step, dim=-1):
            rows = bank[some]
            cosines = v[at] @ rows.T if some.ndim == 1 else torch.bmm(rows, v[at, :, None])[:, :, 0]
            yield at, cosines.float(), some.new_empty(2, 0) if index is None else hits(some, index[at]), rows


def hits(negatives: Tensor, index: Tensor) -> Tensor:
    """Places (2×n: image, negative) where one of B×m or m negatives is the image's positive."""
    if negatives.ndim == 2:
        return (negatives == index[:, None]).nonzero().T
    known = index.sort().values
    found = known[torch.searchsorted(known, negatives).clamp_(max=len(known) - 1)] == negatives
    columns = found.nonzero()[:, 0]  # few: comparing all B×m would cost as much as the softmax
    rows, at = (negatives[columns] == index[:, None]).nonzero().T
    return torch.stack([rows, columns[at]])


def weighted(weights: Tensor, rows: Tensor) -> Tensor:
    """Σ_j w_bj · row_j: b×c weights and the rows of :func:`blocks` → b×D fp32."""
    weights = weights.to(rows.dtype)
    return (weights @ rows if rows.ndim == 2 else torch.bmm(weights[:, None], rows)[:, 0]).float()
