"""Where images come from: one file per kind, one registration per kind.

source = open_source("photos/", split="train")
source.image(0), source.key(0), source.labels
"""

from pathlib import Path

from zoo.data.source import SOURCES, ArraySource, Source
from zoo.data.sources import builtin, folder, parquet, places, shards  # noqa: F401  registers them
from zoo.data.sources.subset import Subset
from zoo.errors import DataError

__all__ = ["SOURCES", "ArraySource", "Source", "Subset", "open_source", "place"]


def open_source(data: str, split: str = "train", *, skip_bad: bool = False) -> Source:
    """Open one split of a data set.

    Args:
        data: a folder of images, an ImageFolder (``train/`` and ``val/`` or ``test/``), a folder of Hub-style parquet
            or of WebDataset shards (``*.tar``), Places205 or Places365 as published, or a built-in name (``digits``,
            ``cifar10``, ``cifar100``, ``stl10``).
        split: ``train`` or ``test``; ``test`` falls back to a validation split where there is no other.
        skip_bad: whether images that cannot be read are left out (their indices stay theirs) instead of an error.

    Raises:
        DataError: if no kind knows it, the split is missing or it holds no image.
    """
    source = _kind(data)(data, split)
    source.skip_bad = skip_bad
    if not len(source):
        raise DataError(f"{data}: the {split} split holds no image")
    return source


def place(data: str) -> str:
    """What a data set is known by from anywhere: the full path of a folder, or a built-in name.

    Raises:
        DataError: if no kind knows it.
    """
    return data if _kind(data).named else str(Path(data).resolve())


def _kind(data: str) -> type[Source]:
    for name in sorted(SOURCES, key=lambda name: SOURCES[name].fallback):
        if SOURCES[name].detect(data):
            return SOURCES[name]
    raise DataError(
        f"{data}: not a folder and no data set of that name; names: digits, cifar10, cifar100, stl10"
    )
