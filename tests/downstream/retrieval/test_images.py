import pytest

from downstream.retrieval import EmbedConfig, embed
from downstream.retrieval.images import StoredImages
from zoo import DataError
from zoo.data.sources import open_source


def test_each_row_finds_its_image_in_the_part_that_it_came_from(tmp_path, model, image_folder):
    embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    store = embed(model, str(image_folder), tmp_path / "s", EmbedConfig(split="test"))
    assert len(store) == 12 + 4
    images = StoredImages(store)
    for split, first in (("train", 0), ("test", 12)):
        source = open_source(str(image_folder), split)
        for index in range(len(source)):
            expected = source.image(index).convert("RGB")
            assert images.image(first + index).tobytes() == expected.tobytes()


def test_an_image_that_is_gone_is_named(tmp_path, model, image_folder):
    store = embed(model, str(image_folder), tmp_path / "s", EmbedConfig())
    (image_folder / "train" / "cat" / "3.png").unlink()
    images = StoredImages(store)
    with pytest.raises(DataError, match=r"no longer holds cat/3\.png; bring it back"):
        images.image(3)
    assert images.image(4).size == (16, 16)
