"""The rows of a bank that are nearest to queries: exact, by blocks, screened in bf16 where that is faster."""

import torch
from torch import Tensor

from zoo.errors import SettingsError
from zoo.utils import pairs
from zoo.utils.precision import fast_bf16

_QUERIES, _ROWS = 256, 51200  # a block of products is 25 MiB in bf16
_GROUP = 16
_FEW = 64  # queries for which bringing the rows to bf16 does not pay
_CROWDED = (
    4  # where more than a fourth of a block would be looked at singly, screening does not pay
)
_PIECE = 4096  # rows whose rounding is measured at a time: their floats stay in cache


def nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows with the largest dot product, by blocks: the Q×N matrix never exists.

    Where bf16 is multiplied faster than fp32, products are screened in bf16. Rounding is bounded, so it is known which
    rows may belong to the nearest; those alone are multiplied in fp32. The answer is that of fp32 throughout.

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
    screened, groups = (
        len(queries) >= _FEW and fast_bf16(bank.device),
        queries.float().split(_QUERIES),
    )
    none = torch.empty(0, dtype=torch.int64, device=bank.device)
    best = [(some.new_empty(len(some), 0), none.new_empty(len(some), 0)) for some in groups]
    for start in range(0, len(bank), _ROWS):
        some_rows = bank[start : start + _ROWS]
        block = _Screened(some_rows, min(_QUERIES, len(queries))) if screened else _Block(some_rows)
        for i, some in enumerate(groups):
            products, rows = best[i]
            more, at = block.best(
                some, min(k, len(block)), products[:, -1] if products.shape[1] == k else None
            )
            products, rows = torch.cat([products, more], 1), torch.cat([rows, at + start], 1)
            products, order = products.topk(min(k, products.shape[1]), dim=1)
            best[i] = products, rows.gather(1, order)
    products, rows = (torch.cat(parts) for parts in zip(*best, strict=True))
    return products, rows


class _Block:
    """Some rows of the bank, n×D."""

    def __init__(self, rows: Tensor) -> None:
        self.exact = rows.float()

    def __len__(self) -> int:
        return len(self.exact)

    def best(self, queries: Tensor, k: int, least: Tensor | None) -> tuple[Tensor, Tensor]:
        """The nearest rows of the block.

        Args:
            queries: Q×D fp32.
            k: how many.
            least: products (Q) below which none is asked for, if there are any such.

        Returns:
            Q×c products (some may be −inf) and Q×c places of rows, c ≥ k where nothing was too small.
        """
        return _top(queries @ self.exact.T, k)


class _Screened(_Block):
    """The same by bf16 products first."""

    def __init__(self, rows: Tensor, queries: int) -> None:
        """
        Args:
            rows: n×D.
            queries: the most that will be asked for at once.
        """
        super().__init__(rows)
        self.rough = rows.bfloat16()
        self.room = torch.empty(queries, len(rows), dtype=torch.bfloat16, device=rows.device)
        lost = [_lost(some) for some in self.exact.split(_PIECE)]
        self.lost, self.norm = (
            torch.stack([part[i].amax() for part in lost]).amax() for i in (0, 1)
        )

    def best(self, queries: Tensor, k: int, least: Tensor | None) -> tuple[Tensor, Tensor]:
        part = len(self) // _GROUP
        if least is None and part <= 4 * k:
            return super().best(queries, k, least)
        scores = torch.mm(queries.bfloat16(), self.rough.T, out=self.room[: len(queries)])
        maxima = _maxima(scores, _GROUP).float()
        if (
            least is None
        ):  # in k pairs of groups there is a row that is no worse than the k-th largest of their maxima
            least = self._below(
                _maxima(maxima, 2).topk(k, dim=1, sorted=False).values.amin(1), queries
            )
        enough = self._below(least, queries)[:, None]
        query, group = (maxima >= enough).nonzero().unbind(1)
        if len(query) * _GROUP * _CROWDED > scores.numel():
            return super().best(queries, k, least)
        # flat places and index_select: several times faster than indexing by pairs
        at = (
            group[:, None]
            + part * torch.arange(_GROUP, device=scores.device)
            + (query * len(self))[:, None]
        )
        likely = scores.view(-1).index_select(0, at.view(-1)).view_as(at) >= enough.index_select(
            0, query
        )
        at = at.view(-1).index_select(0, likely.view(-1).nonzero()[:, 0])
        products, places = self._multiply(queries, at // len(self), at % len(self))
        rest = torch.arange(part * _GROUP, len(self), device=scores.device)  # rows in no group
        products = torch.cat([products, queries @ self.exact[part * _GROUP :].T], 1)
        return products, torch.cat([places, rest.expand(len(queries), -1)], 1)

    def _below(self, products: Tensor, queries: Tensor) -> Tensor:
        """The least that a bf16 product can be whose fp32 one is no less than these (Q), or the other way round."""
        lost, norm = _lost(queries)
        inputs = (
            lost * (self.norm + self.lost) + norm * self.lost
        )  # Cauchy-Schwarz on what rounding takes away
        return (
            products - inputs - (products.abs() + inputs) * 2**-8 - 1e-5
        )  # 2⁻⁸: the product itself; 1e-5: fp32 sums

    def _multiply(self, queries: Tensor, query: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 products of pairs, sorted by their query: a line of products and one of rows for each query, filled up
        with −inf and 0.
        """
        counts = torch.bincount(query, minlength=len(queries))
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        found = pairs.products(queries, self.exact, ends, row)
        place = torch.arange(len(row), device=row.device) - ends[query]
        shape = (len(queries), int(counts.max()))
        products = torch.full(shape, -torch.inf, device=row.device)
        rows = torch.zeros(shape, dtype=torch.int64, device=row.device)
        products[query, place], rows[query, place] = found, row
        return products, rows


def _lost(x: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of what bf16 takes away from each row, and of the rows."""
    return (x - x.bfloat16().float()).norm(dim=1), x.norm(dim=1)


def _maxima(scores: Tensor, count: int) -> Tensor:
    """Of Q×n scores, the maxima of groups of ``count``; what is left over is in none. Groups are strided, so that the
    maxima are taken of whole vectors.
    """
    part = scores.shape[1] // count
    return scores[:, : part * count].unflatten(1, (count, part)).amax(1)


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)``, in less time: the k largest of all lie in the k groups with the largest maxima."""
    part = scores.shape[1] // _GROUP
    if part <= 2 * k:
        return scores.topk(k, dim=1)
    groups = _maxima(scores, _GROUP).topk(k, dim=1, sorted=False).indices
    at = groups.repeat(1, _GROUP) + part * torch.arange(
        _GROUP, device=scores.device
    ).repeat_interleave(k)
    rest = torch.arange(part * _GROUP, scores.shape[1], device=scores.device)
    at = torch.cat([at, rest.expand(len(scores), -1)], 1)
    top, order = scores.gather(1, at).topk(k, dim=1)
    return top, at.gather(1, order)
