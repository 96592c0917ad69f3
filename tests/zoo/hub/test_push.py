import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo import cards
from zoo.errors import HubError
from zoo.hub import ConflictError, pull, push

REPO = "lab/model"


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


def test_the_card_is_what_push_publishes(hub, saved):
    assert push(saved, REPO, endpoint=hub.url, dry_run=True).card == cards.render(saved, repo=REPO)


@pytest.fixture
def bare_lists(monkeypatch):
    """A Hub whose lists of files have neither sizes nor checksums, as small servers' have."""
    from zoo.hub import _files

    get_json = _files.get_json

    def without_records(*arguments):
        info, following = get_json(*arguments)
        info["siblings"] = [{"rfilename": entry["rfilename"]} for entry in info["siblings"]]
        return info, following

    monkeypatch.setattr(_files, "get_json", without_records)


def test_a_hub_whose_lists_tell_no_sizes_takes_a_push_and_gives_it_back(
    hub, saved, bare_lists, tmp_path
):
    done = push(saved, REPO, endpoint=hub.url)
    assert done.commit and "model.safetensors" in done.uploaded
    assert push(saved, REPO, endpoint=hub.url).uploaded == []
    folder = pull(REPO, endpoint=hub.url, cache=tmp_path / "cache")
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (saved / name).read_bytes()


def test_a_hub_that_tells_no_checksum_at_all_is_no_reason_to_deny_a_push(
    hub, saved, bare_lists, monkeypatch, tmp_path
):
    monkeypatch.setattr("zoo.hub._files._record_in_headers", lambda headers: None)
    done = push(saved, REPO, endpoint=hub.url)
    assert "model.safetensors" in hub.files(REPO, done.commit)
    with pytest.raises(HubError, match="the Hub tells no size and checksum"):
        pull(REPO, endpoint=hub.url, cache=tmp_path / "cache")
