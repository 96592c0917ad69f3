from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from downstream.finetune import Finetune, FinetuneConfig
from downstream.finetune.subsets import label_subset
from downstream.task import TaskInputs
from zoo import DataError, SettingsError
from zoo.data.sources import open_source

QUICK = FinetuneConfig(labels=("2",), epochs=1, batch_size=8)


def run(model, data, config):
    return Finetune().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


def test_a_part_can_be_written_and_used_again(model, tmp_path):
    run(model, "digits", replace(QUICK, scratch=False, lists=tmp_path / "lists"))
    again = tmp_path / "lists" / "2-seed0.txt"
    source = open_source("digits")
    assert np.array_equal(label_subset(source, str(again), 5), label_subset(source, "2", 0))


def test_results_hold_every_seed_and_both_beginnings(model):
    results = run(model, "digits", replace(QUICK, seeds=2))
    assert set(results.metrics) == {
        f"{init}/2/{metric}{std}"
        for init in ("pretrained", "scratch")
        for metric in ("top1", "top5")
        for std in ("", "_std")
    }
    runs = [run["top1"] for run in results.details["pretrained/2"]]
    assert results.metrics["pretrained/2/top1"] == pytest.approx(np.mean(runs))
    assert results.metrics["pretrained/2/top1_std"] == pytest.approx(np.std(runs, ddof=1))


def test_bad_images_and_missing_classes(model, image_folder):
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    results = run(model, str(image_folder), replace(QUICK, labels=("100%",)))
    assert list(results.details["pretrained/100%"][0]["per_class"]) == ["dog"]
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(model, str(image_folder), replace(QUICK, labels=("100%",)))
    results = run(model, str(image_folder), replace(QUICK, labels=("100%",), skip_bad=True))
    assert results.split_sizes == {"train": 11, "test": 2, "100%": 11}


def test_the_command_prints_a_table_and_draws(model, tmp_path):
    from npid.main import app

    plot, metrics = tmp_path / "curve.png", tmp_path / "metrics.json"
    asked = [
        "--labels",
        "1,3",
        "--epochs",
        "1",
        "--seeds",
        "2",
        "--plot",
        str(plot),
        "--json",
        str(metrics),
    ]
    result = CliRunner().invoke(app, ["finetune", str(model), "digits", *asked])
    assert result.exit_code == 0, result.output
    assert (
        "scratch" in result.output
        and "±" in result.output
        and plot.stat().st_size > 5000
        and metrics.exists()
    )


def test_an_unknown_layer_is_named(model):
    with pytest.raises(SettingsError, match="has no layer res9; it has conv1"):
        run(model, "digits", replace(QUICK, layers=("res9",)))
