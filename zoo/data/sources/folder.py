"""Folders of image files: with classes (ImageFolder) or without."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo.data.images import SUFFIXES, LazyImage
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

_SPLITS = {"train": ("train",), "test": ("test", "val", "validation")}


def _walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the paths of the images below, relative to the folder.

    A symlink that leads back up is not followed.
    """
    above = above | {os.path.realpath(folder)}
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if os.path.realpath(entry.path) in above:
                continue
            for path in _walk(Path(entry.path), above):
                yield f"{entry.name}/{path}"
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.name


def _first_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some folders that exists."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    return None


def _subfolders(folder: Path) -> set[str]:
    names = set()
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            names.add(path.name)
    return names


@SOURCES.register("folder")
class Folder(Source):
    """``train/`` and ``val/`` or ``test/``, each with a folder per class; or any folder of images.

    The second has no labels. An image's identity is its POSIX path relative to the split's folder,
    and the order is that of the paths.

    Attributes:
        root: the split's folder.
        paths: of the images, relative to it.
    """

    fallback = True  # other kinds are folders too

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder."""
        return Path(data).is_dir()

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        whole = Path(data)
        split_folder = self._split_folder(whole)
        self.root = split_folder or whole
        self.paths = self._image_paths()
        if split_folder is not None and all("/" in path for path in self.paths):
            self._take_classes(whole)

    def _split_folder(self, whole: Path) -> Path | None:
        """The folder of the split; None where there are no splits, and all is for training."""
        names = _SPLITS.get(self.split, (self.split,))
        folder = _first_folder(whole, names)
        if folder is not None:
            return folder
        if self.split == "train" and _first_folder(whole, _SPLITS["test"]) is None:
            return None
        expected = " or ".join(f"{name}/" for name in names)
        raise DataError(f"{self.data}: no {self.split} split; expected a folder {expected} in it")

    def _image_paths(self) -> list[str]:
        try:
            paths = sorted(_walk(self.root))
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
        if not paths:
            raise DataError(
                f"{self.root}: no images in it (looked for {', '.join(sorted(SUFFIXES))})"
            )
        return paths

    def _take_classes(self, whole: Path) -> None:
        """Set classes and labels from the folders' names; the training split's are the classes."""
        train = whole / "train" if (whole / "train").is_dir() else self.root
        classes = sorted(_subfolders(train))
        class_of_image = [path.split("/", 1)[0] for path in self.paths]
        strange = sorted(set(class_of_image) - set(classes))
        if strange:
            raise DataError(
                f"{self.root}: classes {', '.join(strange)} are not among those of {train}"
            )
        empty = sorted((_subfolders(self.root) & set(classes)) - set(class_of_image))
        if empty:
            raise DataError(
                f"{self.root}: class folders without an image: {', '.join(empty)}; "
                "fill or remove them"
            )
        number = {name: i for i, name in enumerate(classes)}
        self.classes = classes
        self.labels = np.array([number[name] for name in class_of_image], np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, index: int) -> str:
        """The path relative to the split's folder."""
        return self.paths[index]

    def open(self, index: int) -> LazyImage:
        """Open the file."""
        return LazyImage(self.root / self.paths[index])

    def fingerprint(self, index: int) -> bytes:
        """The size of the file."""
        return str(self._file_size(self.paths[index])).encode()

    def manifest(self) -> str:
        """Paths and sizes."""
        return "\n".join(f"{path} {self._file_size(path)}" for path in self.paths)

    def _file_size(self, path: str) -> int:
        return (self.root / path).stat().st_size
