"""The served page: what it answers, and what it refuses."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import zoo
from downstream.retrieval import EmbedSettings, Store, embed
from npid.main import app as cli
from tests.pages import Html
from zoo import ModelError

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("python_multipart", reason="the extra serve is not installed")
from starlette.testclient import TestClient  # noqa: E402

from downstream.serve import Engine, create_app  # noqa: E402

LIMIT = 200_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, 40 images of two classes with hostile names, and their store."""
    root = tmp_path_factory.mktemp("serve")
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 1)):
        for name in ("cat", "<b>dog"):
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(
                    folder / f"{i}.png"
                )
    torch.manual_seed(0)
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), root / "model")
    embed(root / "model", str(root / "data"), root / "store", EmbedSettings())
    return root


@pytest.fixture(scope="module")
def engine(place):
    return Engine(place / "store", top=5)


@pytest.fixture(scope="module")
def client(engine):
    with TestClient(create_app(engine, limit=LIMIT), base_url="http://127.0.0.1:8000") as client:
        yield client


def png(side=16, mode="RGB", **how):
    buffer = io.BytesIO()
    Image.new(mode, (side, side), **how).save(buffer, "PNG")
    return buffer.getvalue()


def ask(client, content, **more):
    return client.post("/", files={"image": ("../../etc/passwd", content, "image/png")}, **more)


def test_a_stored_image_finds_itself_and_the_vote_is_that_of_a_loop(client, place, engine):
    store = Store.open(place / "store")
    row = store.keys.find("<b>dog/3.png")
    reply = ask(client, (place / "data" / "train" / store.keys[row]).read_bytes())
    page = Html(reply.text)
    assert reply.status_code == 200
    links = [a["href"] for tag, a in page.tags if tag == "a"][: engine.top]
    rows = np.asarray(store.rows, np.float64)
    cosines = rows @ rows[row]
    assert links == [f"/?row={i}" for i in np.argsort(-cosines)[:5]] and links[0] == f"/?row={row}"
    weight = np.exp(cosines / 0.07)
    share = 100 * weight[store.labels == store.labels[row]].sum() / weight.sum()
    assert f"{share:.1f} %" in page.text and " ms" in page.text and "<b>dog" in page.text
    assert not any(tag == "b" for tag, _ in page.tags)


def test_a_stored_row_is_asked_without_itself(client):
    page = Html(client.get("/?row=7").text)
    links = [a["href"] for tag, a in page.tags if tag == "a"][:5]
    assert len(set(links)) == 5 and "/?row=7" not in links and "searched in" in page.text


@pytest.mark.parametrize(
    "content", [b"not an image", b"\x89PNG\r\n\x1a\n", png()[:50], b"<svg/>", b"GIF89a"]
)
def test_what_is_no_image_gets_a_message_in_the_page(client, content):
    reply = ask(client, content)
    assert (
        reply.status_code == 400
        and 'role="alert"' in reply.text
        and "The file: " in Html(reply.text).text
    )


def test_a_form_without_a_file_gets_a_message(client):
    for reply in (
        client.post("/"),
        client.post("/", data={"image": "/etc/passwd"}),
        ask(client, b""),
    ):
        assert (
            reply.status_code == 400
            and "No image came along" in reply.text
            and "root:" not in reply.text
        )


def test_a_decompression_bomb_is_refused(client):
    bomb = png(14_000, "1")
    assert len(bomb) < LIMIT
    reply = ask(client, bomb)
    assert reply.status_code == 400 and "decompression bomb" in reply.text


def test_uploads_above_the_limit_are_refused_however_they_come(client):
    reply = ask(client, b"x" * (LIMIT + 5000))
    assert reply.status_code == 413 and "larger than 0.2 MB" in Html(reply.text).text

    def chunks():  # no content-length
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while True:
            sent.append(1)
            yield b"x" * 50_000

    sent: list[int] = []
    kind = {"content-type": "multipart/form-data; boundary=b"}
    reply = client.post(
        "/", content=(c for c, _ in zip(chunks(), range(8), strict=False)), headers=kind
    )
    assert reply.status_code == 413
    assert ask(client, png()).status_code == 200  # and it goes on


@pytest.mark.parametrize(
    "path",
    [
        "/image/40",
        "/image/-1",
        "/image/1e1",
        "/image/%D9%A3",  # a digit to Python, not to us
        "/image/99999999999999999999",
        "/image/..%2f..%2fdata%2ftrain%2fcat%2f0.png",
        "/image/../store/manifest.json",
        "/image/%2fetc%2fpasswd",
        "/..%2fstore%2fmanifest.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/manifest.json",
        "/?row=../../etc/passwd",
        "/?row=40",
    ],
)
def test_only_rows_are_served(client, path):
    reply = client.get(path)
    assert reply.status_code == 404 and reply.headers["content-type"].startswith("text/html")
    assert "model_sha256" not in reply.text and "root:" not in reply.text


def test_an_image_is_made_anew_not_passed_on(client):
    reply = client.get("/image/3")
    assert reply.headers["content-type"] == "image/webp" and Image.open(
        io.BytesIO(reply.content)
    ).size == (16, 16)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost@evil", "["],
)
def test_other_names_are_refused(client, host):
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == 403 and "Nearest" not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.168.1.7"])
def test_addresses_and_own_names_are_let_in(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_forms_of_other_sites_are_refused(client):
    assert ask(client, png(), headers={"origin": "http://evil.example"}).status_code == 403
    assert ask(client, png(), headers={"origin": "null"}).status_code == 403
    assert ask(client, png(), headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_every_reply_keeps_the_page_to_itself(client):
    for path in ("/", "/image/0", "/nowhere", "/serve.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin" and "server" not in headers
    text = client.get("/").text
    assert "http://" not in text and "https://" not in text and "<style" not in text


def test_another_model_than_the_rows_were_made_with_is_refused(place, tmp_path):
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), tmp_path / "other")
    with pytest.raises(ModelError, match="another model than that of"):
        Engine(place / "store", model=str(tmp_path / "other"))


def test_the_command_names_what_is_wrong(tmp_path, place):
    done = CliRunner().invoke(cli, ["serve", str(tmp_path)])
    assert done.exit_code == 1 and "manifest.json: not found" in done.output
    done = CliRunner().invoke(cli, ["serve", str(place / "store"), "--host", "203.0.113.1"])
    assert done.exit_code == 1 and "cannot listen there" in done.output
