import pytest

from tests.stores import save_small_model


@pytest.fixture
def model(tmp_path):
    return save_small_model(tmp_path / "m")
