import json
import os
from dataclasses import replace

import pytest
import torch

import zoo
from pretrain import pretrain
from pretrain.checkpoint import read_progress
from tests.pretrain.runs import TINY, content, same
from zoo.data.sources import open_source
from zoo.utils.files import WriteError


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    how = replace(TINY, epochs=1)
    pretrain(open_source("digits"), tmp_path / "run", how)
    before = content(tmp_path / "run")

    def full(fd):
        raise OSError(28, "No space left on device")

    from pretrain import checkpoint

    position = read_progress(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"checkpoint\.safetensors: No space left"):
        checkpoint.save(tmp_path / "run", {"model.x": torch.zeros(3)}, position)
    assert same(content(tmp_path / "run"), before)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".lock",
        "checkpoint.safetensors",
        "metrics.jsonl",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "step must be a whole number, got -1"),
        ({"seconds": "long"}, "seconds must be a number, got 'long'"),
        ({"settings": []}, "settings must be an object"),
        ({"data": {"name": "digits"}}, "data must have a count"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_checkpoint_that_claims_what_cannot_be_is_refused(tmp_path, changes, message):
    from safetensors.torch import save_file

    data = {"name": "digits", "count": 1437, "digest": "0"}
    header = {"format": 1, "settings": {}, "data": data, "versions": {}} | changes
    file = tmp_path / "checkpoint.safetensors"
    save_file({"model.x": torch.zeros(1)}, file, metadata={"npid": json.dumps(header)})
    with pytest.raises(zoo.RunError, match=f"not a complete checkpoint .*{message}"):
        read_progress(tmp_path)
