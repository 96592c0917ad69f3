import hashlib

import pytest

from zoo.errors import HubError
from zoo.hub._files import check_file_name, hex_digest, is_commit, split_revision


@pytest.mark.parametrize("content", [b"", b"what is up, doc?", b"x" * 3_000_000])
def test_digests_are_those_of_git_and_of_lfs_for_bytes_and_files(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    for given in (content, tmp_path / "file"):
        assert hex_digest(given, sha256=True) == hashlib.sha256(content).hexdigest()
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        assert hex_digest(given, sha256=False) == blob


def test_the_digest_of_an_example_is_what_git_prints():
    """``echo -n 'what is up, doc?' | git hash-object --stdin`` (the Git book, chapter 10.2)."""
    expected = "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    assert hex_digest(b"what is up, doc?", sha256=False) == expected


def test_a_revision_is_named_once():
    assert split_revision("lab/model") == ("lab/model", "main")
    assert split_revision("lab/model", "v1") == ("lab/model", "v1")
    assert split_revision("lab/model@v1", "v1") == ("lab/model", "v1")
    with pytest.raises(HubError, match="contradict each other"):
        split_revision("lab/model@v1", "v2")
    with pytest.raises(HubError, match="is no revision"):
        split_revision("lab/model", "a..b")


def test_only_a_whole_commit_is_one():
    assert is_commit("0" * 40)
    assert not is_commit("0" * 39) and not is_commit("main") and not is_commit("G" * 40)


@pytest.mark.parametrize("name", ["../x", "a/../b", "a//b", "/a", "C:x", "a\\b", "a\0", ".", ""])
def test_names_that_lead_out_of_a_folder_are_refused(name):
    with pytest.raises(HubError, match="lab/model: refused.*unsafe name"):
        check_file_name(name, "lab/model")


def test_plain_names_pass():
    for name in ("config.json", "sub/model.safetensors", "..hidden", "a.b.c"):
        check_file_name(name, "lab/model")
