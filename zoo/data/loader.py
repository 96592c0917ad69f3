"""Augmented batches of (image, index), from memory or from files; the same whoever makes them."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.augment import Augmenter
from zoo.data.sources import Source
from zoo.errors import DataError

_TOGETHER = (
    16  # images opened before their boxes are drawn; those that are no JPEG lie decoded meanwhile
)
_AHEAD = (
    1 << 25
)  # bytes of small images augmented one batch after another: code and tables stay in cache
ALL = slice(0, None)


def order(seed: int, epoch: int, size: int, batch: int) -> Tensor:
    """Shuffled indices of one epoch, steps×batch; a rest that fills no batch waits for another epoch."""
    index = torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return index[: len(index) // batch * batch].view(-1, batch)


class InMemory:
    """Small images of one size: augmented as whole batches, on the device."""

    def __init__(
        self, array: np.ndarray, bad: set[int], augmenter: Augmenter, device: torch.device
    ) -> None:
        """
        Args:
            array: N×H×W×3 uint8.
            bad: indices whose pixels could not be read and are left out of every batch.
        """
        self.bad = torch.tensor(sorted(bad), dtype=torch.int64)
        self.images = torch.from_numpy(array).to(
            device
        )  # as they lie in memory: whole rows are gathered fastest
        self.augmenter, self.device = augmenter, device

    def batches(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields B×3×S×S float32 channels-last and B indices, for each row of ``steps``."""
        size = 3 * 4 * self.augmenter.how.size**2
        for some in steps.split(max(1, _AHEAD // (steps.shape[1] * size))):
            good = ~torch.isin(some, self.bad)
            counts = good.sum(1).tolist()
            # one copy for many steps: a copy for each would make the host wait for the device
            index = some[good].to(self.device)
            plan = self.augmenter.plan(epoch, index, *self.images.shape[1:3])
            ready = [
                (
                    self.augmenter.carry_out(
                        how, self.images.index_select(0, mine).permute(0, 3, 1, 2)
                    ),
                    mine,
                )
                for mine, how in zip(index.split(counts), plan.split(counts), strict=True)
            ]
            while ready:
                yield ready.pop(0)

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
    """Decodes images and cuts their boxes, in a worker, a batch at a time; colour comes later."""

    def __init__(self, source: Source, augmenter: Augmenter, epoch: int | None) -> None:
        self.source, self.augmenter, self.epoch = source, augmenter, epoch

    def __getitem__(self, batch: list[int]) -> tuple[Tensor, Tensor, list[str]]:
        """B×S×S×3 uint8, B indices, and what is wrong with each image (nothing, most often)."""
        size, index = self.augmenter.how.size, torch.tensor(batch)
        out, errors = torch.empty(len(batch), size, size, 3, dtype=torch.uint8), [""] * len(batch)
        draws = None if self.epoch is None else self.augmenter.draws(self.epoch, index)
        for some in torch.arange(len(batch)).split(_TOGETHER):
            opened = {}
            for place in some.tolist():
                try:
                    opened[place] = self.source.open(batch[place])
                except (
                    DataError
                ) as error:  # as text: torch would bury the exception in a worker's traceback
                    errors[place] = str(error)
            sizes = torch.tensor([image.size for image in opened.values()], dtype=torch.int64).view(
                -1, 2
            )
            boxes, flips = self._boxes(None if draws is None else draws[list(opened)], *sizes.T)
            for (place, image), box, flip in zip(opened.items(), boxes, flips, strict=True):
                try:
                    cut = image.crop(box, size)
                    out[place] = cut.flip(1) if flip else cut
                except DataError as error:
                    errors[place] = str(error)
        return out, index, errors

    def _boxes(
        self, draws: Tensor | None, width: Tensor, height: Tensor
    ) -> tuple[list[list[int]], list[bool]]:
        """Boxes (top, left, height, width) and flips: the drawn ones, or the whole images where there are no draws."""
        if draws is None:
            none = torch.zeros_like(width)
            return torch.stack([none, none, height, width], 1).tolist(), [False] * len(width)
        boxes, flips = self.augmenter.boxes(draws, height, width)
        return boxes.long().tolist(), flips.tolist()


class FromFiles:
    """Images of any size: decoded and cropped in worker processes, coloured as batches on the device."""

    def __init__(
        self, source: Source, augmenter: Augmenter, device: torch.device, workers: int
    ) -> None:
        self.source, self.augmenter, self.device, self.workers = source, augmenter, device, workers

    def _load(self, epoch: int | None, steps: list[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        crops = _Crops(self.source, self.augmenter, epoch)
        pinned = (
            self.device.type == "cuda"
        )  # the workers prefetch, and the copy and all that follows is queued
        for images, index, errors in DataLoader(
            crops,
            sampler=steps,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=pinned,
            in_order=True,
        ):
            if any(errors):
                good = torch.tensor([not error for error in errors])
                if not self.source.skip_bad:
                    raise DataError(next(error for error in errors if error))
                self.source.bad.update(index[~good].tolist())
                images, index = images[good], index[good]
            images = images.to(self.device, non_blocking=pinned).permute(0, 3, 1, 2)
            yield images, index.to(self.device, non_blocking=pinned)

    def batches(self, epoch: int, steps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`InMemory.batches`."""
        for images, index in self._load(epoch, steps.tolist()):
            yield (
                self.augmenter.finish(
                    images, self.augmenter.colours(self.augmenter.draws(epoch, index))
                ),
                index,
            )

    def plain(self, batch: int, span: slice = ALL) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`InMemory.plain`, without those that cannot be read."""
        every = torch.arange(len(self.source))[span].split(batch)
        for images, index in self._load(None, [some.tolist() for some in every]):
            yield self.augmenter.normalise(images), index


Batches = InMemory | FromFiles


def open_batches(
    source: Source, augmenter: Augmenter, device: torch.device, workers: int
) -> Batches:
    """From memory where the images are small and of one size, else from files."""
    array = source.array()
    if array is None:
        return FromFiles(source, augmenter, device, workers)
    return InMemory(array, source.bad, augmenter, device)
