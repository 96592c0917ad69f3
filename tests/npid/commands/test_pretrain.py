"""The command line, as a user types it."""

import json
import math
from pathlib import Path

import pytest
import torch

import zoo
from tests.npid.command_line import npid


def test_a_run_may_start_from_a_model(tmp_path):
    given = zoo.create(
        "resnet10", embed_dim=16, input=zoo.InputSpec(size=8, crop_pct=1.0, mean=(0.1, 0.2, 0.3))
    )
    zoo.save(given, tmp_path / "given")
    words = ["--preset", "digits", "--epochs", "1", "--set", "lr=1e-12", "--set", "batch=256"]
    done = npid(
        "pretrain", "digits", "--out", tmp_path / "run", "--init", tmp_path / "given", *words
    )
    assert done.exit_code == 0, done.output
    assert npid("export", tmp_path / "run", "--to", tmp_path / "after").exit_code == 0
    after = zoo.load(tmp_path / "after")
    assert (after.embed_dim, after.input) == (16, given.input)
    for name, parameter in given.named_parameters():
        assert torch.allclose(after.get_parameter(name), parameter, atol=1e-6), name
    done = npid(
        "pretrain",
        "digits",
        "--out",
        tmp_path / "other",
        "--init",
        tmp_path / "given",
        "--set",
        "dim=8",
    )
    assert (
        done.exit_code == 1
        and "dim is 8" in done.output
        and not (tmp_path / "other" / "metrics.jsonl").exists()
    )


@pytest.fixture
def some_cifar(tmp_path, real):
    """The first 1024 images of the real CIFAR-10, in parquet as the whole."""
    parquet = pytest.importorskip("pyarrow.parquet")
    [whole] = Path(real("cifar10")).glob("train-*.parquet")
    with parquet.ParquetFile(whole) as file:
        rows = next(file.iter_batches(1024))
    folder = tmp_path / "cifar10"
    folder.mkdir()
    with parquet.ParquetWriter(folder / "train-00000-of-00001.parquet", rows.schema) as file:
        file.write_batch(rows)
    return folder


def test_real_cifar_trains_from_parquet(tmp_path, some_cifar):
    words = ["--preset", "cifar10-cpu", "--epochs", "1", "--set", "knn_every=0"]
    done = npid("pretrain", some_cifar, "--out", tmp_path / "run", *words, "--set", "batch=256")
    assert done.exit_code == 0, done.output
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    epoch = json.loads(line)
    assert epoch["step"] == 4 and 0 < epoch["loss"] < math.log(1024), "better than chance"
