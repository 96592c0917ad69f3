"""A store that is served, and a client that asks for it."""

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from downstream.retrieval import EmbedConfig, embed
from tests.downstream.serve.uploads import LIMIT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a model, 40 images of two classes with hostile names, and their store."""
    root = tmp_path_factory.mktemp("serve")
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 1)):
        for name in ("cat", "<b>dog"):
            images = root / "data" / split / name
            images.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(
                    images / f"{i}.png"
                )
    torch.manual_seed(0)
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), root / "model")
    embed(root / "model", str(root / "data"), root / "store", EmbedConfig())
    return root


@pytest.fixture(scope="module")
def engine(folder):
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    from downstream.serve import Engine

    return Engine(folder / "store", top=5)


@pytest.fixture(scope="module")
def client(engine):
    pytest.importorskip("python_multipart", reason="the extra serve is not installed")
    from starlette.testclient import TestClient

    from downstream.serve import create_app

    with TestClient(create_app(engine, limit=LIMIT), base_url="http://127.0.0.1:8000") as client:
        yield client
