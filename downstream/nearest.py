"""The rows of a bank that are nearest to queries: exact, and screened in bf16 if that is faster."""

import torch
from torch import Tensor

from zoo.errors import SettingsError
from zoo.utils.precision import fast_bf16
from zoo.utils.sampled_products import sampled_products

_QUERIES = 256
_ROWS = 51200  # with 256 queries a block of products is 25 MiB in bf16
_GROUP = 16
_FEW = 64  # queries for which bringing the rows to bf16 does not pay
_CROWDED = 4  # more than a fourth of a block to look at singly: screening does not pay
_PIECE = 4096  # rows whose rounding is measured at a time: their floats stay in cache


def nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k rows with the largest dot product, by blocks: the Q×N matrix never exists.

    Where bf16 is multiplied faster than fp32, products are screened in bf16. Rounding is bounded,
    so it is known which rows may belong to the nearest; those alone are multiplied in fp32. The
    answer is that of fp32 throughout.

    Args:
        bank: N×D, fp32 or bf16.
        queries: Q×D.
        k: at most N.

    Returns:
        Q×k products (fp32, falling) and Q×k row numbers.

    Raises:
        SettingsError: if k is not within 1 and N.

    Example:
        >>> bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> products, rows = nearest(bank, torch.tensor([[0.0, 1.0]]), k=2)
        >>> products, rows
        (tensor([[1.0000, 0.8000]]), tensor([[1, 2]]))
    """
    if not 1 <= k <= len(bank):
        raise SettingsError(f"k must lie between 1 and the {len(bank)} images of the bank, got {k}")
    is_screened = len(queries) >= _FEW and fast_bf16(bank.device)
    query_groups = queries.float().split(_QUERIES)
    no_row = torch.empty(0, dtype=torch.int64, device=bank.device)
    best: list[tuple[Tensor, Tensor]] = []
    for group in query_groups:
        best.append((group.new_empty(len(group), 0), no_row.new_empty(len(group), 0)))
    for start in range(0, len(bank), _ROWS):
        block_rows = bank[start : start + _ROWS]
        block: _Block
        if is_screened:
            block = _ScreenedBlock(block_rows, min(_QUERIES, len(queries)))
        else:
            block = _Block(block_rows)
        for i, group in enumerate(query_groups):
            products, rows = best[i]
            smallest = products[:, -1] if products.shape[1] == k else None
            new_products, positions = block.best(group, min(k, len(block)), smallest)
            products = torch.cat([products, new_products], 1)
            rows = torch.cat([rows, positions + start], 1)
            products, order = products.topk(min(k, products.shape[1]), dim=1)
            best[i] = (products, rows.gather(1, order))
    all_products = torch.cat([products for products, _ in best])
    all_rows = torch.cat([rows for _, rows in best])
    return all_products, all_rows


class _Block:
    """Some rows of the bank, n×D."""

    def __init__(self, rows: Tensor) -> None:
        self.exact = rows.float()

    def __len__(self) -> int:
        return len(self.exact)

    def best(self, queries: Tensor, k: int, smallest: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the nearest rows of the block.

        Args:
            queries: Q×D fp32.
            k: how many.
            smallest: products (Q) below which none is needed, if there are any such.

        Returns:
            Q×c products (some may be −inf) and Q×c positions of rows, c ≥ k where nothing was too
            small.
        """
        return _top(queries @ self.exact.T, k)


