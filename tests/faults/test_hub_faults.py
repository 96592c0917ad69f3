"""Rows 17 to 24 of the fault table: weights and the Hub."""

import contextlib
import os
import pickle
import shutil
import tempfile
import threading
from pathlib import Path

import huggingface_hub
import pytest
import torch

import zoo
from tests.hub_server import HubServer
from zoo import hub as client
from zoo.hub import pull, push

REPO = "lab/model"
WEIGHTS = "resolve/.*/model.safetensors"


@pytest.fixture(scope="module")
def model():
    return zoo.create("resnet10", embed_dim=8).eval()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    return zoo.save(model, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def state(saved, tmp_path_factory):
    """What a server keeps after one push."""
    server = HubServer(tmp_path_factory.mktemp("state"))
    push(saved, REPO, endpoint=server.url)
    server.close()
    return server.root


@pytest.fixture
def published(hub, state):
    shutil.copytree(state, hub.root)
    return hub


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return zoo.save(zoo.create("resnet10", embed_dim=4), tmp_path_factory.mktemp("new") / "model")


@pytest.fixture
def fetch(hub, tmp_path):
    return lambda name=REPO, **more: pull(name, endpoint=hub.url, cache=tmp_path / "cache", **more)


def test_17_a_pickle_that_runs_code_is_refused_before_anything_runs(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for zipped in (True, False):
        torch.save(
            {"state_dict": {}, "x": Bomb()}, tmp_path / "f", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(
            zoo.ModelError, match=r"refused: the pickle names posix\.system; nothing was run"
        ):
            zoo.convert(tmp_path / "f", tmp_path / "out", arch="resnet10")
    for protocol in range(6):
        (tmp_path / "f").write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(zoo.ModelError, match=r"posix\.system|nt\.system"):
            zoo.convert(tmp_path / "f", tmp_path / "out", arch="resnet10")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_17_the_hub_path_loads_safetensors_only(published, fetch):
    published.edit(
        REPO, {"model.safetensors": pickle.dumps({"fc.weight": 1}), "pytorch_model.bin": b"x"}
    )
    with pytest.raises(zoo.ModelError, match="a pickle, which could run code"):
        zoo.load(fetch())
    assert published.count("GET", "pytorch_model") == 0


def test_18_wrong_weights_from_the_hub_are_one_error(published, fetch, new):
    published.edit(REPO, {"model.safetensors": (new / "model.safetensors").read_bytes()})
    with pytest.raises(zoo.ModelError, match=r"wrong shape \(2\): fc.weight .* fc.bias"):
        zoo.load(fetch())


def test_19_a_download_altered_once_is_fetched_again(published, fetch, model):
    published.fault("GET", WEIGHTS, "corrupt")
    assert torch.equal(zoo.load(fetch()).fc.weight, model.fc.weight)
    assert published.count("GET", WEIGHTS) == 2


def test_19_a_download_altered_twice_is_an_error_and_is_not_kept(published, fetch):
    published.fault("GET", WEIGHTS, "corrupt", times=2)
    with pytest.raises(client.DamagedError, match=r"model\.safetensors does not have the sha256"):
        fetch()
    assert published.count("GET", WEIGHTS) == 2
    assert zoo.load(fetch()).embed_dim == 8


def test_19_a_download_cut_off_is_resumed(published, fetch, model):
    published.fault("GET", WEIGHTS, "cut")
    assert torch.equal(zoo.load(fetch()).fc.weight, model.fc.weight)


def test_19_a_config_altered_on_the_way_is_noticed_too(published, fetch):
    published.fault("GET", "resolve/.*/config.json", "corrupt", times=9)
    with pytest.raises(client.DamagedError, match=r"config\.json does not have the git id"):
        fetch()


def test_19_cached_weights_altered_on_disk_are_fetched_again(published, fetch):
    found = fetch()
    blob = (found / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    assert zoo.load(fetch(f"{REPO}@{found.name}")).embed_dim == 8
    assert published.count("GET", WEIGHTS) == 2


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [(401, client.AuthError, "hf auth login"), (403, client.ForbiddenError, "ask the owner")]
    + [(404, client.NotFoundError, "spelling")],
)
@pytest.mark.parametrize("path", ["/api/models", WEIGHTS])
def test_20_final_answers_are_distinct_and_not_tried_again(
    published, fetch, status, kind, advice, path
):
    published.fault("GET|HEAD", path, status=status, times=99)
    with pytest.raises(kind, match=advice):
        fetch()
    assert published.count("(GET)|(HEAD)", path) <= 1 and not published.slept
    assert (
        sum(bool(f.times < 99) for f in published.faults) == 1 and published.faults[0].times == 98
    )


def test_20_a_missing_token_and_missing_names_differ(published, fetch):
    with pytest.raises(client.NotFoundError, match="lab/none@main"):
        fetch("lab/none")
    with pytest.raises(client.NotFoundError, match="lab/model@v9"):
        fetch("lab/model@v9")
    published.token = "secret"
    with pytest.raises(client.AuthError):
        fetch()
    assert fetch(token="secret").is_dir()


def test_20_a_servers_wish_to_wait_is_honoured(published, fetch):
    published.fault("GET", "/api/models", status=429, times=2, headers={"Retry-After": "7"})
    assert fetch().is_dir()
    assert published.slept == [7, 7]
    published.slept.clear()
    published.fault("GET", "/api/models", status=429, headers={"ratelimit": '"api";r=0;t=9'})
    assert fetch().is_dir() and published.slept == [9]


def test_20_a_wish_to_wait_for_an_hour_ends_it(published, fetch):
    published.fault("GET", "/api/models", status=429, times=99, headers={"Retry-After": "3600"})
    with pytest.raises(client.UnreachableError, match="wait 3600 s"):
        fetch()
    assert not published.slept and published.count("GET", "/api/models") == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_20_a_server_that_recovers_is_waited_for_and_one_that_does_not_is_left(
    published, fetch, status
):
    published.fault("GET", "/api/models", status=status, times=2)
    assert fetch().is_dir() and published.slept == [1, 2]
    published.fault("GET", "/api/models", status=status, times=99)
    with pytest.raises(client.UnreachableError, match=f"answered {status}"):
        fetch("lab/model@v1")
    assert published.slept == [1, 2, 1, 2, 4]


def test_20_a_failing_file_server_is_bounded_too(published, fetch, tmp_path):
    published.fault("GET", WEIGHTS, status=503)
    assert fetch().is_dir() and sum(published.slept) < 60
    published.fault("HEAD|GET", "resolve/", status=503, times=99)
    with pytest.raises(client.UnreachableError, match=r"config\.json: the Hub answered 503"):
        pull(REPO, endpoint=published.url, cache=tmp_path / "another")
    assert published.faults[-1].times > 80


def test_20_a_server_that_says_nothing_times_out(published, fetch, monkeypatch):
    monkeypatch.setattr("zoo.hub._client.TIMEOUT", 0.1)
    published.fault(
        "GET", "/api/models", times=99, status=500, before=lambda: threading.Event().wait(0.4)
    )
    with pytest.raises(client.UnreachableError, match="timed out"):
        fetch()
    assert published.slept == [1, 2, 4]


def test_21_a_pinned_revision_in_the_cache_needs_no_network(published, fetch):
    commit = fetch().name
    published.close()
    assert zoo.load(fetch(f"{REPO}@{commit}")).embed_dim == 8
    assert (
        zoo.load(fetch()).embed_dim == 8
    )  # and what the cache knows of a branch serves when nobody answers


def test_21_offline_mode_uses_the_cache_or_says_which_command_fetches(
    published, fetch, monkeypatch
):
    commit = fetch().name
    published.log.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch(f"{REPO}@{commit}").name == fetch().name == commit
    with pytest.raises(client.OfflineError, match=r"npid pull lab/model@v2") as caught:
        fetch(f"{REPO}@v2")
    assert "not in the cache" in str(caught.value) and not published.log


def test_21_a_cache_that_is_half_filled_is_no_model(published, fetch):
    published.fault("GET", WEIGHTS, status=404, times=9)
    with pytest.raises(client.NotFoundError):
        fetch()
    published.close()
    with pytest.raises(client.UnreachableError, match="npid pull lab/model@main"):
        fetch()


@contextlib.contextmanager
def read_only(folder: Path):
    """Nobody may write below, not even root."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in paths:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX permissions")
def test_22_a_read_only_cache_can_be_read_and_not_written(state, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "unused")  # or the client looks for a token in the home of root
    with tempfile.TemporaryDirectory() as outer:
        os.chmod(outer, 0o755)
        shutil.copytree(state, Path(outer) / "hub")
        server, cache = HubServer(Path(outer) / "hub"), Path(outer) / "cache"
        commit = pull(REPO, endpoint=server.url, cache=cache).name
        server.put_repo(REPO, {"private": False, "refs": {"main": commit, "v1": commit}})
        other = server.edit(REPO, {"README.md": b"new"})
        (Path(outer) / "hub").chmod(0o755)
        with read_only(cache):
            assert (
                zoo.load(pull(f"{REPO}@{commit}", endpoint=server.url, cache=cache)).embed_dim == 8
            )
            tagged = pull(
                f"{REPO}@v1", endpoint=server.url, cache=cache
            )  # a name that the cache cannot learn
            assert tagged.name == commit and not (tagged.parents[1] / "refs" / "v1").exists()
            with pytest.raises(zoo.HubError, match=rf"no access to {cache}.*set HF_HOME"):
                pull(REPO, endpoint=server.url, cache=cache)
        assert pull(REPO, endpoint=server.url, cache=cache).name == other
        server.close()


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:evil", "a\\..\\evil", "a//b", "./x"]
)
def test_23_unsafe_names_are_refused_and_nothing_is_fetched(published, fetch, name):
    published.edit(REPO, {name: b"x"})
    with pytest.raises(zoo.HubError, match="unsafe name") as caught:
        fetch()
    assert repr(name) in str(caught.value) and published.count("GET", "resolve") == 0


def test_23_only_a_models_own_files_are_fetched(published, fetch):
    published.edit(REPO, {"modeling.py": b"x", "sub/config.json": b"{}", "tokenizer.json": b"{}"})
    found = fetch()
    assert sorted(p.name for p in found.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert published.count("GET", "(modeling|sub|tokenizer)") == 0


@pytest.mark.parametrize("where", ["/lfs/[0-9a-f]", "info/lfs", "/commit/", "preupload"])
def test_24_an_interrupted_push_leaves_the_old_state_and_is_finished_by_another(
    published, new, tmp_path, where
):
    old = published.resolve(REPO, "main")
    published.fault("PUT|POST", where, "drop", times=999)
    with pytest.raises(client.UnreachableError):
        push(new, REPO, endpoint=published.url)
    assert published.resolve(REPO, "main") == old
    published.faults.clear()
    done = push(new, REPO, endpoint=published.url)
    assert done.commit == published.resolve(REPO, "main") != old
    assert zoo.load(pull(REPO, endpoint=published.url, cache=tmp_path / "cache")).embed_dim == 4


def test_24_a_first_push_that_breaks_off_shows_an_empty_repository(hub, saved):
    hub.fault("PUT", "/lfs/", "drop", times=999)
    with pytest.raises(client.UnreachableError):
        push(saved, REPO, endpoint=hub.url)
    assert hub.files(REPO, hub.resolve(REPO, "main")) == {}
    hub.faults.clear()
    assert push(saved, REPO, endpoint=hub.url).commit == hub.resolve(REPO, "main")


def test_24_a_commit_whose_answer_is_lost_is_not_made_twice(published, new):
    published.fault("POST", "/commit/", "late")
    done = push(new, REPO, endpoint=published.url)
    assert published.count("POST", "/commit/") == 1 and done.commit == published.resolve(
        REPO, "main"
    )


def test_24_a_moved_branch_is_refused_with_advice(published, new):
    theirs = []
    published.fault(
        "POST",
        "/commit/",
        "none",
        before=lambda: theirs.append(published.edit(REPO, {"x.txt": b"1"})),
    )
    with pytest.raises(client.ConflictError, match=r"moved .*`npid pull lab/model --to"):
        push(new, REPO, endpoint=published.url)
    assert published.resolve(REPO, "main") == theirs[0]
    with pytest.raises(client.ConflictError, match="moved"):
        push(new, REPO, endpoint=published.url, parent="0" * 40)
    assert push(new, REPO, endpoint=published.url, parent=theirs[0]).commit == published.resolve(
        REPO, "main"
    )
