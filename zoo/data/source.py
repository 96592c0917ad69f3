"""The contract of a data source."""

import hashlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
from PIL import Image

from zoo.data.images import LazyImage
from zoo.errors import DataError
from zoo.utils.registry import Registry

IN_MEMORY = 2 << 30  # bytes of decoded images that array() may hold
_SMALL = 128  # pixels; larger images are cropped from their files, which hold other sizes anyway
_DECODED_TOGETHER = 4096  # a strange size is found before everything is decoded


class Source(ABC):
    """A fixed list of images: the index of an image never changes, whatever is skipped.

    A kind of source implements the abstract methods and registers itself in :data:`SOURCES`;
    everything else follows from them.

    Attributes:
        data: what the user typed.
        split: ``train`` or ``test``.
        labels: N int64 class numbers, -1 where an image has none; None where no image has one.
        label_problem: why there are no labels, or why some images have none; empty where all is
            well.
        notes: what of the data is not used, and why, a line each.
        classes: the class names, or None; those of the training split, whichever split this is.
        value_range: what is black and white in images of more than 8 bits, where that is named; see
            :mod:`zoo.data.value_range`.
        skip_bad: whether unreadable images are left out instead of raising.
        bad: indices found unreadable so far.
        fallback: whether this kind is asked after all others.
        is_named: whether this kind is known by a name, the same everywhere, and not by a path.
    """

    fallback: ClassVar[bool] = False
    is_named: ClassVar[bool] = False

    data: str
    split: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    label_problem: str = ""
    notes: list[str]
    value_range: tuple[float, float] | None = None
    skip_bad: bool = False
    bad: set[int]

    def __init__(self, data: str, split: str) -> None:
        """
        Args:
            data: what the user typed; :meth:`accepts` said yes to it.
            split: ``train`` or ``test``.

        Raises:
            DataError: if the split is missing or cannot be read.
        """
        self.data = data
        self.split = split
        self.bad = set()
        self.notes = []
        self._readable: dict[int, bool] = {}
        self._array: np.ndarray | None = None
        self._array_is_known = False
        self._index_of_key: dict[str, int] = {}

    @classmethod
    @abstractmethod
    def accepts(cls, data: str) -> bool:
        """Say whether this kind knows what the user typed."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of images, unreadable ones included."""

    @abstractmethod
    def key(self, index: int) -> str:
        """The image's identity, unique in the source: a POSIX path, or a row."""

    @abstractmethod
    def open(self, index: int) -> LazyImage:
        """Open an image; its pixels are decoded only when they are asked for.

        Raises:
            DataError: naming the image, if it cannot be read.
        """

    @abstractmethod
    def fingerprint(self, index: int) -> bytes:
        """What tells without decoding whether an image has changed: its bytes, or their number."""

    def local_fingerprint(self, index: int) -> bytes:
        """What tells on this machine, without reading it, whether an image has changed.

        That may be more than :meth:`fingerprint` covers, such as the times of its file; it need not
        be the same on another machine.
        """
        return self.fingerprint(index)

    def encoded(self, index: int) -> bytes | None:
        """The bytes that an image is decoded from; None where they are not there."""
        return self.fingerprint(index)

    @abstractmethod
    def manifest(self) -> str:
        """What the digest covers: differs when an image is added, removed, renamed or resized."""

    def image(self, index: int) -> Image.Image:
        """The image as upright 8-bit RGB.

        Raises:
            DataError: naming the image, if it cannot be read.
        """
        return self.open(index).rgb()

    def find(self, key: str) -> int | None:
        """The index of a key, or None."""
        if not self._index_of_key:
            self._index_of_key = {self.key(index): index for index in range(len(self))}
        return self._index_of_key.get(key)

    @property
    def digest(self) -> str:
        """The sha256 of the count and the manifest; the same wherever the data set lies."""
        return hashlib.sha256(f"{len(self)}\n{self.manifest()}".encode()).hexdigest()

    @property
    def local_digest(self) -> str:
        """The sha256 of the digest and all local fingerprints: differs when pixels may differ.

        It is the key of what is kept on this machine.
        """
        digest = hashlib.sha256(f"{self.digest} {self.value_range}".encode())
        for index in range(len(self)):
            digest.update(self.local_fingerprint(index))
            digest.update(b"\n")
        return digest.hexdigest()

    def array(self) -> np.ndarray | None:
        """All images as N×H×W×3 uint8, or None if they differ in size or do not fit in memory.

        They are decoded once.

        Raises:
            DataError: naming an image that cannot be read, unless bad ones are skipped.
        """
        if not self._array_is_known:
            self._array = self._decode()
            self._array_is_known = True
        return self._array

    @property
    def decoded(self) -> bool:
        """Whether :meth:`array` would answer at once."""
        return self._array_is_known

    def set_labels(self, labels: np.ndarray, classes: list[str], problem: str = "") -> None:
        """Set labels and class names; those of a split without any label are none.

        Args:
            labels: N class numbers, -1 where an image has none.
            classes: the names.
            problem: why some have none; by default that they are -1.
        """
        labels = np.asarray(labels, np.int64)
        missing = int((labels < 0).sum())
        if missing == len(labels):
            self.label_problem = problem or f"all {missing} labels are missing, or -1"
            return
        if missing:
            self.label_problem = problem or f"{missing} of {len(labels)} are missing, or -1"
        self.labels = labels
        self.classes = classes

    def require_labels(self) -> tuple[np.ndarray, list[str]]:
        """Labels and class names.

        Raises:
            DataError: if the source or one of its images has none, saying why and how to give them.
        """
        if self.labels is None or self.classes is None:
            reason = f" ({self.label_problem})" if self.label_problem else ""
            raise DataError(
                f"{self.data}: the {self.split} split has no labels{reason}; "
                "give an ImageFolder (train/CLASS/…, test/CLASS/…) or parquet with a label column"
            )
        unlabelled = np.flatnonzero(self.labels < 0)
        if len(unlabelled):
            raise DataError(
                f"{self.data}: {len(unlabelled)} of {len(self)} images of the {self.split} split "
                f"have no label, as {self.key(int(unlabelled[0]))}; label or remove them"
            )
        return self.labels, self.classes

    def is_readable(self, index: int) -> bool:
        """Whether an image can be decoded; it is tried once, and a bad one is known as such."""
        if self._array_is_known and self._array is not None:
            return index not in self.bad
        if index not in self._readable:
            try:
                self.image(index)
                self._readable[index] = True
            except DataError:
                self.bad.add(index)
                self._readable[index] = False
        return self._readable[index]

    def _decode(self) -> np.ndarray | None:
        width, height = self._first_image().size
        if max(width, height) > _SMALL or len(self) * width * height * 3 > IN_MEMORY:
            return None
        pixels = np.zeros((len(self), height, width, 3), np.uint8)

        def fill(index: int) -> bool:
            image = self._image_or_none(index)
            if image is None:
                return True
            if image.size != (width, height):
                return False
            pixels[index] = np.asarray(image)
            return True

        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), _DECODED_TOGETHER):
                indices = range(start, min(start + _DECODED_TOGETHER, len(self)))
                if not all(pool.map(fill, indices)):
                    return None
        return pixels

    def _first_image(self) -> Image.Image:
        """The first image that can be read."""
        images = map(self._image_or_none, range(len(self)))
        return next(image for image in images if image is not None)

    def _image_or_none(self, index: int) -> Image.Image | None:
        """The image; None where it is bad and bad ones are skipped."""
        try:
            return self.image(index)
        except DataError:
            if not self.skip_bad:
                raise
            self.bad.add(index)
            if len(self.bad) == len(self):
                raise
            return None


class ArraySource(Source):
    """Images that lie in memory already.

    Attributes:
        images: N×H×W×3 uint8.
    """

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        """The split and the row."""
        return f"{self.split}/{index:06d}"

    def open(self, index: int) -> LazyImage:
        """The row as an image."""
        return LazyImage(Image.fromarray(self.images[index]))

    def fingerprint(self, index: int) -> bytes:
        """The pixels."""
        pixels: np.ndarray = self.images[index]
        return pixels.tobytes()

    def manifest(self) -> str:
        """The sha256 of all pixels."""
        return hashlib.sha256(self.images.tobytes()).hexdigest()

    @property
    def local_digest(self) -> str:
        """The digest, which covers all pixels."""
        return self.digest

    def array(self) -> np.ndarray | None:
        """The images themselves, whatever their number and size."""
        return self.images

    @property
    def decoded(self) -> bool:
        """Always: there is nothing to decode."""
        return True


SOURCES: Registry[type[Source]] = Registry("data source")
