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
    """Open pages by ``visit(url, width=…, dark=…)``.

    Whatever a page logged, or requested from another origin, fails the test at its end, but that a
    request was ``refused`` where that is meant.
    """
    opened = []

    def open_page(
        url: str, *, width: int = 1280, dark: bool = False, refused: bool = False, **more
    ):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, **more
        )
        page = context.new_page()
        origin = url.split("/", 3)[:3]
        complaints = []

        def on_console(line) -> None:
            if line.type not in ("error", "warning"):
                return
            if not (refused and "the server responded with a status of 400" in line.text):
                complaints.append(line.text)

        def on_request(request) -> None:
            is_inline = request.url.startswith(("data:", "blob:"))
            if not is_inline and request.url.split("/", 3)[:3] != origin:
                complaints.append(f"asks for {request.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", on_request)
        page.set_default_timeout(15_000)
        page.goto(url)
        opened.append((context, complaints))
        return page

    yield open_page
    for context, complaints in opened:
        context.close()
        assert not complaints, complaints
