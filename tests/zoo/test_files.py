import os
import stat

import pytest

from zoo.files import WriteError, new_folder, write_bytes, write_text


def test_a_failed_write_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"a\.txt.*No space left"):
        write_bytes(path, b"new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


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
