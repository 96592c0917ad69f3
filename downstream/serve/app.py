"""The page as a Starlette app; requests name stored images by row number, and never a path."""

import io
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from downstream.report.page import asset
from downstream.report.pictures import data_uri, thumbnail
from downstream.serve.engine import TEMPERATURE, Answer, Engine
from downstream.serve.guard import Guard
from zoo import DataError
from zoo.data.image_files import check_pixels
from zoo.data.images import read

UPLOAD_LIMIT = 20 << 20  # bytes
MAX_PIXELS = 50_000_000
"""Of an uploaded image."""
_FORM_SIZE = 4096  # bytes, at most, of the form around an uploaded file
_THUMBNAIL = 96  # pixels
_SAMPLES = 24  # stored images that are offered to look around


@cache
def _template() -> Template:
    loader = PackageLoader("downstream.serve", "assets")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("serve.html.j2")


def _asset(name: str) -> str:
    return (resources.files("downstream.serve") / "assets" / name).read_text("utf-8")


def create_app(engine: Engine, *, hosts: Iterable[str] = (), limit: int = UPLOAD_LIMIT) -> Guard:
    """Make the app.

    Args:
        engine: answers.
        hosts: names by which the server may be called beside ``localhost``; see :class:`Guard`.
        limit: of an upload, in bytes.
    """
    site = _Site(engine, limit)
    css = asset("report.css") + _asset("serve.css")
    routes = [
        Route("/", site.show_row, methods=["GET"]),
        Route("/", site.search_upload, methods=["POST"]),
        Route("/image/{row}", site.show_image),
        Route("/serve.css", _fixed_reply(css, "text/css")),
        Route("/serve.js", _fixed_reply(_asset("serve.js"), "text/javascript")),
    ]
    handlers = {HTTPException: site.show_fault}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(app, hosts, limit + _FORM_SIZE)  # around all of it, failures included


class _Site:
    """What the routes reply. Methods that compute are run in threads by Starlette.

    Attributes:
        engine: answers.
        limit: of an upload, in bytes.
    """

    def __init__(self, engine: Engine, limit: int) -> None:
        self.engine = engine
        self.limit = limit
        self._decoding = threading.Lock()  # one at a time: a large image takes much memory

    def _page(
        self,
        answer: Answer | None = None,
        *,
        query_image: str = "",
        query_name: str = "",
        fault: str = "",
        status: int = 200,
    ) -> Response:
        """Render the page.

        Args:
            answer: to the query; None where there is none.
            query_image: URL of the query's image.
            query_name: what stands below it.
            fault: a message to the user.
            status: of the reply.
        """
        store = self.engine.store
        count = len(self.engine)
        samples = []
        for row in random.sample(range(count), min(_SAMPLES, count)):
            samples.append((row, store.keys[row], self.engine.label(row)))
        text = _template().render(
            answer=answer,
            query_image=query_image,
            query_name=query_name,
            fault=fault,
            samples=samples,
            count=count,
            name=store.folder.name,
            limit=self.limit,
            temperature=TEMPERATURE,
        )
        return Response(text, status, media_type="text/html")

    def _row(self, text: str) -> int:
        """The row that a request names; anything else is not found."""
        is_number = text.isascii() and text.isdigit() and len(text) < 12
        if not is_number or int(text) >= len(self.engine):
            raise HTTPException(404)
        return int(text)

    def show_row(self, request: Request) -> Response:
        """Reply to GET /: the page, with the neighbours of ``?row=`` where it is given."""
        text = request.query_params.get("row")
        if text is None:
            return self._page()
        row = self._row(text)
        name = f"{self.engine.label(row)} {self.engine.store.keys[row]}"
        answer = self.engine.search_row(row)
        return self._page(answer, query_image=f"image/{row}", query_name=name)

    async def search_upload(self, request: Request) -> Response:
        """Reply to POST /: the page with the neighbours of an uploaded image."""
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("image")
            content = await file.read() if file is not None and not isinstance(file, str) else b""
        return await run_in_threadpool(self._search_content, content)

    def _search_content(self, content: bytes) -> Response:
        if not content:
            return self._page(status=400, fault="No image came along; choose a file first.")
        try:
            with self._decoding:
                check_pixels(content, "The file", MAX_PIXELS)
                image = read(content, "The file")
        except DataError as error:
            return self._page(status=400, fault=str(error))
        answer = self.engine.search_image(image)
        preview = data_uri(thumbnail(image, _THUMBNAIL))
        return self._page(answer, query_image=preview, query_name="your image")

    def show_image(self, request: Request) -> Response:
        """Reply to GET /image/{row}: a stored image, made small and encoded anew."""
        row = self._row(request.path_params["row"])
        try:
            image = self.engine.image(row)
        except DataError as error:
            raise HTTPException(404) from error
        headers = {"cache-control": "private, max-age=3600"}
        return Response(_webp(image), media_type="image/webp", headers=headers)

    async def show_fault(self, _: Request, error: Exception) -> Response:
        """Reply with the page and a message where a request is refused."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 413:
            fault = f"The file is larger than {self.limit / 1e6:g} MB."
        elif status == 408:
            fault = "The file took too long to arrive."
        elif status == 404:
            fault = "There is no such image here."
        else:
            fault = "That request cannot be answered."
        return await run_in_threadpool(self._page, status=status, fault=fault)


def _fixed_reply(text: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def reply(_: Request) -> Response:
        return Response(text, media_type=media_type)

    return reply


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    thumbnail(image, 2 * _THUMBNAIL).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
