import os
import signal
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from zoo import DataError, RunError
from zoo.utils.files import WriteError, folder_lock, new_file, new_folder, write_bytes, write_text


def test_a_failed_write_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"a\.txt.*No space left"):
        write_bytes(path, b"new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.fixture
def small_disk():
    """No file may grow beyond a kilobyte: writes stop in the middle, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_in_the_middle_of_the_tensors(tmp_path, small_disk):
    write_text(tmp_path / "a", "old")
    with (
        pytest.raises(WriteError, match=r"cannot write .*a: .*File too large"),
        new_file(tmp_path / "a") as aside,
    ):
        save_file({"x": torch.zeros(1000)}, aside)
    with (
        pytest.raises(WriteError, match=r"cannot write .*f: "),
        new_folder(tmp_path / "f") as folder,
    ):
        save_file({"x": torch.zeros(1000)}, folder / "x")
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("1")
        raise RuntimeError
    assert not os.listdir(tmp_path)
    with new_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f" / "x").read_text() == "1"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o755


def test_a_failed_replacement_keeps_the_old_folder(tmp_path):
    with new_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "f", replace=True) as folder:
        (folder / "x").write_text("new")
        raise RuntimeError
    assert (tmp_path / "f" / "x").read_text() == "old" and os.listdir(tmp_path) == ["f"]
    with pytest.raises(WriteError, match="not empty"), new_folder(tmp_path / "f"):
        pass


def test_a_held_folder_is_told_in_the_words_of_who_asks(tmp_path):
    folder = tmp_path / "run"
    with folder_lock(folder):
        assert os.listdir(folder) == [".lock"]
        with pytest.raises(RunError, match="run: another process trains here"):
            folder_lock(folder).__enter__()
        with pytest.raises(DataError, match="run: another process embeds here"):
            folder_lock(folder, busy="another process embeds here", error=DataError).__enter__()
    with folder_lock(folder):
        pass


def test_what_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(WriteError, match="file.* cannot be written .*choose another --out"):
            folder_lock(path).__enter__()


def test_an_error_within_the_lock_stays_what_it_is_and_frees_the_folder(tmp_path):
    with pytest.raises(PermissionError), folder_lock(tmp_path):
        raise PermissionError
    with folder_lock(tmp_path):
        pass


HOLD = """
import sys
from zoo.utils.files import folder_lock

with folder_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process trains here"):
            folder_lock(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with folder_lock(tmp_path):
            pass
