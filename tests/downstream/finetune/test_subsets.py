import numpy as np
import pytest

from downstream.finetune.subsets import label_subset
from zoo import DataError, SettingsError
from zoo.data.sources import open_source


def test_subsets_are_balanced_nested_and_seeded():
    source = open_source("digits")
    parts = [label_subset(source, amount, 3) for amount in ("1", "2%", "5", "10%", "20%", "100%")]
    for small, large in zip(parts, parts[1:], strict=False):
        assert set(small) < set(large)
    assert np.bincount(source.labels[parts[2]]).tolist() == [5] * 10
    share = np.bincount(source.labels[parts[3]]) / np.bincount(source.labels)
    assert np.abs(share - 0.1).max() < 0.005
    assert len(parts[-1]) == len(source)
    assert np.array_equal(parts[2], label_subset(source, "5", 3))
    assert not np.array_equal(parts[2], label_subset(source, "5", 4))


def test_amounts_that_cannot_be_are_refused_with_the_minimum():
    source = open_source("digits")
    with pytest.raises(SettingsError, match=r"0\.1% of 1437 images .* at least 0\.7%"):
        label_subset(source, "0.1%", 0)
    with pytest.raises(SettingsError, match=r"smallest class of digits has \d+"):
        label_subset(source, "1000", 0)
    with pytest.raises(SettingsError, match="got 'many'"):
        label_subset(source, "many", 0)


def test_published_lists_are_read_by_key_or_name(image_folder, tmp_path):
    source = open_source(str(image_folder))
    by_key = tmp_path / "list.txt"
    by_key.write_text("\n".join([source.key(7), source.key(2)]))
    assert label_subset(source, str(by_key), 0).tolist() == [2, 7]
    for split in ("train", "test"):
        for c in ("cat", "dog"):
            for file in (image_folder / split / c).iterdir():
                file.rename(file.with_name(f"{c}_{file.name}"))
    source = open_source(str(image_folder))
    by_key.write_text("cat_3.png\ndog_0.png\n")
    assert [source.key(i) for i in label_subset(source, str(by_key), 0)] == [
        "cat/cat_3.png",
        "dog/dog_0.png",
    ]
    by_key.write_text("cat_3.png\nbird_0.png\n")
    with pytest.raises(DataError, match=r"1 of 2 images are not in .*bird_0\.png"):
        label_subset(source, str(by_key), 0)
