"""The command line, as a user types it."""

import os
import signal
import time

import pytest

from tests.npid.command_line import TINY, npid, npid_process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_is_saved_and_its_exit_code_says_so(tmp_path, number):
    words = ["pretrain", "digits", "--out", tmp_path / "run", *TINY[:2], "--epochs", 500, *TINY[4:]]
    process = npid_process(*words, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    while not (tmp_path / "run" / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.05)
    second = npid(*words, "--resume")
    assert second.exit_code == 1 and "another process trains here" in second.output
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number and "--resume" in errors and "Traceback" not in errors
