"""Places205 and Places365 (Zhou et al. 2014, 2017) as they are published: lists and folders.

The lists hold lines of "path label"; the images lie in folders.

    Places365, as torchvision.datasets.Places365 leaves it:
        categories_places365.txt
        places365_train_standard.txt    data_256_standard/a/airfield/…
        places365_val.txt               val_256/Places365_val_00000001.jpg …

    Places205:
        trainvalsplit_places205/train_places205.csv
        trainvalsplit_places205/val_places205.csv
        data/vision/torralba/deeplearning/images256/a/abbey/…

The archives' own folder names (``data_256`` for ``data_256_standard``) and the large images are
found too, as are Places205's lists beside the images.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import numpy as np

from zoo.data.images import LazyImage
from zoo.data.source import SOURCES, Source
from zoo.data.sources._files import file_bytes, file_size, file_state
from zoo.errors import DataError, SplitError


class ImageList(NamedTuple):
    """A list of images that may be there.

    Attributes:
        file: the list.
        folders: where its images may lie; the first that exists is taken.
    """

    file: str
    folders: tuple[str, ...]


def _read_list(path: Path) -> tuple[list[str], list[int]]:
    """The paths, without a leading slash, and the numbers of a list.

    Raises:
        DataError: naming the line that is none of a list.
    """
    paths: list[str] = []
    numbers: list[int] = []
    try:
        with open(path, encoding="utf-8") as lines:
            for line_number, line in enumerate(lines, 1):
                if line.strip():
                    image, number = _parse_line(line, f"{path}:{line_number}")
                    paths.append(image)
                    numbers.append(number)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not paths:
        raise DataError(f"{path}: names nothing")
    return paths, numbers


def _parse_line(line: str, where: str) -> tuple[str, int]:
    try:
        path, text = line.rsplit(maxsplit=1)
        number = int(text)
    except ValueError:
        raise DataError(f"{where}: expected a path and a number, found {line.strip()!r}") from None
    if number < 0 or ".." in PurePosixPath(path).parts:
        raise DataError(
            f"{where}: neither a number below 0 nor a path with .. is allowed: {line.strip()!r}"
        )
    return path.strip().lstrip("/"), number


def _folder_of(path: str) -> str:
    """The folder of an image in a list; empty where the list names none."""
    return path.rpartition("/")[0]


def _by_number(path: Path, names: Iterable[str], numbers: Iterable[int]) -> list[str]:
    """The name of each class, in the order of the classes' numbers.

    Raises:
        DataError: if two classes have one number or one name, or a number is left out.
    """
    name_of: dict[int, str] = {}
    for name, number in zip(names, numbers, strict=True):
        first = name_of.setdefault(number, name)
        if first != name:
            raise DataError(f"{path}: {number} is the class {first} and the class {name}")
    has_gap = sorted(name_of) != list(range(len(name_of)))
    if has_gap or len(set(name_of.values())) < len(name_of):
        raise DataError(f"{path}: expected one class for each number from 0 to {len(name_of) - 1}")
    return [name_of[number] for number in range(len(name_of))]


class _Places(Source):
    """One of the two.

    Attributes:
        lists: of each split, in the order in which they are looked for.
        class_lists: files that may list the classes.
        root: the folder of the images.
        paths: of the images, relative to it.
    """

    lists: ClassVar[dict[str, tuple[ImageList, ...]]]
    class_lists: ClassVar[tuple[str, ...]]

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder that holds one of the lists."""
        for lists in cls.lists.values():
            if any((Path(data) / each.file).is_file() for each in lists):
                return True
        return False

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        whole = Path(data)
        image_list = self._list_of(split)
        path = whole / image_list.file
        self.root = self._image_folder(image_list)
        self.paths, numbers = _read_list(path)
        class_folders = self._class_folders()
        # a class is called by its folder without the one of its first letter
        self.classes = [folder.split("/", 1)[-1] for folder in class_folders]
        self.labels = np.array(numbers, np.int64)
        largest = self.labels.max()
        if largest >= len(class_folders):
            raise DataError(f"{path}: label {largest} in a list of {len(class_folders)} classes")
        self._check_folders(path, numbers, class_folders)
        if not (self.root / self.paths[0]).is_file():
            raise DataError(
                f"{self.root}: {self.paths[0]} of {path.name} is not in it; unpack the images there"
            )

    def _list_of(self, split: str) -> ImageList:
        """The list of a split that is there."""
        lists = self.lists.get("test" if split == "val" else split, ())  # theirs is a val split
        for image_list in lists:
            if (Path(self.data) / image_list.file).is_file():
                return image_list
        expected = " or ".join(image_list.file for image_list in lists) or "train or test"
        raise SplitError(f"{Path(self.data)}: no {split} split; expected {expected}")

    def _image_folder(self, image_list: ImageList) -> Path:
        for name in image_list.folders:
            folder = Path(self.data) / name
            if folder.is_dir():
                return folder
        raise SplitError(
            f"{self.data}: no images of the {self.split} split; "
            f"expected a folder {' or '.join(image_list.folders)} in it"
        )

    def _class_folders(self) -> list[str]:
        """The folder of each class, from the class list."""
        for name in self.class_lists:
            path = Path(self.data) / name
            if path.is_file():
                return _by_number(path, *_read_list(path))
        return self._class_folders_without_list()

    def _class_folders_without_list(self) -> list[str]:
        raise DataError(
            f"{Path(self.data)}: no list of the classes; "
            f"expected {' or '.join(self.class_lists)} in it"
        )

    def _check_folders(self, path: Path, numbers: list[int], class_folders: list[str]) -> None:
        """Check that the folder that a path names, where it names one, is that of its label."""
        for image, number in zip(self.paths, numbers, strict=True):
            folder = _folder_of(image)
            if folder and folder != class_folders[number]:
                raise DataError(
                    f"{path}: {image} has the label {number}, "
                    f"and that is {class_folders[number]} in the class list"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, index: int) -> str:
        """The path as the list has it, without a leading slash."""
        return self.paths[index]

    def open(self, index: int) -> LazyImage:
        """Open the file."""
        return LazyImage(self.root / self.paths[index], value_range=self.value_range)

    def fingerprint(self, index: int) -> bytes:
        """The size of the file; -1 where it is absent."""
        return str(self._file_size(self.paths[index])).encode()

    def local_fingerprint(self, index: int) -> bytes:
        """Size and times of the file."""
        return file_state(self.root / self.paths[index]).encode()

    def encoded(self, index: int) -> bytes | None:
        """The file's bytes."""
        return file_bytes(self.root / self.paths[index])

    def manifest(self) -> str:
        """Paths and sizes."""
        return "\n".join(f"{path} {self._file_size(path)}" for path in self.paths)

    def _file_size(self, path: str) -> int:
        return file_size(self.root / path)


