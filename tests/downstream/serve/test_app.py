import io

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from downstream.retrieval import FeatureStore
from npid.main import app as cli
from tests.downstream.serve.uploads import LIMIT, png, upload
from tests.pages import Html


def test_a_stored_image_finds_itself_and_the_vote_is_that_of_a_loop(client, folder, engine):
    store = FeatureStore.open(folder / "store")
    row = store.keys.find("<b>dog/3.png")
    reply = upload(client, (folder / "data" / "train" / store.keys[row]).read_bytes())
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
    reply = upload(client, content)
    assert (
        reply.status_code == 400
        and 'role="alert"' in reply.text
        and "The file: " in Html(reply.text).text
    )


def test_a_form_without_a_file_gets_a_message(client):
    for reply in (
        client.post("/"),
        client.post("/", data={"image": "/etc/passwd"}),
        upload(client, b""),
    ):
        assert (
            reply.status_code == 400
            and "No image came along" in reply.text
            and "root:" not in reply.text
        )


def test_a_decompression_bomb_is_refused(client):
    bomb = png(14_000, "1")
    assert len(bomb) < LIMIT
    reply = upload(client, bomb)
    assert reply.status_code == 400 and "decompression bomb" in reply.text


def test_uploads_above_the_limit_are_refused_however_they_come(client):
    reply = upload(client, b"x" * (LIMIT + 5000))
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
    assert upload(client, png()).status_code == 200  # and it goes on


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


def test_the_command_names_what_is_wrong(tmp_path, folder):
    done = CliRunner().invoke(cli, ["serve", str(tmp_path)])
    assert done.exit_code == 1 and "manifest.json: not found" in done.output
    done = CliRunner().invoke(cli, ["serve", str(folder / "store"), "--host", "203.0.113.1"])
    assert done.exit_code == 1 and "cannot listen there" in done.output


def test_a_large_image_in_a_small_file_is_refused_by_its_header(client):
    tall = io.BytesIO()
    Image.new("1", (8000, 8000)).save(tall, "PNG")
    assert len(tall.getvalue()) < LIMIT
    reply = upload(client, tall.getvalue())
    assert reply.status_code == 400 and "at most 50 million" in reply.text


def test_uploads_start_no_other_program(client, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    reply = upload(client, eps)
    assert reply.status_code == 400 and "not an image file that can be read" in reply.text
