import json

import pytest

import zoo
from zoo import cards


@pytest.fixture
def folder(tmp_path):
    model = zoo.create("resnet10", embed_dim=8)
    model.meta = {"data": {"source": "somewhere", "count": 50}}
    return zoo.save(model, tmp_path / "m")


def test_a_model_is_summed_up_by_its_files(folder):
    model = zoo.load(folder)
    found = cards.summarize(folder)
    assert (found.name, found.arch, found.embed_dim, found.data) == (
        "m",
        "resnet10",
        8,
        "somewhere",
    )
    assert found.parameters == sum(p.numel() for p in model.parameters()) and found.knn is None


def test_the_first_knn_score_counts(folder):
    results = [
        {"task": "linear", "data": "d", "metrics": {"top1": 0.9}},
        {"task": "knn", "data": "d", "metrics": {"top1": 0.5}},
        {"task": "knn", "data": "e", "metrics": {"top1": 0.6}},
    ]
    (folder / "metrics.json").write_text(json.dumps(results))
    assert cards.summarize(folder).knn == 0.5


def test_malformed_metrics_get_our_error(folder):
    (folder / "metrics.json").write_text("[3]")
    with pytest.raises(zoo.ModelError, match=r"metrics\.json"):
        cards.summarize(folder)
