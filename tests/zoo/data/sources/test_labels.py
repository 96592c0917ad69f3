from decimal import Decimal

import numpy as np
import pytest

from zoo.data.sources._labels import number_classes, read_labels


def test_numbers_are_their_own_classes_unless_they_are_identifiers():
    classes, labels = number_classes(np.array([3, 0, -7, 3]))
    assert classes == ["0", "1", "2", "3"] and labels.tolist() == [3, 0, -1, 3]
    classes, labels = number_classes(np.array([70_001, 12, -1, 70_001]))
    assert classes == ["12", "70001"] and labels.tolist() == [1, 0, -1, 1]
    assert number_classes(np.array([-1, -2]))[0] == []


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        ([2, 0.0, Decimal(1), True], [2, 0, 1, 1], ["0", "1", "2"]),
        (["dog", "cat", "", None], [1, 0, -1, -1], ["cat", "dog"]),
        ([[1], [0], []], [1, 0, -1], ["0", "1"]),
        ([[0, 1, 0], [1, 0, 0]], [1, 0], ["0", "1"]),
        ([float("nan"), -3, 1], [-1, -1, 1], ["0", "1"]),
    ],
)
def test_labels_of_many_kinds_become_class_numbers(values, labels, classes):
    found, names, _ = read_labels(values, None)
    assert found.tolist() == labels and names == classes


@pytest.mark.parametrize(
    ("values", "names", "problem"),
    [
        ([[1, 2], [3]], None, "several labels an image"),
        ([0.5], None, "0.5 is no label"),
        ([1 << 62], None, "is no label"),
        (["cat", 3], None, "some labels are texts and others numbers"),
        ([0, 2], ["cat", "dog"], "label 2 in a list of 2 classes"),
    ],
)
def test_what_is_no_label_is_a_problem_and_no_error(values, names, problem):
    found, classes, message = read_labels(values, names)
    assert found.tolist() == [-1] * len(values) and classes is None and problem in message


def test_labels_that_are_missing_are_counted():
    _, classes, problem = read_labels([0, None, -1, 1], ["cat", "dog"])
    assert classes == ["cat", "dog"] and problem.startswith("2 of 4 labels are missing")
    assert read_labels([0, 1], ["cat", "dog"])[2] == ""
