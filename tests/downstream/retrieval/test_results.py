import pytest
import torch
from torch.nn.functional import normalize

from downstream.retrieval import EmbedConfig, embed
from downstream.retrieval.query import open_queries
from downstream.retrieval.results import find_duplicates, find_nearest
from tests.stores import make_store
from zoo import SettingsError


@pytest.fixture(scope="module")
def store(tmp_path_factory, model):
    return embed(model, "digits", tmp_path_factory.mktemp("s") / "s", EmbedConfig(split="test"))


def test_matches_carry_row_key_label_and_cosine_as_plain_values(store):
    [result] = find_nearest(store, open_queries(store, "test/000017"), 3)
    cosines = store.embeddings @ store.embeddings[17]
    cosines[17] = -2
    expected, rows = cosines.topk(3)
    values = result.to_dict()
    assert values["query"] == "test/000017"
    assert [match["row"] for match in values["images"]] == rows.tolist()
    for match, cosine in zip(values["images"], expected.tolist(), strict=True):
        assert match["score"] == pytest.approx(cosine, abs=1e-4)
        assert match["key"] == store.keys[match["row"]]
        assert match["label"] == store.class_name(match["row"])


def test_ten_are_found_unless_the_store_is_smaller(tmp_path, store):
    [result] = find_nearest(store, open_queries(store, "test/000017"))
    assert len(result.images) == 10
    few = make_store(tmp_path / "few", normalize(torch.randn(5, 16)))
    [result] = find_nearest(few, open_queries(few, "é/2"))
    assert sorted(match.row for match in result.images) == [0, 1, 3, 4]


def test_duplicates_have_no_score(tmp_path):
    rows = normalize(torch.eye(8)[[0, 1, 0, 2, 1]])
    groups = find_duplicates(make_store(tmp_path / "s", rows), 0.99)
    found = [[match.row for match in group.images] for group in groups]
    assert found == [[0, 2], [1, 4]]
    assert groups[0].to_dict()["images"][0] == {"row": 0, "key": "é/0", "label": None}
    with pytest.raises(SettingsError, match="above 0"):
        find_duplicates(make_store(tmp_path / "t", rows), 0)
