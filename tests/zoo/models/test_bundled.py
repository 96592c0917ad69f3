"""Models that ship with the library, each a directory below one folder."""

import json

import pytest
import torch

import zoo
from zoo import cards
from zoo.models import bundled


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = zoo.create("resnet10", embed_dim=8).eval()
    model.meta = {"data": {"name": "made-up", "count": 20}, "license": "apache-2.0"}
    return model


@pytest.fixture
def shipped(model, tmp_path, monkeypatch):
    """A folder of shipped models with one in it, called ``small``."""
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "released")
    folder = zoo.save(model, tmp_path / "released" / "small", half=True)
    scores = [("linear", 0.75), ("knn", 0.625), ("knn", 0.5)]
    results = [
        {"task": task, "data": "made-up", "metrics": {"top1": top1}} for task, top1 in scores
    ]
    (folder / "metrics.json").write_text(json.dumps(results))
    return folder


@torch.no_grad()
def test_a_name_is_enough(shipped, model, tmp_path, monkeypatch):
    assert zoo.list_models() == ["small"] and zoo.locate("small") == shipped
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(zoo.load("small").embed(x), model.embed(x), atol=5e-3, rtol=0)
    monkeypatch.chdir(tmp_path)
    zoo.save(zoo.create("resnet10", embed_dim=4), "small")
    assert zoo.load("small").embed_dim == 4, "a folder of that name goes first"


def test_an_unknown_name_gets_those_there_are(shipped):
    with pytest.raises(
        zoo.ModelError, match=r"smal: no such folder.*did you mean 'small'\?.*org/name"
    ):
        zoo.load("smal")
    for name in ("../released/small", "small/", "."):
        assert bundled.find(name) is None


def test_a_listing_tells_data_backbone_size_and_score(shipped, model):
    count = sum(p.numel() for p in model.parameters())
    expected = cards.ModelSummary(
        name="small", arch="resnet10", embed_dim=8, parameters=count, data="made-up", knn=0.625
    )
    assert cards.summarize(shipped) == expected


def test_its_card_loads_it_by_name_and_needs_no_weights(shipped):
    card = cards.render(shipped)
    assert (
        'zoo.load("small")' in card and "half precision" in card and "license: apache-2.0" in card
    )
    (shipped / "model.safetensors").unlink()
    assert cards.render(shipped) == card
