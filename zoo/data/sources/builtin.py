"""Data sets by name: scikit-learn's digits, and torchvision's CIFAR and STL."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from zoo.data.source import SOURCES, ArraySource
from zoo.errors import DataError, SplitError


def cache_folder() -> Path:
    """Where downloaded data sets are kept: ``NPID_CACHE``, or the user's cache folder."""
    if "NPID_CACHE" in os.environ:
        return Path(os.environ["NPID_CACHE"])
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"]) / "npid"
    try:
        return Path.home() / ".cache" / "npid"
    except RuntimeError as error:
        raise DataError(
            "there is no home folder to keep data sets in; set NPID_CACHE to a folder"
        ) from error


def _check_split(data: str, split: str, splits: tuple[str, ...] = ("train", "test")) -> None:
    """Refuse a split that a named data set does not have.

    Raises:
        DataError: naming those that it has.
    """
    if split not in splits:
        raise SplitError(
            f"{data}: no {split} split; it has {' and '.join(splits)}, and a part of the training "
            "images can be held out"
        )


@SOURCES.register("digits")
class Digits(ArraySource):
    """The 1 797 8×8 digits of scikit-learn; every fifth of a fixed shuffle is the test split."""

    is_named = True

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is ``digits``."""
        return data == "digits"

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        _check_split(data, split)
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        rows = order[::5] if split == "test" else np.delete(order, slice(None, None, 5))
        grey = np.round(digits.images[rows] * (255 / 16)).astype(np.uint8)
        self.images = np.repeat(grey[..., None], 3, axis=3)
        self.labels = digits.target[rows].astype(np.int64)
        self.classes = [str(digit) for digit in range(10)]


class _Torchvision(ArraySource):
    """A data set that torchvision downloads into the cache folder.

    Attributes:
        names: what the user may type.
    """

    is_named = True
    names: ClassVar[tuple[str, ...]]

    @classmethod
    def accepts(cls, data: str) -> bool:
        """Say whether it is one of the names."""
        return data in cls.names

    @abstractmethod
    def fetch(self, split: str) -> tuple[np.ndarray, ArrayLike, list[str]]:
        """Read one split from the cache folder, downloaded where it is not yet there.

        Returns:
            Images, N×H×W×3 uint8; N labels, -1 where there is none; the class names.
        """

    def __init__(self, data: str, split: str) -> None:
        super().__init__(data, split)
        _check_split(data, split)
        try:
            images, labels, classes = self.fetch(split)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{data}: not in {cache_folder()} and cannot be downloaded ({error}); "
                "connect once, or give a folder of images or parquet instead"
            ) from error
        self.images = images
        self.set_labels(np.asarray(labels, np.int64), classes)


@SOURCES.register("cifar")
class Cifar(_Torchvision):
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009)."""

    names = ("cifar10", "cifar100")

    def fetch(self, split: str) -> tuple[np.ndarray, ArrayLike, list[str]]:
        """Read it with torchvision."""
        from torchvision import datasets

        kind = datasets.CIFAR10 if self.data == "cifar10" else datasets.CIFAR100
        cifar = kind(str(cache_folder()), train=split == "train", download=True)
        return cifar.data, cifar.targets, list(cifar.classes)


@SOURCES.register("stl")
class Stl(_Torchvision):
    """STL-10 (Coates et al. 2011); ``stl10-unlabeled`` trains on 100 000 images without labels."""

    names = ("stl10", "stl10-unlabeled")

    def fetch(self, split: str) -> tuple[np.ndarray, ArrayLike, list[str]]:
        """Read it with torchvision."""
        from torchvision import datasets

        unlabelled = self.data == "stl10-unlabeled" and split == "train"
        theirs = "unlabeled" if unlabelled else split
        stl = datasets.STL10(str(cache_folder()), split=theirs, download=True)
        images = np.ascontiguousarray(stl.data.transpose(0, 2, 3, 1))
        return images, stl.labels, list(stl.classes)
