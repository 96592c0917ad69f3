"""Runs the command line as a user types it."""

import subprocess
import sys

from typer.testing import CliRunner

from npid.main import app

TINY = [
    "--preset",
    "digits",
    "--epochs",
    "1",
    "--set",
    "augment.size=8",
    "--set",
    "batch=256",
    "--set",
    "dim=16",
]


def npid(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def npid_process(*words, **more):
    command = [sys.executable, "-m", "npid", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def check_refused(done, message):
    """One message, exit code 1, and no traceback."""
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    assert message in done.output and "Traceback" not in done.output
