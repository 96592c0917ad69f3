"""Multinomial logistic regression by L-BFGS: no learning rate, and the same optimum as scikit-learn's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.linear.probe_context import SOLVERS, Classifier, Work

_BLOCK = 8192  # rows standardised at a time
_IN_MEMORY = 1 << 30  # bytes of standardised rows that are kept; more are made again in each step
_FEW = 3000  # rows up to which more columns than rows are turned into as many columns as rows


@dataclass(frozen=True)
class Probe:
    """A fitted classifier: ``weight`` C×F and ``bias`` C over features standardised with ``mean`` and ``std``."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """B×F → B×C scores."""
        return F.linear((rows - self.mean) / self.std, self.weight, self.bias)


class _Rows:
    """Some of the N×F features, standardised, in blocks; from memory where they fit."""

    def __init__(self, features: Tensor, index: Tensor, device: str) -> None:
        self.features, self.blocks, self.device = features, index.split(_BLOCK), device
        total = square = torch.zeros(features.shape[1], dtype=torch.float64, device=device)
        for some in self.blocks:
            x = self._take(some).double()
            total, square = total + x.sum(0), square + x.square().sum(0)
        n = len(index)
        mean = total / n
        self.mean, self.std = (
            mean.float(),
            ((square / n - mean.square()) * (n / (n - 1))).clamp_(min=1e-12).sqrt().float(),
        )
        self.lift: Tensor | None = None
        self.kept: list[Tensor] = []
        if n * features.shape[1] * 4 <= _IN_MEMORY:
            self.kept = [self._standard(some) for some in self.blocks]
            if n <= _FEW and 2 * n <= features.shape[1]:
                self._rotate()

    def _take(self, some: Tensor) -> Tensor:
        return self.features[some].to(self.device).float()

    def _standard(self, some: Tensor) -> Tensor:
        return (self._take(some) - self.mean) / self.std

    def _rotate(self) -> None:
        """The optimum lies in the span of the rows, so their coordinates in it do as well, and there are fewer."""
        [x] = self.kept
        products = x.double() @ x.double().T
        products.diagonal().add_(
            1e-7 * products.diagonal().mean()
        )  # centred rows are not independent
        coordinates = torch.linalg.cholesky(products)
        self.kept = [coordinates.float()]
        self.lift = torch.linalg.solve_triangular(
            coordinates, x.double(), upper=False
        ).float()  # an orthonormal basis

    @property
    def width(self) -> int:
        return self.kept[0].shape[1] if self.kept else self.features.shape[1]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.kept or map(self._standard, self.blocks)

    def probe(self, weight: Tensor, bias: Tensor) -> Probe:
        weight, bias = weight.detach().clone(), bias.detach().clone()
        return Probe(weight if self.lift is None else weight @ self.lift, bias, self.mean, self.std)


def fit(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    penalties: Sequence[float],
    index: Tensor | None = None,
    iterations: int = 100,
    device: str = "cpu",
) -> dict[float, Probe]:
    """Multinomial logistic regression by L-BFGS on standardised features, for each of some penalties.

    Args:
        features: N×F, any float type.
        labels: N int64.
        classes: C.
        penalties: λ of λ/2·‖W‖² beside the mean cross-entropy; the bias is free. scikit-learn's C is 1/(λN).
        index: the rows to use; all by default.
        iterations: at most, per penalty; the largest comes first and each goes on from the one before.
        device: where.
    """
    index = torch.arange(len(features)) if index is None else index
    rows = _Rows(features, index, device)
    answers = labels[index].to(device).split(_BLOCK)
    weight = torch.zeros(classes, rows.width, device=device, requires_grad=True)
    bias = torch.zeros(classes, device=device, requires_grad=True)
    fitted = {}
    for penalty in sorted(penalties, reverse=True):
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=iterations,
            history_size=10,
            tolerance_grad=1e-5,
            line_search_fn="strong_wolfe",
        )

        def loss(solver: torch.optim.Optimizer = solver, penalty: float = penalty) -> Tensor:
            solver.zero_grad()
            value = 0.5 * penalty * weight.square().sum()
            value.backward()
            for x, answer in zip(rows, answers, strict=True):
                part = F.cross_entropy(F.linear(x, weight, bias), answer, reduction="sum") / len(
                    index
                )
                part.backward()
                value = value.detach() + part.detach()
            return value

        solver.step(loss)
        fitted[penalty] = rows.probe(weight, bias)
    return fitted


@SOLVERS.register("lbfgs")
def solve(
    work: Work, index: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> dict[tuple[str, float], Classifier]:
    """One layer after the other."""
    out: dict[tuple[str, float], Classifier] = {}
    for layer, some in values.items():
        rows, device, most = work.rows[layer], work.how.device, work.how.iterations
        found = fit(
            rows,
            work.labels,
            work.classes,
            penalties=some,
            index=index,
            iterations=most,
            device=device,
        )
        out |= {(layer, penalty): probe for penalty, probe in found.items()}
    return out
