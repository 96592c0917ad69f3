"""Parts of the labels: balanced over the classes, nested, and the same for a seed."""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from zoo.data.source import Source
from zoo.errors import DataError, SettingsError


def label_subset(source: Source, amount: str, seed: int) -> NDArray[np.int64]:
    """A class-balanced part of the training images.

    The images of a class come in an order that depends on the seed alone, and a part takes the
    first of them: the smaller parts of a seed lie within the larger ones.

    Args:
        source: with labels.
        amount: ``1%`` of each class; ``5`` images per class; or a text file with a key, or a file
            name, a line.
        seed: of the order.

    Returns:
        Indices, rising.

    Raises:
        SettingsError: for an amount that is none or gives some class no image; states the minimum.
        DataError: for a list that names images which the source lacks.

    Example:
        >>> from zoo import open_source
        >>> len(label_subset(open_source("digits"), "5", seed=0))
        50
    """
    labels, classes = source.require_labels()
    if Path(amount).is_file():
        return _listed(source, Path(amount))
    members = [np.flatnonzero(labels == number) for number in range(len(classes))]
    sizes = _sizes(source, amount, [len(indices) for indices in members])
    parts = []
    for number, indices in enumerate(members):
        shuffled = np.random.default_rng([seed, number]).permutation(indices)
        parts.append(shuffled[: sizes[number]])
    return np.sort(np.concatenate(parts))


def _sizes(source: Source, amount: str, counts: list[int]) -> list[int]:
    """How many images of each class an amount is."""
    try:
        if amount.endswith("%"):
            return _shares(amount, float(amount.removesuffix("%")) / 100, counts)
        per_class = int(amount)
    except ValueError:
        raise SettingsError(
            f"labels: expected 1%, a number of images per class or a file, got {amount!r}"
        ) from None
    if not 1 <= per_class <= min(counts):
        raise SettingsError(
            f"labels: {amount} images per class; the smallest class of {source.data} has "
            f"{min(counts)}"
        )
    return [per_class] * len(counts)


def _shares(amount: str, share: float, counts: list[int]) -> list[int]:
    total = sum(counts)
    if not 0 < share <= 1 or round(share * total) < len(counts):
        least = 100 * len(counts) / total
        raise SettingsError(
            f"labels: {amount} of {total} images does not give each of {len(counts)} classes one; "
            f"take at least {least:.2g}% and at most 100%"
        )
    sizes = []
    for count in counts:
        sizes.append(max(1, round(share * count)) if count else 0)
    return sizes


def _listed(source: Source, path: Path) -> NDArray[np.int64]:
    """Indices of the images that a file names by key or by file name, as ImageNet's lists do."""
    keys = [source.key(index) for index in range(len(source))]
    names = Counter(PurePosixPath(key).name for key in keys)
    index_of = {}
    for index, key in enumerate(keys):
        name = PurePosixPath(key).name
        if names[name] == 1:
            index_of[name] = index
    for index, key in enumerate(keys):
        index_of[key] = index
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    missing = [line for line in lines if line not in index_of]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(lines)} images are not in {source.data}, "
            f"or not alone: {', '.join(missing[:5])}"
        )
    if len(lines) < 2:
        raise DataError(f"{path}: names {len(lines)} images, at least 2 are needed")
    return np.unique([index_of[line] for line in lines])
