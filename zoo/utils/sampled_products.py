"""Products of sampled pairs of vectors, and weighted sums of sampled rows, without copying rows."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_products(queries: Tensor, rows: Tensor, offsets: Tensor, indices: Tensor) -> Tensor:
    """Compute the dot products of each query with some of the rows.

    Args:
        queries: Q×D fp32.
        rows: N×D fp32.
        offsets: Q+1 int64, rising from 0 to P: query q is paired with the rows
            ``indices[offsets[q]:offsets[q + 1]]``, as in a sparse matrix by rows (CSR).
        indices: P int64 row numbers, in any order.

    Returns:
        P fp32.
    """
    if queries.device.type != "cpu":
        numbers = torch.arange(len(queries), device=indices.device)
        query = torch.repeat_interleave(numbers, offsets.diff(), output_size=len(indices))
        return (queries[query] * rows[indices]).sum(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        pairs = torch.sparse_csr_tensor(
            offsets,
            indices,
            queries.new_zeros(len(indices)),
            (len(queries), len(rows)),
            check_invariants=False,
        )
    products: Tensor = torch.sparse.sampled_addmm(pairs, queries, rows.T, beta=0.0).values()
    return products


def weighted_row_sums(weights: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """Sum some of the rows with weights, Σ_j weights_qj · rows[indices_qj].

    Args:
        weights: Q×m, in the type of the rows.
        rows: N×D.
        indices: Q×m int64 row numbers.

    Returns:
        Q×D.
    """
    return F.embedding_bag(indices, rows, per_sample_weights=weights, mode="sum")
