"""Models, a store and an image that the commands are given."""

import pytest
import torch

import zoo
from tests.npid.command_line import npid


@pytest.fixture
def saved(tmp_path):
    return zoo.save(zoo.create("resnet10", embed_dim=8).eval(), tmp_path / "model")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    spec = zoo.InputSpec(size=16, crop_pct=1.0)
    return zoo.save(
        zoo.create("resnet10", embed_dim=16, input=spec).eval(),
        tmp_path_factory.mktemp("m") / "model",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory, model):
    out = tmp_path_factory.mktemp("s") / "digits"
    done = npid("embed", model, "digits", "--out", out)
    assert done.exit_code == 0 and "1,437 rows of 16 float32" in done.output
    return out


@pytest.fixture
def digit(tmp_path):
    from zoo.data.sources import open_source

    path = tmp_path / "digit.png"
    open_source("digits").image(17).save(path)
    return path
