"""The benchmark for a GPU, which most machines that run the tests do not have, at least runs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_gpu_benchmark_runs_its_checks_on_a_cpu():
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("loss and gradient off by") == 15 and "MISSED" not in done.stdout
    assert "exact by its floor" in done.stdout and "a CIFAR-10 step by the bare one" in done.stdout
