from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression

import zoo
from downstream.features.layers import layer_features
from downstream.linear import PRESETS, Linear, LinearConfig, probe
from downstream.task import TaskInputs
from zoo import SettingsError
from zoo.data.sources import open_source

CROPS = replace(PRESETS["imagenet"], epochs=1, batch_size=64, sweep=(0.1,))

QUICK = LinearConfig(layers=("res5",), sweep=(1e-2,), iterations=5)


def run(model, data, config):
    return Linear().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


@pytest.mark.parametrize("layer", ["res4", "embedding"])
def test_the_probe_scores_as_scikit_learn_does_on_real_features(model, layer):
    network, train, test = zoo.load(model), open_source("digits"), open_source("digits", "test")
    a, b = (layer_features(network, source, [layer])[layer].float() for source in (train, test))
    std, mean = torch.std_mean(a, 0)
    theirs = LogisticRegression(C=1 / (1e-2 * len(a)), max_iter=2000).fit(
        (a - mean) / std.clamp(min=1e-6), train.labels
    )
    ours = run(model, "digits", replace(QUICK, layers=(layer,), iterations=200)).metrics[
        f"{layer}/top1"
    ]
    assert abs(ours - theirs.score((b - mean) / std.clamp(min=1e-6), test.labels)) <= 0.005


def test_crops_teach_and_the_rate_is_chosen_on_training_images_only(model, monkeypatch):
    asked = []

    def spy(score, features, indices, context, accuracy=probe.held_out_accuracy):
        asked.append(len(features))
        return accuracy(score, features, indices, context)

    monkeypatch.setattr(probe, "held_out_accuracy", spy)
    how = replace(
        CROPS, layers=("conv1",), sweep=(1e-6, 0.3), epochs=6, lr_milestones=(5,), scale=(0.7, 1.0)
    )
    results = run(model, "digits", how)
    assert results.details["conv1"][0]["chosen"] == 0.3 and results.metrics["conv1/top1"] > 0.8
    assert asked == [1437, 1437]
    with pytest.raises(SettingsError, match=r"conv1 diverged at 1e\+30; .*--sweep 1e\+29"):
        run(model, "digits", replace(how, sweep=(1e30,), norm=False))


def test_the_images_held_out_for_the_choice_are_a_part_of_each_class(model, monkeypatch):
    held = {}

    def spy(score, features, indices, context, accuracy=probe.held_out_accuracy):
        held[context.config.seed] = context.labels[indices]
        return accuracy(score, features, indices, context)

    monkeypatch.setattr(probe, "held_out_accuracy", spy)
    run(model, "digits", replace(QUICK, sweep=(1e-2, 1e-1)))
    counts = torch.bincount(torch.from_numpy(open_source("digits").labels))
    expected = (0.1 * counts).round()
    assert torch.bincount(held[0]).tolist() == expected.tolist()
