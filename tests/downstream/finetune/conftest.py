import pytest
import torch

import zoo


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return zoo.save(
        zoo.create("resnet10", embed_dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval(),
        tmp_path / "m",
    )
