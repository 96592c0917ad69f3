import argparse
import collections
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

import zoo
from zoo.interop import unpickle

CONTENT = {
    "state_dict": torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict(),
    "args": argparse.Namespace(lr=0.03),
    "scalar": np.float64(0.5),
    "array": np.arange(6.0).reshape(2, 3).T,
    "half": torch.randn(3).half(),
    "parameter": torch.nn.Parameter(torch.randn(2)),
    "view": torch.randn(4, 4)[1:, 2:],
    "empty": torch.zeros(0, 3),
    "rest": [
        collections.defaultdict(dict, {1: {}}),
        {1, 2},
        torch.float16,
        torch.Size([1, 2]),
        (1, (2.5, None, True)),
    ],
}


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_torch_saves(tmp_path, zipped):
    torch.save(CONTENT, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    found = unpickle.read(tmp_path / "f")
    for name in ("half", "parameter", "view", "empty"):
        assert (
            torch.equal(found[name], CONTENT[name].detach())
            and found[name].dtype == CONTENT[name].dtype
        )
    assert {k: v.tolist() for k, v in found["state_dict"].items()} == {
        k: v.tolist() for k, v in CONTENT["state_dict"].items()
    }
    assert np.array_equal(found["array"], CONTENT["array"]) and found["scalar"] == 0.5
    assert found["rest"] == [{1: {}}, {1, 2}, torch.float16, (1, 2), (1, (2.5, None, True))]
    assert found["args"] == unpickle.StandIn("argparse.Namespace", {"lr": 0.03})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_plain_pickles_of_arrays(tmp_path, protocol):
    content = {
        "model": {"w": np.random.default_rng(0).random((2, 3), np.float32)},
        "__author__": "someone",
        3: [1 << 70],
    }
    (tmp_path / "f").write_bytes(pickle.dumps(content, protocol))
    found = unpickle.read(tmp_path / "f")
    assert np.array_equal(found["model"].pop("w"), content["model"]["w"])
    assert found == {"model": {}, "__author__": "someone", 3: [1 << 70]}


def test_shared_storages_and_cycles_survive(tmp_path):
    whole = torch.arange(6.0)
    content = {"a": whole, "b": whole[2:4], "list": []}
    content["list"].append(content)
    torch.save(content, tmp_path / "f")
    found = unpickle.read(tmp_path / "f")
    found["a"][2] = 9
    assert found["b"].tolist() == [9, 3] and found["list"][0] is found


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", pickle.dumps({})[:-1]])
def test_damaged_files_get_our_error(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(zoo.ModelError, match="fetch it again"):
        unpickle.read(tmp_path / "f")


@pytest.mark.parametrize("zipped", [True, False])
def test_every_cut_of_a_file_gets_our_error(tmp_path, zipped):
    whole = io.BytesIO()
    torch.save({"a": torch.randn(5), "b": [1, "two"]}, whole, _use_new_zipfile_serialization=zipped)
    for end in range(len(whole.getvalue()) - 1):
        (tmp_path / "f").write_bytes(whole.getvalue()[:end])
        with pytest.raises(zoo.ModelError):
            unpickle.read(tmp_path / "f")


def test_a_tar_and_a_missing_file_get_our_error(tmp_path):
    with tarfile.open(tmp_path / "f", "w"):
        pass
    for name in ("f", "nothing"):
        with pytest.raises(zoo.ModelError, match=name):
            unpickle.read(tmp_path / name)
