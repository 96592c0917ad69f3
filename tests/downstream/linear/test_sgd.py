from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

import zoo
from downstream.linear import PRESETS, sgd
from downstream.linear.probe_context import ProbeContext
from zoo.data.sources import open_source

CROPS = replace(PRESETS["imagenet"], epochs=1, batch_size=64, sweep=(0.1,))


def test_the_heads_are_vissls():
    """BatchNorm over the channels without weights, then a linear layer: written out for a batch."""
    torch.manual_seed(0)
    head, maps = sgd.Head((5, 3, 3), 4, norm=True), torch.randn(8, 5, 3, 3) * 3 + 1
    plain = nn.Sequential(nn.BatchNorm2d(5, affine=False), nn.Flatten(), head.linear)
    torch.testing.assert_close(head(maps), plain(maps))
    torch.testing.assert_close(head.eval()(maps.flatten(1)), plain.eval()(maps))
    assert len(list(head.parameters())) == 2 and not sgd.Head((5, 3, 3), 4, norm=False).norm


def test_sgd_on_kept_features_is_plain_sgd(model):
    """One head, two epochs, against torch's optimizer step by step."""
    how = replace(
        CROPS,
        crops=False,
        layers=("pooled",),
        norm=False,
        epochs=2,
        lr_milestones=(1,),
        sweep=(0.5,),
    )
    train, test = open_source("digits"), open_source("digits", "test")
    job = ProbeContext(zoo.load(model), None, how.layers, train, test, how)
    head = sgd.solve(job, torch.arange(100), {"pooled": (0.5,)}, seed=3)["pooled", 0.5]
    torch.manual_seed(3)
    plain = sgd.Head((192,), 10, norm=False)
    solver = torch.optim.SGD(
        plain.parameters(), lr=0.5 * 64 / 256, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for epoch in range(2):
        solver.param_groups[0]["lr"] = 0.125 * (1, 0.1)[epoch]
        [at] = sgd.epoch_order(3, epoch, 100, 64)
        solver.zero_grad()
        F.cross_entropy(
            plain(job.train_features["pooled"][at]), torch.from_numpy(train.labels)[at]
        ).backward()
        solver.step()
    torch.testing.assert_close(head.linear.weight, plain.linear.weight)


def test_all_heads_share_each_forward_pass_and_learn_apart(model):
    network, train, test = zoo.load(model), open_source("digits"), open_source("digits", "test")
    passes = []
    network.conv1.register_forward_hook(lambda *_: passes.append(1))
    how = replace(CROPS, layers=("conv1", "res5", "embedding"))
    job = ProbeContext(network, None, how.layers, train, test, how)
    together = sgd.solve(job, torch.arange(640), {name: (0.1, 0.01) for name in how.layers}, seed=0)
    assert len(together) == 6 and len(passes) == 10 + 1, "ten batches, and one image for the shapes"
    alone = sgd.solve(job, torch.arange(640), {"conv1": (0.1,)}, seed=0)
    torch.testing.assert_close(
        together["conv1", 0.1].linear.weight, alone["conv1", 0.1].linear.weight
    )
