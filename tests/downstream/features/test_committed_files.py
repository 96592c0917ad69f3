import os

import pytest

from downstream.features.committed_files import CommittedFiles
from zoo.utils.files import WriteError


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux's /proc")
def test_files_are_on_the_disk_before_the_manifest_is_replaced(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def record(handle):
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    files = CommittedFiles(tmp_path, "manifest.json", "make room")
    files.truncate({"rows": 0, "keys": 0})
    monkeypatch.setattr(os, "fsync", record)
    files.write("rows", 0, b"abc")
    files.write("rows", 3, b"def")
    files.commit("first")
    assert synced[0] == "rows" and synced[1].startswith(".manifest.json.")
    assert (tmp_path / "rows").read_bytes() == b"abcdef"
    synced.clear()
    files.commit("second")
    assert "rows" not in synced and (tmp_path / "manifest.json").read_text() == "second"


def test_a_file_that_cannot_be_written_is_named_with_what_to_do(tmp_path):
    files = CommittedFiles(tmp_path, "manifest.json", "make room")
    with pytest.raises(WriteError, match=r"cannot write .*rows: No such file .*; make room"):
        files.write("rows", 0, b"abc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=r"cannot write .*folder: Is a directory; make room"):
        files.truncate({"folder": 0})
