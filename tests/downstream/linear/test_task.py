from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import zoo
from downstream.linear import PRESETS, Linear, LinearConfig
from downstream.task import TaskInputs
from zoo import DataError, SettingsError

QUICK = LinearConfig(layers=("res5",), sweep=(1e-2,), iterations=5)

CROPS = replace(PRESETS["imagenet"], epochs=1, batch_size=64, sweep=(0.1,))


def run(model, data, config):
    return Linear().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_no_preset_changes_a_bit_of_the_trunk(model, preset, monkeypatch):
    seen = []

    def load(folder, load=zoo.load):
        seen.append(load(folder).train())  # BatchNorm would move in this mode
        return seen[-1]

    monkeypatch.setattr(zoo, "load", load)
    settings = replace(PRESETS[preset].of_length(1), iterations=3)
    results = run(model, "digits", settings)
    [network] = seen
    assert network.training
    monkeypatch.undo()
    kept = zoo.load(model).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    layers = settings.layers or network.layers
    assert {f"{layer}/{kind}" for layer in layers for kind in ("top1", "top5")} == set(
        results.metrics
    )


def test_seeds_and_baselines(model):
    settings = replace(
        QUICK,
        layers=("conv1", "res5"),
        baselines=True,
        sweep=(1e-2, 1e-1),
        iterations=10,
        seeds=2,
    )
    results = run(model, "digits", settings)
    names = ["conv1", "res5", "pixels", "untrained/conv1", "untrained/res5"]
    assert list(results.metrics) == [
        f"{name}/{kind}{std}" for name in names for kind in ("top1", "top5") for std in ("", "_std")
    ]
    assert results.metrics["conv1/top1"] > 0.9 and results.split_sizes == {
        "train": 1437,
        "test": 360,
    }
    runs = results.details["untrained/res5"]
    assert [np.sum(run["confusion"]) for run in runs] == [360, 360] and runs[0]["top1"] != runs[1][
        "top1"
    ]
    assert results.metrics["untrained/res5/top1"] == pytest.approx(
        np.mean([run["top1"] for run in runs])
    )
    assert results.details["conv1"][0]["chosen"] in (1e-2, 1e-1)


@pytest.mark.parametrize(
    "how", [QUICK, replace(CROPS, layers=("res5",)), replace(QUICK, solver="svm")]
)
def test_a_class_missing_from_the_test_split_is_fine_and_bad_input_is_named(
    model, image_folder, how
):
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    results = run(model, str(image_folder), how)
    assert results.split_sizes == {"train": 12, "test": 2} and list(
        results.details["res5"][0]["per_class"]
    ) == ["dog"]
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(model, str(image_folder), how)
    assert run(model, str(image_folder), replace(how, skip_bad=True)).split_sizes == {
        "train": 11,
        "test": 2,
    }
    for file in (image_folder / "train").glob("*/*.png"):
        if int(file.stem) > 0:
            file.unlink()
    with pytest.raises(DataError, match="2 training images are too few to probe 2 classes"):
        run(model, str(image_folder), how)


def test_settings_that_cannot_be(model):
    for change, message in (
        ({"layers": ("conv7",)}, "no layer conv7; it has conv1.*pooled, embedding"),
        ({"sweep": ()}, "sweep must be one or more numbers"),
        ({"sweep": (-1.0,)}, "none negative"),
        ({"solver": "newton"}, "unknown linear solver 'newton'"),
    ):
        with pytest.raises(SettingsError, match=message):
            run(model, "digits", replace(QUICK, **change))


def test_the_command(model, tmp_path):
    from npid.main import app

    def npid(*words):
        return CliRunner().invoke(app, ["linear", str(model), "digits", *words])

    metrics = tmp_path / "metrics.json"
    done = npid(
        "--layers",
        "res5,pooled",
        "--sweep",
        "0.01",
        "--seeds",
        "2",
        "--baselines",
        "--json",
        str(metrics),
    )
    assert done.exit_code == 0, done.output
    assert (
        "untrained/pooled" in done.output
        and "±" in done.output
        and "top-5" in done.output
        and metrics.exists()
    )
    done = npid("--preset", "pooled", "--no-crops", "--epochs", "2", "--sweep", "0.1,1")
    assert done.exit_code == 0 and "rate" in done.output, done.output
    for words, message in (
        (["--preset", "imagnet"], "did you mean 'imagenet'"),
        (["--sweep", "a"], "--sweep takes numbers"),
    ):
        done = npid(*words)
        assert done.exit_code == 1 and message in done.output
