"""The exact non-parametric softmax as one pass over the memory bank, without ever holding the B×N logits.

The gradient of the loss with respect to an embedding is attention over the bank (queries: embeddings, keys and
values: the bank, scale 1/τ) minus the image's own row, so the pass that sums the exponentials also gives the
gradient. Partial results over any split of the bank, over processes too, merge by their logsumexp.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pretrain.communicator import Communicator, communicator_of

CHUNK = 2048  # rows of the bank per step: the B×CHUNK scores stay in cache
PIECE = (
    1 << 20
)  # rows of the bank per fused call: only an int8 bank is cut by it, as its rows are spelt out first
_LOG2_E = math.log2(math.e)
_LARGEST = 80.0  # e^80 is still finite in fp32 and bf16, and e^-80 no denormal
_MKL = torch.backends.mkl.is_available()
_FUSED = {"cpu": torch.float32, "cuda": torch.bfloat16}


@dataclass(frozen=True)
class Partial:
    """Attention over some rows of the bank: ``lse`` (B) the logsumexp of the scores, ``mean`` (B×D) Σ p_j M_j."""

    lse: Tensor
    mean: Tensor


def bounded(temperature: float, rows: int) -> bool:
    """Whether the exponentials of so many unit vectors' scores, within ±1/τ, can be summed without a shift."""
    return 1 / temperature + math.log(rows) < _LARGEST


def fuses(device: str, dtype: torch.dtype, simple: bool) -> bool:
    """Whether one fused kernel is the faster way: in bf16 on a GPU, and in fp32 on a CPU unless a plain sum is enough
    (``simple``). Measured by benchmarks/objective.py and benchmarks/gpu.py.
    """
    return dtype == _FUSED.get(device) and (device != "cpu" or not simple)


def attend(v: Tensor, bank: Any, temperature: float, *, unit: bool = True) -> Partial:
    """Attention of unit vectors over the rows of a bank.

    Args:
        v: B×D unit vectors.
        bank: N×D rows (a tensor or a memory bank), fp32 or bf16; products run in this type, sums in fp32.
        temperature: τ, positive.
        unit: whether the rows are unit vectors too.
    """
    query, simple = v.to(bank.dtype), unit and bounded(temperature, len(bank))
    if fuses(v.device.type, bank.dtype, simple):
        return merge(
            [part for rows in bank.split(PIECE) for part in fused(query, rows, temperature)]
        )
    return (_sums if simple else _online)(query, bank, temperature)


def attend_sharded(
    v: Tensor, shard: Any, temperature: float, communicator: Communicator
) -> Partial:
    """:func:`attend` for this process's vectors over rows that are dealt out to all: the shards answer everyone's.

    Args:
        v: B×D, as many in every process.
        shard: the rows that are here.
    """
    part = attend(communicator.all_gather(v.to(shard.dtype)), shard, temperature)
    peak = communicator.all_reduce_max(part.lse)
    weight = torch.exp(part.lse - peak)[:, None]
    sums = communicator.local_part(
        communicator.all_reduce_sum(torch.cat([weight, weight * part.mean], 1))
    )
    return Partial(communicator.local_part(peak) + sums[:, 0].log(), sums[:, 1:] / sums[:, :1])


def _sums(query: Tensor, bank: Any, temperature: float) -> Partial:
    """Where scores are bounded a sum is enough."""
    query = query * (_LOG2_E / temperature)  # powers of two are faster than of e
    total = torch.zeros(len(query), device=query.device)
    weighted = torch.zeros(query.shape, device=query.device)
    for rows in bank.split(CHUNK):
        p = product(query, rows.T).exp2_()
        total += p.sum(1, dtype=torch.float32)
        weighted += product(p, rows)
        del p  # its memory, still in cache, is the next one's
    return Partial(total.log(), weighted / total[:, None])


