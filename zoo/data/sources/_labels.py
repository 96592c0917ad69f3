"""Labels as data sets hold them, made class numbers and class names."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

_FEW = 1000  # classes that may stand in a list though not all of them occur


def number_classes(numbers: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Name the classes of numbers without names.

    Args:
        numbers: N integers, negative where there is no label.

    Returns:
        The names, and N class numbers, -1 where there is no label. They are the numbers themselves
        unless those are few and far between, as identifiers are.
    """
    numbers = np.where(numbers < 0, -1, numbers).astype(np.int64)
    present = np.unique(numbers[numbers >= 0])
    if not len(present):
        return [], numbers
    largest = int(present[-1])
    if largest < max(_FEW, len(numbers)):
        return [str(number) for number in range(largest + 1)], numbers
    compact = np.searchsorted(present, numbers)
    return [str(number) for number in present], np.where(numbers < 0, -1, compact)


def read_labels(
    values: Sequence[Any], names: list[str] | None
) -> tuple[np.ndarray, list[str] | None, str]:
    """Read labels of whatever kind a column holds.

    Numbers (whole ones, as floats too, or booleans), texts, lists of one of these, and one-hot
    lists are labels; None, NaN, negative numbers and empty texts or lists are none.

    Args:
        values: N plain Python values.
        names: the class names where numbers have some.

    Returns:
        N class numbers, -1 where there is no label; the class names, None where the values are no
        labels; and what is wrong, empty where all is well.
    """
    none = np.full(len(values), -1, np.int64)
    problem = ""
    singles = _without_lists(values)
    if singles is None:
        return none, None, "several labels an image, expected one"
    texts = {value for value in singles if isinstance(value, str) and value}
    numbers = []
    for value in singles:
        if value is None or isinstance(value, str):
            continue
        number = _whole_number(value)
        if number is None:
            return none, None, f"{value!r} is no label, expected whole numbers or texts"
        numbers.append(number)
    missing = sum(_is_missing(value) for value in singles)
    if missing:
        problem = f"{missing} of {len(values)} labels are missing, or -1"
    if texts and any(number != _MISSING for number in numbers):
        return none, None, "some labels are texts and others numbers"
    if texts:
        classes = sorted(texts)
        number_of = {name: i for i, name in enumerate(classes)}
        return np.array([number_of.get(value, -1) for value in singles], np.int64), classes, problem
    labels = np.array([_number_or_none(value) for value in singles], np.int64)
    if names is None:
        classes, labels = number_classes(labels)
        return labels, classes, problem
    largest = int(labels.max(initial=-1))
    if largest >= len(names):
        return none, None, f"label {largest} in a list of {len(names)} classes"
    return labels, names, problem


_MISSING = -1


def _whole_number(value: Any) -> int | None:
    """The class number; -1 for a label that is missing, None for what is no label."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return _MISSING if value < 0 else _in_range(value)
    if isinstance(value, float | Decimal):
        if math.isnan(value):
            return _MISSING
        if math.isinf(value) or value != int(value):
            return None
        return _MISSING if value < 0 else _in_range(int(value))
    return None


def _in_range(number: int) -> int | None:
    return number if number < 1 << 62 else None


def _number_or_none(value: Any) -> int:
    if value is None or isinstance(value, str):
        return _MISSING
    number = _whole_number(value)
    return _MISSING if number is None else number


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value
    return value is None or _whole_number(value) == _MISSING


def _without_lists(values: Sequence[Any]) -> list[Any] | None:
    """Each value, or the one that its list holds or marks; None where lists hold several."""
    lists = [value for value in values if isinstance(value, list)]
    if not lists:
        return list(values)
    if _are_one_hot(lists):
        return [value.index(1) if isinstance(value, list) else value for value in values]
    singles = []
    for value in values:
        if not isinstance(value, list):
            singles.append(value)
        elif len(value) > 1:
            return None
        else:
            singles.append(value[0] if value else None)
    return singles


def _are_one_hot(lists: Sequence[list[Any]]) -> bool:
    """Whether all are of one length, two or more, and hold a single 1 among zeros."""
    length = len(lists[0])
    if length < 2:
        return False
    for each in lists:
        if len(each) != length or any(value not in (0, 1) for value in each) or sum(each) != 1:
            return False
    return True
