"""What stands between the network and the page."""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer a browser sends our own form from origin "null"
}


class Guard:
    """Refuses other sites' requests and bodies above a limit; adds headers that keep the page to itself.

    A page of another site can make a browser send requests here under its own name (DNS rebinding). It needs a name for
    that: addresses are let through, names only if they are known.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], limit: int) -> None:
        """
        Args:
            hosts: names of this server beside ``localhost`` and the machine's own.
            limit: of a request's body, in bytes.
        """
        self.app, self.limit = app, limit
        self.hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.knows(host) or (origin is not None and urlsplit(origin).netloc != host):
            answer = PlainTextResponse(
                "This page answers only to its own address; see npid serve --host.\n", 403
            )
            await answer(scope, receive, send)
            return
        got = 0

        async def limited() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.limit:
                raise HTTPException(413)
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, limited, with_headers)
