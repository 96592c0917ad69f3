"""The pretraining augmentation against the same recipe out of Pillow and torchvision's
transforms.

    python benchmarks/data.py JPEGS CIFAR [--images 256] [--rounds 7]

The recipe is the authors' for ImageNet: RandomResizedCrop(S, .2–1), RandomGrayscale(.2),
ColorJitter(.4 four times), flip, to a normalised batch. JPEGS is a folder of photographs, or the
Hub-style parquet of one; what is smaller than 375 pixels is enlarged to a short side of 375 with
a little grain, and kept as JPEG of quality 90, in a temporary folder. CIFAR is any data set of
32-pixel images. All in one process and one thread; seconds are those of the processor, so that a
busy machine counts less."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import interleaved, machine, report
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import FileBatches, InMemoryBatches
from zoo.data.sources import Source, open_source

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32  # larger ones are mapped anew by glibc each time, which costs both sides alike
CPU = torch.device("cpu")


def reference(size: int) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, (0.2, 1.0)),
            transforms.RandomGrayscale(0.2),
            transforms.ColorJitter(0.4, 0.4, 0.4, 0.4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class Usual(Dataset):
    """Image by image."""

    def __init__(self, images: Sequence[Path | np.ndarray], size: int) -> None:
        self.images, self.transform = images, reference(size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.images[index]
        opened = (
            Image.fromarray(image)
            if isinstance(image, np.ndarray)
            else Image.open(image).convert("RGB")
        )
        return self.transform(opened)


def photographs(source: Source, count: int, folder: Path) -> None:
    """``count`` JPEGs of ImageNet's size out of any photographs."""
    grain = np.random.default_rng(0)
    for number in range(count):
        image = source.image(number * len(source) // count)
        if min(image.size) < 375:
            wide = 4 / 3 if number % 4 else 3 / 4
            image = image.resize((500, 375) if wide > 1 else (375, 500), Image.Resampling.BICUBIC)
            pixels = np.asarray(image) + grain.normal(0, 6, (image.height, image.width, 1))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:05d}.jpg", quality=90)


def from_files(folder: Path, rounds: int) -> None:
    source = open_source(str(folder))
    paths = sorted(folder.iterdir())
    ours = FileBatches(source, Augmenter(Augmentation(), MEAN, STD, seed=0), CPU, workers=0)
    steps = torch.arange(len(paths) // BATCH * BATCH).view(-1, BATCH)

    def work() -> None:
        for _ in ours.augmented(0, steps):
            pass

    def usual() -> None:
        for _ in DataLoader(Usual(paths[: steps.numel()], 224), BATCH):
            pass

    def decode() -> None:
        for path in paths[: steps.numel()]:
            Image.open(path).convert("RGB")

    times = interleaved(
        {"Pillow + torchvision": usual, "decoding alone": decode, "ours": work}, rounds, cpu=True
    )
    kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
    width, height = Image.open(paths[0]).size
    each(f"JPEGs such as {width}×{height}, {kilobytes:.0f} kB", times, steps.numel())


def from_memory(images: np.ndarray, count: int, rounds: int) -> None:
    size = images.shape[1]
    ours = InMemoryBatches(
        images, set(), Augmenter(Augmentation(size=size), MEAN, STD, seed=0), CPU
    )
    steps = torch.arange(count // 128 * 128).view(-1, 128)

    def work() -> None:
        for _ in ours.augmented(0, steps):
            pass

    def usual() -> None:
        for _ in DataLoader(Usual(list(images[: steps.numel()]), size), 128):
            pass

    each(
        f"{size}×{size} in memory",
        interleaved({"Pillow + torchvision": usual, "ours": work}, rounds, cpu=True),
        count,
    )


def each(title: str, times: dict[str, list[float]], count: int) -> None:
    report(
        f"{title}: ms an image",
        {k: [s / count for s in v] for k, v in times.items()},
        "Pillow + torchvision",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jpegs")
    parser.add_argument("cifar")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torchvision", "pillow"))
    with tempfile.TemporaryDirectory() as folder:
        photographs(open_source(asked.jpegs), asked.images, Path(folder))
        from_files(Path(folder), asked.rounds)
    images = open_source(asked.cifar).array()
    assert images is not None
    from_memory(images, 1024, asked.rounds)


if __name__ == "__main__":
    main()
