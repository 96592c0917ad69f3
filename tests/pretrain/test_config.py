import pytest

from pretrain import PRESETS, PretrainConfig, override, with_changes
from pretrain.config import from_dict, parse_value, to_dict
from zoo import SettingsError


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


def test_the_order_of_changes_does_not_matter():
    changes = {"loss.negatives": "7", "loss.z": "ema", "loss.name": "nce"}
    config = override(PretrainConfig(), changes)
    assert config == override(PretrainConfig(), dict(reversed(changes.items())))
    assert (config.loss.name, config.loss.negatives, config.loss.z) == ("nce", 7, "ema")
    values = {"loss.negatives": 7, "loss.z": "ema", "loss.name": "nce"}
    assert with_changes(PretrainConfig(), values) == config


def test_changes_in_a_program_are_real_values():
    mean = (0.1, 0.2, 0.30000000000000004)
    config = with_changes(PretrainConfig(), {"mean": mean, "stem": None, "augment.size": 8})
    assert config.mean is mean and config.stem is None and config.augment.size == 8
    with pytest.raises(SettingsError, match="unknown setting 'lrr'"):
        with_changes(PretrainConfig(), {"lrr": 1.0})


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "3", 3),
        (float, "1e-3", 0.001),
        (bool, "No", False),
        (str, "none", "none"),
        (str | None, "None", None),
        (str | None, "cifar", "cifar"),
        (tuple[int, ...], "[1, 2,3]", (1, 2, 3)),
        (tuple[int, ...], "", ()),
        (tuple[float, float], "(0.3, 1)", (0.3, 1.0)),
    ],
)
def test_text_is_read_by_the_declared_type(annotation, text, value):
    read = parse_value(annotation, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("old", "text", "new"),
    [
        ("dim", "16", "embed_dim"),
        ("batch", "64", "batch_size"),
        ("drops", "3,4", "lr_milestones"),
        ("knn_every", "2", "eval_every"),
        ("objective.name", "nce", "loss.name"),
        ("objective.temperature", "0.2", "loss.temperature"),
    ],
)
def test_old_names_of_settings_may_still_be_set(old, text, new):
    assert override(PretrainConfig(), {old: text}) == override(PretrainConfig(), {new: text})


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("augment.scale", "0.2,2.0", r"augment\.scale must be an increasing pair within \(0, 1\]"),
        ("augment.scale", "nan,1", r"augment\.scale must be"),
        ("augment.ratio", "0.5,inf", r"augment\.ratio must be"),
        ("augment.flip", "7", r"augment\.flip must lie in \[0, 1\], got 7"),
        ("augment.hue", "-3", r"augment\.hue must lie in \[0, 0\.5\]"),
        ("augment.brightness", "5", r"augment\.brightness must lie in \[0, 1\]"),
        ("augment.grayscale", "nan", r"augment\.grayscale must lie"),
        ("lr", "nan", "lr must be positive, got nan"),
        ("lr", "inf", "lr must be a finite number, got inf"),
        ("weight_decay", "inf", "weight_decay must be a finite number"),
        ("warmup", "-1", "warmup must be a number of epochs"),
        ("loss.temperature", "inf", r"loss\.temperature must be a finite number"),
        ("std", "0,1,1", "std must be three positive numbers"),
        ("seed", "99999999999999", r"seed must lie between -2\^32 and 2\^32"),
    ],
)
def test_values_that_are_out_of_range_or_no_number_are_refused(key, text, message):
    with pytest.raises(SettingsError, match=message):
        override(PretrainConfig(), {key: text}).check()


def test_a_negative_seed_stays_one():
    override(PretrainConfig(), {"seed": "-1"}).check()
