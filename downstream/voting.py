"""The weighted vote of the nearest rows (Wu et al. 2018, section 3.4): nothing is trained."""

import math

import torch
from torch import Tensor

from downstream.nearest import nearest
from zoo.errors import SettingsError


def weighted_knn(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> Tensor:
    """Find the class with the largest sum of weights exp(cos/τ) among the k nearest rows.

    Args:
        bank: N×D unit rows, fp32 or bf16.
        labels: N int64 class numbers.
        queries: Q×D unit vectors.
        k: neighbours that vote.
        temperature: τ, positive.
        num_classes: how many there are; by default as many as the labels show.

    Returns:
        Q int64 class numbers.

    Raises:
        SettingsError: if k or the temperature is out of range.

    Example:
        >>> rows = torch.eye(3)
        >>> weighted_knn(rows, torch.tensor([0, 1, 1]), rows[:2], k=2).tolist()
        [0, 1]
    """
    if not 0 < temperature < math.inf:
        raise SettingsError(f"temperature must be positive, got {temperature}")
    cosines, rows = nearest(bank, queries, k)
    if num_classes is None:
        num_classes = int(labels.max()) + 1
    votes = class_votes(cosines, labels.to(bank.device)[rows], temperature, num_classes)
    return votes.argmax(1)


def class_votes(cosines: Tensor, labels: Tensor, temperature: float, num_classes: int) -> Tensor:
    """Sum the weights exp(cos/τ) of each class, scaled so that the largest weight is 1.

    Args:
        cosines: Q×K, falling.
        labels: Q×K int64, of the same neighbours.
        temperature: τ, positive.
        num_classes: C.

    Returns:
        Q×C sums.
    """
    # the largest weight is 1: no overflow at any temperature
    weights = torch.exp((cosines - cosines[:, :1]) / temperature)
    votes = torch.zeros(len(cosines), num_classes, device=cosines.device)
    return votes.scatter_add_(1, labels, weights)
