"""Checkpoints as other projects lay them out, each synthesised from a known network."""

import sys
import types

import torch
import torch.nn.functional as F
from torch import nn

DIM = 8


def shaken(model):
    """Running statistics away from 0 and 1, so that a forgotten buffer shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model.eval()


BANK = F.normalize(torch.randn(20, DIM, generator=torch.manual_seed(1)))


def bank_module(module, **buffers):
    """A pickled memory bank as the authors' scripts save it: a module of a class we do not have."""
    library = types.ModuleType(f"lib.{module}")
    kind = type(module, (nn.Module,), {"__module__": library.__name__})
    setattr(library, module, kind)
    sys.modules["lib"], sys.modules[library.__name__] = types.ModuleType("lib"), library
    bank = kind()
    for name, value in buffers.items():
        bank.register_buffer(name, value)
    return bank


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def trunk(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def head(state, prefix):
    return {prefix + kind: state[f"fc.{kind}"] for kind in ("weight", "bias")}


def lemniscate(s):
    bank = bank_module("NCEAverage", params=torch.tensor([4096, 0.07, 1e4, 0.5]), memory=BANK)
    optimizer = {
        "state": {0: {"momentum_buffer": torch.zeros(3)}},
        "param_groups": [{"lr": 0.03, "params": [0]}],
    }
    state = prefixed(s, "module.")
    return {
        "epoch": 3,
        "arch": "resnet10",
        "state_dict": state,
        "lemniscate": bank,
        "optimizer": optimizer,
    }


def linear_average(s):
    return lemniscate(s) | {
        "lemniscate": bank_module("LinearAverage", params=torch.tensor([0.07, 0.5]), memory=BANK)
    }


def moco(s, mlp=False):
    wide = {"fc.0.weight": torch.randn(256, 256), "fc.0.bias": torch.randn(256)} if mlp else {}
    last = head(s, "fc.2.") if mlp else head(s, "fc.")
    both = {
        name: value
        for which in ("encoder_k.", "encoder_q.")
        for name, value in prefixed(trunk(s) | wide | last, f"module.{which}").items()
    }
    queue = {
        "module.queue": torch.randn(DIM, 32),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    return {"epoch": 1, "arch": "resnet10", "state_dict": both | queue, "optimizer": {}}


def vissl(s, inner=""):
    model = {"trunk": prefixed(trunk(s), f"{inner}_feature_blocks."), "heads": head(s, "0.clf.0.")}
    loss = {"nce_average.memory": BANK, "nce_average.params": torch.tensor([4096, 0.07, -1, 0.5])}
    return {"classy_state_dict": {"base_model": {"model": model}, "loss": loss}}


def mmselfsup(s):
    state = (
        prefixed(trunk(s), "backbone.") | head(s, "neck.fc.") | {"memory_bank.feature_bank": BANK}
    )
    return {"meta": {"epoch": 2}, "state_dict": state}


def pycontrast(s):
    state = prefixed(trunk(s), "module.encoder.") | head(s, "module.head.0.")
    return {"model": state, "contrast": {"memory": BANK}, "epoch": 5}
