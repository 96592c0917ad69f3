"""The contract of a data source."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from zoo.data.images import LazyImage
from zoo.errors import DataError
from zoo.utils.registry import Registry

IN_MEMORY = 2 << 30  # bytes of decoded images that array() may hold
_SMALL = (
    128  # pixels; larger images are cropped from their files, which hold more than one size anyway
)


class Source:
    """A fixed list of images: the index of an image never changes, whatever is skipped.

    Attributes:
        data: what the user typed.
        split: ``train`` or ``test``.
        labels: N int64 class numbers, or None.
        classes: the class names, or None; those of the training split, whichever split this is.
        skip_bad: whether unreadable images are left out instead of raising.
        bad: indices found unreadable so far.
    """

    data: str
    split: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    skip_bad: bool = False
    bad: set[int]
    fallback: bool = False  # a kind that is asked after all others
    named: bool = False  # a kind that is known by a name and not by a place

    def __init__(self, data: str, split: str) -> None:
        self.data, self.split, self.bad = data, split, set()
        self._decoded: tuple[np.ndarray | None, ...] = ()
        self._numbers: dict[str, int] = {}

    @classmethod
    def detect(cls, data: str) -> bool:
        """Whether this kind knows what the user typed."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def key(self, index: int) -> str:
        """The image's identity, unique in the source: a POSIX path, or a row."""
        raise NotImplementedError

    def image(self, index: int) -> Image.Image:
        """The image as upright 8-bit RGB.

        Raises:
            DataError: naming the image, if it cannot be read.
        """
        raise NotImplementedError

    def stamp(self, index: int) -> bytes:
        """What tells whether an image has changed, without decoding it: its bytes, or their number."""
        raise NotImplementedError

    def find(self, key: str) -> int | None:
        """The index of a key, or None."""
        if not self._numbers:
            self._numbers = {self.key(i): i for i in range(len(self))}
        return self._numbers.get(key)

    def open(self, index: int) -> LazyImage:
        """The image, for cutting a box from it; sources of files leave the decoding to that.

        Raises:
            DataError: naming the image, if it cannot be read.
        """
        return LazyImage(self.image(index))

    def manifest(self) -> str:
        """What the digest covers: changes whenever an image is added, removed, renamed or resized."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """sha256 of the count and the manifest; the same wherever the data set lies."""
        return hashlib.sha256(f"{len(self)}\n{self.manifest()}".encode()).hexdigest()

    def array(self) -> np.ndarray | None:
        """All images as N×H×W×3 uint8, or None where they differ in size or would not fit in memory. Decoded once."""
        if not self._decoded:
            self._decoded = (self._decode(),)
        return self._decoded[0]

    @property
    def decoded(self) -> bool:
        """Whether :meth:`array` would answer at once."""
        return bool(self._decoded)

    def _decode(self) -> np.ndarray | None:
        first = next(image for image in map(self._try, range(len(self))) if image is not None)
        width, height = first.size
        if max(width, height) > _SMALL or len(self) * width * height * 3 > IN_MEMORY:
            return None
        out = np.zeros((len(self), height, width, 3), np.uint8)

        def fill(index: int) -> bool:
            image = self._try(index)
            if image is not None and image.size != (width, height):
                return False
            if image is not None:
                out[index] = np.asarray(image)
            return True

        with ThreadPoolExecutor() as pool:
            for start in range(
                0, len(self), 4096
            ):  # a strange size is found before everything is decoded
                if not all(pool.map(fill, range(start, min(start + 4096, len(self))))):
                    return None
        return out

    def _try(self, index: int) -> Image.Image | None:
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

    def require_labels(self) -> tuple[np.ndarray, list[str]]:
        """Labels and class names.

        Raises:
            DataError: if the source has none, saying how to give them.
        """
        if self.labels is None or self.classes is None:
            raise DataError(
                f"{self.data}: the {self.split} split has no labels; give an ImageFolder (train/CLASS/…, test/CLASS/…) "
                "or parquet with a label column"
            )
        return self.labels, self.classes


class ArraySource(Source):
    """Images that lie in memory already: N×H×W×3 uint8."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        return f"{self.split}/{index:06d}"

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def stamp(self, index: int) -> bytes:
        return self.images[index].tobytes()

    def manifest(self) -> str:
        return hashlib.sha256(self.images.tobytes()).hexdigest()

    def array(self) -> np.ndarray | None:
        return self.images

    @property
    def decoded(self) -> bool:
        return True


SOURCES: Registry[type[Source]] = Registry("data source")