def product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b. In fp32 oneDNN multiplies long and narrow matrices faster than MKL, which is behind ``@`` on most CPUs,
    and only this operator asks it to; bf16 it multiplies anyway. Measured by benchmarks/objective.py.
    """
    if (
        a.dtype == torch.float32
        and a.device.type == "cpu"
        and _MKL
        and torch.backends.mkldnn.is_available()
    ):
        return torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return a @ b


def _online(query: Tensor, bank: Any, temperature: float) -> Partial:
    """Scores of any size: the sums are kept relative to the largest score so far."""
    total = torch.zeros(len(query), device=query.device)
    weighted = torch.zeros(query.shape, device=query.device)
    peak = torch.full((len(query),), -torch.inf, device=query.device)
    for rows in bank.split(CHUNK):
        scores = (query @ rows.T).float() / temperature
        new_peak = torch.maximum(peak, scores.amax(1))
        keep = torch.exp(peak - new_peak)
        p = torch.exp_(scores - new_peak[:, None])
        total = total * keep + p.sum(1)
        weighted = weighted * keep[:, None] + (p.to(bank.dtype) @ rows).float()
        peak = new_peak
    return Partial(peak + total.log(), weighted / total[:, None])


def heads_for(queries: int, rows: int, device: str) -> int:
    """How many heads fill a device: eight for each thread of a CPU (a little faster than one, benchmarks/objective.py);
    on a GPU as many as make, with the blocks of queries, enough work for its processors, fewer of them the more queries
    there are.
    """
    wanted = 8 * torch.get_num_threads() if device == "cpu" else max(1, 64 * 256 // queries)
    return max(1, min(wanted, rows // 1024))


def fused(
    query: Tensor, rows: Tensor, temperature: float, heads: int | None = None
) -> list[Partial]:
    """Flash attention, with the rows dealt out to its heads: a single query block would leave most cores idle.

    Args:
        query: B×D.
        rows: N×D of the same type.
        temperature: τ.
        heads: how many shares; by default as many as fill the device.

    Returns:
        A partial for each head, and one for the rows that do not divide evenly.
    """
    if heads is None:
        heads = heads_for(len(query), len(rows), query.device.type)
    even = len(rows) // heads * heads
    parts = []
    for some, count in ((rows[:even], heads), (rows[even:], 1)):
        if len(some):
            keys = some.view(1, count, -1, some.shape[1])
            mean, lse = _flash(query.expand(1, count, -1, -1), keys, 1 / temperature)
            parts += [Partial(a, b.float()) for a, b in zip(lse[0], mean[0], strict=True)]
    return parts


def _flash(query: Tensor, keys: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Torch's kernels behind ``scaled_dot_product_attention``; only these operators give the logsumexp."""
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, keys, scale=scale
        )
    out = torch.ops.aten._scaled_dot_product_flash_attention(
        query, keys, keys, 0.0, False, False, scale=scale
    )
    return out[0], out[1]


def merge(parts: list[Partial]) -> Partial:
    """The attention over the union of disjoint sets of rows."""
    lses = torch.stack([part.lse for part in parts])
    weights = torch.softmax(lses, 0)
    means = torch.stack([part.mean for part in parts])
    return Partial(lses.logsumexp(0), (weights[:, :, None] * means).sum(0))


class Sloped(torch.autograd.Function):
    """A function of B×D vectors, its first argument, and of what needs no gradient, whose forward saves the slope (B×D)
    of each vector's loss.
    """

    @staticmethod
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], *[None] * (len(ctx.needs_input_grad) - 1)


class _Exact(Sloped):
    @staticmethod
    def forward(ctx, v: Tensor, index: Tensor, bank: Any, temperature: float) -> Tensor:
        communicator = communicator_of(bank)
        part = (
            attend_sharded(v, bank, temperature, communicator)
            if communicator.size > 1
            else attend(v, bank, temperature)
        )
        own = bank[index].float()
        ctx.save_for_backward((part.mean - own) / temperature)
        return part.lse - (v.float() * own).sum(1) / temperature


def exact(v: Tensor, index: Tensor, bank: Any, temperature: float = 0.07) -> Tensor:
    """−log P(i|v) of the paper's eq. 2, for each image of the batch.

    Args:
        v: B×D unit vectors.
        index: B int64, each image's row in the bank.
        bank: N×D unit rows, no gradient.
        temperature: τ.

    Returns:
        B losses, fp32.

    Raises:
        ValueError: if the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return _Exact.apply(v, index, bank, temperature)
