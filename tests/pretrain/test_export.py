from dataclasses import replace

import pytest
import torch

import zoo
from pretrain import export, load_run, pretrain
from tests.pretrain.runs import TINY
from zoo.data.sources import open_source


def test_the_export_is_the_model_of_the_run_and_says_where_it_comes_from(tmp_path):
    run = pretrain(open_source("digits"), tmp_path / "run", replace(TINY, epochs=1))
    model, bank = load_run(run)
    export(run, tmp_path / "m", with_bank=True)
    again, x = zoo.load(tmp_path / "m"), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.embed(x), model.embed(x))
    assert torch.equal(zoo.load_bank(tmp_path / "m"), bank.rows)
    assert (
        again.meta["data"]["count"] == 1437
        and again.meta["settings"]["lr"] == 0.05
        and again.input.size == 8
    )
    with pytest.raises(zoo.RunError, match=r"checkpoint\.safetensors: not found"):
        load_run(tmp_path)
    (run / "checkpoint.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(zoo.RunError, match="not a complete checkpoint"):
        load_run(run)
