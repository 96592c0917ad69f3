import pytest
import torch

import zoo
from tests.zoo.interop.checkpoints import DIM, shaken


@pytest.fixture(scope="module")
def net():
    """A ResNet-10 with statistics in its norms."""
    torch.manual_seed(0)
    return shaken(zoo.create("resnet10", embed_dim=DIM, stem="imagenet"))
