"""The plan against what the code allocates and multiplies; test_communicator has what is sent."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from pretrain import PRESETS, override
from pretrain import cost as plan
from pretrain.losses import build
from pretrain.memory_bank import LocalBank
from pretrain.train_state import new_model
from zoo import SettingsError

ROOT = Path(__file__).parents[2]
N, B, D = 20_000, 256, 128
FREE = plan.BackboneCost(num_parameters=0, flops=0, activation_bytes=0)


def step(how, kind):
    """A step of the objective and the bank, ready to run."""
    bank, objective = LocalBank.random(N, D, seed=0, storage=kind), build(how.loss, N, D)
    v, index = normalize(torch.randn(B, D)), torch.arange(B)

    def work():
        u = v.clone().requires_grad_()
        objective(u, index, bank, torch.Generator().manual_seed(0)).mean().backward()
        bank.update(index, u.detach(), 0.5)

    return bank, work


def peak(work):
    """The most bytes that torch held at once of those it allocated within."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    "changes",
    [
        {"loss.name": "exact"},
        {"loss.name": "nce", "loss.negatives": "512"},
        {"loss.name": "infonce", "loss.negatives": "4096", "loss.shared": "true"},
    ],
    ids=lambda changes: changes["loss.name"],
)
def test_memory_is_what_is_allocated(changes, kind):
    how = override(PRESETS["paper-imagenet"], {**changes, "bank_dtype": kind})
    it = plan.make_plan(how, N, 1, backbone=FREE)
    bank, work = step(how, kind)
    assert sum(t.nbytes for t in bank.state_dict().values()) == it.memory()["bank"]
    work()
    assert 0.5 < peak(work) / it.memory()["loss"] < 1.3


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_flops_are_those_of_the_matrix_products(kind):
    how = override(PRESETS["paper-imagenet"], {"bank_dtype": kind})
    _, work = step(how, kind)
    linear = {}
    if torch.backends.mkldnn.is_available():  # torch's counter does not know its operator
        linear[torch.ops.mkldnn._linear_pointwise] = lambda a, b, *_, out_shape=None, **__: (
            2 * math.prod(a) * b[0]
        )
    with FlopCounterMode(display=False, custom_mapping=linear) as counter:
        work()
    assert counter.get_total_flops() == plan.make_plan(how, N, 1, backbone=FREE).flops()["loss"]


def test_the_backbone_is_measured_as_it_runs():
    how = override(PRESETS["digits"], {"augment.size": "16"})
    cost, model = plan.measure_backbone(how), new_model(how)
    assert cost.num_parameters == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        out = model.embed(torch.randn(4, 3, 16, 16))
        forward = counter.get_total_flops()
        out.sum().backward()
    assert forward == 4 * cost.flops
    assert 2.8 * forward < counter.get_total_flops() <= 3 * forward  # the images need no gradient
    assert (
        0.7
        < peak(lambda: model.embed(torch.randn(64, 3, 16, 16))) / (64 * cost.activation_bytes)
        < 1.5
    )


def test_what_is_sent_falls_and_grows_as_it_must():
    how = override(PRESETS["paper-imagenet"], {"batch_size": "4096"})
    one, eight, more = (plan.make_plan(how, 10**7, w, backbone=FREE) for w in (1, 8, 64))
    assert one.messages() == [] and one.memory()["host of rank 0, saving"] == 0
    assert 8 * eight.memory()["bank"] == one.memory()["bank"]
    sums = [next(m for m in it.messages() if m.what == "sums") for it in (eight, more)]
    assert sums[0].num_bytes == sums[1].num_bytes and sums[0].sent(8) == sums[0].num_bytes * 14 // 8
    with pytest.raises(
        SettingsError, match="--devices 7: 4096 images of a step are not dealt out evenly"
    ):
        plan.make_plan(how, 10**7, 7, backbone=FREE)
    with pytest.raises(SettingsError, match="parametric"):
        plan.make_plan(override(how, {"loss.name": "parametric"}), 10**7, 8, backbone=FREE)


def test_the_table_of_the_documentation_is_the_plans(monkeypatch):
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
    scaling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scaling)
    assert scaling.table() in (ROOT / "docs" / "scaling.md").read_text()
