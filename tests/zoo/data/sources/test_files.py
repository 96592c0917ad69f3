import os

from zoo.data.sources._files import file_bytes, file_size, file_state


def test_what_is_not_there_has_no_size_no_content_and_a_state(tmp_path):
    absent = tmp_path / "absent"
    assert file_size(absent) == -1 and file_bytes(absent) is None
    assert file_state(absent) == "absent"


def test_the_state_changes_with_the_content_although_size_and_time_do_not(tmp_path):
    path = tmp_path / "file"
    states = set()
    for content in (b"one", b"two", b"3"):
        path.write_bytes(content)
        os.utime(path, ns=(10**18 + 1, 10**18 + 1))  # an editor that sets the time back
        states.add(file_state(path))
        assert file_state(path) in states
        assert file_size(path) == len(content) and file_bytes(path) == content
    assert len(states) == 3


def test_where_times_are_whole_seconds_the_content_itself_is_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    status = os.stat(path)

    class WholeSeconds:
        st_size = status.st_size
        st_mtime_ns = 10**18
        st_ctime_ns = 10**18

    monkeypatch.setattr(type(path), "stat", lambda self: WholeSeconds)
    before = file_state(path)
    assert file_state(path) == before
    path.write_bytes(b"two")
    assert file_state(path) != before
