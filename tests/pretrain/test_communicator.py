"""Two and four processes do what one does, and fail together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pretrain import cost as plan
from pretrain.checkpoint import read_progress
from pretrain.communicator import SINGLE_PROCESS
from pretrain.cost import BackboneCost
from pretrain.memory_bank import ShardedBank
from tests.pretrain import processes
from zoo import InputSpec, RunError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return processes.alone(folder), folder


@pytest.fixture(scope="module", params=[2, 4])
def many(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"many{request.param}")
    processes.start(request.param, folder)
    return request.param, folder


def relative(found, expected):
    found, expected = found.double(), expected.double()
    return ((found - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def heard(many):
    size, folder = many
    return [json.loads((folder / f"heard-{rank}.json").read_text()) for rank in range(size)]


def test_objectives_bank_and_neighbours_are_those_of_one_process(alone, many):
    found = torch.load(many[1] / "found.pt")
    assert set(found) == set(alone[0]) and len(found) > 50
    for name, expected in alone[0].items():
        assert found[name].shape == expected.shape
        # bf16 sums of each share are rounded apart; what a bank keeps is not
        rounded = name.startswith("exact") and "float32" not in name and name.endswith("gradient")
        assert relative(found[name], expected) <= (4e-3 if rounded else 1e-6), name


def test_a_whole_run_is_that_of_one_process(alone, many):
    one, run = alone[1] / "plain", many[1] / "plain"
    assert read_progress(run).processes == many[0]
    found, expected = (
        load_file(run / "checkpoint.safetensors"),
        load_file(one / "checkpoint.safetensors"),
    )
    assert set(found) == set(expected)
    for name in found:
        assert relative(found[name], expected[name]) < 1e-5, name  # ten steps of rounding
    for ours, theirs in zip(metrics(run), metrics(one), strict=True):
        assert ours.pop("event") == theirs.pop("event") and ours == pytest.approx(theirs, rel=1e-6)


def test_a_run_resumed_within_an_epoch_ends_bit_for_bit_the_same(many):
    whole, cut = (load_file(many[1] / run / "checkpoint.safetensors") for run in ("whole", "cut"))
    assert set(whole) == set(cut) and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert metrics(many[1] / "whole") == metrics(many[1] / "cut")


def test_a_loss_that_is_not_finite_in_one_process_stops_all_before_anything_changes(many):
    told, index = heard(many), heard(many)[-1]["index"]
    assert told[0]["nan"].startswith("RunError:") and all(
        h["nan"].startswith("PeerError:") for h in told[1:]
    )
    assert "stopped at step 2 of epoch 0: loss is nan" in told[0]["nan"]
    assert told[0]["nan"].endswith("the images: " + ", ".join(map(str, index)))
    assert len(index) == 256 // many[0] and read_progress(many[1] / "nan").total == 2


def test_all_stop_after_the_same_step_when_one_is_told_to(many):
    assert all(h["sigterm"].startswith("Stopped: stopped and saved") for h in heard(many))
    assert read_progress(many[1] / "sigterm").total == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("disk", "WriteError: cannot write: No space left on device"),
        ("begun", "holds a run already"),
        ("held", "another process trains here"),
        ("uneven", "batch_size: 25[01] images are not dealt out evenly"),
        ("parametric", "choose exact"),
        ("sync", "GPUs only"),
    ],
)
def test_what_fails_in_one_process_fails_in_all_and_rank_0_tells_it(many, fault, message):
    import re

    first, *others = (h[fault] for h in heard(many))
    assert re.search(message, first) and not first.startswith("PeerError")
    assert others and all(other.startswith("PeerError: ") for other in others)
    assert not (many[1] / "uneven" / "checkpoint.safetensors").exists()


def test_the_plan_counts_the_bytes_that_are_really_sent(many, monkeypatch):
    size, folder = many
    monkeypatch.setattr(ShardedBank, "rows_per_lookup", 1 << 16)
    model = processes.NoNorm(8, "imagenet", InputSpec())
    num_parameters = sum(p.numel() for p in model.parameters())
    cost = BackboneCost(num_parameters=num_parameters, flops=0, activation_bytes=0)
    for rank in range(size):
        counted = json.loads((folder / f"wire-{rank}.json").read_text())
        for name, changes in processes.WIRED.items():
            how = processes.override(processes.TINY, changes)
            sent = plan.make_plan(how, 1437, size, backbone=cost).messages()
            of_owner = (
                "own rows",
                "own rows of the proximal term",
                "negatives",
            )  # how many rows each owner is asked for is chance
            for kind, found in counted[name].items():
                expected = sum(m.num_bytes for m in sent if m.collective == kind)
                if kind == "all-to-all":
                    fetched = sum(m.num_bytes for m in sent if m.what in of_owner)
                    assert abs(found - expected) < 0.2 * fetched, (name, kind)
                else:
                    assert found == expected, (name, kind)


def test_one_process_exchanges_nothing():
    x = torch.arange(6)
    assert (
        SINGLE_PROCESS.all_gather(x) is x
        and SINGLE_PROCESS.local_part(x) is x
        and SINGLE_PROCESS.all_reduce_sum(x) is x
        and SINGLE_PROCESS.all_reduce_max_numbers(3, 1) == [3, 1]
    )
    with pytest.raises(RunError, match="as it was"):
        SINGLE_PROCESS.rank_zero_first(lambda: (_ for _ in ()).throw(RunError("as it was")))


def rank_1(launcher):
    """Its process id: torchrun's child with that rank."""
    tasks = Path(f"/proc/{launcher.pid}/task").glob("*/children")
    for child in {int(pid) for task in tasks for pid in task.read_text().split()}:
        if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return child
    raise AssertionError("torchrun has no such child")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
def test_a_killed_process_ends_the_job_and_the_run_goes_on(tmp_path):
    run, words = (
        tmp_path / "run",
        ["pretrain", "digits", "--preset", "digits", "--device", "cpu", "--seed", "3"],
    )
    words += [
        "--set",
        "batch_size=256",
        "--set",
        "eval_every=0",
        "--set",
        "augment.size=8",
        "--epochs",
        "500",
    ]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    process = subprocess.Popen(
        [*torchrun, "-m", "npid", *words, "--out", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.05)
    assert (run / "checkpoint.safetensors").exists(), "no epoch was trained"
    os.kill(rank_1(process), signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert (
        "rank 0 of 2: another process of this run has ended" in output
        and "go on with --resume" in output
    )
    assert "Signal 9 (SIGKILL)" in output  # torchrun's own words

    at = read_progress(run)
    assert at.processes == 2 and at.step == 0 and at.epoch >= 1
    npid = [sys.executable, "-m", "npid", *words, "--out", str(run), "--resume"]
    refused = subprocess.run(npid, capture_output=True, text=True)
    assert (
        refused.returncode == 1
        and "trained by 2 process(es), now 1; add --change-processes" in refused.stderr
    )
    more = subprocess.Popen([*npid, "--change-processes"], stderr=subprocess.PIPE, text=True)
    while read_progress(run).epoch <= at.epoch and more.poll() is None:
        time.sleep(0.05)
    more.send_signal(signal.SIGTERM)
    assert more.wait() == 128 + signal.SIGTERM, more.stderr.read()
    assert read_progress(run).processes == 1 and read_progress(run).epoch > at.epoch
