"""The served page in a real browser, from the command as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from downstream.retrieval import EmbedConfig, embed

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a store of blue and red images."""
    root = tmp_path_factory.mktemp("served")
    draw = np.random.default_rng(0)
    for name, colour in (("blue", (20, 40, 220)), ("red", (220, 40, 20))):
        for split, count in (("train", 15), ("test", 1)):
            images = root / "data" / split / name
            images.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + draw.normal(0, 20, (24, 24, 3)), 0, 255).astype(
                    np.uint8
                )
                Image.fromarray(pixels).save(images / f"{i}.png")
    torch.manual_seed(0)
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=24)), root / "model")
    embed(root / "model", str(root / "data"), root / "photos", EmbedConfig())
    (root / "page.txt").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def address(chromium, folder):
    """Where ``npid serve`` says it is; it must end cleanly by Ctrl-C."""
    words = [
        sys.executable,
        "-m",
        "npid",
        "serve",
        str(folder / "photos"),
        "--port",
        "0",
        "--top",
        "6",
        "--max-upload",
        "1",
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert server.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", server.stdout.readline())
    assert found is not None
    yield found[0]
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate()
    assert "Traceback" not in errors and server.returncode in (0, 130), errors


def test_it_listens_on_loopback_only(address):
    port = int(re.findall(r"\d+", address)[-1])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)])
def test_a_chosen_image_shows_its_neighbours_vote_and_latency(visit, address, folder, width, dark):
    page = visit(address, width=width, dark=dark)
    page.locator("input[type=file]").set_input_files(folder / "data" / "test" / "red" / "0.png")
    page.locator(".query").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    answer = page.locator("#answer")
    assert (
        "red" in answer.locator(".votes tr").first.inner_text()
        and "searched in" in answer.inner_text()
    )
    tiles = answer.locator(".tiles img")
    assert tiles.count() == 6 and answer.locator(".tiles").inner_text().count("red") >= 5
    # every picture arrives (wait_for_function would not do: it evaluates text, which the page's
    # policy forbids)
    page.evaluate(
        "() => Promise.all([...document.querySelectorAll('#answer img')].map(i => i.decode()))"
    )
    tiles.first.click()
    page.wait_for_url("**/?row=*")
    assert page.locator("#answer .tiles img").count() == 6


def test_a_dropped_image_is_searched_and_what_is_none_gets_a_message(visit, address, folder):
    page = visit(address, refused=True)
    drop = """async ([kind, bytes]) => {
      const files = new DataTransfer();
      files.items.add(new File([new Uint8Array(bytes)], "x", {type: kind}));
      const what = {dataTransfer: files, bubbles: true, cancelable: true};
      document.querySelector("form").dispatchEvent(new DragEvent("drop", what));
    }"""
    page.evaluate(
        drop, ["image/png", list((folder / "data" / "test" / "blue" / "0.png").read_bytes())]
    )
    page.locator(".query").wait_for()
    assert "blue" in page.locator(".votes tr").first.inner_text()
    page.locator("input[type=file]").set_input_files(folder / "page.txt")
    page.locator(".fault").wait_for()
    assert (
        "not an image file" in page.locator(".fault").inner_text()
        and not page.locator(".query").count()
    )
    page.locator("input[type=file]").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": b"0" * 1_100_000}
    )
    page.locator(".fault").wait_for()
    page.get_by_text("larger than 1 MB").wait_for()


def test_without_a_script_the_form_answers_too(visit, address, folder):
    page = visit(address, java_script_enabled=False)
    page.locator("input[type=file]").set_input_files(folder / "data" / "test" / "red" / "0.png")
    page.get_by_role("button", name="Search").click()
    page.locator(".query").wait_for()
    assert "red" in page.locator(".votes tr").first.inner_text()
