"""The exact non-parametric softmax as one pass over the memory bank; the B×N logits never exist.

The gradient of the loss with respect to an embedding is attention over the bank (queries:
embeddings, keys and values: the bank, scale 1/τ) minus the image's own row, so the pass that sums
the exponentials also gives the gradient. Partial results over any split of the bank, over processes
too, merge by their logsumexp.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pretrain.memory_bank import MemoryBank, as_bank
from pretrain.memory_bank.local import chunk_bytes, row_dtype
from pretrain.workload import ALL_GATHER, ALL_REDUCE, Message, Workload

# Rows of the bank per step: the B×CHUNK scores stay in cache.
CHUNK = 2048
# Rows of the bank per fused call: only an int8 bank is cut by it, as its rows are spelt out first.
FUSED_CHUNK = 1 << 20
_LOG2_E = math.log2(math.e)
_LARGEST = 80.0  # e^80 is still finite in fp32 and bf16, and e^-80 no denormal
_MKL = torch.backends.mkl.is_available()
_FUSED_DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


@dataclass(frozen=True)
class Partial:
    """Attention over some rows of the bank.

    Attributes:
        lse: B, the logsumexp of the scores.
        mean: B×D, Σ p_j M_j.
    """

    lse: Tensor
    mean: Tensor


def bounded(temperature: float, num_rows: int) -> bool:
    """Say whether the exponentials of unit vectors' scores can be summed without a shift.

    Args:
        temperature: τ; the scores lie within ±1/τ.
        num_rows: how many are summed.
    """
    return 1 / temperature + math.log(num_rows) < _LARGEST


def fuses(device: str, dtype: torch.dtype, simple: bool) -> bool:
    """Say whether one fused kernel is the faster way.

    It is in bf16 on a GPU, and in fp32 on a CPU unless a plain sum is enough. Measured by
    benchmarks/objective.py and benchmarks/gpu.py.

    Args:
        device: ``cpu``, ``cuda`` or another.
        dtype: of the rows.
        simple: whether a plain sum is enough.
    """
    return dtype == _FUSED_DTYPES.get(device) and (device != "cpu" or not simple)


def attend(
    embeddings: Tensor, bank: MemoryBank | Tensor, temperature: float, *, unit: bool = True
) -> Partial:
    """Compute the attention of unit vectors over the rows of a bank that are in this process.

    Args:
        embeddings: B×D unit vectors.
        bank: N×D rows, fp32 or bf16; products run in this type, sums in fp32.
        temperature: τ, positive.
        unit: whether the rows are unit vectors too.
    """
    bank = as_bank(bank)
    query = embeddings.to(bank.dtype)
    simple = unit and bounded(temperature, bank.num_rows)
    if fuses(embeddings.device.type, bank.dtype, simple):
        parts = []
        for rows in bank.iter_chunks(FUSED_CHUNK):
            parts += fused(query, rows, temperature)
        return merge(parts)
    if simple:
        return _sums(query, bank, temperature)
    return _online(query, bank, temperature)


def attend_bytes(workload: Workload, temperature: float, *, unit: bool = True) -> int:
    """Count the bytes that :func:`attend` allocates at most, about.

    They are one block of scores, the rows that are spelt out for it, and the queries' sums.
    """
    num_rows = workload.local_num_rows
    dtype = row_dtype(workload.bank_dtype)
    simple = unit and bounded(temperature, num_rows)
    if fuses(workload.device, dtype, simple):
        chunk = min(FUSED_CHUNK, num_rows)
        num_parts = heads_for(workload.batch_size, num_rows, workload.device) + 1
        scores_bytes = 3 * num_parts * workload.vectors_bytes
    else:
        chunk = min(CHUNK, num_rows)
        score_bytes = 4 if dtype == torch.float32 else 6
        scores_bytes = workload.batch_size * chunk * score_bytes
    return scores_bytes + chunk_bytes(chunk, workload.embed_dim, workload.bank_dtype)


def attend_sharded(embeddings: Tensor, bank: MemoryBank, temperature: float) -> Partial:
    """Compute the attention over a bank that several processes share.

    Each answers everyone's queries with its own rows; see :func:`attend`.

    Args:
        embeddings: B×D, as many in every process.
        bank: the shared bank.
        temperature: τ, positive.
    """
    communicator = bank.communicator
    part = attend(communicator.all_gather(embeddings.to(bank.dtype)), bank, temperature)
    peak = communicator.all_reduce_max(part.lse)
    weight = torch.exp(part.lse - peak)[:, None]
    weighted = torch.cat([weight, weight * part.mean], 1)
    sums = communicator.local_part(communicator.all_reduce_sum(weighted))
    lse = communicator.local_part(peak) + sums[:, 0].log()
    return Partial(lse, sums[:, 1:] / sums[:, :1])


def attend_sharded_messages(workload: Workload) -> list[Message]:
    """Count what each process sends in :func:`attend_sharded`."""
    query_bytes = workload.embed_dim * row_dtype(workload.bank_dtype).itemsize
    return [
        Message("queries", ALL_GATHER, workload.local_batch_size * query_bytes),
        Message("largest scores", ALL_REDUCE, workload.batch_size * 4),
        Message("sums", ALL_REDUCE, workload.vectors_bytes),
    ]


def _sums(query: Tensor, bank: MemoryBank, temperature: float) -> Partial:
    """Where scores are bounded a sum is enough."""
    query = query * (_LOG2_E / temperature)  # powers of two are faster than of e
    total = torch.zeros(len(query), device=query.device)
    weighted = torch.zeros(query.shape, device=query.device)
    for rows in bank.iter_chunks(CHUNK):
        p = product(query, rows.T).exp2_()
        total += p.sum(1, dtype=torch.float32)
        weighted += product(p, rows)
        del p  # its memory, still in cache, is the next one's
    return Partial(total.log(), weighted / total[:, None])


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply two matrices.

    In fp32 oneDNN multiplies long and narrow matrices faster than MKL, which is behind ``@`` on
    most CPUs, and only this operator asks it to; bf16 it multiplies anyway. Measured by
    benchmarks/objective.py.
    """
    on_cpu_in_fp32 = a.dtype == torch.float32 and a.device.type == "cpu"
    if on_cpu_in_fp32 and _MKL and torch.backends.mkldnn.is_available():
        result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
        return result
    return a @ b


