"""A tiny run on the digits, and what the tests of runs look at."""

import torch

from pretrain import PRESETS, override

TINY = override(
    PRESETS["digits"],
    {
        "epochs": "2",
        "batch_size": "256",
        "embed_dim": "8",
        "augment.size": "8",
        "eval_every": "0",
        "amp": "float32",
    },
)


def content(run):
    from safetensors.torch import load_file

    return load_file(run / "checkpoint.safetensors")


def same(a, b):
    assert set(a) == set(b)
    return all(torch.equal(a[name], b[name]) for name in a)


class Crash(Exception):
    pass


def crash_at(step):
    def on_step(now):
        if now["step"] == step:
            raise Crash

    return on_step
