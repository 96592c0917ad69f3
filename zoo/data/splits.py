"""The two splits of a labelled data set, with one list of classes."""

import numpy as np

from zoo.data.sources import Source, open_source
from zoo.errors import DataError


def labelled_splits(data: str, *, skip_bad: bool = False) -> tuple[Source, Source]:
    """Open the training and the test split of a labelled data set.

    Classes are matched by name: the test labels count in the training split's list.

    Args:
        data: anything that ``open_source`` takes.
        skip_bad: whether images that cannot be read are left out.

    Returns:
        Training and test split.

    Raises:
        DataError: if a split is missing or has no labels, there is one class only, or test images
            belong to a class that the training split does not have. A class without test images is
            fine.
    """
    train = open_source(data, "train", skip_bad=skip_bad)
    test = open_source(data, "test", skip_bad=skip_bad)
    _, classes = train.require_labels()
    labels, names = test.require_labels()
    if len(classes) < 2:
        raise DataError(
            f"{data}: all training images are of one class, {classes[0]}; at least two are needed"
        )
    number = {name: i for i, name in enumerate(classes)}
    strange = [names[label] for label in np.unique(labels) if names[label] not in number]
    if strange:
        raise DataError(
            f"{data}: the test split has classes that the training split lacks: {_first(strange)}; "
            f"the training split has {_first(classes)}"
        )
    number_in_training = np.array([number.get(name, -1) for name in names], np.int64)
    test.labels = number_in_training[labels]
    test.classes = classes
    return train, test


def _first(names: list[str], count: int = 8) -> str:
    """Some names, and how many more there are."""
    text = ", ".join(names[:count])
    rest = len(names) - count
    return f"{text} and {rest} more" if rest > 0 else text
