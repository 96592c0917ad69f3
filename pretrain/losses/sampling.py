"""Sampled negatives: drawing them, and visiting their rows without ever holding B×m×D."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.losses.base import LossConfig, LossCost
from pretrain.memory_bank import MemoryBank, ShardedBank
from pretrain.memory_bank.local import lookup_bytes, row_dtype
from pretrain.memory_bank.sharded import lookup_messages
from pretrain.workload import Message, Workload
from zoo.utils.sampled_products import sampled_products, weighted_row_sums

# Rows fetched per step; on a CPU they stay in a core's cache (2 MiB of fp32 at D = 128).
_CPU_CHUNK = 4096
_GPU_CHUNK = 1 << 20
_NUM_BUCKETS = 1 << 16  # a power of two: what an index's last bits tell apart


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


def draw_negatives(
    indices: Tensor,
    num_rows: int,
    config: SampledConfig,
    generator: Generator,
    communicator: Communicator = SINGLE_PROCESS,
) -> Tensor:
    """Draw negatives evenly from the N images (the paper's noise distribution 1/n).

    Args:
        indices: B int64, the positives.
        num_rows: N.
        config: how many, whether shared, and whether positives are excluded.
        generator: of the CPU, so that a run draws the same on every device.
        communicator: the processes of the run, with as many images each. Each draws for all, so
            that a run draws the same over any number of them.

    Returns:
        B×m rows, or m where shared. Rows of their own are drawn from the N − 1 others if positives
        are excluded; shared ones may hit and are masked by the loss.
    """
    device = indices.device
    m = config.negatives
    if config.shared:
        shared = torch.randint(num_rows, (m,), generator=generator)
        return shared.to(device, non_blocking=True)
    num_choices = num_rows - 1 if config.exclude_positive else num_rows
    shape = (communicator.size * len(indices), m)
    all_ranks = torch.randint(num_choices, shape, generator=generator)
    negatives = communicator.local_part(all_ranks).to(device, non_blocking=True)
    if config.exclude_positive:
        negatives = negatives + (negatives >= indices[:, None])
    return negatives


@dataclass(frozen=True)
class RowsInPlace:
    """Rows that are not copied out of their table.

    Attributes:
        table: N×D.
        indices: b×c, which of its rows.
    """

    table: Tensor
    indices: Tensor


class NegativeScores(NamedTuple):
    """Products of some images' embeddings with some of their negatives.

    Attributes:
        images: which of the batch, b of them.
        scores: b×c products, in the bank's type.
        negatives: their indices, b×c, or c where shared.
        rows: for :func:`weighted_sum`.
    """

    images: slice
    scores: Tensor
    negatives: Tensor
    rows: Tensor | RowsInPlace


def _can_read_in_place(
    device: str, dtype: torch.dtype, num_rows: int, shared: bool, num_negatives: int
) -> bool:
    """Torch's sampled product takes fp32 on a CPU, and at most as many pairs as there are."""
    suits = device == "cpu" and dtype == torch.float32
    return suits and not shared and num_negatives <= num_rows


def _rows_at_once(device: str) -> int:
    return _CPU_CHUNK if device == "cpu" else _GPU_CHUNK


def iter_negative_scores(
    embeddings: Tensor, negatives: Tensor, bank: MemoryBank
) -> Iterator[NegativeScores]:
    """Compute the products of embeddings with their negatives, some at a time.

    Args:
        embeddings: B×D, in the bank's type.
        negatives: B×m or m.
        bank: N×D rows.

    Yields:
        Products of some images with some negatives; together all of them.
    """
    shared = negatives.ndim == 1
    device = embeddings.device.type
    m = negatives.shape[-1]
    table = bank.as_tensor()
    if table is not None and _can_read_in_place(device, bank.dtype, bank.num_rows, shared, m):
        ends = torch.arange(0, negatives.numel() + 1, m)
        scores = sampled_products(embeddings, table, ends, negatives.reshape(-1))
        all_images = slice(0, len(embeddings))
        rows_in_place = RowsInPlace(table, negatives)
        yield NegativeScores(all_images, scores.view_as(negatives), negatives, rows_in_place)
        return
    rows_at_once = bank.rows_per_lookup or _rows_at_once(device)
    images_at_once = len(embeddings) if shared else max(1, rows_at_once // m)
    for start in range(0, len(embeddings), images_at_once):
        images = slice(start, start + images_at_once)
        queries = embeddings[images]
        of_images = negatives if shared else negatives[images]
        for chunk in of_images.split(rows_at_once, dim=-1):
            rows = bank.lookup(chunk)
            if shared:
                scores = queries @ rows.T
            else:
                scores = torch.bmm(rows, queries[:, :, None])[:, :, 0]
            yield NegativeScores(images, scores, chunk, rows)


def find_positives(negatives: Tensor, indices: Tensor) -> Tensor:
    """Find where a negative is the image itself.

    Args:
        negatives: B×m or m.
        indices: B, the positives.

    Returns:
        2×n: the image in the batch, and the position among its negatives.
    """
    if negatives.ndim == 2:
        return (negatives == indices[:, None]).nonzero().T
    # By their last bits first, which leaves few: comparing all B×m would cost as much as the
    # softmax.
    last_bits = _NUM_BUCKETS - 1
    is_taken = torch.zeros(_NUM_BUCKETS, dtype=torch.bool, device=indices.device)
    is_taken[indices & last_bits] = True
    columns = is_taken.index_select(0, negatives & last_bits).nonzero()[:, 0]
    images, positions = (negatives[columns] == indices[:, None]).nonzero().T
    return torch.stack([images, columns[positions]])


def mask_positives(scores: Tensor, negatives: Tensor, indices: Tensor, value: float) -> Tensor:
    """Overwrite the scores of negatives that are the image itself.

    Args:
        scores: B×m, changed in place.
        negatives: B×m or m.
        indices: B, the positives.
        value: what is written.

    Returns:
        B, how many there were.
    """
    if scores.is_cuda:  # comparing is cheap there, and waiting for the number of hits is not
        hit = negatives == indices[:, None]
        scores.masked_fill_(hit, value)
        return hit.sum(1)
    images, positions = find_positives(negatives, indices)
    scores[images, positions] = value
    return torch.bincount(images, minlength=len(indices))


def weighted_sum(weights: Tensor, rows: Tensor | RowsInPlace) -> Tensor:
    """Sum rows by weight.

    Args:
        weights: b×c.
        rows: those of :func:`iter_negative_scores`.

    Returns:
        b×D, fp32.
    """
    if isinstance(rows, RowsInPlace):
        return weighted_row_sums(weights, rows.table, rows.indices)
    weights = weights.to(rows.dtype)
    if rows.ndim == 2:
        return (weights @ rows).float()
    return torch.bmm(weights[:, None], rows)[:, 0].float()


def sampled_cost(config: SampledConfig, workload: Workload, num_passes: int = 1) -> LossCost:
    """Count what a loss takes that visits its negatives.

    Args:
        config: how many negatives, and whether shared.
        workload: the step.
        num_passes: how often the negatives are visited.
    """
    num_products = workload.local_batch_size * config.negatives * num_passes
    return LossCost(
        peak_bytes=_peak_bytes(config, workload),
        flops=4 * workload.embed_dim * num_products,
        messages=_messages(config, workload, num_passes),
    )


def _peak_bytes(config: SampledConfig, workload: Workload) -> int:
    m = config.negatives
    local = workload.local_batch_size
    dtype = row_dtype(workload.bank_dtype)
    is_local = workload.num_devices == 1
    # Each device draws for all and keeps its own; shared ones are copied to the device.
    drawn_bytes = 8 * m * (2 if config.shared else workload.batch_size + local)
    fixed_bytes = drawn_bytes + 4 * workload.vectors_bytes
    if is_local and _can_read_in_place(workload.device, dtype, workload.num_rows, config.shared, m):
        return fixed_bytes + 3 * 4 * local * m
    rows_at_once = _rows_at_once(workload.device) if is_local else ShardedBank.rows_per_lookup
    num_rows = min(rows_at_once, m)
    num_scores = num_rows * local
    if not config.shared:
        num_rows *= min(max(1, rows_at_once // m), local)
        num_scores = num_rows
    rows_bytes = lookup_bytes(num_rows, workload.embed_dim, workload.bank_dtype)
    if not is_local:  # what arrives, and the same in order
        rows_bytes += num_rows * workload.embed_dim * dtype.itemsize
    return fixed_bytes + rows_bytes + 2 * 4 * num_scores


def _messages(config: SampledConfig, workload: Workload, num_passes: int) -> list[Message]:
    if workload.num_devices == 1:
        return []
    local = workload.local_batch_size
    rows_per_lookup = ShardedBank.rows_per_lookup
    num_rows = config.negatives
    num_lookups = math.ceil(config.negatives / rows_per_lookup)
    if not config.shared:
        num_rows *= local
        num_lookups *= math.ceil(local / max(1, rows_per_lookup // config.negatives))
    own_rows = lookup_messages(workload, "own rows", local)
    negatives = lookup_messages(
        workload, "negatives", num_passes * num_rows, num_passes * num_lookups
    )
    return own_rows + negatives


def num_negatives(config: LossConfig) -> int:
    """Say how many negatives a loss draws; how many others do by default, if it draws none."""
    return config.negatives if isinstance(config, SampledConfig) else SampledConfig.negatives
