import json

import pytest
import torch

import zoo
from zoo.hub import ConflictError, pull, push

REPO = "lab/model"


@torch.no_grad()
def test_push_then_pull_into_a_fresh_cache_is_bit_identical(hub, model, saved, tmp_path):
    done = push(saved, REPO, endpoint=hub.url)
    assert set(done.uploaded) == {
        "config.json",
        "README.md",
        "metrics.json",
        "bank.safetensors",
        "model.safetensors",
    }
    assert done.left_out == ["notes.txt"] and done.commit == hub.resolve(REPO, "main")
    assert hub.count("POST", "/commit/") == 1
    found = pull(REPO, endpoint=hub.url, cache=tmp_path / "cache")
    assert found.name == done.commit and not (found / "notes.txt").exists()
    x = torch.randn(2, 3, 32, 32)
    again = zoo.load(found)
    assert torch.equal(again.embed(x), model.embed(x)) and again.meta == model.meta
    assert torch.equal(zoo.load_bank(found), zoo.load_bank(saved))


def test_tags_pin_and_are_never_moved(hub, model, saved, tmp_path):
    first = push(saved, REPO, tag="v1", endpoint=hub.url)
    assert push(saved, REPO, tag="v1", endpoint=hub.url).commit == first.commit
    zoo.save(zoo.create("resnet10", embed_dim=4), saved, replace=True)
    with pytest.raises(ConflictError, match="choose another tag"):
        push(saved, REPO, tag="v1", endpoint=hub.url)
    assert hub.resolve(REPO, "main") == first.commit
    push(saved, REPO, tag="v2", endpoint=hub.url)
    cache = tmp_path / "cache"
    assert zoo.load(pull(f"{REPO}@v1", endpoint=hub.url, cache=cache)).embed_dim == 8
    assert zoo.load(pull(REPO, revision="v2", endpoint=hub.url, cache=cache)).embed_dim == 4
    assert zoo.load(pull(f"{REPO}@{first.commit}", endpoint=hub.url, cache=cache)).embed_dim == 8


def test_pull_to_a_folder_records_the_commit(hub, saved, tmp_path):
    done = push(saved, REPO, endpoint=hub.url)
    out = pull(REPO, to=tmp_path / "out", endpoint=hub.url, cache=tmp_path / "cache")
    assert json.loads((out / "source.json").read_text()) == {
        "repo": REPO,
        "revision": "main",
        "commit": done.commit,
    }
    assert zoo.load(out).embed_dim == 8 and not (out / "config.json").is_symlink()
    assert push(out, REPO, endpoint=hub.url).uploaded == []
    with pytest.raises(zoo.NpidError, match="not empty"):
        pull(REPO, to=out, endpoint=hub.url, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x/y", "a/..", "a/b@../../c", "a/b@x\\y"])
def test_bad_names_are_refused_before_any_request(hub, name, tmp_path):
    with pytest.raises(zoo.HubError, match="expected"):
        pull(name, endpoint=hub.url, cache=tmp_path)
    assert not hub.log


def test_a_repository_of_another_library_says_what_it_lacks(hub, tmp_path):
    hub.create(REPO)
    hub.edit(REPO, {"pytorch_model.bin": b"x"})
    with pytest.raises(
        zoo.HubError, match=r"lacks config\.json and model\.safetensors; it has pytorch_model\.bin"
    ):
        pull(REPO, endpoint=hub.url, cache=tmp_path)
    assert hub.count("GET", "resolve") == 0


def test_load_takes_a_repository(hub, model, saved, tmp_path, monkeypatch):
    commit = push(saved, REPO, endpoint=hub.url).commit
    cached = pull(REPO, endpoint=hub.url, cache=tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert zoo.load(f"{REPO}@{commit}").embed_dim == zoo.load(cached).embed_dim == 8
