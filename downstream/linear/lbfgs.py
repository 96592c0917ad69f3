"""Multinomial logistic regression by L-BFGS: no learning rate, scikit-learn's optimum."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.linear.probe_context import SOLVERS, ProbeContext, ScoreFunctions

_BLOCK = 8192  # rows standardised at a time
_IN_MEMORY = 1 << 30  # bytes of standardised rows that are kept; more are made again in each step
_FEW = 3000  # rows up to which more columns than rows are turned into as many columns as rows


@dataclass(frozen=True)
class LinearProbe:
    """A fitted classifier over standardised features.

    Attributes:
        weight: C×F.
        bias: C.
        mean, std: F, of the features.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """B×F features → B×C scores."""
        return F.linear((features - self.mean) / self.std, self.weight, self.bias)

    def to(self, device: str) -> "LinearProbe":
        """The same on a device."""
        return LinearProbe(
            self.weight.to(device), self.bias.to(device), self.mean.to(device), self.std.to(device)
        )


class _StandardisedRows:
    """Some of the N×F features, standardised, in blocks; from memory where they fit."""

    def __init__(self, features: Tensor, indices: Tensor, device: str) -> None:
        self.features = features
        self.blocks = indices.split(_BLOCK)
        self.device = device
        self._measure(len(indices))
        self.basis: Tensor | None = None
        self.kept: list[Tensor] = []
        if len(indices) * features.shape[1] * 4 <= _IN_MEMORY:
            self.kept = [self._standardise(block) for block in self.blocks]
            if len(indices) <= _FEW and 2 * len(indices) <= features.shape[1]:
                self._rotate()

    def _measure(self, count: int) -> None:
        """Mean and (sample) standard deviation of every column."""
        width = self.features.shape[1]
        total = torch.zeros(width, dtype=torch.float64, device=self.device)
        squares = torch.zeros_like(total)
        for block in self.blocks:
            rows = self._rows(block).double()
            total = total + rows.sum(0)
            squares = squares + rows.square().sum(0)
        mean = total / count
        variance = (squares / count - mean.square()) * (count / (count - 1))
        self.mean = mean.float()
        self.std = variance.clamp_(min=1e-12).sqrt().float()

    def _rows(self, block: Tensor) -> Tensor:
        return self.features[block].to(self.device).float()

    def _standardise(self, block: Tensor) -> Tensor:
        return (self._rows(block) - self.mean) / self.std

    def _rotate(self) -> None:
        """Replace the columns by fewer: the optimum lies in the span of the rows."""
        [rows] = self.kept
        products = rows.double() @ rows.double().T
        # centred rows are not independent
        products.diagonal().add_(1e-7 * products.diagonal().mean())
        coordinates = torch.linalg.cholesky(products)
        self.kept = [coordinates.float()]
        orthonormal = torch.linalg.solve_triangular(coordinates, rows.double(), upper=False)
        self.basis = orthonormal.float()

    @property
    def width(self) -> int:
        """Columns that the weights have."""
        return self.kept[0].shape[1] if self.kept else self.features.shape[1]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.kept or map(self._standardise, self.blocks)

    def probe(self, weight: Tensor, bias: Tensor) -> LinearProbe:
        """The classifier over features that were neither standardised nor rotated."""
        weight = weight.detach().clone()
        if self.basis is not None:
            weight = weight @ self.basis
        return LinearProbe(weight, bias.detach().clone(), self.mean, self.std)


def fit(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    penalties: Sequence[float],
    indices: Tensor | None = None,
    iterations: int = 100,
    device: str = "cpu",
) -> dict[float, LinearProbe]:
    """Multinomial logistic regression on standardised features, for each of some penalties.

    Args:
        features: N×F, any float type.
        labels: N int64.
        num_classes: C.
        penalties: λ of λ/2·‖W‖² beside the mean cross-entropy; the bias is free. scikit-learn's C
            is 1/(λN).
        indices: the rows to use; all by default.
        iterations: at most, per penalty; the largest comes first and each goes on from the one
            before.
        device: where to compute.

    Returns:
        {penalty: fitted classifier}.
    """
    if indices is None:
        indices = torch.arange(len(features))
    rows = _StandardisedRows(features, indices, device)
    answers = labels[indices].to(device).split(_BLOCK)
    weight = torch.zeros(num_classes, rows.width, device=device, requires_grad=True)
    bias = torch.zeros(num_classes, device=device, requires_grad=True)
    fitted = {}
    for penalty in sorted(penalties, reverse=True):
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=iterations,
            history_size=10,
            tolerance_grad=1e-5,
            line_search_fn="strong_wolfe",
        )

        loss = partial(_loss_and_gradient, rows, answers, weight, bias, penalty)
        optimizer.step(loss)
        fitted[penalty] = rows.probe(weight, bias)
    return fitted


def _loss_and_gradient(
    rows: _StandardisedRows,
    answers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    penalty: float,
) -> Tensor:
    """The mean cross-entropy with its penalty; its gradients are left in weight and bias."""
    weight.grad = None
    bias.grad = None
    value = 0.5 * penalty * weight.square().sum()
    value.backward()
    count = sum(len(answer) for answer in answers)
    for block, answer in zip(rows, answers, strict=True):
        logits = F.linear(block, weight, bias)
        part = F.cross_entropy(logits, answer, reduction="sum") / count
        part.backward()
        value = value.detach() + part.detach()
    return value


@SOLVERS.register("lbfgs")
def solve(
    context: ProbeContext, indices: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> ScoreFunctions:
    """Fit one layer after the other."""
    fitted: ScoreFunctions = {}
    for layer, penalties in values.items():
        probes = fit(
            context.train_features[layer],
            context.labels,
            context.num_classes,
            penalties=penalties,
            indices=indices,
            iterations=context.config.iterations,
            device=context.config.device,
        )
        for penalty, probe in probes.items():
            fitted[layer, penalty] = probe
    return fitted
