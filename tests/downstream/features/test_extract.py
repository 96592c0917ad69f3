import pytest
import torch

import zoo
from downstream.features.extract import embeddings
from zoo.data.sources import open_source


@pytest.mark.parametrize("size", [16, 12])
def test_embeddings_from_memory_equal_the_models_own_preprocessing(size):
    model = zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=size, crop_pct=0.8)).eval()
    source = open_source("digits", "test")
    vectors, good = embeddings(model, source, batch_size=50)
    with torch.no_grad():
        x = torch.stack([model.preprocess()(source.image(i)) for i in range(60)])
        torch.testing.assert_close(vectors[:60], model.embed(x), atol=2e-3, rtol=1e-2)
    assert vectors.shape == (360, 8) and good.all()
