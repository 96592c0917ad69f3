"""A file is what its first bytes say, whatever it is called."""

import io
import tarfile

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.interop.checkpoint import read_checkpoint
from zoo.interop.convert import convert


def tar(content=b"x"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("checkpoint.pth")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


OTHERS = {
    "page": (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
    "page without a doctype": (b"<html><body>404", "an HTML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "tar": (tar(), "a tar archive"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip data"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "JSON": (b'{"message": "Not Found"}', "JSON"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, kind, suffix):
    content, said = OTHERS[kind]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(zoo.ModelError) as caught:
        read_checkpoint(path, arch="resnet10")
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors", ""])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_checkpoint_is_read_under_any_suffix(net, tmp_path, kind, suffix):
    path = tmp_path / f"model{suffix}"
    if kind == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    model, _, _ = read_checkpoint(path, arch="resnet10")
    assert torch.equal(model.conv1.weight, net.conv1.weight)


@pytest.mark.parametrize(
    ("format", "suffix"), [("torchvision", ".safetensors"), ("detectron2", ".pkl")]
)
def test_a_file_is_written_under_the_suffix_of_its_format_only(net, tmp_path, format, suffix):
    zoo.save(net, tmp_path / "m")
    for wrong in ("out.pth", "out", "out.bin"):
        with pytest.raises(zoo.SettingsError, match=f"ends in {suffix}"):
            convert(tmp_path / "m", tmp_path / wrong, format=format)
        assert not (tmp_path / wrong).exists()
