import pytest

import zoo
from zoo import ModelError

pytest.importorskip("starlette", reason="the extra serve is not installed")
from downstream.serve import Engine  # noqa: E402


def test_another_model_than_the_rows_were_made_with_is_refused(folder, tmp_path):
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), tmp_path / "other")
    with pytest.raises(ModelError, match="another model than that of"):
        Engine(folder / "store", model=str(tmp_path / "other"))
