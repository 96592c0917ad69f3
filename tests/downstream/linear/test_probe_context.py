from dataclasses import replace

import pytest
import torch

import zoo
from downstream.linear import PRESETS
from downstream.linear.probe_context import ProbeContext, score_rows
from zoo.data.sources import open_source


@pytest.fixture
def context(model):
    digits = open_source("digits"), open_source("digits", "test")
    config = replace(PRESETS["imagenet"], crops=False)
    counts = []
    made = ProbeContext(
        zoo.load(model), None, ("res5", "pooled"), *digits, config, on_images=counts.append
    )
    return made, counts


def test_features_of_all_layers_come_from_one_pass_when_first_asked_for(context):
    made, counts = context
    assert made.num_classes == 10 and counts == []
    features = made.test_features
    assert sum(counts) == 360 and set(features) == {"res5", "pooled", "good"}
    assert features["res5"].shape[0] == 360 and features["good"].all()
    assert made.test_features is features and sum(counts) == 360
    assert made.train_features["pooled"].shape == (1437, 192)
    assert torch.equal(made.labels, torch.from_numpy(made.train.labels))


def test_rows_are_scored_in_blocks_in_their_order():
    features = torch.randn(10_000, 3).half()
    indices = torch.randperm(10_000)[:9000]
    sizes = []

    def score(rows):
        assert rows.dtype == torch.float32
        sizes.append(len(rows))
        return 2 * rows

    scores = score_rows(score, features, indices, "cpu")
    assert torch.equal(scores, 2 * features[indices].float())
    assert sizes == [4096, 4096, 808]
