from pathlib import Path

import pytest

from tests.stores import save_small_model


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The folder of a ResNet-10 of 16 dimensions."""
    return save_small_model(tmp_path_factory.mktemp("m") / "model")
