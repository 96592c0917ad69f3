"""Augmentation of whole batches: the random resized crop as two matrix products, colour as a map.

Every draw is keyed by (seed, epoch, index), so a batch is the same whoever computes it and in
whatever order. The crop has torchvision's distribution and its antialiased bilinear filter. The
colour jitter is linear: hue turns the chroma plane of YIQ instead of the hue of HSV, the four
operations come in a fixed order and values are clamped once at the end. That is what lets one 3×3
matrix per image stand for all of them.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.keyed_random import uniforms

# torchvision's RandomResizedCrop draws up to ten boxes before it falls back to a centred one.
_TRIES = 10
_BOX_DRAWS = 2 * _TRIES + 2
_COLOUR_DRAWS = 6
_DRAWS = _BOX_DRAWS + 1 + _COLOUR_DRAWS
_CHUNK = 1 << 17  # pixels worked on at a time on a CPU: their floats stay in cache
_TABLED = 32  # of images up to so many pixels wide, every filter is kept: 8 MB
_GRAY = (0.299, 0.587, 0.114)
_TO_YIQ = (_GRAY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A tuple as a tensor; copied to a device once, for a copy makes the host wait."""
    return torch.tensor(values, device=device)


@functools.cache
def _yiq_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """The matrices from RGB to YIQ and back."""
    to_yiq = torch.tensor(_TO_YIQ)
    return to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a training image; the defaults are the authors' ImageNet recipe.

    That is in main.py of https://github.com/zhirongw/lemniscate.pytorch.

    Attributes:
        size: side of the square output, pixels.
        scale: range of the crop's share of the image area.
        ratio: range of the crop's width over height.
        flip: probability of a horizontal flip.
        jitter: probability of the colour jitter.
        brightness, contrast, saturation: factors are drawn from [1 - value, 1 + value].
        hue: turn of the chroma plane, drawn from [-hue, hue] of a full circle.
        grayscale: probability of dropping colour.

    Example:
        >>> import torch
        >>> crop_and_flip = Augmentation(size=32, jitter=0.0, grayscale=0.0)
        >>> augment = Augmenter(crop_and_flip, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
        >>> images = torch.zeros(4, 3, 48, 64, dtype=torch.uint8)
        >>> augment(images, epoch=0, indices=torch.arange(4)).shape
        torch.Size([4, 3, 32, 32])
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

    def faults(self) -> list[str]:
        """Say what is wrong with the values.

        Example:
            >>> Augmentation(flip=7.0).faults()
            ['flip must lie in [0, 1], got 7.0']
        """
        faults = []
        if self.size < 8:
            faults.append(f"size must be at least 8, got {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            faults.append(f"scale must be an increasing pair within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            faults.append(f"ratio must be an increasing pair of positive numbers, got {self.ratio}")
        for name in ("flip", "jitter", "brightness", "contrast", "saturation", "grayscale"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                faults.append(f"{name} must lie in [0, 1], got {value}")
        if not 0 <= self.hue <= 0.5:
            faults.append(f"hue must lie in [0, 0.5], got {self.hue}")
        return faults

    @property
    def changes_colour(self) -> bool:
        """Whether any colour operation can happen."""
        strength = self.brightness + self.contrast + self.saturation + self.hue
        return self.grayscale > 0 or (self.jitter > 0 and strength > 0)


def crop_boxes(config: Augmentation, draws: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Boxes of the random resized crop, with torchvision's distribution.

    Args:
        config: scale and ratio are read.
        draws: B×(2·10+2) uniforms.
        height: of the images, pixels, B integers.
        width: likewise.

    Returns:
        B×4 float: top, left, height, width, whole pixels inside the image.
    """
    smallest, largest = config.scale
    share = smallest + draws[:, :_TRIES] * (largest - smallest)
    area = (height * width)[:, None] * share
    low = math.log(config.ratio[0])
    high = math.log(config.ratio[1])
    ratio = torch.exp(low + draws[:, _TRIES : 2 * _TRIES] * (high - low))
    w = torch.round(torch.sqrt(area * ratio))
    h = torch.round(torch.sqrt(area / ratio))
    fits = (w > 0) & (h > 0) & (w <= width[:, None]) & (h <= height[:, None])
    any_fits = fits.any(1)
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    image_w, image_h = torch.stack([width, height]).to(torch.float32)
    aspect = image_w / image_h
    widest = torch.round(image_h * config.ratio[1])
    tallest = torch.round(image_w / config.ratio[0])
    centre_w = torch.where(aspect > config.ratio[1], widest, image_w)
    centre_h = torch.where(aspect < config.ratio[0], tallest, image_h)
    w = torch.where(any_fits, w.gather(1, first)[:, 0], centre_w)
    h = torch.where(any_fits, h.gather(1, first)[:, 0], centre_h)
    free_y = image_h - h
    free_x = image_w - w
    top = torch.where(any_fits, torch.floor(draws[:, -2] * (free_y + 1)), torch.floor(free_y / 2))
    left = torch.where(any_fits, torch.floor(draws[:, -1] * (free_x + 1)), torch.floor(free_x / 2))
    return torch.stack([top, left, h, w], 1)


def resample_matrix(
    start: Tensor, length: Tensor, inputs: int, outputs: int, flip: Tensor | None = None
) -> Tensor:
    """The antialiased bilinear filter that maps pixels [start, start + length) onto ``outputs``.

    Args:
        start: B floats, whole pixels.
        length: likewise.
        inputs: pixels of a line of the image.
        outputs: pixels of a line of the crop.
        flip: B booleans, where the outputs come in reversed order; nowhere by default.

    Returns:
        B×outputs×inputs, rows summing to one.
    """
    start = start[:, None]
    length = length[:, None]
    scale = length / outputs
    support = scale.clamp(min=1.0)
    output = torch.arange(outputs, device=start.device) + 0.5
    output = output[None] if flip is None else torch.where(flip[:, None], outputs - output, output)
    pixel = (torch.arange(inputs, device=start.device) + 0.5)[None]
    inside = (pixel > start) & (pixel < start + length)
    pixel = torch.where(inside, pixel, torch.inf)  # what lies outside is too far away to count
    centre = start + output * scale
    weight = (centre / support)[:, :, None] - (pixel / support)[:, None, :]
    weight.abs_().neg_().add_(1).clamp_(min=0)
    return weight.div_(weight.sum(2, keepdim=True))


@functools.cache
def _filter_table(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """Every filter there is: of start s, length n and flip f at (f·inputs + s)·inputs + n − 1."""
    row = torch.arange(2 * inputs * inputs, device=device)
    start = row // inputs % inputs
    length = row % inputs + 1
    flip = row >= inputs * inputs
    return resample_matrix(start.float(), length.float(), inputs, outputs, flip)


def _filters(
    start: Tensor, length: Tensor, inputs: int, outputs: int, flip: Tensor | None = None
) -> Tensor:
    """As :func:`resample_matrix`, looked up where the images are small."""
    if inputs > _TABLED or outputs > _TABLED:
        return resample_matrix(start, length, inputs, outputs, flip)
    table = _filter_table(inputs, outputs, start.device)
    row = start.long() if flip is None else start.long() + flip * inputs
    return table.index_select(0, row * inputs + length.long() - 1)


def crop(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut each box, resize it to size×size and flip where asked.

    Args:
        images: B×3×H×W, uint8 or float; channels last is fastest.
        boxes: B×4 (top, left, height, width).
        flip: B booleans.
        size: side of the output, pixels.

    Returns:
        B×3×size×size in the value range of ``images``, float32.
    """
    batch, channels, height, width = images.shape
    rows = _filters(boxes[:, 0], boxes[:, 2], height, size)
    columns = _filters(boxes[:, 1], boxes[:, 3], width, size, flip)
    lines = images.float().permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    resized_lines = torch.bmm(rows, lines).view(batch, size, width, channels)
    planes = resized_lines.permute(0, 3, 1, 2).reshape(batch, channels * size, width)
    return torch.bmm(planes, columns.transpose(1, 2)).view(batch, channels, size, size)


def colour_maps(config: Augmentation, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The colour jitter and the grayscale of each image as one affine map of RGB.

    Args:
        config: strengths and probabilities are read.
        draws: B×6 uniforms: apply, brightness, contrast, saturation, hue, grayscale.

    Returns:
        B×3×3 matrices and B pivots: rgb → matrix · rgb + pivot · (mean luminance of the image),
        the same for the three channels.
    """
    apply = (draws[:, 0] < config.jitter).to(draws.dtype)

    def factor(column: int, strength: float) -> Tensor:
        return 1 + apply * strength * (2 * draws[:, column] - 1)

    brightness = factor(1, config.brightness)
    contrast = factor(2, config.contrast)
    saturation = factor(3, config.saturation)
    angle = apply * config.hue * (2 * draws[:, 4] - 1) * (2 * math.pi)
    # no saturation at all is luminance in all channels
    saturation = torch.where(draws[:, 5] < config.grayscale, 0.0, saturation)
    chroma = torch.zeros(len(draws), 3, 3, device=draws.device)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = saturation * torch.cos(angle)
    chroma[:, 1, 2] = -saturation * torch.sin(angle)
    chroma[:, 2, 1] = saturation * torch.sin(angle)
    to_yiq, from_yiq = _yiq_matrices(draws.device)
    matrix = from_yiq @ chroma @ to_yiq * (brightness * contrast)[:, None, None]
    return matrix, (1 - contrast) * brightness


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalise images and do nothing else to them.

    Args:
        images: B×3×H×W of values 0–255.
        mean: of each channel, on the 0–1 scale.
        std: standard deviation of each channel, on the 0–1 scale.

    Returns:
        B×3×H×W float32, channels last.
    """
    out = images.to(torch.float32, memory_format=torch.channels_last, copy=True)
    # whole lines: to broadcast three values takes ten times as long
    lines = out.permute(0, 2, 3, 1).view(len(out), out.shape[2], -1)
    width = images.shape[3]
    means = 255 * _constant(mean, out.device).repeat(width)
    stds = 255 * _constant(std, out.device).repeat(width)
    lines.sub_(means).div_(stds)
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
        """Yield plans of so many images each."""
        return map(
            Plan,
            torch.split(self.boxes, counts),
            torch.split(self.flip, counts),
            torch.split(self.matrix, counts),
            torch.split(self.pivot, counts),
        )


class Augmenter:
    """Augments batches of uint8 images and normalises them for the backbone.

    Attributes:
        config: what is done.
        mean, std: per-channel statistics on the 0–1 scale.
        seed: the run's seed; with epoch and index it fixes every draw.
    """

    def __init__(
        self, config: Augmentation, mean: tuple[float, ...], std: tuple[float, ...], seed: int
    ) -> None:
        """
        Args:
            config: what to do.
            mean: of each channel, on the 0–1 scale.
            std: standard deviation of each channel, on the 0–1 scale.
            seed: the run's seed; with epoch and index it fixes every draw.
        """
        self.config = config
        self.seed = seed
        self.mean = mean
        self.std = std

    def draws(self, epoch: int, indices: Tensor) -> Tensor:
        """All uniforms of the given images.

        Args:
            epoch: the pass over the data.
            indices: B int64.

        Returns:
            B×29: 22 for the box, one for the flip, six for colour.
        """
        return uniforms(self.seed, epoch, indices, _DRAWS)

    def boxes(self, draws: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Crop boxes (B×4) and flips (B booleans) from the images' draws and sizes."""
        boxes = crop_boxes(self.config, draws[:, :_BOX_DRAWS], height, width)
        return boxes, draws[:, _BOX_DRAWS] < self.config.flip

    def colours(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Colour and normalisation of each image as one affine map of its 0–255 values.

        Returns:
            B×3×3 matrices and B pivots; see :func:`colour_maps`.
        """
        scale = 1 / (255 * _constant(self.std, draws.device))
        matrix, pivot = colour_maps(self.config, draws[:, -_COLOUR_DRAWS:])
        return scale[:, None] * matrix, pivot

    def apply_colours(self, images: Tensor, colours: tuple[Tensor, Tensor]) -> Tensor:
        """Colour and normalise cropped images.

        Args:
            images: B×3×S×S, values 0–255, in any memory format.
            colours: of the same images (:meth:`colours`).

        Returns:
            B×3×S×S float32, channels last.
        """
        matrix, pivot = colours
        out = self._empty_output(len(images), images.device)
        for chunk in self._chunks(images):
            out[chunk] = self._map_colours(images[chunk], matrix[chunk], pivot[chunk])
        return out

    def normalise(self, images: Tensor) -> Tensor:
        """:func:`normalise` with this augmentation's statistics."""
        return normalise(images, self.mean, self.std)

    def plan(self, epoch: int, indices: Tensor, height: int, width: int) -> Plan:
        """Decide what happens to the given images, all of one size.

        To plan many batches at once costs little more than to plan one.

        Args:
            epoch: the pass over the data.
            indices: B int64.
            height: of the images, pixels.
            width: likewise.
        """
        draws = self.draws(epoch, indices)
        ones = torch.ones_like(indices)
        boxes, flip = self.boxes(draws, ones * height, ones * width)
        matrix, pivot = self.colours(draws)
        return Plan(boxes, flip, matrix, pivot)

    def apply(self, plan: Plan, images: Tensor) -> Tensor:
        """Augment B×3×H×W uint8 images as planned; returns B×3×S×S float32, channels last."""
        out = self._empty_output(len(images), images.device)
        for chunk in self._chunks(images):
            crops = crop(images[chunk], plan.boxes[chunk], plan.flip[chunk], self.config.size)
            out[chunk] = self._map_colours(crops, plan.matrix[chunk], plan.pivot[chunk])
        return out

    def __call__(self, images: Tensor, epoch: int, indices: Tensor) -> Tensor:
        """Augment B×3×H×W uint8 images of one size; returns B×3×S×S float32, channels last."""
        height, width = images.shape[2:]
        return self.apply(self.plan(epoch, indices, height, width), images)

    def _map_colours(self, images: Tensor, matrix: Tensor, pivot: Tensor) -> Tensor:
        """Colour and normalise B×3×S×S; returns B×3×S×S float32."""
        pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
        pixels = pixels.view(len(images), 3, -1)
        mean = _constant(self.mean, pixels.device)
        std = _constant(self.std, pixels.device)
        gray = pixels.mean(2) @ _constant(_GRAY, pixels.device)
        shift = (pivot * gray)[:, None] / (255 * std) - mean / std
        out = torch.baddbmm(shift[:, :, None], matrix, pixels)
        if self.config.changes_colour:
            for channel, m, s in zip(out.unbind(1), self.mean, self.std, strict=True):
                # by numbers: by tensors it takes ten times as long
                channel.clamp_(-m / s, (1 - m) / s)
        return out.view(images.shape)

    def _empty_output(self, count: int, device: torch.device) -> Tensor:
        shape = (count, 3, self.config.size, self.config.size)
        return torch.empty(shape, device=device, memory_format=torch.channels_last)

    def _chunks(self, images: Tensor) -> Iterator[slice]:
        """Parts of a batch, as many images at a time as a CPU's cache holds."""
        step = len(images)
        if images.device.type == "cpu":
            pixels = max(self.config.size**2, images.shape[2] * images.shape[3])
            step = max(1, _CHUNK // pixels)
        for start in range(0, len(images), step):
            yield slice(start, start + step)
