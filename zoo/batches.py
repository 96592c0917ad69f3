"""Augmented batches of (image, index), from memory or from files; the same whoever makes them."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.augment import Augmenter
from zoo.errors import DataError
from zoo.sources import Source

ALL = slice(0, None)


def order(seed: int, epoch: int, size: int, batch: int) -> Tensor:
    """Shuffled indices of one epoch, steps×batch; a rest that fills no batch waits for another epoch."""
    index = torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return index[: len(index) // batch * batch].view(-1, batch)


class InMemory:
    """Small images of one size: augmented as whole batches, on the device."""

    def __init__(self, array: np.ndarray, bad: set[int], augmenter: Augmenter, device: torch.device) -> None:
        """
        Args:
            array: N×H×W×3 uint8.
            bad: indices whose pixels could not be read and are left out of every batch.
        """
        self.bad = torch.tensor(sorted(bad), dtype=torch.int64)
        self.images = torch.from_numpy(array).to(device)  # as they lie in memory: whole rows are gathered fastest
        self.augmenter, self.device = augmenter, device

    def batches(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields B×3×S×S float32 channels-last and B indices, for each row of ``steps``."""
        for index in steps:
            if len(self.bad):
                index = index[~torch.isin(index, self.bad)]
            index = index.to(self.device, non_blocking=True)
            yield self.augmenter(self.images[index].permute(0, 3, 1, 2), epoch, index), index

    def plain(self, batch: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """All images, or those of a span, in order, not augmented: B×3×S×S normalised, and their indices."""
        index = torch.arange(len(self.images), device=self.device)[span]
        size = (self.augmenter.how.size,) * 2
        for some in index.split(batch):
            images = self.images[some].permute(0, 3, 1, 2)
            if images.shape[2:] != size:
                images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
            yield self.augmenter.normalise(images), some


class _Crops(Dataset):
    """Decodes an image and cuts its box, in a worker; colour comes later, for the batch."""

    def __init__(self, source: Source, augmenter: Augmenter, epoch: int | None) -> None:
        self.source, self.augmenter, self.epoch = source, augmenter, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        size = self.augmenter.how.size
        try:
            image = self.source.image(index)
        except DataError as error:  # as text: torch would bury the exception in a worker's traceback
            return torch.zeros(3, size, size, dtype=torch.uint8), index, str(error)
        if self.epoch is None:
            box, turned = [0.0, 0.0, float(image.height), float(image.width)], False
        else:
            at = torch.tensor([index])
            sides = torch.tensor([image.height]), torch.tensor([image.width])
            boxes, flips = self.augmenter.boxes(self.augmenter.draws(self.epoch, at), *sides)
            box, turned = boxes[0].tolist(), bool(flips[0])
        top, left, height, width = box
        image = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        if turned:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), index, ""


class FromFiles:
    """Images of any size: decoded and cropped in worker processes, coloured as batches on the device."""

    def __init__(self, source: Source, augmenter: Augmenter, device: torch.device, workers: int) -> None:
        self.source, self.augmenter, self.device, self.workers = source, augmenter, device, workers

    def _load(self, epoch: int | None, steps: list[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        crops = _Crops(self.source, self.augmenter, epoch)
        pinned = self.device.type == "cuda"
        for images, index, errors in DataLoader(
            crops, batch_sampler=steps, num_workers=self.workers, pin_memory=pinned, in_order=True
        ):
            good = torch.tensor([not error for error in errors])
            if not good.all():
                if not self.source.skip_bad:
                    raise DataError(next(error for error in errors if error))
                self.source.bad.update(index[~good].tolist())
                images, index = images[good], index[good]
            yield images.to(self.device, non_blocking=pinned), index.to(self.device, non_blocking=pinned)

    def batches(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`InMemory.batches`."""
        for images, index in self._load(epoch, steps.tolist()):
            out = self.augmenter.finish(images, self.augmenter.colours(self.augmenter.draws(epoch, index)))
            yield out.contiguous(memory_format=torch.channels_last), index

    def plain(self, batch: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`InMemory.plain`, without those that cannot be read."""
        every = torch.arange(len(self.source))[span].split(batch)
        for images, index in self._load(None, [some.tolist() for some in every]):
            yield self.augmenter.normalise(images), index


Batches = InMemory | FromFiles


def open_batches(source: Source, augmenter: Augmenter, device: torch.device, workers: int) -> Batches:
    """From memory where the images are small and of one size, else from files."""
    array = source.array()
    if array is None:
        return FromFiles(source, augmenter, device, workers)
    return InMemory(array, source.bad, augmenter, device)
