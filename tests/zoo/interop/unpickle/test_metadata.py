"""Notes beside tensors become plain values or inert records; what could run stays refused."""

import argparse
import collections
import datetime
import decimal
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch

import zoo
from zoo.interop.unpickle import StandIn, read
from zoo.interop.unpickle.metadata import is_note

NOTES = {
    "a path": pathlib.PurePosixPath("/runs/a"),
    "a Windows path": pathlib.PureWindowsPath("C:/runs"),
    "a date": datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
    "a duration": datetime.timedelta(seconds=5),
    "a deque": collections.deque([1.0, 2.0], maxlen=5),
    "a complex number": 1j,
    "a numpy number": np.float64(0.5),
    "arguments with a path": argparse.Namespace(out=pathlib.PurePosixPath("/runs")),
    "a namespace": types.SimpleNamespace(lr=0.1),
    "a decimal": decimal.Decimal("0.1"),
    "a range": range(3),
    "a counter": collections.Counter("abc"),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("note", NOTES)
def test_a_note_beside_tensors_does_not_matter(tmp_path, note, zipped):
    content = {"state_dict": {"w": torch.ones(2)}, "note": NOTES[note]}
    torch.save(content, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    assert torch.equal(read(tmp_path / "f")["state_dict"]["w"], torch.ones(2))


@pytest.fixture
def foreign_class(monkeypatch):
    """``make(name)``: a class of a library that is not installed."""

    def make(name):
        module, _, kind = name.rpartition(".")
        made = type(kind, (), {"__module__": module, "mean": lambda self: 0})
        parts = module.split(".")
        for end in range(1, len(parts)):
            parent = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        setattr(sys.modules[module], kind, made)
        return made

    return make


@pytest.mark.parametrize(
    "name",
    [
        "mmengine.logging.history_buffer.HistoryBuffer",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.base.ContainerMetadata",
        "yacs.config.CfgNode",
        "easydict.EasyDict",
        "pytorch_lightning.callbacks.ModelCheckpoint",
    ],
)
def test_a_record_of_another_library_is_inert(tmp_path, foreign_class, name):
    record = foreign_class(name)()
    record.values = [1, 2]
    (tmp_path / "f").write_bytes(pickle.dumps({"record": record, "w": 1}))
    content = read(tmp_path / "f")
    assert content["record"] == StandIn(name, {"values": [1, 2]}) and content["w"] == 1


def test_a_method_of_a_record_is_not_looked_up(tmp_path, foreign_class):
    kind = foreign_class("mmengine.logging.history_buffer.HistoryBuffer")
    kind.mean.__qualname__ = "HistoryBuffer.mean"
    kind.mean.__module__ = kind.__module__
    (tmp_path / "f").write_bytes(pickle.dumps({"methods": [kind.mean]}, protocol=2))
    assert read(tmp_path / "f") == {"methods": ["an attribute"]}


@pytest.mark.parametrize(
    "name",
    [
        "posix.system",
        "builtins.eval",
        "pathlib.os.system",
        "collections.abc.sys.exit",
        "torch.optim.lr_scheduler.warnings.warn",
        "mmengine.fileio.load",
        "omegaconfidential.Evil",
        "numpy.random.mtrand.__randomstate_ctor",
    ],
)
def test_what_could_be_a_function_is_no_note(tmp_path, name):
    assert not is_note(name)
    module, _, function = name.rpartition(".")
    (tmp_path / "f").write_bytes(f"c{module}\n{function}\n(tR.".encode())
    with pytest.raises(zoo.ModelError, match="refused: the pickle names"):
        read(tmp_path / "f")
