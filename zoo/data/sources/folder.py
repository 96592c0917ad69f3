"""Folders of image files: with classes (ImageFolder) or without."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.images import SUFFIXES, LazyImage
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

_SPLITS = {"train": ("train",), "test": ("test", "val", "validation")}


def _walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Paths of the images below, relative to the folder; a symlink that leads back up is not followed."""
    above = above | {os.path.realpath(folder)}
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if os.path.realpath(entry.path) not in above:
                yield from (f"{entry.name}/{path}" for path in _walk(Path(entry.path), above))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.name


@SOURCES.register("folder")
class Folder(Source):
    """``train/`` and ``val/`` or ``test/``, each with a folder per class; or any folder of images, without labels.

    An image's identity is its POSIX path relative to the split's folder, and the order is that of the paths.
    """

    fallback = True  # other kinds are folders too

    @classmethod
    def detect(cls, data: str) -> bool:
        return Path(data).is_dir()

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        root = Path(data)
        names = _SPLITS.get(split, (split,))
        found = next((root / name for name in names if (root / name).is_dir()), None)
        if found is None and (
            split != "train" or any((root / name).is_dir() for name in _SPLITS["test"])
        ):
            raise DataError(
                f"{data}: no {split} split; expected a folder {' or '.join(f'{n}/' for n in names)} in it"
            )
        self.root = found or root
        try:
            self.paths = sorted(_walk(self.root))
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
        if not self.paths:
            raise DataError(
                f"{self.root}: no images in it (looked for {', '.join(sorted(SUFFIXES))})"
            )
        if found is not None and all("/" in path for path in self.paths):
            self._take_classes(root)

    def _take_classes(self, root: Path) -> None:
        train = root / "train" if (root / "train").is_dir() else self.root
        self.classes = sorted(
            p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith(".")
        )
        number = {name: i for i, name in enumerate(self.classes)}
        of = [path.split("/", 1)[0] for path in self.paths]
        if strange := sorted(set(of) - set(number)):
            raise DataError(
                f"{self.root}: classes {', '.join(strange)} are not among those of {train}"
            )
        here = {p.name for p in self.root.iterdir() if p.is_dir() and p.name in number}
        if empty := sorted(here - set(of)):
            raise DataError(
                f"{self.root}: class folders without an image: {', '.join(empty)}; fill or remove them"
            )
        self.labels = np.array([number[name] for name in of], np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, index: int) -> str:
        return self.paths[index]

    def image(self, index: int) -> Image.Image:
        return self.open(index).rgb()

    def open(self, index: int) -> LazyImage:
        return LazyImage(self.root / self.paths[index])

    def stamp(self, index: int) -> bytes:
        return str((self.root / self.paths[index]).stat().st_size).encode()

    def manifest(self) -> str:
        return "\n".join(f"{path} {(self.root / path).stat().st_size}" for path in self.paths)