@SOURCES.register("places365")
class Places365(_Places):
    """The standard training list goes before the challenge's, images of 256 pixels before large."""

    lists = {
        "train": (
            ImageList(
                "places365_train_standard.txt",
                ("data_256_standard", "data_256", "data_large_standard", "data_large"),
            ),
            ImageList(
                "places365_train_challenge.txt",
                ("data_256_challenge", "data_256", "data_large_challenge", "data_large"),
            ),
        ),
        "test": (ImageList("places365_val.txt", ("val_256", "val_large")),),
    }
    class_lists = ("categories_places365.txt",)


_IMAGES205 = ("data/vision/torralba/deeplearning/images256", "images256", ".")


@SOURCES.register("places205")
class Places205(_Places):
    """Without ``categoryIndex_places205.csv`` the training list's folders are the classes."""

    lists = {
        "train": (
            ImageList("trainvalsplit_places205/train_places205.csv", _IMAGES205),
            ImageList("train_places205.csv", _IMAGES205),
        ),
        "test": (
            ImageList("trainvalsplit_places205/val_places205.csv", _IMAGES205),
            ImageList("val_places205.csv", _IMAGES205),
        ),
    }
    class_lists = (
        "categoryIndex_places205.csv",
        "trainvalsplit_places205/categoryIndex_places205.csv",
    )

    def _class_folders_without_list(self) -> list[str]:
        path = Path(self.data) / self._list_of("train").file
        images, numbers = _read_list(path)
        return _by_number(path, map(_folder_of, images), numbers)
