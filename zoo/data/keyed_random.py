"""Randomness keyed by (seed, epoch, index): the same draw in any batch, worker or resumed run."""

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own shift keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser (Steele, Lea & Flood 2014), elementwise on int64."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def uniforms(seed: int, epoch: int, indices: Tensor, count: int) -> Tensor:
    """Draw independent uniform numbers in [0, 1) for every image.

    Args:
        seed: the run's seed.
        epoch: the pass over the data.
        indices: B image indices, int64.
        count: draws per image.

    Returns:
        B×count float32, on the device of ``indices``; a pure function of its arguments.

    Example:
        >>> import torch
        >>> draws = uniforms(seed=0, epoch=3, indices=torch.tensor([5, 7, 9]), count=2)
        >>> draws.shape
        torch.Size([3, 2])
        >>> torch.equal(draws[1], uniforms(0, 3, torch.tensor([7]), 2)[0])
        True
    """
    step = torch.arange(1, count + 1, device=indices.device, dtype=torch.int64) * _GOLDEN
    # on the CPU, where a GPU takes it from without waiting
    start = torch.tensor([seed, epoch], dtype=torch.int64)
    key = _mix(_mix(start[0] + _GOLDEN) + start[1] * _GOLDEN)
    stream = _mix(_mix(indices.to(torch.int64) * _GOLDEN + key))
    bits = _mix(stream[:, None] + step[None, :])
    return _shift(bits, 40).to(torch.float32) * (1.0 / (1 << 24))
