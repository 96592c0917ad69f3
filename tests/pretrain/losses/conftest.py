import pytest
import torch
from torch.nn.functional import normalize

from tests.pretrain.losses.example import B, D, N


@pytest.fixture
def setup():
    """Embeddings, their indices and the rows of a bank."""
    torch.manual_seed(0)
    return (
        normalize(torch.randn(B, D)).requires_grad_(),
        torch.tensor([3, 0, 300, 7, 3]),
        normalize(torch.randn(N, D)),
    )
