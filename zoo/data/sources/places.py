"""Places205 and Places365 (Zhou et al. 2014, 2017) as they are published: lists of "path label" and folders of images.

    Places365, as torchvision.datasets.Places365 leaves it        Places205
    categories_places365.txt                                      trainvalsplit_places205/train_places205.csv
    places365_train_standard.txt, data_256_standard/a/airfield/…  trainvalsplit_places205/val_places205.csv
    places365_val.txt, val_256/Places365_val_00000001.jpg …       data/vision/torralba/deeplearning/images256/a/abbey/…

The archives' own folder names (``data_256`` for ``data_256_standard``) and the large images are found too, as are
Places205's lists beside the images.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from zoo.data.images import read
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError


def _pairs(path: Path) -> tuple[list[str], np.ndarray]:
    """The paths, without a leading slash, and the numbers of a list."""
    names, numbers = [], []
    try:
        with open(path, encoding="utf-8") as lines:
            for at, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    name, number = line.rsplit(maxsplit=1)
                    numbers.append(int(number))
                except ValueError:
                    raise DataError(
                        f"{path}:{at}: expected a path and a number, found {line.strip()!r}"
                    ) from None
                if numbers[-1] < 0 or ".." in PurePosixPath(name).parts:
                    raise DataError(
                        f"{path}:{at}: neither a number below 0 nor a path with .. is allowed: {line.strip()!r}"
                    )
                names.append(name.strip().lstrip("/"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not names:
        raise DataError(f"{path}: names nothing")
    return names, np.array(numbers, np.int64)


class _Places(Source):
    """One of the two; images are looked for in the first folder that exists."""

    lists: dict[
        str, tuple[tuple[str, tuple[str, ...]], ...]
    ]  # split: (list, folders of its images), …
    categories: tuple[str, ...]  # names of the class list

    @classmethod
    def detect(cls, data: str) -> bool:
        return any((Path(data) / name).is_file() for some in cls.lists.values() for name, _ in some)

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        root = Path(data)
        path, folders = self._list(root, split)
        folder = next((root / name for name in folders if (root / name).is_dir()), None)
        if folder is None:
            raise DataError(
                f"{data}: no images of the {split} split; expected a folder {' or '.join(folders)} in it"
            )
        self.root = folder
        self.paths, self.labels = _pairs(path)
        names = self._names(root)
        self.classes = [
            name.split("/", 1)[-1] for name in names
        ]  # without the first letter's folder
        if (worst := self.labels.max()) >= len(names):
            raise DataError(f"{path}: label {worst} in a list of {len(names)} classes")
        self._agree(path, names)
        if not (folder / self.paths[0]).is_file():
            raise DataError(
                f"{folder}: {self.paths[0]} of {path.name} is not in it; unpack the images there"
            )

    def _list(self, root: Path, split: str) -> tuple[Path, tuple[str, ...]]:
        known = self.lists.get(split, ())
        for name, folders in known:
            if (root / name).is_file():
                return root / name, folders
        raise DataError(
            f"{root}: no {split} split; expected {' or '.join(name for name, _ in known) or 'train or test'}"
        )

    def _names(self, root: Path) -> list[str]:
        """The folder of each class, from the class list; from the training list where that is allowed."""
        for name in self.categories:
            if (root / name).is_file():
                return self._numbered(root / name, zip(*_pairs(root / name), strict=True))
        return self._names_without(root)

    def _names_without(self, root: Path) -> list[str]:
        raise DataError(
            f"{root}: no list of the classes; expected {' or '.join(self.categories)} in it"
        )

    @staticmethod
    def _numbered(path: Path, pairs: Iterable[tuple[str, int]]) -> list[str]:
        found: dict[int, str] = {}
        for name, number in pairs:
            if found.setdefault(int(number), name) != name:
                raise DataError(
                    f"{path}: {number} is the class {found[int(number)]} and the class {name}"
                )
        if sorted(found) != list(range(len(found))) or len(set(found.values())) < len(found):
            raise DataError(
                f"{path}: expected one class for each number from 0 to {len(found) - 1}"
            )
        return [found[i] for i in range(len(found))]

    def _agree(self, path: Path, names: list[str]) -> None:
        """The folder that a path names is that of its label, where it names one."""
        assert self.labels is not None
        for name, label in zip(self.paths, self.labels.tolist(), strict=True):
            folder = name.rpartition("/")[0]
            if folder and folder != names[label]:
                raise DataError(
                    f"{path}: {name} has the label {label}, and that is {names[label]} in the class list"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, index: int) -> str:
        return self.paths[index]

    def image(self, index: int) -> Image.Image:
        return read(self.root / self.paths[index])

    def manifest(self) -> str:
        return "\n".join(f"{path} {self._size(path)}" for path in self.paths)

    def _size(self, path: str) -> int:
        try:
            return (self.root / path).stat().st_size
        except OSError:
            return -1  # told, or skipped, when it is read


@SOURCES.register("places365")
class Places365(_Places):
    """The standard training list goes before the challenge's, images of 256 pixels before large ones."""

    lists = {
        "train": (
            (
                "places365_train_standard.txt",
                ("data_256_standard", "data_256", "data_large_standard", "data_large"),
            ),
            (
                "places365_train_challenge.txt",
                ("data_256_challenge", "data_256", "data_large_challenge", "data_large"),
            ),
        ),
        "test": (("places365_val.txt", ("val_256", "val_large")),),
    }
    categories = ("categories_places365.txt",)


_IMAGES205 = ("data/vision/torralba/deeplearning/images256", "images256", ".")


@SOURCES.register("places205")
class Places205(_Places):
    """Without ``categoryIndex_places205.csv`` the classes are the folders that the training list names."""

    lists = {
        split: tuple(
            (f"{folder}{name}_places205.csv", _IMAGES205)
            for folder in ("trainvalsplit_places205/", "")
        )
        for split, name in (("train", "train"), ("test", "val"))
    }
    categories = (
        "categoryIndex_places205.csv",
        "trainvalsplit_places205/categoryIndex_places205.csv",
    )

    def _names_without(self, root: Path) -> list[str]:
        path, _ = self._list(root, "train")
        names, numbers = _pairs(path)
        return self._numbered(
            path, zip((name.rpartition("/")[0] for name in names), numbers.tolist(), strict=True)
        )
