import pytest
import torch

import zoo
from downstream.features.extract import embeddings
from downstream.retrieval import EmbedConfig, embed
from downstream.retrieval.images import StoredImages
from downstream.retrieval.query import load_store_model, open_queries, search_others
from zoo import DataError, ModelError, SettingsError
from zoo.data.sources import open_source


@pytest.fixture(scope="module")
def store(tmp_path_factory, model):
    return embed(model, "digits", tmp_path_factory.mktemp("s") / "s", EmbedConfig(split="test"))


def test_an_image_a_folder_and_a_key_are_embedded_alike(tmp_path, store):
    image = open_source("digits", "test").image(17)
    image.save(tmp_path / "17.png")
    stored = StoredImages(store)
    by_file = open_queries(store, str(tmp_path / "17.png"))
    by_folder = open_queries(store, str(tmp_path))
    by_key = open_queries(store, "test/000017")
    assert by_file.own_rows == by_folder.own_rows == [-1] and by_key.own_rows == [17]
    assert not by_file.any_stored and by_key.any_stored and by_folder.names == ["17.png"]
    for queries in (by_file, by_folder, by_key):
        torch.testing.assert_close(queries.embeddings, store.embeddings[17:18], atol=1e-5, rtol=0)
        assert queries.image(0, stored).tobytes() == image.convert("RGB").tobytes()


def test_a_stored_query_is_not_among_its_own_neighbours(store):
    by_key = open_queries(store, "test/000017")
    scores, rows = search_others(store, by_key, 359)
    assert sorted(rows[0].tolist()) == [row for row in range(360) if row != 17]
    assert (scores.diff(dim=1) <= 0).all()
    with pytest.raises(SettingsError, match="between 1 and the 360"):
        search_others(store, by_key, 360)


def test_a_query_that_is_nothing_gets_a_hint(store):
    with pytest.raises(DataError, match=r"no key of .* \(did you mean test/000359\?\)"):
        open_queries(store, "test/000359x")
    with pytest.raises(DataError, match=r"no key of .*, such as test/000000"):
        open_queries(store, "XYZ")


def test_the_model_must_be_the_one_that_the_rows_come_from(tmp_path, store, model):
    backbone = load_store_model(store)
    vectors, _ = embeddings(backbone, open_source("digits", "test"))
    torch.testing.assert_close(vectors, store.embeddings, atol=1e-5, rtol=0)
    other = zoo.create("resnet10", embed_dim=16, input=backbone.input).eval()
    zoo.save(other, tmp_path / "other")
    with pytest.raises(ModelError, match="another model than that of"):
        load_store_model(store, tmp_path / "other")
