"""Some images of a source, as a source: validation splits, and smaller training sets."""

import hashlib

import numpy as np

from zoo.data.images import LazyImage
from zoo.data.source import Source
from zoo.errors import SettingsError


class Subset(Source):
    """Some images of another source, in a given order, with its labels and classes.

    Attributes:
        whole: the other source.
        indices: of the images in it, int64.
    """

    def __init__(self, whole: Source, indices: np.ndarray) -> None:
        """
        Args:
            whole: the source.
            indices: int64, each image at most once.

        Raises:
            SettingsError: if there are no indices, or one repeats an image or leaves the source.
        """
        indices = np.asarray(indices, np.int64)
        repeats = len(np.unique(indices)) < len(indices)
        if not len(indices) or repeats or indices.min() < 0 or indices.max() >= len(whole):
            raise SettingsError(
                f"a subset of {whole.data} needs distinct indices below {len(whole)}, "
                "and at least one"
            )
        super().__init__(whole.data, whole.split)
        self.whole = whole
        self.indices = indices
        self.skip_bad = whole.skip_bad
        self.labels = None if whole.labels is None else whole.labels[indices]
        self.classes = whole.classes
        self.label_problem = whole.label_problem
        self.notes = whole.notes
        self.value_range = whole.value_range

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say no: a subset is made from a source and not from what the user types."""
        return False

    def __len__(self) -> int:
        return len(self.indices)

    def key(self, index: int) -> str:
        """The image's key in the whole."""
        return self.whole.key(int(self.indices[index]))

    def open(self, index: int) -> LazyImage:
        """Open the image of the whole."""
        return self.whole.open(int(self.indices[index]))

    def fingerprint(self, index: int) -> bytes:
        """The image's fingerprint in the whole."""
        return self.whole.fingerprint(int(self.indices[index]))

    def local_fingerprint(self, index: int) -> bytes:
        """The image's local fingerprint in the whole."""
        return self.whole.local_fingerprint(int(self.indices[index]))

    def encoded(self, index: int) -> bytes | None:
        """The image's bytes in the whole."""
        return self.whole.encoded(int(self.indices[index]))

    def manifest(self) -> str:
        """The digest of the whole and that of the indices."""
        return f"{self.whole.digest}\n{hashlib.sha256(self.indices.tobytes()).hexdigest()}"

    def _decode(self) -> np.ndarray | None:
        whole = self.whole.array()
        for position, index in enumerate(self.indices.tolist()):
            if index in self.whole.bad:
                self.bad.add(position)
        return None if whole is None else whole[self.indices]
