"""A tiny data set in VOC's segmentation layout: the colour of a pixel tells its class."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[200, 40, 40], [40, 180, 60], [30, 60, 220]], np.uint8)
CLASSES = ("brick", "grass", "water")


def write_voc(root: Path, train: int = 8, test: int = 4, size: tuple[int, int] = (40, 28)) -> Path:
    """Write images of noisy vertical stripes and their masks.

    Args:
        root: the folder, which is made.
        train: images in train.txt.
        test: images in test.txt.
        size: width and height.
    """
    width, height = size
    draw = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    names = []
    for number in range(train + test):
        name = f"{number:03d}"
        names.append(name)
        edges = np.sort(draw.integers(4, width - 4, 2))
        stripe = np.searchsorted(edges, np.arange(width))
        mask = np.tile(np.roll(np.arange(3), number)[stripe], (height, 1)).astype(np.uint8)
        noise = draw.normal(0, 8, (height, width, 3))
        image = Image.fromarray((COLOURS[mask] + noise).clip(0, 255).astype(np.uint8))
        image.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        mask[:2] = 255
        save_mask(root, name, mask)
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("\n".join(names[:train]) + "\n")
    (lists / "test.txt").write_text("\n".join(names[train:]) + "\n")
    return root


def save_mask(root: Path, name: str, values: np.ndarray) -> None:
    """Write a mask as a palette PNG, as VOC has them."""
    mask = Image.fromarray(values).convert("L").convert("P")
    mask = Image.frombytes("P", mask.size, values.tobytes())
    mask.putpalette([channel for number in range(256) for channel in (number, 0, 255 - number)])
    mask.save(root / "SegmentationClass" / f"{name}.png")
