"""What a kill between two steps of a write leaves, and what the next use makes of it."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.utils import aside
from zoo.utils.files import (
    LOCK,
    WriteError,
    file_lock,
    folder_lock,
    new_file,
    new_folder,
    write_text,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and signals")

KILLED = """
import os, signal, sys
from pathlib import Path
from zoo.utils import aside, files

folder = Path(sys.argv[1])
exchanges, steps = sys.argv[2] == "True", int(sys.argv[3])
if not exchanges:
    aside._exchange_function = lambda: None


def die_at(function):
    def wrapper(*args, **kwargs):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return wrapper


for name in ("replace", "mkdir", "fsync", "unlink", "rmdir"):
    setattr(os, name, die_at(getattr(os, name)))
aside.shutil.rmtree = die_at(aside.shutil.rmtree)
with files.new_folder(folder, replace=True) as new:
    (new / "x").write_text("new")
files.write_text(folder.with_name("file"), "new")
print("done")
"""


@posix
@pytest.mark.parametrize("exchanges", [True, False])
def test_a_kill_at_any_step_leaves_the_old_folder_or_the_new_one(tmp_path, exchanges):
    for steps in range(40):
        folder = tmp_path / str(steps) / "model"
        with new_folder(folder) as new:
            (new / "x").write_text("old")
        write_text(folder.with_name("file"), "old")
        command = [sys.executable, "-c", KILLED, str(folder), str(exchanges), str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        aside.recover(folder)
        assert (folder / "x").read_text() in ("old", "new")
        assert folder.with_name("file").read_text() in ("old", "new")
        aside._swept.clear()
        write_text(folder.with_name("file"), "next")
        with new_folder(folder, replace=True) as new:
            (new / "x").write_text("next")
        assert sorted(os.listdir(folder.parent)) == ["file", "model"]
        if done.returncode == 0:
            break
    assert steps > 3 and done.stdout == "done\n"


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_model_caught_between_two_names_loads(tmp_path, monkeypatch, exchanges):
    directory = zoo.save(zoo.create("resnet10", embed_dim=4), tmp_path / "model")
    directory.rename(aside._previous(directory))
    assert zoo.load(directory).embed_dim == 4
    if not exchanges:
        monkeypatch.setattr(aside, "_exchange_function", lambda: None)
    zoo.save(zoo.create("resnet10", embed_dim=2), directory, replace=True)
    assert zoo.load(str(directory)).embed_dim == 2 and os.listdir(tmp_path) == ["model"]


def test_a_failed_exchange_brings_the_old_folder_back(tmp_path, monkeypatch):
    write_text(tmp_path / "f" / "x", "old")
    monkeypatch.setattr(aside, "_exchange_function", lambda: None)
    replace = os.replace

    def fail(source, target):
        if str(source).endswith(".aside"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(WriteError, match="No space"), new_folder(tmp_path / "f", replace=True):
        pass
    assert (tmp_path / "f" / "x").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_a_live_process_keeps_its_temporary_files(tmp_path):
    with new_file(tmp_path / "a") as path:
        path.write_text("1")
        aside._swept.clear()
        write_text(tmp_path / "b", "2")
        assert path.exists() and aside.is_aside(path.name)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_those_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        with new_folder(tmp_path / "model") as folder:
            save_file({"x": torch.zeros(2)}, folder / "weights")
            (folder / "config").write_text("{}")
        with new_file(tmp_path / "checkpoint") as path:
            save_file({"x": torch.zeros(2)}, path)
        write_text(tmp_path / "text", "x")
        with folder_lock(tmp_path / "run"):
            pass
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        expected = 0o777 if path.is_dir() else 0o666
        if path.name != LOCK:  # empty, and never wider than that
            assert stat.S_IMODE(path.stat().st_mode) == expected & ~mask, path
        else:
            assert not stat.S_IMODE(path.stat().st_mode) & mask


@posix
def test_names_as_long_as_the_system_takes_them(tmp_path):
    for name in ("a" * 255, "é" * 127, "名" * 85):
        write_text(tmp_path / name, "x")
        with new_folder(tmp_path / "folders" / name) as folder:
            (folder / "x").write_text("")
        with new_folder(tmp_path / "folders" / name, replace=True):
            pass
    assert len(os.listdir(tmp_path)) == 4
    with pytest.raises(WriteError, match="name too long"):
        write_text(tmp_path / ("a" * 256), "x")
    with pytest.raises(WriteError, match="name too long"), new_folder(tmp_path / ("é" * 128)):
        pass


def test_a_file_in_a_new_folder_can_be_locked_before_the_folder_has_its_name(tmp_path):
    with new_folder(tmp_path / "demo") as folder:
        assert aside.is_own(folder.name) and not aside.is_own("demo")
        with file_lock(folder / "metrics.json"):
            (folder / "metrics.json").write_text("[]")
    assert (tmp_path / "demo" / "metrics.json").read_text() == "[]"


def test_the_current_folder_needs_no_recovery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    aside.recover(Path("."))
    assert list(tmp_path.iterdir()) == []
