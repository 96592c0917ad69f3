"""Boxes and flags as annotations have them."""

import pytest

from downstream.detection.annotations import EmptyBoxError, fit_box, parse_flag

SIZE = (64, 48)


@pytest.mark.parametrize(
    "corners", [(3, 4, 3, 9), (3, 4, 9, 4), (64, 4, 70, 9), (3, -9, 9, 0), (0, 48, 5, 50)]
)
def test_a_box_without_area_is_told_apart_from_a_wrong_one(corners):
    with pytest.raises(EmptyBoxError):
        fit_box(tuple(map(float, corners)), SIZE, 0)


@pytest.mark.parametrize(
    "corners", [(9, 4, 3, 9), (65, 4, 70, 9), (3, -9, 9, -1), (3, 4, float("nan"), 9)]
)
def test_a_wrong_box_is_an_error(corners):
    with pytest.raises(ValueError) as caught:
        fit_box(tuple(map(float, corners)), SIZE, 0)
    assert not isinstance(caught.value, EmptyBoxError)


@pytest.mark.parametrize("value", ["0", " 0 ", "", None, "false", "False", "no", "Unspecified", 0])
def test_what_says_no_or_nothing_is_no(value):
    assert parse_flag(value, "difficult") is False


@pytest.mark.parametrize("value", ["1", 1, True, "true", "YES", "1.0"])
def test_what_says_yes_is_yes(value):
    assert parse_flag(value, "difficult") is True


@pytest.mark.parametrize("value", ["2", "maybe", "-1", "o"])
def test_what_says_neither_is_an_error(value):
    with pytest.raises(ValueError, match="expected 0 or 1"):
        parse_flag(value, "difficult")
