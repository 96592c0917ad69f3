import json
import os

import numpy as np
import pytest
import torch

from downstream.features import cache as cache_module
from downstream.features.layers import layer_features
from zoo.data.sources import open_source
from zoo.utils.files import WriteError


def manifest(cache):
    [path] = (cache / "features").glob("*/manifest.json")
    return path, json.loads(path.read_text())


def test_a_missing_layer_is_added_and_a_damaged_file_made_again(network, passes, cache):
    source = open_source("digits", "test")
    first = layer_features(network, source, ["res4"], sha256="abc")
    both = layer_features(network, source, ["res4", "pooled"], sha256="abc")
    both = {
        name: rows.clone() for name, rows in both.items()
    }  # no longer mapped from the file that is cut below
    assert torch.equal(first["res4"], both["res4"]) and len(passes) == 4
    path = next((cache / "features").glob("*/pooled.npy"))
    assert np.array_equal(np.load(path), both["pooled"]), "anyone can read it"
    path.write_bytes(path.read_bytes()[:1000])
    again = layer_features(network, source, ["res4", "pooled"], sha256="abc")
    assert torch.equal(again["pooled"], both["pooled"]) and len(passes) == 6
    place, _ = manifest(cache)
    place.write_text("{")
    assert torch.equal(
        layer_features(network, source, ["pooled"], sha256="abc")["pooled"], both["pooled"]
    )


def test_an_interrupted_extraction_goes_on_where_it_was(network, passes, cache, monkeypatch):
    monkeypatch.setattr(cache_module, "_COMMIT_EVERY", 100)
    source = open_source("digits", "test")
    whole = layer_features(network, source, ["res5", "embedding"], batch_size=50)

    class Killed(BaseException):
        pass

    def kill(count, seen=[]):  # noqa: B006
        seen.append(count)
        if sum(seen) == 250:
            raise Killed

    with pytest.raises(Killed):
        layer_features(
            network, source, ["res5", "embedding"], sha256="abc", batch_size=50, on_progress=kill
        )
    assert manifest(cache)[1]["rows"] == {"res5": 200, "embedding": 200, "good": 200}
    passes.clear()
    counted = []
    rest = layer_features(
        network,
        source,
        ["res5", "embedding"],
        sha256="abc",
        batch_size=50,
        on_progress=counted.append,
    )
    assert len(passes) == 4 and counted[0] == 200 and sum(counted) == 360
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_a_full_disk_is_told_and_nothing_counts_as_done(network, cache, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    source = open_source("digits", "test")
    with pytest.raises(WriteError, match="No space left"):
        layer_features(network, source, ["res5"], sha256="abc")
    assert not list(cache.glob("features/*/manifest.json"))
