"""Reading from the Hub: every answer has a budget, and the token goes to the Hub alone.

Nothing that a server says in a header or redirect becomes a path, and no answer is trusted to end.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import HfApi, get_session
from huggingface_hub.utils._headers import build_hf_headers

from zoo.errors import HubError
from zoo.hub import _client
from zoo.hub._client import status_error

T = TypeVar("T")
JSON_LIMIT = 16 << 20
"""Bytes of an answer in JSON, at most."""
JSON_SECONDS = 120.0
"""How long such an answer may take."""
MIN_SPEED = 10_000
"""Bytes a second below which a download is given up, after a grace of two minutes."""
MAX_REDIRECTS = 10
_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int]:
    """Split scheme, host and port off a URL.

    Raises:
        HubError: If it is no http or https URL.

    Example:
        >>> origin("https://Hub.example/a")
        ('https', 'hub.example', 443)
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise HubError(f"{url!r} is no URL ({error}); check HF_ENDPOINT") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise HubError(f"{url!r} is no http or https URL; check HF_ENDPOINT")
    return parts.scheme, parts.hostname.lower(), port or _PORTS[parts.scheme]


def get_json(
    api: HfApi, subject: str, url: str, params: dict[str, str | list[str]] | None = None
) -> tuple[Any, str | None]:
    """Get an answer in JSON.

    Args:
        api: Holds the endpoint and the token.
        subject: What it is about, at the start of messages.
        url: What to get, at the endpoint.
        params: Of the query.

    Returns:
        The content, and the URL of the next page where the answer names one.

    Raises:
        HubError: If the answer is too large, or no JSON; or the subclass for the cause.
    """
    response = _open(api, subject, url, params)
    try:
        content = b"".join(_chunks(response, subject, JSON_LIMIT, JSON_SECONDS))
    finally:
        response.close()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HubError(
            f"{subject}: the answer is no JSON, so no answer of a Hub; check the network and "
            "HF_ENDPOINT"
        ) from error
    next_url = response.links.get("next", {}).get("url")
    return value, urljoin(url, next_url) if next_url else None


def download(api: HfApi, subject: str, url: str, file: BinaryIO, size: int) -> None:
    """Add what a file still lacks to it, from where it ends.

    Args:
        api: Holds the endpoint and the token.
        subject: What it is about, at the start of messages.
        url: Of the whole content.
        file: Open for writing; it is started anew where the server cannot continue.
        size: Of the whole content in bytes, which is never exceeded.

    Raises:
        HubError: The subclass for the cause.
    """
    start = file.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    response = _open(api, subject, url, headers=headers)
    try:
        if start and not _continues(response, start):
            file.seek(0)
            file.truncate()
        limit = size - file.tell()
        for chunk in _chunks(response, subject, limit, JSON_SECONDS + limit / MIN_SPEED):
            file.write(chunk)
    finally:
        response.close()


def file_headers(api: HfApi, subject: str, url: str) -> httpx2.Headers:
    """Get the headers of a file's first answer, which on a Hub tell its size and checksum.

    Raises:
        HubError: The subclass for the cause.
    """
    headers = build_hf_headers(token=api.token) | {"Accept-Encoding": "identity"}
    response = _send(url, None, headers, method="HEAD")
    response.close()
    if not response.is_success and not response.has_redirect_location:
        raise status_error(subject, response)
    return response.headers


def _continues(response: httpx2.Response, start: int) -> bool:
    """Whether an answer is the rest of the file from a position on."""
    content_range: str = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {start}-")


def _open(
    api: HfApi,
    subject: str,
    url: str,
    params: dict[str, str | list[str]] | None = None,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    """Send a GET, follow its redirects, and return the answer with its body yet to be read."""
    hub = origin(api.endpoint)
    all_headers = build_hf_headers(token=api.token) | (headers or {})
    all_headers["Accept-Encoding"] = "identity"  # a packed answer could be of any size
    for _ in range(MAX_REDIRECTS):
        target = origin(url)
        sent_headers = dict(all_headers)
        if target != hub:
            sent_headers.pop("authorization", None)
        response = _send(url, params, sent_headers)
        if not response.has_redirect_location:
            break
        response.close()
        next_url = urljoin(url, response.headers["Location"])
        if target[0] == "https" and origin(next_url)[0] != "https":
            raise HubError(f"{subject}: refused, for the Hub leads from https to {next_url!r}")
        url = next_url
        params = None
    else:
        raise HubError(f"{subject}: the Hub leads in circles ({MAX_REDIRECTS} redirects)")
    if not response.is_success:
        response.close()
        raise status_error(subject, response)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        response.close()
        raise HubError(
            f"{subject}: refused, for the answer is packed ({encoding[:40]!r}), which was not "
            "asked for; check proxies and HF_ENDPOINT"
        )
    return response


def _send(
    url: str,
    params: dict[str, str | list[str]] | None,
    headers: dict[str, str],
    method: str = "GET",
) -> httpx2.Response:
    session = get_session()
    request = session.build_request(
        method, url, params=params, headers=headers, timeout=httpx2.Timeout(_client.TIMEOUT)
    )

    def send() -> httpx2.Response:
        return session.send(request, stream=True, follow_redirects=False)

    return _within(2 * _client.TIMEOUT, send)


def _within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function that may never return, such as reading headers that come byte by byte."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        if future.done():
            raise
        raise httpx2.ReadTimeout(f"timed out: no headers in {seconds:.0f} s") from error


def _chunks(response: httpx2.Response, subject: str, limit: int, seconds: float) -> Iterator[bytes]:
    """Yield a body as it comes, as long as it keeps to its budget."""
    deadline = time.monotonic() + seconds
    received = 0
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > limit:
            raise _client.OversizedError(
                f"{subject}: the answer is larger than {limit} bytes, as it must not be; nothing "
                "of it was used. Check HF_ENDPOINT, or tell the owner of the repository"
            )
        if time.monotonic() > deadline:
            raise _client.UnreachableError(
                f"{subject}: the answer trickles ({received} bytes in {seconds:.0f} s); try "
                "another network or mirror (HF_ENDPOINT)"
            )
        yield chunk
