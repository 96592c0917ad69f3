"""WebDataset shards: tar files of ``KEY.jpg`` beside ``KEY.cls``, the number of its class."""

import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.data.images import LazyImage
from zoo.data.source import SOURCES, Source
from zoo.data.sources._files import file_state
from zoo.data.sources._labels import number_classes
from zoo.data.sources._left_out import is_image, note_on_loose, notes_on, printable
from zoo.data.split_names import choose_files, split_files
from zoo.errors import DataError, SplitError

_LONGEST_NUMBER = 20  # bytes of a .cls file that are read
_LABEL_FILE = ".cls"


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


class _Index(NamedTuple):
    """What a shard holds.

    Attributes:
        images: by the path without the image's ending, in order of that; by the whole path where
            two images would have the same.
        labels: class numbers by the path of the ``.cls`` file without that ending.
        problem: the first label that is no number, in words; empty where there is none.
        others: paths of the other files.
    """

    images: dict[str, _Member]
    labels: dict[str, int]
    problem: str
    others: list[str]


def _read_index(shard: Path) -> _Index:
    """List what a shard holds.

    Raises:
        DataError: if it is no uncompressed tar file, or is cut off.
    """
    members: dict[str, _Member] = {}
    labels: dict[str, int] = {}
    problem = ""
    others = []
    member = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                stem, suffix = os.path.splitext(member.name)
                if is_image(member.name.removeprefix("./")):
                    members[member.name] = _Member(
                        shard, member.name, member.offset_data, member.size
                    )
                elif suffix.lower() == _LABEL_FILE:
                    text = _read_label(archive, member)
                    try:
                        labels[stem] = int(np.int64(int(text)))
                    except (ValueError, OverflowError):
                        problem = problem or (
                            f"{shard.name}: {member.name} holds {text!r}, expected a class number"
                        )
                else:
                    others.append(member.name)
    except (tarfile.TarError, OSError, ValueError) as error:
        where = f" at {member.name}" if member else ""
        raise DataError(
            f"{shard}: not a readable shard{where} ({error}); fetch it again, uncompressed"
        ) from error
    return _Index(_by_stem(members), labels, problem, others)


def _by_stem(members: dict[str, _Member]) -> dict[str, _Member]:
    """Images by their paths without the ending, in order, each under a name of its own."""
    count: Counter[str] = Counter()
    for path in members:
        count[os.path.splitext(path)[0]] += 1
    images = {}
    for path in sorted(members, key=lambda path: os.path.splitext(path)):
        stem = os.path.splitext(path)[0]
        images[path if count[stem] > 1 else stem] = members[path]
    return images


def _read_label(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # it is a file and no folder
    return file.read(_LONGEST_NUMBER).strip()


def _label_of(path: str, labels: dict[str, int]) -> int:
    """The class number of an image, -1 where it has none.

    The endings of its name are left off one after another: ``7.left.png`` is of ``7.left.cls``, or
    else of ``7.cls``.
    """
    folder, slash, name = path.rpartition("/")
    while "." in name:
        name = name.rpartition(".")[0]
        number = labels.get(f"{folder}{slash}{name}")
        if number is not None:
            return max(number, -1)
    return -1


@SOURCES.register("shards")
class Shards(Source):
    """Images are read where they lie in the tar files; nothing is unpacked.

    An image's identity is its shard's name and its path in there without the ending, and the order
    is that of these. A sample may have several images.

    Attributes:
        members: where each image lies.
    """

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is a folder with tar files in it."""
        return bool(split_files(Path(data), ".tar"))

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        root = Path(data)
        shards = self._shards(root)
        self.members: list[_Member] = []
        self._keys: list[str] = []
        self._states = {shard: file_state(shard) for shard in shards}
        numbers: list[int] = []
        problem = ""
        others: list[str] = []
        for shard in shards:
            index = _read_index(shard)
            problem = problem or index.problem
            others += index.others
            for stem, member in index.images.items():
                self.members.append(member)
                self._keys.append(printable(f"{shard.name}/{stem}"))
                numbers.append(_label_of(member.path, index.labels))
        if not self.members:
            raise DataError(
                f"{data}: the {split} split holds no image; its shards hold files like "
                f"{', '.join(others[:3]) or 'none'}"
            )
        self.notes += notes_on(root, others)
        self.notes += note_on_loose(root, "shards")
        self._take_labels(numbers, problem, others)

    def _shards(self, root: Path) -> list[Path]:
        """The split's shards.

        Raises:
            DataError: if there are none; it says what there is.
        """
        files = split_files(root, ".tar")
        chosen = choose_files(files, self.split)
        if not chosen:
            existing = ", ".join(path.name for _, path in files[:6])
            raise SplitError(
                f"{self.data}: no {self.split} split; expected shards like "
                f"{self.split}-000000.tar, found {existing}"
            )
        unnamed = [path.name for split, path in files if split is None and path not in chosen]
        if unnamed:
            self.notes.append(
                f"{len(unnamed)} shards, as {unnamed[0]}, are left out: no word of their names "
                "(train, val, test) says which split they are of"
            )
        compressed = sorted(path.name for path in root.glob("*.t*gz") if path.is_file())
        if compressed:
            self.notes.append(
                f"{len(compressed)} compressed archives, as {compressed[0]}, are left out: "
                "unpack them to .tar"
            )
        return chosen

    def _take_labels(self, numbers: list[int], problem: str, others: list[str]) -> None:
        if problem:
            self.label_problem = problem
            return
        labels = np.array(numbers, np.int64)
        missing = int((labels < 0).sum())
        classes, labels = number_classes(labels)
        if missing:
            endings = sorted({os.path.splitext(path)[1] for path in others})
            found = f", found {', '.join(endings[:5])}" if endings else ""
            problem = (
                f"{missing} of {len(labels)} images have no class number in a .cls file{found}"
            )
        self.set_labels(labels, classes, problem)

    def __len__(self) -> int:
        return len(self.members)

    def key(self, index: int) -> str:
        """The shard's name and the path in it, without the ending where it is of one image only."""
        return self._keys[index]

    def open(self, index: int) -> LazyImage:
        """Open the image's bytes in the shard."""
        member = self.members[index]
        name = printable(f"{member.shard}: {member.path}")
        return LazyImage(self._read(member), name, self.value_range)

    def _read(self, member: _Member) -> bytes:
        try:
            with open(member.shard, "rb") as file:
                file.seek(member.offset)
                return file.read(member.size)
        except OSError as error:
            raise DataError(f"{member.shard}: cannot be read ({error.strerror})") from error

    def fingerprint(self, index: int) -> bytes:
        """The size of the encoded image."""
        return str(self.members[index].size).encode()

    def local_fingerprint(self, index: int) -> bytes:
        """Size and times of the shard as it was opened, and where the image lies in it."""
        member = self.members[index]
        return f"{self._states[member.shard]} {member.offset} {member.size}".encode()

    def encoded(self, index: int) -> bytes | None:
        """The image's bytes in the shard."""
        try:
            return self._read(self.members[index])
        except DataError:
            return None

    def manifest(self) -> str:
        """Shards, paths and sizes."""
        lines = []
        for member in self.members:
            lines.append(printable(f"{member.shard.name}/{member.path} {member.size}"))
        return "\n".join(lines)
