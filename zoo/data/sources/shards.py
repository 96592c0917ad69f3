"""WebDataset shards: tar files of ``KEY.jpg`` beside ``KEY.cls``, the number of its class."""

import os
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.data.images import SUFFIXES, LazyImage
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

_SPLITS = {"train": ("train",), "test": ("test", "val", "validation")}
_LONGEST_NUMBER = 20  # bytes of a .cls file that are read


class _Member(NamedTuple):
    """An image within a shard.

    Attributes:
        shard: the tar file.
        path: within it.
        offset: of the image's first byte in the tar file.
        size: of the image, bytes.
    """

    shard: Path
    path: str
    offset: int
    size: int


def _shards(data: str, split: str) -> list[Path]:
    """The split's shards in order of name; shards named after no split are all for training.

    Raises:
        DataError: if there are none; it says what there is.
    """
    shards = sorted(Path(data).glob("*.tar"))
    for name in _SPLITS.get(split, (split,)):
        named = [path for path in shards if path.name.startswith(name)]
        if named:
            return named
    every_split = (*_SPLITS["train"], *_SPLITS["test"])
    others = [path for path in shards if not path.name.startswith(every_split)]
    if split == "train" and others:
        return others
    existing = ", ".join(path.name for path in shards[:6])
    raise DataError(
        f"{data}: no {split} split; expected shards like {split}-000000.tar, found {existing}"
    )


def _read_index(shard: Path) -> tuple[dict[str, _Member], dict[str, int]]:
    """The images of a shard by key, and the class of each key that has one.

    Raises:
        DataError: if it is no uncompressed tar file, is cut off, or holds a strange class.
    """
    images: dict[str, _Member] = {}
    labels: dict[str, int] = {}
    member = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                key = f"{folder}/{name.partition('.')[0]}".lstrip("/")
                suffix = os.path.splitext(name)[1].lower()
                if suffix in SUFFIXES:
                    images[key] = _Member(shard, member.name, member.offset_data, member.size)
                elif suffix == ".cls":
                    labels[key] = _read_class(archive, member)
    except (tarfile.TarError, OSError, ValueError) as error:
        where = f" at {member.name}" if member else ""
        raise DataError(
            f"{shard}: not a readable shard{where} ({error}); fetch it again, uncompressed"
        ) from error
    return images, labels


def _read_class(archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = archive.extractfile(member)
    assert file is not None  # it is a file and no folder
    number = int(file.read(_LONGEST_NUMBER))
    if number < 0:
        raise ValueError("a negative class")
    return number


@SOURCES.register("shards")
class Shards(Source):
    """Images are read where they lie in the tar files; nothing is unpacked.

    An image's identity is its shard's name and its path in there without the ending, and the order
    is that of these.

    Attributes:
        members: where each image lies.
    """

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder with tar files in it."""
        return any(Path(data).glob("*.tar"))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        self.members: list[_Member] = []
        numbers: list[int] = []
        for shard in _shards(data, split):
            images, labels = _read_index(shard)
            for key in sorted(images):
                self.members.append(images[key])
                if key in labels:
                    numbers.append(labels[key])
        if numbers and len(numbers) == len(self.members):
            self.labels = np.array(numbers, np.int64)
            self.classes = [str(number) for number in range(max(numbers) + 1)]

    def __len__(self) -> int:
        return len(self.members)

    def key(self, index: int) -> str:
        """The shard's name and the path in it, without the ending."""
        member = self.members[index]
        return f"{member.shard.name}/{os.path.splitext(member.path)[0]}"

    def open(self, index: int) -> LazyImage:
        """Open the image's bytes in the shard."""
        member = self.members[index]
        try:
            with open(member.shard, "rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
        except OSError as error:
            raise DataError(f"{member.shard}: cannot be read ({error.strerror})") from error
        return LazyImage(content, f"{member.shard}: {member.path}")

    def fingerprint(self, index: int) -> bytes:
        """The size of the encoded image."""
        return str(self.members[index].size).encode()

    def manifest(self) -> str:
        """Shards, paths and sizes."""
        lines = []
        for member in self.members:
            lines.append(f"{member.shard.name}/{member.path} {member.size}")
        return "\n".join(lines)
