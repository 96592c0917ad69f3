"""Some images of a source, as a source: validation splits, and training sets of a smaller size."""

import hashlib

import numpy as np
from PIL import Image

from zoo.data.images import LazyImage
from zoo.data.source import Source
from zoo.errors import SettingsError


class Subset(Source):
    """The images ``index`` of another source, in that order, with its labels and classes."""

    def __init__(self, whole: Source, index: np.ndarray) -> None:
        """
        Args:
            whole: the source.
            index: int64, each image at most once.

        Raises:
            SettingsError: if the index is empty, repeats an image or leaves the source.
        """
        index = np.asarray(index, np.int64)
        if (
            not len(index)
            or len(np.unique(index)) < len(index)
            or index.min() < 0
            or index.max() >= len(whole)
        ):
            raise SettingsError(
                f"a subset of {whole.data} needs distinct indices below {len(whole)}, and at least one"
            )
        super().__init__(whole.data, whole.split)
        self.whole, self.index, self.skip_bad = whole, index, whole.skip_bad
        self.labels = None if whole.labels is None else whole.labels[index]
        self.classes = whole.classes

    def __len__(self) -> int:
        return len(self.index)

    def key(self, index: int) -> str:
        return self.whole.key(int(self.index[index]))

    def image(self, index: int) -> Image.Image:
        return self.whole.image(int(self.index[index]))

    def open(self, index: int) -> LazyImage:
        return self.whole.open(int(self.index[index]))

    def stamp(self, index: int) -> bytes:
        return self.whole.stamp(int(self.index[index]))

    def manifest(self) -> str:
        return f"{self.whole.digest}\n{hashlib.sha256(self.index.tobytes()).hexdigest()}"

    def array(self) -> np.ndarray | None:
        if not self._decoded:
            every = self.whole.array()
            self._decoded = (None if every is None else every[self.index],)
            self.bad = {i for i, at in enumerate(self.index.tolist()) if at in self.whole.bad}
        return self._decoded[0]
