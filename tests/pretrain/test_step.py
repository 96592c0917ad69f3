import math

import pytest
import torch

import zoo
from pretrain import pretrain
from pretrain.checkpoint import read_progress
from tests.pretrain.runs import TINY, content
from zoo.data.sources import open_source


def test_a_loss_that_is_not_finite_stops_before_anything_changes(tmp_path, monkeypatch):
    from pretrain.losses.exact import Exact

    monkeypatch.setattr("pretrain.trainer.SAVE_EVERY", 0.0)
    forward, calls = Exact.forward, []

    def spoiled(self, v, index, bank, generator):
        calls.append(bank.rows.clone())
        return forward(self, v, index, bank, generator) * (math.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(Exact, "forward", spoiled)
    with pytest.raises(zoo.RunError, match=r"step 3 of epoch 0: loss is nan.*the images: \d+, \d+"):
        pretrain(open_source("digits"), tmp_path / "run", TINY)
    assert read_progress(tmp_path / "run").total == 3
    assert torch.equal(content(tmp_path / "run")["bank.rows"], calls[3])


def test_a_gradient_that_is_not_finite_stops_although_the_loss_is(tmp_path, monkeypatch):
    """Neither weights, momenta nor bank have moved when it stops."""
    from pretrain import trainer
    from pretrain.losses.exact import Exact

    forward, kept, step, states = Exact.forward, {}, trainer.train_step, []

    def spoiled(self, v, index, bank, generator):
        loss = forward(self, v, index, bank, generator)
        return loss + (v - v.detach()).square().sum(1).sqrt() if len(states) == 3 else loss

    def watched(state, *more):
        states.append(state)
        kept.update({name: tensor.clone() for name, tensor in state.tensors().items()})
        return step(state, *more)

    monkeypatch.setattr(Exact, "forward", spoiled)
    monkeypatch.setattr(trainer, "train_step", watched)
    with pytest.raises(
        zoo.RunError, match=r"step 2 of epoch 0: loss is \d.*gradient norm nan; the images: \d+, "
    ):
        pretrain(open_source("digits"), tmp_path / "run", TINY)
    after = states[-1].tensors()
    changed = {name for name in kept if not torch.equal(kept[name], after[name])}
    assert not {name for name in changed if "running" not in name and "num_batches" not in name}
