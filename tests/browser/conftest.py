"""A headless Chromium, and what it said and asked for."""

import os
import shutil

import pytest

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = (
        os.environ.get("NPID_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip(
            "no Chromium here (apt-get install chromium, or set NPID_CHROMIUM to the program)"
        )
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, request):
    """``visit(url, width, dark, …)`` opens a page; whatever it logged or asked of others fails the test at its end, but
    that a request was ``refused`` where that is meant."""
    opened = []

    def go(url: str, *, width: int = 1280, dark: bool = False, refused: bool = False, **more):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, **more
        )
        page = context.new_page()
        home, said = url.split("/", 3)[:3], []
        page.on("console", lambda line: heard(line) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))

        def heard(line) -> None:
            if not (refused and "the server responded with a status of 400" in line.text):
                said.append(line.text)

        def asked(request) -> None:
            if (
                not request.url.startswith(("data:", "blob:"))
                and request.url.split("/", 3)[:3] != home
            ):
                said.append(f"asks for {request.url}")

        page.on("request", asked)
        page.set_default_timeout(15_000)
        page.goto(url)
        opened.append((context, said))
        return page

    yield go
    for context, said in opened:
        context.close()
        assert not said, said
