"""Embeddings of whole data sets."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from zoo import Backbone, DataError
from zoo.data.augment import normalise
from zoo.data.sources import Source

Progress = Callable[[int], None]
T = TypeVar("T")


class _Shaped(Dataset):
    """The model's resize and crop, in a worker; an unreadable image comes as its message."""

    def __init__(self, shape: v2.Transform, size: int, source: Source, index: np.ndarray) -> None:
        self.shape, self.size, self.source, self.index = shape, size, source, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> tuple[Tensor, str]:
        try:
            return self.shape(self.source.image(int(self.index[at]))), ""
        except DataError as error:
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), str(error)


def batches(
    model: Backbone,
    source: Source,
    *,
    batch: int,
    device: str,
    workers: int,
    index: np.ndarray | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in order, preprocessed as ``model.preprocess()`` does it.

    Args:
        index: which images; all by default.

    Yields:
        B×3×S×S float32, channels last, on the device; B bool, whether the image could be read.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.
    """
    index = np.arange(len(source)) if index is None else index
    *shape, _, _ = (
        model.preprocess().transforms
    )  # what is arithmetic is done to batches, on the device
    for images, good in _shaped(v2.Compose(shape), model.input.size, source, index, batch, workers):
        images = images.to(device)
        yield normalise(images, model.input.mean, model.input.std), good


def _shaped(
    shape: v2.Transform, size: int, source: Source, index: np.ndarray, batch: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """B×3×S×S uint8 and B bool: from memory where the images lie there, else from files, decoded in advance."""
    all_at_once = source.decoded or 2 * len(index) > len(
        source
    )  # for few images the others are not decoded too
    array = source.array() if all_at_once else None
    if array is not None:
        bad = np.isin(index, list(source.bad))
        for start in range(0, len(index), batch):
            at = slice(start, start + batch)
            yield (
                shape(torch.from_numpy(array[index[at]]).permute(0, 3, 1, 2)),
                torch.from_numpy(~bad[at]),
            )
        return
    loader = DataLoader(_Shaped(shape, size, source, index), batch, num_workers=workers)
    for images, errors in loader if workers else ahead(loader):
        good = torch.tensor([not error for error in errors])
        if not good.all() and not source.skip_bad:
            raise DataError(next(error for error in errors if error))
        yield images, good


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before it is used."""
    source = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, source, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, source, None)
            yield item


@torch.no_grad()
def embeddings(
    model: Backbone,
    source: Source,
    *,
    batch: int = 256,
    device: str = "cpu",
    workers: int = 0,
    amp: bool = False,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Embed every image.

    Args:
        model: used in eval mode; its mode is left as it was.
        source: the images.
        batch, device, workers: how.
        amp: whether to run in bf16.
        progress: is called with the number of images of each batch.

    Returns:
        N×D fp32 unit vectors and N bools (whether the image could be read), on the CPU.
    """
    was_training = model.training
    model = model.to(device).eval()
    vectors, goods = [], []
    for images, good in batches(model, source, batch=batch, device=device, workers=workers):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp):
            vectors.append(model.embed(images).cpu())
        goods.append(good)
        if progress is not None:
            progress(len(good))
    model.train(was_training)
    return torch.cat(vectors), torch.cat(goods)
