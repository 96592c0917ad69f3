import json

import pytest
import torch

import zoo


@pytest.fixture(scope="module")
def model():
    model = zoo.create("resnet10", embed_dim=8).eval()
    model.meta = {"data": {"name": "made up", "count": 20}, "epochs": 2}
    return model


@pytest.fixture
def saved(model, tmp_path):
    bank = torch.nn.functional.normalize(torch.randn(20, 8))
    folder = zoo.save(model, tmp_path / "model", bank=bank)
    results = [{"task": "knn", "data": "made up", "metrics": {"top1": 0.625}, "settings": {"k": 5}}]
    (folder / "metrics.json").write_text(json.dumps(results))
    (folder / "notes.txt").write_text("mine")
    return folder
