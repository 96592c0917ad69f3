from dataclasses import replace

import pytest

from downstream.finetune import PRESETS, FinetuneConfig
from zoo.errors import SettingsError


def test_the_paper_is_the_default():
    assert PRESETS["paper"] == FinetuneConfig()
    config = FinetuneConfig()
    assert (config.epochs, config.lr, config.lr_milestones) == (70, 0.01, (30, 60))
    assert config.labels == ("1%", "2%", "4%", "10%", "20%")


def test_who_names_the_epochs_gets_them():
    small = PRESETS["small"]
    assert small.least_steps == 1500
    assert small.with_changes({"epochs": 3}).least_steps == 0
    assert small.with_changes({"epochs": 3, "least_steps": 9}).least_steps == 9
    assert small.with_changes({"lr": 1.0}).least_steps == 1500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ()}, "labels must name one part or more"),
        ({"labels": ("5", "5")}, "labels are named twice: 5, 5"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"head_lr": -1.0}, "head_lr must be positive"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
    ],
)
def test_values_out_of_range_are_named(change, message):
    with pytest.raises(SettingsError, match=message):
        replace(FinetuneConfig(), **change).check()
