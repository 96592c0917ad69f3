"""The page as a Starlette app. Stored images are asked for by row number; no request names a path."""

import io
import random
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from downstream.report.page import asset
from downstream.report.pictures import data_uri, thumbnail
from downstream.serve.engine import TEMPERATURE, Answer, Engine
from downstream.serve.guard import Guard
from zoo import DataError
from zoo.data.images import read

UPLOAD = 20 << 20  # bytes
_THUMB, _OFFERED = 96, 24


@cache
def _template() -> Any:
    loader = PackageLoader("downstream.serve", "assets")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("serve.html.j2")


def _own(name: str) -> str:
    return (resources.files("downstream.serve") / "assets" / name).read_text("utf-8")


def create_app(engine: Engine, *, hosts: Iterable[str] = (), limit: int = UPLOAD) -> Starlette:
    """The app.

    Args:
        engine: answers.
        hosts: names by which the server may be called beside ``localhost``; see :class:`Guard`.
        limit: of an upload, in bytes.
    """

    def page(answer: Answer | None = None, *, status: int = 200, **more: Any) -> Response:
        offered = random.sample(range(len(engine)), min(_OFFERED, len(engine)))
        given = {"query": "", "asked": "", "fault": "", **more}
        some = [(row, engine.store.keys[row], engine.label(row)) for row in offered]
        count, name = len(engine), engine.store.folder.name
        text = _template().render(
            answer=answer,
            some=some,
            count=count,
            name=name,
            limit=limit,
            temperature=TEMPERATURE,
            **given,
        )
        return Response(text, status, media_type="text/html")

    def row_of(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) < len(engine)):
            raise HTTPException(404)
        return int(text)

    def stored(request: Request) -> Response:
        if (text := request.query_params.get("row")) is None:
            return page()
        row = row_of(text)
        return page(
            engine.ask_row(row),
            query=f"image/{row}",
            asked=f"{engine.label(row)} {engine.store.keys[row]}",
        )

    def ask(content: bytes) -> Response:
        try:
            image = read(content, "The file")
        except DataError as error:
            return page(status=400, fault=str(error))
        return page(engine.ask(image), query=data_uri(thumbnail(image, _THUMB)), asked="your image")

    async def asked(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("image")
            content = await file.read() if file is not None and not isinstance(file, str) else b""
        if not content:
            return await run_in_threadpool(
                page, status=400, fault="No image came along; choose a file first."
            )
        return await run_in_threadpool(ask, content)

    def image(request: Request) -> Response:
        try:
            picture = engine.picture(row_of(request.path_params["row"]))
        except DataError as error:
            raise HTTPException(404) from error
        return Response(
            _webp(picture),
            media_type="image/webp",
            headers={"cache-control": "private, max-age=3600"},
        )

    async def told(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        faults = {
            413: f"The file is larger than {limit / 1e6:g} MB.",
            404: "There is no such image here.",
        }
        return await run_in_threadpool(
            page, status=status, fault=faults.get(status, "That request cannot be answered.")
        )

    def fixed(text: str, kind: str) -> Any:
        return lambda _: Response(text, media_type=kind)

    routes = [
        Route("/", stored, methods=["GET"]),
        Route("/", asked, methods=["POST"]),
        Route("/image/{row}", image),
        Route("/serve.css", fixed(asset("report.css") + _own("serve.css"), "text/css")),
        Route("/serve.js", fixed(_own("serve.js"), "text/javascript")),
    ]
    guard = Middleware(
        Guard, hosts=list(hosts), limit=limit + 4096
    )  # 4096: the form around the file
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: told})


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    thumbnail(image, 2 * _THUMB).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