def _online(query: Tensor, bank: MemoryBank, temperature: float) -> Partial:
    """Scores of any size: the sums are kept relative to the largest score so far."""
    total = torch.zeros(len(query), device=query.device)
    weighted = torch.zeros(query.shape, device=query.device)
    peak = torch.full((len(query),), -torch.inf, device=query.device)
    for rows in bank.iter_chunks(CHUNK):
        scores = (query @ rows.T).float() / temperature
        new_peak = torch.maximum(peak, scores.amax(1))
        keep = torch.exp(peak - new_peak)
        p = torch.exp_(scores - new_peak[:, None])
        total = total * keep + p.sum(1)
        weighted = weighted * keep[:, None] + (p.to(bank.dtype) @ rows).float()
        peak = new_peak
    return Partial(peak + total.log(), weighted / total[:, None])


def heads_for(num_queries: int, num_rows: int, device: str) -> int:
    """Choose how many heads fill a device.

    They are eight for each thread of a CPU (a little faster than one, benchmarks/objective.py); on
    a GPU as many as make, with the blocks of queries, enough work for its processors, fewer of them
    the more queries there are.
    """
    if device == "cpu":
        heads = 8 * torch.get_num_threads()
    else:
        heads = max(1, 64 * 256 // num_queries)
    return max(1, min(heads, num_rows // 1024))


def fused(
    query: Tensor, rows: Tensor, temperature: float, heads: int | None = None
) -> list[Partial]:
    """Run flash attention with the rows divided over its heads.

    A single block of queries would leave most cores idle.

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
    for share, num_heads in ((rows[:even], heads), (rows[even:], 1)):
        if not len(share):
            continue
        keys = share.view(1, num_heads, -1, share.shape[1])
        mean, lse = _flash(query.expand(1, num_heads, -1, -1), keys, 1 / temperature)
        for head in range(num_heads):
            parts.append(Partial(lse[0, head], mean[0, head].float()))
    return parts


def _flash(query: Tensor, keys: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Torch's kernels behind ``scaled_dot_product_attention``; only they give the logsumexp."""
    if query.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mean, lse = kernel(query, keys, keys, scale=scale)
        return mean, lse
    kernel = torch.ops.aten._scaled_dot_product_flash_attention
    mean, lse, *_ = kernel(query, keys, keys, 0.0, False, False, scale=scale)
    return mean, lse


def merge(parts: list[Partial]) -> Partial:
    """Compute the attention over the union of disjoint sets of rows."""
    lses = torch.stack([part.lse for part in parts])
    weights = torch.softmax(lses, 0)
    means = torch.stack([part.mean for part in parts])
    return Partial(lses.logsumexp(0), (weights[:, :, None] * means).sum(0))


class SavedGradFunction(torch.autograd.Function):
    """A function whose forward pass saves the gradient of each loss, B×D, for the backward pass.

    Its first argument is the B×D vectors; the others need no gradient.
    """

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the saved gradients by those of the B losses."""
        (saved_grad,) = ctx.saved_tensors
        return saved_grad * grad[:, None], *[None] * (len(ctx.needs_input_grad) - 1)


class _Exact(SavedGradFunction):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, indices: Tensor, bank: MemoryBank, temperature: float
    ) -> Tensor:
        """Compute the losses, and their gradients, as attention over the bank."""
        if bank.communicator.size > 1:
            part = attend_sharded(embeddings, bank, temperature)
        else:
            part = attend(embeddings, bank, temperature)
        own_rows = bank.lookup(indices).float()
        ctx.save_for_backward((part.mean - own_rows) / temperature)
        return part.lse - (embeddings.float() * own_rows).sum(1) / temperature


def exact(
    embeddings: Tensor, indices: Tensor, bank: MemoryBank | Tensor, temperature: float = 0.07
) -> Tensor:
    """Compute −log P(i|v) of the paper's eq. 2 for each image of the batch.

    Args:
        embeddings: B×D unit vectors.
        indices: B int64, each image's row in the bank.
        bank: N×D unit rows, no gradient.
        temperature: τ.

    Returns:
        B losses, fp32.

    Raises:
        ValueError: if the temperature is not positive.

    Example:
        >>> import torch
        >>> from pretrain.attention import exact
        >>> bank = torch.eye(3)
        >>> exact(bank[:1], torch.tensor([0]), bank, temperature=1.0)
        tensor([0.5514])
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    losses: Tensor = _Exact.apply(embeddings, indices, as_bank(bank), temperature)
    return losses
