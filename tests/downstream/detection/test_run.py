"""Runs that are killed or stopped, and go on."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.downstream.detection.detectors import FEW_REGIONS, detect, npid
from zoo import RunError
from zoo.utils.files import WriteError
from zoo.utils.signals import Stopped

pytestmark = pytest.mark.usefixtures("detectron2")


@pytest.mark.slow
def test_killed_at_any_moment_a_run_goes_on_from_its_newest_checkpoint(model, voc, tmp_path):
    run = tmp_path / "run"
    start = [model("resnet10"), voc, "--out", run, "--device", "cpu"]
    words = [str(word) for word in (*start, "SOLVER.MAX_ITER", 100000, *FEW_REGIONS)]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "npid", "detect", *words],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (run / "last_checkpoint").is_file() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    (run / ".model_0000099.pth.torn").write_bytes(b"half")
    saved = int((run / "last_checkpoint").read_text().split("_")[1].split(".")[0])
    done = npid(*start, "--resume", "SOLVER.MAX_ITER", saved + 2)
    assert done.exit_code == 0, done.output
    log = (run / "log.txt").read_text()
    assert f"Starting training from iteration {saved + 1}" in log
    assert not (run / ".model_0000099.pth.torn").exists()
    content = torch.load(run / "model_final.pth")
    assert content["iteration"] == saved + 1
    assert content["trainer"]["_trainer"]["optimizer"]["state"]


def test_a_signal_saves_and_stops_with_its_own_exit_code(model, voc, tmp_path):
    run = tmp_path / "run"
    steps = []

    def on_progress(images, note):
        steps.append(images)
        if len(steps) == 4:  # the first tells where it begins
            os.kill(os.getpid(), signal.SIGTERM)

    options = ("SOLVER.MAX_ITER", 9, *FEW_REGIONS)
    with pytest.raises(Stopped, match="go on with --resume") as caught:
        detect(model("resnet10"), voc, run, *options, on_progress=on_progress)
    assert caught.value.signal == signal.SIGTERM
    assert (run / "last_checkpoint").read_text() == "model_0000002.pth"

    def write_half(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", write_half)
        with pytest.raises(WriteError, match=r"cannot write .*model_0000003\.pth: No space left"):
            detect(model("resnet10"), voc, run, resume=True)
    # a save that breaks off leaves the newest checkpoint as it is
    assert (run / "last_checkpoint").read_text() == "model_0000002.pth"
    assert len(list(run.glob("*.pth"))) == 2
    wild = (*options, "SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_ITERS", "0")
    with pytest.raises(RunError, match="infinite or NaN|diverged"):
        detect(model("resnet10"), voc, tmp_path / "wild", *wild)
