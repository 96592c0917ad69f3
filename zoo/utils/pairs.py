"""Products of chosen pairs of vectors, and weighted sums of chosen rows, without copying the rows."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor


def products(queries: Tensor, rows: Tensor, ends: Tensor, at: Tensor) -> Tensor:
    """Dot products of each query with some of the rows.

    Args:
        queries: Q×D fp32.
        rows: N×D fp32.
        ends: Q+1 int64, rising from 0 to P: query q is paired with rows ``at[ends[q]:ends[q + 1]]``.
        at: P int64 row numbers, in any order.

    Returns:
        P fp32.
    """
    if queries.device.type != "cpu":
        query = torch.repeat_interleave(
            torch.arange(len(queries), device=at.device), ends.diff(), output_size=len(at)
        )
        return (queries[query] * rows[at]).sum(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        shape = (len(queries), len(rows))
        pairs = torch.sparse_csr_tensor(
            ends, at, queries.new_zeros(len(at)), shape, check_invariants=False
        )
    return torch.sparse.sampled_addmm(pairs, queries, rows.T, beta=0.0).values()


def sums(weights: Tensor, rows: Tensor, at: Tensor) -> Tensor:
    """Σ_j w_qj · rows[at_qj].

    Args:
        weights: Q×m, in the type of the rows.
        rows: N×D.
        at: Q×m int64 row numbers.

    Returns:
        Q×D.
    """
    return F.embedding_bag(at, rows, per_sample_weights=weights, mode="sum")
