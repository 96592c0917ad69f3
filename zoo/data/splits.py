"""The two splits of a labelled data set, with one list of classes."""

import numpy as np
from numpy.typing import NDArray

from zoo.data.sources import Source, Subset, log_notes, open_source
from zoo.errors import DataError, SplitError


def labelled_splits(
    data: str,
    *,
    train: str = "train",
    test: str = "test",
    holdout: float | None = None,
    seed: int = 0,
    skip_bad: bool = False,
) -> tuple[Source, Source]:
    """Open the training and the test split of a labelled data set.

    Classes are matched by name: the test labels count in the training split's list, which holds the
    classes that occur. Images without a label are left out. Where the test split has no labels, a
    validation split that has some stands in for it.

    Args:
        data: anything that ``open_source`` takes.
        train: the split to learn from.
        test: the split to score on.
        holdout: score on this share (0–1) of each class of the training split in its place.
        seed: of the held-out images.
        skip_bad: whether images that cannot be read are left out.

    Returns:
        Training and test split.

    Raises:
        DataError: if a split is missing or has no labels, there is one class only, or test images
            belong to a class that the training split does not have. A class without test images is
            fine.
    """
    train_source = _labelled(open_source(data, train, skip_bad=skip_bad))
    if holdout is not None:
        _check_classes(train_source)
        labels, _ = train_source.require_labels()
        kept, held = hold_out(labels, holdout, seed)
        if not len(held):
            raise DataError(
                f"{data}: no class has the two images that holding out {holdout:.0%} takes"
            )
        kept_source = Subset(train_source, kept)
        held_source = Subset(train_source, held)
        _drop_unused_classes(kept_source, held_source)
        return kept_source, held_source
    test_source = _labelled(_open_test(data, test, skip_bad))
    _check_classes(train_source)
    test_source.require_labels()
    match_classes(train_source, test_source)
    _drop_unused_classes(train_source, test_source)
    return train_source, test_source


def labelled_test(train: Source, split: str = "test") -> Source:
    """Open the test split that goes with training images, its labels in their list of classes.

    Args:
        train: with labels, of which some may be missing.
        split: the split to score on; ``val`` stands in for a ``test`` without labels.

    Raises:
        SplitError: if there is no such split.
        DataError: if it has no labels, or classes that the training images lack.
    """
    test = _labelled(_open_test(train.data, split, train.skip_bad))
    test.require_labels()
    match_classes(train, test)
    return test


def match_classes(train: Source, test: Source) -> None:
    """Let the labels of a test split count in the training split's list of classes.

    Args:
        train: with labels.
        test: with labels and a list of its own, both of which are replaced.

    Raises:
        DataError: if test images belong to a class that the training split does not have.
    """
    classes = train.classes
    names = test.classes
    labels = test.labels
    if classes is None or names is None or labels is None:
        raise DataError(f"{test.data}: the {test.split} split or its training split has no labels")
    number = {name: i for i, name in enumerate(classes)}
    present = np.unique(labels[labels >= 0])
    strange = [names[label] for label in present if names[label] not in number]
    if strange:
        raise DataError(
            f"{test.data}: the {test.split} split has classes that the training split lacks: "
            f"{_first(strange)}; the training split has {_first(classes)}"
        )
    # the last one is for -1, no label
    number_in_training = np.array([*(number.get(name, -1) for name in names), -1], np.int64)
    test.labels = number_in_training[labels]
    test.classes = classes


def hold_out(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split images at random, class by class.

    Of each class the rounded share is held out: at least one image of those that have two, and
    never all of them.

    Args:
        labels: N class numbers.
        share: of each class, between 0 and 1.
        seed: of the draw.

    Returns:
        Indices that are kept and indices that are held out, both rising.

    Example:
        >>> kept, held = hold_out(np.array([0, 0, 0, 0, 1, 1]), 0.25, seed=0)
        >>> len(kept), len(held), len(set(kept) | set(held))
        (4, 2, 6)
    """
    held = []
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        size = held_out_size(len(members), share)
        generator = np.random.default_rng([seed, int(number)])
        held.append(generator.permutation(members)[:size])
    held_out = np.sort(np.concatenate(held)).astype(np.int64)
    kept = np.setdiff1d(np.arange(len(labels), dtype=np.int64), held_out)
    return kept, held_out


def held_out_size(count: int, share: float) -> int:
    """How many of a class's images :func:`hold_out` takes."""
    return min(max(1, round(share * count)), count - 1)


def _open_test(data: str, split: str, skip_bad: bool) -> Source:
    """The test split, or a validation split with labels where that has none.

    Raises:
        DataError: if there is no such split.
    """
    try:
        source = open_source(data, split, skip_bad=skip_bad)
    except SplitError as error:
        raise SplitError(f"{error}; or hold some training images out (--holdout 20%)") from error
    if source.labels is not None or split != "test":
        return source
    try:
        validation = open_source(data, "val", skip_bad=skip_bad)
    except DataError:
        return source
    if validation.labels is None:
        return source
    reason = f" ({source.label_problem})" if source.label_problem else ""
    log_notes(
        f"{data}: ", [f"the test split has no labels{reason}; the val split is scored instead"]
    )
    return validation


def _labelled(source: Source) -> Source:
    """The images of a source that have a label; all where none has one."""
    if source.labels is None or not (source.labels < 0).any():
        return source
    indices = np.flatnonzero(source.labels >= 0)
    left_out = len(source) - len(indices)
    verb = "image has no label and is" if left_out == 1 else "images have no label and are"
    reason = f": {source.label_problem}" if source.label_problem else ""
    note = f"{left_out} {verb} left out of the {source.split} split{reason}"
    log_notes(f"{source.data}: ", [note])
    subset = Subset(source, indices)
    subset.notes = [*source.notes, note]
    return subset


def _check_classes(train: Source) -> None:
    """Refuse training images of one class only."""
    labels, classes = train.require_labels()
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{train.data}: all training images are of one class, {classes[present[0]]}; "
            "at least two are needed"
        )


def _drop_unused_classes(train: Source, test: Source) -> None:
    """Leave classes without an image in either split out of the list."""
    train_labels, classes = train.require_labels()
    test_labels, _ = test.require_labels()
    used = np.union1d(train_labels, test_labels)
    if len(used) == len(classes):
        return
    names = [classes[number] for number in used]
    for source, labels in ((train, train_labels), (test, test_labels)):
        source.labels = np.searchsorted(used, labels).astype(np.int64)
        source.classes = names


def _first(names: list[str], count: int = 8) -> str:
    """Some names, and how many more there are."""
    text = ", ".join(names[:count])
    rest = len(names) - count
    return f"{text} and {rest} more" if rest > 0 else text
