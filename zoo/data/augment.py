"""Augmentation of whole batches: the random resized crop as two matrix products, colour as one 3×3 map per image.

Every draw is keyed by (seed, epoch, index), so a batch is the same whoever computes it and in whatever order.
The crop has torchvision's distribution and its antialiased bilinear filter. The colour jitter is linear: hue turns
the chroma plane of YIQ instead of the hue of HSV, the four operations come in a fixed order and values are
clamped once at the end. That is what lets one small matrix stand for all of them.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.data.keyed_random import uniforms

_TRIES = 10  # torchvision's RandomResizedCrop draws up to ten boxes before it falls back to a centred one
_CHUNK = 1 << 17  # pixels worked on at a time on a CPU: their floats stay in cache
_TABLED = 32  # of images up to so many pixels wide, every filter is kept: 8 MB
_GRAY = (0.299, 0.587, 0.114)
_TO_YIQ = (_GRAY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@functools.cache
def _constant(values: Any, device: torch.device) -> Tensor:
    """A tuple as a tensor; copied to a device once, for a copy makes the host wait."""
    return torch.tensor(values, device=device)


@functools.cache
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    """The matrices from RGB to YIQ and back."""
    there = torch.tensor(_TO_YIQ)
    return there.to(device), torch.linalg.inv(there).to(device)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a training image; the defaults are the authors' ImageNet recipe (main.py of lemniscate).

    Attributes:
        size: side of the square output, pixels.
        scale: range of the crop's share of the image area.
        ratio: range of the crop's width over height.
        flip: probability of a horizontal flip.
        jitter: probability of the colour jitter.
        brightness, contrast, saturation: factors are drawn from [1 - value, 1 + value].
        hue: turn of the chroma plane, drawn from [-hue, hue] of a full circle.
        grayscale: probability of dropping colour.
    """

    size: int = 224
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 1.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.4
    grayscale: float = 0.2

    @property
    def colour(self) -> bool:
        """Whether any colour operation can happen."""
        strength = self.brightness + self.contrast + self.saturation + self.hue
        return self.grayscale > 0 or (self.jitter > 0 and strength > 0)


