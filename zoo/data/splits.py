"""The two splits of a labelled data set, with one list of classes."""

import numpy as np

from zoo import DataError
from zoo.data.sources import Source, open_source


def labelled_splits(data: str, *, skip_bad: bool = False) -> tuple[Source, Source]:
    """Training and test split. Classes are matched by name: the test labels count in the training split's list.

    Raises:
        DataError: if a split is missing or has no labels, there is one class only, or test images belong to a class
            that the training split does not have. A class without test images is fine.
    """
    train, test = (open_source(data, split, skip_bad=skip_bad) for split in ("train", "test"))
    (_, classes), (labels, names) = train.require_labels(), test.require_labels()
    if len(classes) < 2:
        raise DataError(
            f"{data}: all training images are of one class, {classes[0]}; at least two are needed"
        )
    number = {name: i for i, name in enumerate(classes)}
    if strange := [names[i] for i in np.unique(labels) if names[i] not in number]:
        raise DataError(
            f"{data}: the test split has classes that the training split lacks: {_some(strange)}; "
            f"the training split has {_some(classes)}"
        )
    place = np.array([number.get(name, -1) for name in names], np.int64)
    test.labels, test.classes = place[labels], classes
    return train, test


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
