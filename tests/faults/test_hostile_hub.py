"""A Hub that lies: its headers name no file, its answers end, and the token goes to it alone."""

import json
import os
import shutil

import pytest

import zoo
from tests.hub_server import HubServer
from zoo import hub as client
from zoo.hub import list_remote, pull, push

REPO = "lab/model"
TOKEN = "hf_secret"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = zoo.create("resnet10", embed_dim=8).eval()
    return zoo.save(model, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def state(saved, tmp_path_factory):
    server = HubServer(tmp_path_factory.mktemp("state"))
    push(saved, REPO, endpoint=server.url)
    server.close()
    return server.root


@pytest.fixture
def published(hub, state):
    shutil.copytree(state, hub.root)
    return hub


@pytest.fixture
def outside(tmp_path):
    """Files beside the cache; they must stay as they are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    return folder


@pytest.fixture
def fetch(hub, tmp_path):
    return lambda name=REPO, **more: pull(name, endpoint=hub.url, cache=tmp_path / "cache", **more)


def is_untouched(outside):
    names = sorted(path.name for path in outside.iterdir())
    return names == ["precious"] and (outside / "precious").read_text() == "mine"


PLACES = [
    "../../x",
    "../../../outside/precious",
    "{outside}/precious",
    "{outside}/new",
    "..",
    "a/b",
]


HEADERS = ["ETag", "X-Linked-Etag", "X-Repo-Commit", "Location", "Link", "Content-Disposition"]


@pytest.mark.parametrize("place", PLACES)
def test_no_header_names_a_place(published, fetch, tmp_path, outside, place):
    headers = dict.fromkeys(HEADERS, place.format(outside=outside))
    published.fault("GET|HEAD", "resolve/", "add", times=99, headers=headers)
    assert zoo.load(fetch()).embed_dim == 8
    assert is_untouched(outside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "hub", "outside"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["models--lab--model"]
    for path in (tmp_path / "cache" / "models--lab--model" / "blobs").iterdir():
        assert path.stat().st_size and len(path.name) in (40, 64)


def test_hostile_headers_on_altered_content_delete_nothing(published, fetch, outside):
    headers = dict.fromkeys(HEADERS, str(outside / "precious"))
    published.fault("GET|HEAD", "resolve/", "status", 99, status=200, headers=headers, body=b"{}")
    with pytest.raises(client.DamagedError, match=r"config\.json does not have the git id"):
        fetch()
    assert is_untouched(outside)


@pytest.mark.parametrize("digest", ["../../x", "/etc/passwd", "", 5, ["a"], "a" * 63, "A" * 64])
@pytest.mark.parametrize("key", ["blobId", "sha256"])
def test_checksums_and_commits_are_hex_digits_before_anything_is_fetched(hub, fetch, key, digest):
    record = {"blobId": digest} if key == "blobId" else {"lfs": {"sha256": digest, "size": 3}}
    siblings = []
    for name in ("config.json", "model.safetensors"):
        siblings.append({"rfilename": name, "size": 3, **record})
    answer = json.dumps({"id": REPO, "sha": "0" * 40, "siblings": siblings}).encode()
    hub.fault("GET", "/api/models", status=200, body=answer)
    with pytest.raises(zoo.HubError, match="checksum of config.json"):
        fetch()
    answer = json.dumps({"id": REPO, "sha": "../../x", "siblings": []}).encode()
    hub.fault("GET", "/api/models", status=200, body=answer)
    with pytest.raises(zoo.HubError, match="which commit"):
        fetch()
    assert hub.count("GET", "resolve") == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_planted_links_target_is_neither_written_nor_deleted(published, fetch, outside, name):
    snapshot = fetch()
    blob = (snapshot / name).resolve()
    for link in (snapshot / name, blob):
        link.unlink()
        link.symlink_to(outside / "precious")
        assert zoo.load(fetch()).embed_dim == 8  # fetched anew, in place of the link
        assert is_untouched(outside) and (snapshot / name).resolve() == blob


@pytest.mark.parametrize("name", ["blobs", "snapshots"])
def test_a_planted_link_for_a_folder_is_refused(published, fetch, tmp_path, outside, name):
    repo_cache = tmp_path / "cache" / "models--lab--model"
    repo_cache.mkdir(parents=True)
    (repo_cache / name).symlink_to(outside)
    with pytest.raises(zoo.HubError, match=f"{name} is a link"):
        fetch()
    assert is_untouched(outside)


ODD = [None, 0, -1, 1.5, True, "x", [], {}, [[]], [None], {"a": 1}, 10**30, "\x1b[2J", [{}]]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_answers_of_any_shape_are_our_error(hub, fetch, saved, value):
    good = {"rfilename": "config.json", "size": 3, "blobId": "0" * 40}
    answers: list[object] = [value, {"sha": value}, {"sha": "0" * 40, "siblings": value}]
    answers.append({"sha": "0" * 40, "siblings": [value]})
    for key in ("rfilename", "size", "blobId", "lfs"):
        answers.append({"sha": "0" * 40, "siblings": [good | {key: value}]})
    for key in ("size", "sha256"):
        lfs = {"size": 1, "sha256": "0" * 64, key: value}
        answers.append({"sha": "0" * 40, "siblings": [good | {"lfs": lfs}]})
    for answer in answers:
        hub.fault("GET", "/api/models", status=200, body=json.dumps(answer).encode())
        with pytest.raises(zoo.HubError):
            fetch()
    for answer in (value, [value], [{"id": value}], [{"id": "a/b", "cardData": value}]):
        hub.fault("GET", "/api/models", status=200, body=json.dumps(answer).encode())
        try:
            list_remote("lab", endpoint=hub.url)
        except zoo.HubError:
            pass
    for key in ("npid", "model-index"):
        card = {key: value}
        body = json.dumps([{"id": "a/b", "cardData": card}]).encode()
        hub.fault("GET", "/api/models", status=200, body=body)
        assert list_remote("lab", endpoint=hub.url)[0].name == "a/b"
    assert hub.count("GET", "resolve") == 0


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("path", ["/preupload/", "objects/batch", "/commit/", "repos/create"])
def test_answers_of_any_shape_to_a_push_are_our_error(hub, saved, path, value, monkeypatch):
    monkeypatch.setattr("zoo.hub._push.load_directory", lambda _: None)  # tried once is enough
    monkeypatch.setattr("zoo.hub._push._card", lambda *_: "---\n{}\n---\n")
    hub.fault("POST", path, times=99, status=200, body=json.dumps(value).encode())
    try:
        push(saved, REPO, endpoint=hub.url)
    except zoo.HubError:
        pass


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"<html>"])
def test_an_answer_that_is_no_json(hub, fetch, body):
    hub.fault("GET", "/api/models", times=9, status=200, body=body)
    with pytest.raises(zoo.HubError, match="HF_ENDPOINT"):
        fetch()
    with pytest.raises(zoo.HubError, match="HF_ENDPOINT"):
        list_remote("lab", endpoint=hub.url)


def test_a_large_answer_is_refused(published, fetch, monkeypatch):
    monkeypatch.setattr("zoo.hub._http.JSON_LIMIT", 100)
    with pytest.raises(zoo.HubError, match="larger than 100 bytes"):
        fetch()


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip"])
def test_a_packed_answer_is_refused_unread(published, fetch, saved, encoding):
    headers = {"Content-Encoding": encoding}
    published.fault("GET", "/api/models", "add", times=1, headers=headers)
    with pytest.raises(zoo.HubError, match="packed"):
        fetch()
    published.fault("GET", "resolve/", "add", times=9, headers=headers)
    with pytest.raises(zoo.HubError, match="packed"):
        fetch()
    published.edit(REPO, {"config.json": b"{}"})
    published.fault("POST", "preupload", "add", times=9, headers=headers)
    with pytest.raises(zoo.HubError, match="packed"):
        push(saved, REPO, endpoint=published.url)


def test_a_file_that_grows_is_cut_off_at_its_recorded_size(published, fetch, tmp_path):
    published.fault("GET", "resolve/.*config.json", "grow", times=9)
    with pytest.raises(client.DamagedError, match="git id"):
        fetch()
    sizes = [path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sum(sizes) < 1 << 20


def test_a_card_of_gigabytes_is_not_fetched(hub, fetch):
    siblings = []
    for name in ("config.json", "model.safetensors"):
        siblings.append({"rfilename": name, "size": 1 << 40, "blobId": "0" * 40})
    body = json.dumps({"sha": "0" * 40, "siblings": siblings}).encode()
    hub.fault("GET", "/api/models", status=200, body=body)
    with pytest.raises(zoo.HubError, match="expected at most"):
        fetch()
    siblings[0] = {
        "rfilename": "config.json",
        "size": 2,
        "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b",
    }
    siblings[1]["size"] = 1 << 49
    body = json.dumps({"sha": "0" * 40, "siblings": siblings}).encode()
    hub.fault("GET", "/api/models", status=200, body=body)
    hub.fault("GET", "resolve/", status=200, body=b"{}")
    with pytest.raises(zoo.HubError, match="has room for"):
        fetch()


def test_an_answer_that_trickles_is_given_up(published, fetch, monkeypatch):
    monkeypatch.setattr("zoo.hub._http.JSON_SECONDS", -1.0)
    with pytest.raises(client.UnreachableError, match="trickles"):
        fetch()
    assert published.count("GET", "/api/models") == 1


def test_headers_that_never_end_are_given_up(hub, fetch, monkeypatch):
    monkeypatch.setattr("zoo.hub._http._send", endless_headers)
    with pytest.raises(client.UnreachableError, match="no headers"):
        fetch()


def endless_headers(*_):
    import threading

    from zoo.hub._http import _within

    return _within(0.01, threading.Event().wait)


def test_pages_without_end(hub):
    link = {"Link": f'<{hub.url}/api/models?again>; rel="next"'}
    hub.fault("GET", "/api/models", times=10**6, status=200, body=b"[]", headers=link)
    with pytest.raises(zoo.HubError, match="does not end"):
        list_remote("lab", endpoint=hub.url)
    assert hub.count("GET", "/api/models") <= 100


def test_redirects_in_circles(published, fetch):
    there = {"Location": "/api/models/lab/model/revision/main"}
    published.fault("GET", "/api/models", times=99, status=307, headers=there)
    with pytest.raises(zoo.HubError, match="in circles"):
        fetch()
    with pytest.raises(zoo.HubError, match="circles|HF_ENDPOINT"):
        list_remote("lab", endpoint=published.url)


@pytest.mark.parametrize(
    "location", ["http://[", "ftp://x/y", "//", "file:///etc/passwd", "http://\x7f"]
)
def test_redirects_to_nowhere(published, fetch, location):
    published.fault("GET", "/api/models", times=99, status=302, headers={"Location": location})
    with pytest.raises(zoo.HubError):
        fetch()


@pytest.mark.parametrize(
    "wait", ["²", "-1", "nan", "1e9", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT"]
)
def test_a_wish_to_wait_that_is_no_number(published, fetch, wait):
    headers = [("Retry-After", wait.encode("utf-8").decode("latin-1"))]
    published.fault("GET", "/api/models", status=429, headers=dict(headers))
    assert fetch().is_dir()
    assert published.slept == [1]


@pytest.fixture
def other(tmp_path):
    """Another host than the Hub."""
    server = HubServer(tmp_path / "other")
    yield server
    server.close()


def test_the_token_goes_to_the_hub_alone(published, fetch, other, state, saved):
    shutil.copytree(state, other.root)
    link = {"Link": f'<{other.url}/api/models?page=2>; rel="next"'}
    published.fault("GET", "/api/models$", status=200, body=b"[]", headers=link)
    with pytest.raises(zoo.HubError, match="not the Hub"):
        list_remote("lab", endpoint=published.url, token=TOKEN)
    for path in ("/api/models/", "resolve/"):
        for status in (301, 302, 303, 307, 308):
            there = {"Location": f"{other.url}/elsewhere"}
            published.fault("GET", path, times=1, status=status, headers=there)
            with pytest.raises(client.NotFoundError):
                fetch(token=TOKEN)
    published.edit(REPO, {"config.json": b"{}"})
    for path in ("/preupload/", "/commit/"):
        there = {"Location": f"{other.url}/elsewhere"}
        published.fault("POST", path, status=307, headers=there)
        with pytest.raises(zoo.HubError):
            push(saved, REPO, endpoint=published.url, token=TOKEN)
    actions = {
        "upload": {"href": f"{other.url}/lfs/{'0' * 64}"},
        "verify": {"href": f"{other.url}/lfs/verify"},
    }
    (weights,) = [path for path in (state / "blobs").iterdir() if len(path.name) == 64]
    item = {"oid": weights.name, "size": weights.stat().st_size, "actions": actions}
    published.blob_path(weights.name).unlink()
    published.edit(REPO, {"model.safetensors": b""})
    answer = json.dumps({"transfer": "basic", "objects": [item]}).encode()
    published.fault("POST", "objects/batch", status=200, body=answer)
    with pytest.raises(zoo.HubError):
        push(saved, REPO, endpoint=published.url, token=TOKEN)
    assert other.log and published.tokens and not other.tokens


def test_a_redirect_of_a_file_to_another_host_is_followed(published, fetch, other, state):
    weights = max((state / "blobs").iterdir(), key=os.path.getsize)
    body = weights.read_bytes()
    there = {"Location": f"{other.url}/bucket/weights"}
    published.fault("GET", "resolve/.*/model.safetensors", status=302, headers=there)
    other.fault("GET", "/bucket/weights", status=200, body=body)
    assert zoo.load(fetch(token=TOKEN)).embed_dim == 8 and not other.tokens