def crop_boxes(how: Augmentation, draws: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Boxes of the random resized crop, with torchvision's distribution.

    Args:
        how: scale and ratio are read.
        draws: B×(2·10+2) uniforms.
        height, width: the images' sizes in pixels, B integers each.

    Returns:
        B×4 float: top, left, height, width, whole pixels inside the image.
    """
    area = (height * width)[:, None] * (
        how.scale[0] + draws[:, :_TRIES] * (how.scale[1] - how.scale[0])
    )
    low, high = math.log(how.ratio[0]), math.log(how.ratio[1])
    ratio = torch.exp(low + draws[:, _TRIES : 2 * _TRIES] * (high - low))
    w, h = torch.round(torch.sqrt(area * ratio)), torch.round(torch.sqrt(area / ratio))
    fits = (w > 0) & (h > 0) & (w <= width[:, None]) & (h <= height[:, None])
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    whole = torch.stack([width, height]).to(torch.float32)
    aspect = whole[0] / whole[1]
    centre_w = torch.where(aspect > how.ratio[1], torch.round(whole[1] * how.ratio[1]), whole[0])
    centre_h = torch.where(aspect < how.ratio[0], torch.round(whole[0] / how.ratio[0]), whole[1])
    any_fits = fits.any(1)
    w = torch.where(any_fits, w.gather(1, first)[:, 0], centre_w)
    h = torch.where(any_fits, h.gather(1, first)[:, 0], centre_h)
    free_y, free_x = whole[1] - h, whole[0] - w
    top = torch.where(any_fits, torch.floor(draws[:, -2] * (free_y + 1)), torch.floor(free_y / 2))
    left = torch.where(any_fits, torch.floor(draws[:, -1] * (free_x + 1)), torch.floor(free_x / 2))
    return torch.stack([top, left, h, w], 1)


def resample_matrix(
    start: Tensor, length: Tensor, inputs: int, outputs: int, flip: Tensor | None = None
) -> Tensor:
    """The antialiased bilinear filter that maps pixels [start, start + length) onto ``outputs`` pixels.

    Args:
        start, length: B floats, whole pixels.
        flip: B booleans, where the outputs come in reversed order; nowhere by default.

    Returns:
        B×outputs×inputs, rows summing to one.
    """
    start, length = start[:, None], length[:, None]
    scale = length / outputs
    support = scale.clamp(min=1.0)
    at = torch.arange(outputs, device=start.device) + 0.5
    at = at[None] if flip is None else torch.where(flip[:, None], outputs - at, at)
    pixel = (torch.arange(inputs, device=start.device) + 0.5)[None]
    inside = (pixel > start) & (pixel < start + length)
    pixel = torch.where(inside, pixel, torch.inf)  # what lies outside is too far away to count
    centre = start + at * scale
    weight = (centre / support)[:, :, None] - (pixel / support)[:, None, :]
    weight.abs_().neg_().add_(1).clamp_(min=0)
    return weight.div_(weight.sum(2, keepdim=True))


@functools.cache
def _table(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """Every filter there is: of start s, length n and flip f at (f·inputs + s)·inputs + n − 1."""
    place = torch.arange(2 * inputs * inputs, device=device)
    start, length = place // inputs % inputs, place % inputs + 1
    return resample_matrix(start.float(), length.float(), inputs, outputs, place >= inputs * inputs)


def _filters(
    start: Tensor, length: Tensor, inputs: int, outputs: int, flip: Tensor | None = None
) -> Tensor:
    """As :func:`resample_matrix`, looked up where the images are small."""
    if inputs > _TABLED or outputs > _TABLED:
        return resample_matrix(start, length, inputs, outputs, flip)
    row = start.long() if flip is None else start.long() + flip * inputs
    return _table(inputs, outputs, start.device).index_select(0, row * inputs + length.long() - 1)


def crop(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut each box, resize it to size×size and flip where asked.

    Args:
        images: B×3×H×W, uint8 or float; channels last is fastest.
        boxes: B×4 (top, left, height, width).
        flip: B booleans.

    Returns:
        B×3×size×size in the value range of ``images``, float32.
    """
    batch, channels, height, width = images.shape
    rows = _filters(boxes[:, 0], boxes[:, 2], height, size)
    columns = _filters(boxes[:, 1], boxes[:, 3], width, size, flip)
    tall = torch.bmm(
        rows, images.float().permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    )
    planes = (
        tall.view(batch, size, width, channels)
        .permute(0, 3, 1, 2)
        .reshape(batch, channels * size, width)
    )
    return torch.bmm(planes, columns.transpose(1, 2)).view(batch, channels, size, size)


def colour_maps(how: Augmentation, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The colour jitter and the grayscale of each image as one affine map of RGB.

    Args:
        draws: B×6 uniforms: apply, brightness, contrast, saturation, hue, grayscale.

    Returns:
        B×3×3 matrices and B pivots: rgb → matrix · rgb + pivot · (mean luminance of the image), the same for the three
        channels.
    """
    apply = (draws[:, 0] < how.jitter).to(draws.dtype)

    def factor(column: int, strength: float) -> Tensor:
        return 1 + apply * strength * (2 * draws[:, column] - 1)

    b, c, s = factor(1, how.brightness), factor(2, how.contrast), factor(3, how.saturation)
    angle = apply * how.hue * (2 * draws[:, 4] - 1) * (2 * math.pi)
    s = torch.where(
        draws[:, 5] < how.grayscale, 0.0, s
    )  # no saturation at all is luminance in all channels
    chroma = torch.zeros(len(draws), 3, 3, device=draws.device)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = s * torch.cos(angle)
    chroma[:, 1, 2], chroma[:, 2, 1] = -s * torch.sin(angle), s * torch.sin(angle)
    to_yiq, from_yiq = _yiq(draws.device)
    matrix = from_yiq @ chroma @ to_yiq * (b * c)[:, None, None]
    return matrix, (1 - c) * b


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """B×3×H×W of values 0–255 → normalised float32, channels last; nothing else is done.

    Args:
        mean, std: per-channel statistics on the 0–1 scale.
    """
    out = images.to(torch.float32, memory_format=torch.channels_last, copy=True)
    # whole lines: to broadcast three values takes ten times as long
    rows = out.permute(0, 2, 3, 1).view(len(out), out.shape[2], -1)
    means, stds = (255 * _constant(of, out.device).repeat(images.shape[3]) for of in (mean, std))
    rows.sub_(means).div_(stds)
    return out


class Plan(NamedTuple):
    """What happens to each of B images of one size.

    Attributes:
        boxes: B×4 (top, left, height, width).
        flip: B booleans.
        matrix, pivot: colour and normalisation (:meth:`Augmenter.colours`), B×3×3 and B.
    """

    boxes: Tensor
    flip: Tensor
    matrix: Tensor
    pivot: Tensor

    def split(self, counts: list[int]) -> "Iterator[Plan]":
        """Plans of so many images each."""
        return (
            Plan(*parts) for parts in zip(*(every.split(counts) for every in self), strict=True)
        )


class Augmenter:
    """Augments batches of uint8 images and normalises them for the backbone."""

    def __init__(
        self, how: Augmentation, mean: tuple[float, ...], std: tuple[float, ...], seed: int
    ) -> None:
        """
        Args:
            how: what to do.
            mean, std: per-channel statistics on the 0–1 scale.
            seed: the run's seed; with epoch and index it fixes every draw.
        """
        self.how, self.seed, self.mean, self.std = how, seed, mean, std

    def draws(self, epoch: int, index: Tensor) -> Tensor:
        """All uniforms of the given images: B×29 (22 for the box, one for the flip, six for colour)."""
        return uniforms(self.seed, epoch, index, 2 * _TRIES + 2 + 1 + 6)

    def boxes(self, draws: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Crop boxes (B×4) and flips (B booleans) from the images' draws and sizes."""
        last = 2 * _TRIES + 2
        return crop_boxes(self.how, draws[:, :last], height, width), draws[:, last] < self.how.flip

    def colours(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Colour and normalisation of each image as one affine map of its 0–255 values: B×3×3 and B pivots."""
        scale = 1 / (255 * _constant(self.std, draws.device))
        matrix, pivot = colour_maps(self.how, draws[:, -6:])
        return scale[:, None] * matrix, pivot

    def _paint(self, images: Tensor, matrix: Tensor, pivot: Tensor) -> Tensor:
        """Colour and normalise B×3×S×S; returns B×3×S×S float32."""
        flat = images.to(torch.float32, memory_format=torch.contiguous_format).view(
            len(images), 3, -1
        )
        mean, std = _constant(self.mean, flat.device), _constant(self.std, flat.device)
        gray = flat.mean(2) @ _constant(_GRAY, flat.device)
        shift = (pivot * gray)[:, None] / (255 * std) - mean / std
        out = torch.baddbmm(shift[:, :, None], matrix, flat)
        if self.how.colour:
            for channel, m, s in zip(out.unbind(1), self.mean, self.std, strict=True):
                channel.clamp_(
                    -m / s, (1 - m) / s
                )  # by numbers: by tensors it takes ten times as long
        return out.view(images.shape)

    def finish(self, images: Tensor, colours: tuple[Tensor, Tensor]) -> Tensor:
        """Colour and normalisation of cropped images.

        Args:
            images: B×3×S×S, values 0–255, in any memory format.
            colours: of the same images.

        Returns:
            B×3×S×S float32, channels last.
        """
        out = self._output(len(images), images.device)
        for at in self._chunks(images):
            out[at] = self._paint(images[at], colours[0][at], colours[1][at])
        return out

    def normalise(self, images: Tensor) -> Tensor:
        """:func:`normalise` with this augmentation's statistics."""
        return normalise(images, self.mean, self.std)

    def plan(self, epoch: int, index: Tensor, height: int, width: int) -> Plan:
        """What happens to the given images (B int64), all of one size in pixels. Many batches' at once cost little more
        than one's."""
        draws, side = self.draws(epoch, index), torch.ones_like(index)
        return Plan(*self.boxes(draws, side * height, side * width), *self.colours(draws))

    def carry_out(self, plan: Plan, images: Tensor) -> Tensor:
        """Augment B×3×H×W uint8 images as planned; returns B×3×S×S float32, channels last."""
        out = self._output(len(images), images.device)
        for at in self._chunks(images):
            cut = crop(images[at], plan.boxes[at], plan.flip[at], self.how.size)
            out[at] = self._paint(cut, plan.matrix[at], plan.pivot[at])
        return out

    def __call__(self, images: Tensor, epoch: int, index: Tensor) -> Tensor:
        """Augment B×3×H×W uint8 images of one size; returns B×3×S×S float32, channels last."""
        return self.carry_out(self.plan(epoch, index, *images.shape[2:]), images)

    def _output(self, batch: int, device: torch.device) -> Tensor:
        shape = (batch, 3, self.how.size, self.how.size)
        return torch.empty(shape, device=device, memory_format=torch.channels_last)

    def _chunks(self, images: Tensor) -> Iterator[slice]:
        """Parts of a batch, as many images at a time as a CPU's cache holds."""
        pixels = max(self.how.size**2, images.shape[2] * images.shape[3])
        step = max(1, _CHUNK // pixels) if images.device.type == "cpu" else len(images)
        return (slice(start, start + step) for start in range(0, len(images), step))
