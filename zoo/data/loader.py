"""Augmented batches of images, from memory or from files; the same whoever makes them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.augment import Augmenter
from zoo.data.images import LazyImage
from zoo.data.sources import Source
from zoo.errors import DataError

# Images opened before their boxes are drawn; those that are no JPEG lie decoded meanwhile.
_OPENED_TOGETHER = 16
# Bytes of small images augmented one batch after another: code and tables stay in cache.
_AUGMENTED_TOGETHER = 1 << 25
ALL = slice(0, None)


def epoch_order(seed: int, epoch: int, num_images: int, batch_size: int) -> Tensor:
    """Shuffle the indices of one epoch.

    Args:
        seed: the run's seed.
        epoch: the pass over the data.
        num_images: how many there are.
        batch_size: images per step.

    Returns:
        steps×batch_size int64; a rest that fills no batch waits for another epoch.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    indices = torch.randperm(num_images, generator=generator)
    whole_batches = len(indices) // batch_size
    return indices[: whole_batches * batch_size].view(-1, batch_size)


class Batches(ABC):
    """The images of a source in batches.

    Attributes:
        device: where the batches are.
    """

    device: torch.device

    @abstractmethod
    def augmented(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Augment the images of each step.

        Args:
            epoch: the pass over the data; with seed and index it fixes each image's draws.
            steps: steps×B indices, as of :func:`epoch_order`.

        Yields:
            B×3×S×S float32, channels last, and B indices, without images that cannot be read.

        Raises:
            DataError: naming an image that cannot be read, unless the source skips bad ones.
        """

    @abstractmethod
    def plain(self, batch_size: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """Take all images, or those of a span, in order, resized and normalised but not augmented.

        Yields:
            B×3×S×S float32 and B indices; of files, without those that cannot be read.

        Raises:
            DataError: naming an image that cannot be read, unless the source skips bad ones.
        """


class InMemoryBatches(Batches):
    """Small images of one size: augmented as whole batches, on the device.

    Attributes:
        images: N×H×W×3 uint8 on the device, as they lie in memory: so whole rows are gathered.
        bad: indices that are left out of every augmented batch.
    """

    def __init__(
        self, array: np.ndarray, bad: set[int], augmenter: Augmenter, device: torch.device
    ) -> None:
        """
        Args:
            array: N×H×W×3 uint8.
            bad: indices whose pixels could not be read and are left out of every batch.
            augmenter: how they are augmented.
            device: where.
        """
        self.bad = torch.tensor(sorted(bad), dtype=torch.int64)
        self.images = torch.from_numpy(array).to(device)
        self.augmenter = augmenter
        self.device = device

    def augmented(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Augment the images of each step; see :meth:`Batches.augmented`."""
        bytes_per_image = 3 * 4 * self.augmenter.config.size**2
        steps_together = max(1, _AUGMENTED_TOGETHER // (steps.shape[1] * bytes_per_image))
        for group in torch.split(steps, steps_together):
            good = ~torch.isin(group, self.bad)
            counts = good.sum(1).tolist()
            # one copy for many steps: a copy for each would make the host wait for the device
            indices = group[good].to(self.device)
            plan = self.augmenter.plan(epoch, indices, *self.images.shape[1:3])
            parts = torch.split(indices, counts)
            ready = []
            for part, part_plan in zip(parts, plan.split(counts), strict=True):
                pixels = self.images.index_select(0, part).permute(0, 3, 1, 2)
                ready.append((self.augmenter.apply(part_plan, pixels), part))
            while ready:
                yield ready.pop(0)

    def plain(self, batch_size: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """Take the images in order; see :meth:`Batches.plain`."""
        every = torch.arange(len(self.images), device=self.device)[span]
        side = self.augmenter.config.size
        for indices in torch.split(every, batch_size):
            images = self.images[indices].permute(0, 3, 1, 2)
            if images.shape[2:] != (side, side):
                images = F.interpolate(
                    images.float(), (side, side), mode="bilinear", antialias=True
                )
            yield self.augmenter.normalise(images), indices


class _CropDataset(Dataset[tuple[Tensor, Tensor, list[str]]]):
    """Decodes images and cuts their boxes, in a worker, a batch at a time; colour comes later."""

    def __init__(self, source: Source, augmenter: Augmenter, epoch: int | None) -> None:
        """
        Args:
            source: of the images.
            augmenter: draws their boxes.
            epoch: the pass over the data; None for whole images.
        """
        self.source = source
        self.augmenter = augmenter
        self.epoch = epoch

    def __getitem__(self, batch: list[int]) -> tuple[Tensor, Tensor, list[str]]:
        """B×S×S×3 uint8, B indices, and what is wrong with each image (nothing, most often)."""
        size = self.augmenter.config.size
        indices = torch.tensor(batch)
        crops = torch.empty(len(batch), size, size, 3, dtype=torch.uint8)
        errors = [""] * len(batch)
        draws = None if self.epoch is None else self.augmenter.draws(self.epoch, indices)
        for positions in torch.split(torch.arange(len(batch)), _OPENED_TOGETHER):
            # errors as text: torch would bury the exceptions in a worker's traceback
            opened: dict[int, LazyImage] = {}
            for position in positions.tolist():
                try:
                    opened[position] = self.source.open(batch[position])
                except DataError as error:
                    errors[position] = str(error)
            boxes, flips = self._boxes(None if draws is None else draws[list(opened)], opened)
            for (position, image), box, flip in zip(opened.items(), boxes, flips, strict=True):
                try:
                    crop = image.crop(box, size)
                except DataError as error:
                    errors[position] = str(error)
                    continue
                crops[position] = crop.flip(1) if flip else crop
        return crops, indices, errors

    def _boxes(
        self, draws: Tensor | None, opened: dict[int, LazyImage]
    ) -> tuple[list[list[int]], list[bool]]:
        """Boxes (top, left, height, width) and flips; whole images where there are no draws."""
        sizes = [image.size for image in opened.values()]
        width, height = torch.tensor(sizes, dtype=torch.int64).view(-1, 2).T
        if draws is None:
            zero = torch.zeros_like(width)
            return torch.stack([zero, zero, height, width], 1).tolist(), [False] * len(width)
        boxes, flips = self.augmenter.boxes(draws, height, width)
        return boxes.long().tolist(), flips.tolist()


class FileBatches(Batches):
    """Images of any size: decoded and cropped in workers, coloured as batches on the device."""

    def __init__(
        self, source: Source, augmenter: Augmenter, device: torch.device, workers: int
    ) -> None:
        """
        Args:
            source: of the images.
            augmenter: how they are augmented.
            device: where they are coloured.
            workers: processes that decode and crop; 0 for this one.
        """
        self.source = source
        self.augmenter = augmenter
        self.device = device
        self.workers = workers

    def augmented(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Augment the images of each step; see :meth:`Batches.augmented`."""
        for images, indices in self._crops(epoch, steps.tolist()):
            colours = self.augmenter.colours(self.augmenter.draws(epoch, indices))
            yield self.augmenter.apply_colours(images, colours), indices

    def plain(self, batch_size: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """Take the images in order; see :meth:`Batches.plain`."""
        batches = torch.split(torch.arange(len(self.source))[span], batch_size)
        for images, indices in self._crops(None, [batch.tolist() for batch in batches]):
            yield self.augmenter.normalise(images), indices

    def _crops(self, epoch: int | None, steps: list[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """B×3×S×S uint8 and B indices of the readable images of each step, on the device."""
        pinned = self.device.type == "cuda"  # the copy and all that follows is queued
        loader = DataLoader(
            _CropDataset(self.source, self.augmenter, epoch),
            sampler=steps,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=pinned,
            in_order=True,
        )
        for images, indices, errors in loader:
            if any(errors):
                good = torch.tensor([not error for error in errors])
                if not self.source.skip_bad:
                    raise DataError(next(filter(None, errors)))
                self.source.bad.update(indices[~good].tolist())
                images = images[good]
                indices = indices[good]
            images = images.to(self.device, non_blocking=pinned).permute(0, 3, 1, 2)
            yield images, indices.to(self.device, non_blocking=pinned)


def open_batches(
    source: Source, augmenter: Augmenter, device: torch.device, workers: int
) -> Batches:
    """Take images from memory where they are small and of one size, else from files.

    Args:
        source: of the images.
        augmenter: how they are augmented.
        device: where the batches shall be.
        workers: processes that decode files; 0 for this one.
    """
    array = source.array()
    if array is None:
        return FileBatches(source, augmenter, device, workers)
    return InMemoryBatches(array, source.bad, augmenter, device)
