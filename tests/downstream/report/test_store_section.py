import numpy as np
import pytest

from downstream.features.store import FeatureStore
from downstream.report.store_section import MAP_SIDE, PALETTE, store_section
from tests.pages import clusters


@pytest.fixture(scope="module")
def section(store):
    return store_section(store, method="pca", points=150, lines=7)


def test_the_gallery_shows_queries_their_nearest_and_the_vote(section, store):
    opened = FeatureStore.open(store)
    rows = {key: row for row, key in enumerate(opened.keys)}
    assert len(section.gallery) == 7
    for line in section.gallery:
        cosines = [image.cosine for image in line.near]
        assert cosines == sorted(cosines, reverse=True) and line.query.cosine == 1
        assert line.query.right == (line.vote == line.query.label)
        assert line.query.uri.startswith("data:image/webp")
        for image in line.near:
            assert image.right == (image.label == line.query.label)
            assert image.label == opened.class_name(rows[image.key])


def test_the_accuracy_is_that_of_the_confusion_matrix(section):
    assert section.accuracy is not None and section.confusion is not None
    assert 0.5 < section.accuracy <= 1, "clusters are told apart"
    assert section.faults == [] and section.name == "digits.store"


def test_the_map_holds_a_sample_with_keys_and_colours(section, store):
    opened = FeatureStore.open(store)
    data = section.map.data
    assert section.map.method == "PCA" and len(data["x"]) == len(data["y"]) == 150
    assert 0 <= min(data["x"] + data["y"]) and max(data["x"] + data["y"]) <= MAP_SIDE
    assert len(set(zip(data["keys"], data["x"], data["y"], strict=True))) > 100
    labels_by_key = {}
    for key, label in zip(opened.keys, np.asarray(opened.labels).tolist(), strict=True):
        labels_by_key[key] = label
    assert data["label"] == [labels_by_key[key] for key in data["keys"]]
    assert section.map.legend[:2] == [("0", PALETTE[0]), ("1", PALETTE[1])]


def test_many_classes_take_the_colours_again_and_fill_a_bounded_legend(tmp_path):
    names = [f"class {number}" for number in range(60)]
    folder = clusters(tmp_path / "store", 60, classes=names)
    legend = store_section(folder, method="pca", points=60, lines=1).map.legend
    assert len(legend) == 40 and legend[10][1] == legend[0][1] == PALETTE[0]
