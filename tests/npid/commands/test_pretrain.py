"""The command line, as a user types it."""

import json
import time

import torch

import zoo
from tests.npid.command_line import npid, npid_process


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


def test_real_cifar_trains_from_parquet(tmp_path, real):
    words = [
        "--preset",
        "cifar10-cpu",
        "--epochs",
        "1",
        "--set",
        "batch=512",
        "--set",
        "knn_every=0",
    ]
    process = npid_process("pretrain", real("cifar10"), "--out", tmp_path / "run", *words)
    deadline = time.monotonic() + 400  # ten times what two idle cores need
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert process.wait(5) == 0, process.stderr.read()
    [epoch] = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert epoch["step"] == 97 and epoch["loss"] < 10.5
