"""What stands between the network and the page."""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    # with no-referrer a browser sends our own form from origin "null"
    "referrer-policy": "same-origin",
}
BODY_SECONDS = 120.0
"""How long a request's body may take to come."""
_REFUSAL = "This page answers only to its own address; see npid serve --host.\n"


class Guard:
    """Refuses other sites' requests and large bodies; adds headers that keep the page to itself.

    A page of another site can make a browser send requests here under its own name (DNS
    rebinding). It needs a name for that: addresses are let through, names only if they are ours.

    Attributes:
        app: that is guarded.
        limit: of a request's body, in bytes.
        seconds: in which a body must be there.
        hosts: names of this server.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], limit: int, seconds: float = BODY_SECONDS
    ) -> None:
        """Guard an app.

        Args:
            app: that is guarded.
            hosts: names of this server beside ``localhost`` and the machine's own.
            limit: of a request's body, in bytes.
            seconds: in which a body must be there.
        """
        self.app = app
        self.limit = limit
        self.seconds = seconds
        self.hosts = {"localhost", socket.gethostname().lower()}
        self.hosts.update(host.lower() for host in hosts)

    def is_own_host(self, host: str) -> bool:
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

    def _is_own_request(self, headers: Headers) -> bool:
        host = headers.get("host", "")
        origin = headers.get("origin")
        if not self.is_own_host(host):
            return False
        if origin is None:
            return True
        try:
            return urlsplit(origin).netloc == host
        except ValueError:
            return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if not self._is_own_request(Headers(scope=scope)):
            refusal = PlainTextResponse(_REFUSAL, 403)
            await refusal(scope, receive, send_with_headers)
            return
        limited = _Body(receive, self.limit, self.seconds)
        await self.app(scope, limited.receive, send_with_headers)


class _Body:
    """A request's body, which must be small enough and soon complete."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._deadline = anyio.current_time() + seconds
        self._received = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Receive the next message; a client that has sent all may take its time to leave.

        Raises:
            HTTPException: 408 or 413 for a body that is late or large.
        """
        if self._is_complete:
            return await self._receive()
        try:
            with anyio.fail_after(max(0.0, self._deadline - anyio.current_time())):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408) from error
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise HTTPException(413)
        self._is_complete = not message.get("more_body", False)
        return message
