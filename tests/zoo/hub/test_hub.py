import json

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo import cards
from zoo.hub import ConflictError, list_remote, pull, push

REPO = "lab/model"


@pytest.fixture(scope="module")
def model():
    model = zoo.create("resnet10", embed_dim=8).eval()
    model.meta = {"data": {"name": "made up", "count": 20}, "epochs": 2}
    return model


@pytest.fixture
def saved(model, tmp_path):
    bank = torch.nn.functional.normalize(torch.randn(20, 8))
    folder = zoo.save(model, tmp_path / "model", bank=bank)
    results = [{"task": "knn", "data": "made up", "metrics": {"top1": 0.625}, "settings": {"k": 5}}]
    (folder / "metrics.json").write_text(json.dumps(results))
    (folder / "notes.txt").write_text("mine")
    return folder


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


def test_pushing_again_uploads_nothing(hub, saved):
    first = push(saved, REPO, endpoint=hub.url)
    hub.log.clear()
    again = push(saved, REPO, endpoint=hub.url)
    assert again.uploaded == [] and again.commit == first.commit
    assert {method for method, _ in hub.log} == {"GET"}
    assert "unchanged: model.safetensors" in "\n".join(again.lines())


def test_only_what_changed_is_uploaded_and_a_stale_bank_goes(hub, saved):
    push(saved, REPO, endpoint=hub.url)
    (saved / "metrics.json").write_text("[]")
    (saved / "bank.safetensors").unlink()
    done = push(saved, REPO, endpoint=hub.url)
    assert set(done.uploaded) == {"metrics.json", "README.md"} and done.deleted == [
        "bank.safetensors"
    ]
    assert "bank.safetensors" not in hub.files(REPO, done.commit)


def test_a_dry_run_sends_nothing_and_shows_files_and_card(hub, saved):
    done = push(saved, REPO, endpoint=hub.url, dry_run=True)
    assert not hub.log and done.dry_run and done.commit is None
    assert done.sizes["model.safetensors"] == (saved / "model.safetensors").stat().st_size
    assert "# lab/model" in done.card and "nothing was sent" in done.lines()[-1]
    assert (
        f"would upload: model.safetensors ({done.sizes['model.safetensors'] / 1e6:.3g} MB)"
        in done.lines()
    )


def test_a_card_of_ones_own_is_kept(hub, saved):
    (saved / "README.md").write_text("---\ntags: [mine]\n---\nmy words\n")
    done = push(saved, REPO, endpoint=hub.url)
    assert (
        hub.blob(hub.files(REPO, done.commit)["README.md"]["oid"])
        == (saved / "README.md").read_bytes()
    )


def test_private_repositories_and_a_directory_that_does_not_load(hub, saved):
    push(saved, REPO, private=True, endpoint=hub.url)
    assert hub.repo(REPO)["private"] is True
    push(saved, REPO, private=True, endpoint=hub.url)
    hub.create("lab/public")
    with pytest.raises(ConflictError, match="is public, so nothing was sent"):
        push(saved, "lab/public", private=True, endpoint=hub.url)
    assert hub.files("lab/public", hub.resolve("lab/public", "main")) == {}
    save_file({"fc.weight": torch.zeros(1)}, saved / "model.safetensors")
    hub.log.clear()
    with pytest.raises(zoo.ModelError, match="missing"):
        push(saved, REPO, endpoint=hub.url)
    assert not hub.log


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


def test_list_shows_what_the_cards_say(hub, saved):
    push(saved, REPO, endpoint=hub.url)
    push(saved, "other/model", endpoint=hub.url)
    hub.create("lab/unrelated")
    (found,) = list_remote("lab", endpoint=hub.url)
    count = sum(p.numel() for p in zoo.load(saved).parameters())
    assert (found.name, found.arch, found.dim, found.parameters) == (REPO, "resnet10", 8, count)
    assert (found.data, found.knn) == ("made up", 0.625)


def test_load_takes_a_repository(hub, model, saved, tmp_path, monkeypatch):
    commit = push(saved, REPO, endpoint=hub.url).commit
    cached = pull(REPO, endpoint=hub.url, cache=tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert zoo.load(f"{REPO}@{commit}").embed_dim == zoo.load(cached).embed_dim == 8


def test_the_card_is_what_push_publishes(hub, saved):
    assert push(saved, REPO, endpoint=hub.url, dry_run=True).card == cards.render(saved, repo=REPO)