class _ScreenedBlock(_Block):
    """The same by bf16 products first.

    Attributes:
        exact: n×D fp32.
        rough: n×D bf16.
        products: Q×n bf16, written anew for each group of queries.
        lost: the largest norm of what bf16 takes away from a row.
        norm: the largest norm of a row.
    """

    def __init__(self, rows: Tensor, max_queries: int) -> None:
        """Round the rows, and measure how much that takes away.

        Args:
            rows: n×D.
            max_queries: the most that will come at once.
        """
        super().__init__(rows)
        self.rough = rows.bfloat16()
        self.products = torch.empty(
            max_queries, len(rows), dtype=torch.bfloat16, device=rows.device
        )
        lost_maxima: list[Tensor] = []
        norm_maxima: list[Tensor] = []
        for piece in self.exact.split(_PIECE):
            lost, norm = _rounding(piece)
            lost_maxima.append(lost.amax())
            norm_maxima.append(norm.amax())
        self.lost = torch.stack(lost_maxima).amax()
        self.norm = torch.stack(norm_maxima).amax()

    def best(self, queries: Tensor, k: int, smallest: Tensor | None) -> tuple[Tensor, Tensor]:
        num_groups = len(self) // _GROUP
        if smallest is None and num_groups <= 4 * k:
            return super().best(queries, k, smallest)
        rough = torch.mm(queries.bfloat16(), self.rough.T, out=self.products[: len(queries)])
        maxima = _maxima(rough, _GROUP).float()
        if smallest is None:
            # in k pairs of groups there is a row no worse than the k-th largest of their maxima
            pair_maxima = _maxima(maxima, 2).topk(k, dim=1, sorted=False).values
            smallest = self._lower_bound(pair_maxima.amin(1), queries)
        threshold = self._lower_bound(smallest, queries)[:, None]
        query, group = (maxima >= threshold).nonzero().unbind(1)
        if len(query) * _GROUP * _CROWDED > rough.numel():
            return super().best(queries, k, smallest)
        query, row = self._likely_pairs(rough, threshold, query, group)
        products, rows = self._multiply(queries, query, row)
        # the last rows, fewer than a group has, are in none
        rest = torch.arange(num_groups * _GROUP, len(self), device=rough.device)
        rest_products = queries @ self.exact[num_groups * _GROUP :].T
        products = torch.cat([products, rest_products], 1)
        rows = torch.cat([rows, rest.expand(len(queries), -1)], 1)
        return products, rows

    def _likely_pairs(
        self, rough: Tensor, threshold: Tensor, query: Tensor, group: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of some groups of rows, those rows that may belong to the nearest.

        Args:
            rough: Q×n bf16 products.
            threshold: Q×1, what a bf16 product must reach.
            query: P, rising.
            group: P, the group that is looked at for each of these queries.

        Returns:
            Queries and rows, in the order of the queries.
        """
        # flat positions and index_select: several times faster than indexing by pairs
        num_groups = len(self) // _GROUP
        steps = num_groups * torch.arange(_GROUP, device=rough.device)
        flat = group[:, None] + steps + (query * len(self))[:, None]
        products = rough.view(-1).index_select(0, flat.view(-1)).view_as(flat)
        is_likely = products >= threshold.index_select(0, query)
        flat = flat.view(-1).index_select(0, is_likely.view(-1).nonzero()[:, 0])
        return flat // len(self), flat % len(self)

    def _lower_bound(self, products: Tensor, queries: Tensor) -> Tensor:
        """The least that a bf16 product can be whose fp32 one is no less than these.

        It holds the other way round too.

        Args:
            products: Q.
            queries: Q×D.

        Returns:
            Q.
        """
        lost, norm = _rounding(queries)
        # Cauchy-Schwarz on what rounding takes away
        inputs = lost * (self.norm + self.lost) + norm * self.lost
        # 2⁻⁸: the rounding of the product itself; 1e-5: of fp32 sums
        return products - inputs - (products.abs() + inputs) * 2**-8 - 1e-5

    def _multiply(self, queries: Tensor, query: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply pairs in fp32.

        Args:
            queries: Q×D.
            query: P, rising.
            row: P.

        Returns:
            A line of products and one of rows for each query, filled up with −inf and 0.
        """
        counts = torch.bincount(query, minlength=len(queries))
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        pair_products = sampled_products(queries, self.exact, ends, row)
        column = torch.arange(len(row), device=row.device) - ends[query]
        shape = (len(queries), int(counts.max()))
        products = torch.full(shape, -torch.inf, device=row.device)
        rows = torch.zeros(shape, dtype=torch.int64, device=row.device)
        products[query, column] = pair_products
        rows[query, column] = row
        return products, rows


def _rounding(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of what bf16 takes away from each vector, and of the vectors."""
    return (vectors - vectors.bfloat16().float()).norm(dim=1), vectors.norm(dim=1)


def _maxima(scores: Tensor, count: int) -> Tensor:
    """Of Q×n scores, the maxima of groups of ``count``; what is left over is in none.

    Groups are strided, so that the maxima are taken of whole vectors.
    """
    num_groups = scores.shape[1] // count
    groups: Tensor = scores[:, : num_groups * count].unflatten(1, (count, num_groups))
    return groups.amax(1)


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)`` in less time: the k largest lie in the k groups of the largest maxima."""
    num_groups = scores.shape[1] // _GROUP
    if num_groups <= 2 * k:
        return scores.topk(k, dim=1)
    groups = _maxima(scores, _GROUP).topk(k, dim=1, sorted=False).indices
    steps = num_groups * torch.arange(_GROUP, device=scores.device)
    columns = groups.repeat(1, _GROUP) + steps.repeat_interleave(k)
    rest = torch.arange(num_groups * _GROUP, scores.shape[1], device=scores.device)
    columns = torch.cat([columns, rest.expand(len(scores), -1)], 1)
    top, order = scores.gather(1, columns).topk(k, dim=1)
    return top, columns.gather(1, order)
