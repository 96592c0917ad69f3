"""Which split a name speaks of."""

import pytest

from zoo import SettingsError
from zoo.data.split_names import canonical_split, has_word, parse_share, split_in_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-000000.tar", "train"),
        ("train0001.tar", "train"),
        ("Training.tar", "train"),
        ("imagenet1k-train-0000.tar", "train"),
        ("imagenet1k-validation-00.tar", "val"),
        ("cc12m_VALID_7.tar", "val"),
        ("my-testing-3.tar", "test"),
        ("test-project-train-0.tar", "train"),
        ("constraints.tar", None),
        ("trainer.tar", None),
        ("latest.tar", None),
    ],
)
def test_split_words_count_whole_and_in_any_case(name, split):
    assert split_in_name(name) == split


def test_words_for_one_split_are_one():
    assert [canonical_split(word) for word in ("Train", "valid", "TESTING", "extra")] == [
        "train",
        "val",
        "test",
        "extra",
    ]
    assert has_word("unlabeled-003.tar", "unlabeled") and not has_word("extras.tar", "extra")


def test_a_share_is_a_part_of_the_whole():
    assert parse_share("20%") == parse_share(" 0.2 ") == 0.2
    for text in ("0", "1", "100%", "-5%", "nan", "20 images", "20%%", ""):
        with pytest.raises(SettingsError, match="holdout: expected a share such as 20%"):
            parse_share(text)
