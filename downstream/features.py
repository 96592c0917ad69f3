"""Embeddings of whole data sets."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from zoo import Backbone, DataError
from zoo.sources import Source

Progress = Callable[[int], None]


class _Preprocessed(Dataset):
    """The model's preprocessing, in a worker; an unreadable image comes as its message."""

    def __init__(self, model: Backbone, source: Source) -> None:
        self.size, self.transform, self.source = model.input.size, model.preprocess(), source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        try:
            return self.transform(self.source.image(index)), ""
        except DataError as error:
            return torch.zeros(3, self.size, self.size), str(error)


def batches(
    model: Backbone, source: Source, *, batch: int, device: str, workers: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order from ``start`` on, preprocessed as ``model.preprocess()`` does it.

    Yields:
        B×3×S×S float32, channels last, on the device; B bool, whether the image could be read.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.
    """
    array = source.array()
    if array is None:
        rest = Subset(_Preprocessed(model, source), range(start, len(source)))
        for images, errors in DataLoader(rest, batch, num_workers=workers):
            good = torch.tensor([not error for error in errors])
            if not good.all() and not source.skip_bad:
                raise DataError(next(error for error in errors if error))
            yield images.to(device, memory_format=torch.channels_last), good
        return
    transform = model.preprocess()  # takes batches of uint8 as it takes single images
    for at in range(start, len(array), batch):
        images = torch.from_numpy(array[at : at + batch]).to(device).permute(0, 3, 1, 2)
        good = torch.tensor([at + i not in source.bad for i in range(len(images))])
        yield transform(images).contiguous(memory_format=torch.channels_last), good


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
