import pytest

from pretrain import PRESETS, PretrainConfig, override
from pretrain.config import from_dict, to_dict
from zoo import SettingsError


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_survive_json(name):
    PRESETS[name].check()
    assert from_dict(to_dict(PRESETS[name])) == PRESETS[name]


def test_values_are_parsed_as_the_type_they_replace():
    changes = {
        "lr": "0.1", "epochs": "3", "nesterov": "yes", "stem": "none", "lr_milestones": "1, 2",
        "augment.scale": "(0.3,1)",
        "loss.name": "nce", "loss.shared": "true",
    }  # fmt: skip
    how = override(PretrainConfig(), changes)
    assert (how.lr, how.epochs, how.nesterov, how.stem, how.lr_milestones) == (
        0.1,
        3,
        True,
        None,
        (1, 2),
    )
    assert (how.augment.scale, how.loss.name, how.loss.shared) == (
        (0.3, 1.0),
        "nce",
        True,
    )
    assert override(PretrainConfig(), {"stem": "cifar"}).stem == "cifar"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lrr": "1"}, "unknown setting 'lrr'; there are: .*loss.temperature"),
        ({"augment.nothing": "1"}, "unknown setting"),
        ({"augment": "1"}, "unknown setting"),
        ({"lr": "fast"}, "lr must be float, got 'fast'"),
        ({"epochs": "1.5"}, "epochs must be int"),
        ({"nesterov": "perhaps"}, "nesterov must be bool"),
        ({"augment.scale": "0.2"}, "augment.scale must be 2 numbers"),
    ],
)
def test_a_wrong_name_or_value_is_named(changes, message):
    with pytest.raises(SettingsError, match=message):
        override(PretrainConfig(), changes)


def test_values_out_of_range_are_all_named_at_once():
    wrong = {
        "lr": "-1",
        "batch_size": "1",
        "schedule": "often",
        "augment.size": "4",
        "loss.temperature": "1",
    }
    with pytest.raises(SettingsError) as caught:
        override(PretrainConfig(), wrong).check()
    for part in (
        "lr must be positive",
        "batch_size must be at least 2",
        "schedule must be",
        "augment.size must be",
    ):
        assert part in str(caught.value)


def test_settings_and_changes_of_the_old_version_load_by_alias():
    values = to_dict(PRESETS["cifar10-cpu"])
    loss = values.pop("loss")
    loss["corrected"] = loss.pop("rescale_negatives")
    values["objective"] = loss | {"z": "ema", "z_batches": 10, "z_momentum": 0.99}
    assert from_dict(values) == PRESETS["cifar10-cpu"]
    changes = {"objective.negatives": "7", "objective.name": "nce", "objective.corrected": "true"}
    how = override(PretrainConfig(), changes)
    assert (how.loss.name, how.loss.negatives) == ("nce", 7)
    with pytest.raises(SettingsError, match="unknown setting 'loss.negatives'"):
        override(PretrainConfig(), {"loss.negatives": "7"})


def test_settings_of_another_version_are_named():
    with pytest.raises(SettingsError, match="colour_of_the_sky"):
        from_dict({**to_dict(PretrainConfig()), "colour_of_the_sky": "blue"})
