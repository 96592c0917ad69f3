"""WebDataset shards: tar files of ``KEY.jpg`` beside ``KEY.cls``, which holds the number of the class."""

import os
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.images import SUFFIXES, read
from zoo.data.source import SOURCES, Source
from zoo.errors import DataError

_SPLITS = {"train": ("train",), "test": ("test", "val", "validation")}


def _files(folder: Path, split: str) -> list[Path]:
    """The split's shards in order of name; shards named after no split are all for training."""
    shards = sorted(folder.glob("*.tar"))
    for name in _SPLITS.get(split, (split,)):
        if found := [path for path in shards if path.name.startswith(name)]:
            return found
    others = [path for path in shards if not path.name.startswith(("train", *_SPLITS["test"]))]
    return others if split == "train" else []


@SOURCES.register("shards")
class Shards(Source):
    """Images are read where they lie in the tar files; nothing is unpacked.

    An image's identity is its shard's name and its path in there without the ending, and the order is that of these.
    """

    @classmethod
    def detect(cls, data: str) -> bool:
        return any(Path(data).glob("*.tar"))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        files = _files(Path(data), split)
        if not files:
            there = ", ".join(sorted(p.name for p in Path(data).glob("*.tar"))[:6])
            raise DataError(
                f"{data}: no {split} split; expected shards like {split}-000000.tar, found {there}"
            )
        self.places: list[
            tuple[Path, str, int, int]
        ] = []  # shard, path within, offset and size of the image
        classes: list[int | None] = []
        for file in files:
            images, labels = self._index(file)
            self.places += [(file, *images[key]) for key in sorted(images)]
            classes += [labels.get(key) for key in sorted(images)]
        if classes and all(label is not None for label in classes):
            self.labels = np.array(classes, np.int64)
            self.classes = [str(i) for i in range(int(self.labels.max()) + 1)]

    @staticmethod
    def _index(file: Path) -> tuple[dict[str, tuple[str, int, int]], dict[str, int]]:
        """{key: (path, offset, size)} of the images of a shard, and {key: class}."""
        images, labels, member = {}, {}, None
        try:
            with tarfile.open(file, "r:") as shard:
                for member in shard:
                    folder, _, name = member.name.rpartition("/")
                    key, ending = (
                        f"{folder}/{name.partition('.')[0]}".lstrip("/"),
                        os.path.splitext(name)[1].lower(),
                    )
                    if member.isfile() and ending in SUFFIXES:
                        images[key] = (member.name, member.offset_data, member.size)
                    elif member.isfile() and ending == ".cls":
                        labels[key] = int(shard.extractfile(member).read(20))  # type: ignore[union-attr]
                        if labels[key] < 0:
                            raise ValueError("a negative class")
        except (tarfile.TarError, OSError, ValueError) as error:
            where = f" at {member.name}" if member else ""
            raise DataError(
                f"{file}: not a readable shard{where} ({error}); fetch it again, uncompressed"
            ) from error
        return images, labels

    def __len__(self) -> int:
        return len(self.places)

    def key(self, index: int) -> str:
        file, name, _, _ = self.places[index]
        return f"{file.name}/{os.path.splitext(name)[0]}"

    def image(self, index: int) -> Image.Image:
        file, name, offset, size = self.places[index]
        try:
            with open(file, "rb") as shard:
                shard.seek(offset)
                content = shard.read(size)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        return read(content, f"{file}: {name}")

    def manifest(self) -> str:
        return "\n".join(f"{file.name}/{name} {size}" for file, name, _, size in self.places)
