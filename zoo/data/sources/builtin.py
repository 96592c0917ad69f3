"""Data sets by name: scikit-learn's digits, and torchvision's CIFAR and STL."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.source import SOURCES, ArraySource
from zoo.errors import DataError


def cache_folder() -> Path:
    """Where downloaded data sets are kept: ``NPID_CACHE``, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "npid"
    return Path(os.environ.get("NPID_CACHE", default))


@SOURCES.register("digits")
class Digits(ArraySource):
    """The 1 797 8×8 digits that scikit-learn ships; every fifth of a fixed shuffle is the test split."""

    named = True

    @classmethod
    def detect(cls, data: str) -> bool:
        return data == "digits"

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        rows = order[::5] if split == "test" else np.delete(order, slice(None, None, 5))
        grey = np.round(digits.images[rows] * (255 / 16)).astype(np.uint8)
        self.images = np.repeat(grey[..., None], 3, axis=3)
        self.labels = digits.target[rows].astype(np.int64)
        self.classes = [str(i) for i in range(10)]


class _Torchvision(ArraySource):
    named = True
    names: tuple[str, ...]

    @classmethod
    def detect(cls, data: str) -> bool:
        return data in cls.names

    def fetch(self, split: str) -> Any:
        """torchvision's data set, downloaded where it is not yet there."""
        raise NotImplementedError

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        try:
            found = self.fetch(split)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{data}: not in {cache_folder()} and cannot be downloaded ({error}); "
                "connect once, or give a folder of images or parquet instead"
            ) from error
        pixels = found.data
        self.images = (
            pixels if pixels.shape[3] == 3 else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        )
        labels = np.asarray(getattr(found, "targets", getattr(found, "labels", None)), np.int64)
        self.labels = labels if (labels >= 0).all() else None
        self.classes = list(found.classes) if self.labels is not None else None


@SOURCES.register("cifar")
class Cifar(_Torchvision):
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009)."""

    names = ("cifar10", "cifar100")

    def fetch(self, split: str) -> Any:
        from torchvision import datasets

        kind = datasets.CIFAR10 if self.data == "cifar10" else datasets.CIFAR100
        return kind(str(cache_folder()), train=split == "train", download=True)


@SOURCES.register("stl")
class Stl(_Torchvision):
    """STL-10 (Coates et al. 2011); ``stl10-unlabeled`` trains on its 100 000 images without labels."""

    names = ("stl10", "stl10-unlabeled")

    def fetch(self, split: str) -> Any:
        from torchvision import datasets

        unlabelled = self.data == "stl10-unlabeled" and split == "train"
        return datasets.STL10(
            str(cache_folder()), split="unlabeled" if unlabelled else split, download=True
        )
