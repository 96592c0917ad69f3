from dataclasses import replace

import pytest
import torch

import zoo
from pretrain import override, pretrain
from pretrain.losses import build
from pretrain.train_state import make_optimizer, new_model, optimized_parameters
from tests.pretrain.runs import TINY, Crash, content, crash_at, same
from zoo.data.sources import open_source


def test_any_optimizer_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    def adamw(parameters, config):
        return torch.optim.AdamW([parameter for _, parameter in parameters], lr=config.lr)

    monkeypatch.setattr("pretrain.train_state.make_optimizer", adamw)
    source = open_source("digits")
    pretrain(source, tmp_path / "whole", TINY)
    monkeypatch.setattr("pretrain.trainer.SAVE_EVERY", 0.0)
    with pytest.raises(Crash):
        pretrain(source, tmp_path / "cut", TINY, on_step=crash_at(7))
    pretrain(source, tmp_path / "cut", TINY, resume=True)
    whole = content(tmp_path / "whole")
    assert {"optimizer.conv1.weight/exp_avg", "optimizer.conv1.weight/step"} <= set(whole)
    assert same(whole, content(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("embed_dim", 4, "embed_dim is 8, .* 4"),
        ("stem", "cifar", "stem is small, .* cifar"),
    ],
)
def test_initial_weights_of_another_network_are_refused_by_name(tmp_path, option, value, message):
    options = {"embed_dim": TINY.embed_dim, "stem": None, option: value}
    spec = zoo.InputSpec(size=8, mean=TINY.mean, std=TINY.std)
    zoo.save(zoo.create("resnet10", input=spec, **options), tmp_path / "given")
    config = replace(TINY, init=str(tmp_path / "given"))
    with pytest.raises(zoo.SettingsError, match=message):
        pretrain(open_source("digits"), tmp_path / "run", config)


@pytest.mark.parametrize("decay_all", [False, True])
def test_norms_and_biases_decay_only_where_all_do(decay_all):
    config = replace(TINY, decay_all=decay_all, weight_decay=0.25)
    model = new_model(config)
    parameters = optimized_parameters(model, build(config.loss, 10, config.embed_dim))
    weights, others = make_optimizer(parameters, config).param_groups
    assert weights["weight_decay"] == 0.25
    assert others["weight_decay"] == (0.25 if decay_all else 0.0)
    assert {parameter.ndim for parameter in others["params"]} == {1}
    assert len(weights["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_what_a_loss_learns_is_optimized_under_a_name_of_its_own():
    config = override(TINY, {"loss.name": "parametric"})
    loss = build(config.loss, 10, config.embed_dim)
    names = [name for name, _ in optimized_parameters(new_model(config), loss)]
    assert "objective.weight" in names and len(set(names)) == len(names)
