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

OnImages = Callable[[int], None]
"""Called with the number of images that were finished since the last call."""

T = TypeVar("T")


class _ResizedImages(Dataset[tuple[Tensor, str]]):
    """Images resized and cropped in a worker process, each with the message if it is unreadable.

    Attributes:
        resize: the part of the model's transform that gives 3×S×S uint8.
        size: S, pixels.
        source: the images.
        indices: which of them, in this order.
    """

    def __init__(
        self, resize: v2.Transform, size: int, source: Source, indices: np.ndarray
    ) -> None:
        self.resize = resize
        self.size = size
        self.source = source
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, str]:
        try:
            image = self.source.image(int(self.indices[position]))
        except DataError as error:
            blank = torch.zeros(3, self.size, self.size, dtype=torch.uint8)
            return blank, str(error)
        return self.resize(image), ""


def image_batches(
    model: Backbone,
    source: Source,
    *,
    batch_size: int,
    device: str,
    workers: int,
    indices: np.ndarray | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over images in order, preprocessed as ``model.preprocess()`` does it.

    Args:
        model: whose transform and statistics are used; it is not run.
        source: the images.
        batch_size: images at a time; the last batch may be smaller.
        device: where the batches go.
        workers: processes that decode; 0 for a thread of this one.
        indices: which images; all by default.

    Yields:
        B×3×S×S float32, channels last, on the device; B bool on the CPU, whether the image could
        be read.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.
    """
    if indices is None:
        indices = np.arange(len(source))
    transforms = model.preprocess().transforms
    # the last two are arithmetic: they are done to whole batches, on the device
    resize = v2.Compose(transforms[:-2])
    batches = _resized_batches(resize, model.input.size, source, indices, batch_size, workers)
    for images, good in batches:
        images = images.to(device)
        yield normalise(images, model.input.mean, model.input.std), good


def _resized_batches(
    resize: v2.Transform,
    size: int,
    source: Source,
    indices: np.ndarray,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield B×3×S×S uint8 and B bool, from memory where the images lie there, else from files."""
    # for few images the others are not decoded too
    worth_decoding_all = source.decoded or 2 * len(indices) > len(source)
    array = source.array() if worth_decoding_all else None
    if array is None:
        yield from _batches_from_files(resize, size, source, indices, batch_size, workers)
        return
    good = ~np.isin(indices, list(source.bad))
    for start in range(0, len(indices), batch_size):
        batch = slice(start, start + batch_size)
        images = torch.from_numpy(array[indices[batch]]).permute(0, 3, 1, 2)
        yield resize(images), torch.from_numpy(good[batch])


def _batches_from_files(
    resize: v2.Transform,
    size: int,
    source: Source,
    indices: np.ndarray,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield B×3×S×S uint8 and B bool, decoded in advance."""
    dataset = _ResizedImages(resize, size, source, indices)
    loader = DataLoader(dataset, batch_size, num_workers=workers)
    for images, errors in loader if workers else ahead(loader):
        good = torch.tensor([not error for error in errors])
        if not good.all() and not source.skip_bad:
            raise DataError(next(filter(None, errors)))
        yield images, good


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the same items, each made in a thread while the one before it is used."""
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
    batch_size: int = 256,
    device: str = "cpu",
    workers: int = 0,
    amp: bool = False,
    on_progress: OnImages | None = None,
) -> tuple[Tensor, Tensor]:
    """Embed every image.

    Args:
        model: used in eval mode; its mode is left as it was.
        source: the images.
        batch_size: images at a time.
        device: where the model runs.
        workers: processes that decode images; 0 for this one.
        amp: whether to run in bf16.
        on_progress: called with the number of images of each batch.

    Returns:
        N×D fp32 unit vectors and N bools (whether the image could be read), on the CPU.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.

    Example:
        >>> import zoo
        >>> from zoo.data.sources import open_source
        >>> model = zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16))
        >>> vectors, good = embeddings(model, open_source("digits", "test"))
        >>> vectors.shape, bool(good.all())
        (torch.Size([360, 8]), True)
    """
    device_type = torch.device(device).type
    was_training = model.training
    model = model.to(device).eval()
    vectors: list[Tensor] = []
    readable: list[Tensor] = []
    batches = image_batches(model, source, batch_size=batch_size, device=device, workers=workers)
    for images, good in batches:
        with torch.autocast(device_type, torch.bfloat16, enabled=amp):
            vectors.append(model.embed(images).cpu())
        readable.append(good)
        if on_progress is not None:
            on_progress(len(good))
    model.train(was_training)
    return torch.cat(vectors), torch.cat(readable)
