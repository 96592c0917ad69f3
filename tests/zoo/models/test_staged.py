"""Stages one after another, on a network small enough to follow by hand."""

import pytest
import torch
from torch import nn

import zoo
from zoo.models.backbone import POOLED, FeatureInfo, Stage
from zoo.models.staged import StagedBackbone


class Counting(nn.Module):
    """Adds a number, and counts its calls."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.calls = 0

    def forward(self, maps):
        self.calls += 1
        return maps + self.number


class Ladder(StagedBackbone):
    stems = {"imagenet": 1}
    projection = "fc"
    feature_info = [FeatureInfo("low", 3, 1), FeatureInfo("high", 3, 1)]

    def __init__(self):
        super().__init__(2, "imagenet", zoo.InputSpec())
        self.arch = "ladder"
        self.parts = nn.ModuleList([Counting(1), Counting(10), Counting(100)])
        self.fc = nn.Linear(3, 2)

    @property
    def stages(self):
        first, second, third = self.parts
        return [Stage("low", [first, second]), Stage("high", [third])]

    def pool(self, maps):
        return maps.mean((2, 3))

    def forward(self, images):
        return self.fc(self.pool(self.features(images, ["high"])["high"]))

    def trunk_and_head(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("requested", "found", "calls"),
    [
        ([], {}, [0, 0, 0]),
        (["low"], {"low": 11}, [1, 1, 0]),
        (["high"], {"high": 111}, [1, 1, 1]),
        ([POOLED, "low"], {"low": 11, POOLED: 111}, [1, 1, 1]),
    ],
)
def test_each_module_runs_once_and_none_above_what_is_requested(requested, found, calls):
    model = Ladder()
    maps = dict(model.forward_intermediates(torch.zeros(2, 3, 4, 4), requested))
    assert {name: values.unique().item() for name, values in maps.items()} == found
    assert list(maps) == list(found), "the lowest first"
    assert [part.calls for part in model.parts] == calls


def test_a_map_is_given_before_the_next_stage_runs():
    model = Ladder()
    intermediates = model.forward_intermediates(torch.zeros(1, 3, 2, 2), ["low", "high"])
    assert next(intermediates)[0] == "low"
    assert [part.calls for part in model.parts] == [1, 1, 0]
