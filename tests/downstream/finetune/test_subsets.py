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


@pytest.mark.parametrize(
    ("encoding", "end"),
    [
        ("utf-8", "\n"),
        ("utf-8-sig", "\r\n"),
        ("utf-16", "\r\n"),
        ("utf-8", "\r"),
        ("latin-1", "\r\n"),
    ],
)
def test_lists_are_read_in_any_common_encoding(tmp_path, picture, encoding, end):
    for name in ("café", "dog"):
        for number in range(2):
            picture(tmp_path / "data" / name / f"{number}.png")
    listed = tmp_path / "list.txt"
    listed.write_bytes(end.join(["", "café/1.png", "dog/0.png", ""]).encode(encoding))
    source = open_source(str(tmp_path / "data"))
    assert label_subset(source, str(listed), 0).tolist() == [1, 2]


def test_a_list_in_another_encoding_names_what_is_not_there(image_folder, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"ant/caf\xe9.png\ncat/1.png\n")
    with pytest.raises(DataError, match=r"1 of 2 images are not in .*: ant/caf\\xe9\.png"):
        label_subset(open_source(str(image_folder)), str(listed), 0)


def test_images_that_cannot_be_read_are_no_labels_where_they_are_skipped(image_folder, tmp_path):
    for number in (0, 2, 3, 5):
        (image_folder / "train" / "cat" / f"{number}.png").write_bytes(b"no image")
    source = open_source(str(image_folder), skip_bad=True)
    assert label_subset(source, "2", 0)[:2].tolist() == [1, 4]
    assert label_subset(source, "100%", 0).tolist() == [1, 4, 6, 7, 8, 9, 10, 11]
    with pytest.raises(SettingsError, match="3 images per class; only 2 of class cat"):
        label_subset(source, "3", 0)
    listed = tmp_path / "list.txt"
    listed.write_text("cat/0.png\ncat/1.png\ndog/3.png\n")
    assert label_subset(source, str(listed), 0).tolist() == [1, 9]


def test_classes_without_images_take_no_labels():
    source = open_source("digits")
    source.set_labels(source.labels + 5, [f"class {number}" for number in range(40)])
    part = label_subset(source, "3", 0)
    assert np.bincount(source.labels[part]).tolist() == [0] * 5 + [3] * 10
    assert len(label_subset(source, "1%", 0)) >= 10
