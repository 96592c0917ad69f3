"""Calls to the Hub's client with one policy for faults.

The policy says which faults are final, which are worth another try, and what the user can do.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from zoo.errors import HubError

T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds without a byte after which a request has failed."""
_BACKOFF = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try
_ANSWER_LIMIT = 16 << 20  # bytes of an answer to the client
_ANSWER_SECONDS = 120.0  # for which it may last
_MAX_WAIT = 60.0  # seconds; a server that asks for more gets no further try


class AuthError(HubError):
    """401: no token, or one that the Hub does not accept."""


class ForbiddenError(HubError):
    """403: the token is good but may not do this."""


class NotFoundError(HubError):
    """404: no such repository, revision or file."""


class ConflictError(HubError):
    """409 and 412: the branch or tag is not what it was taken for."""


class UnreachableError(HubError):
    """No answer, or 429 and 5xx to the last try.

    Attributes:
        retry_after: Seconds that the server asks to wait, 0 if it does not say; None where another
            try is no use.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OfflineError(HubError):
    """Offline mode is on, and the cache does not hold what was asked for."""


class DamagedError(HubError):
    """A file differs from the Hub's record of it, twice."""


class OversizedError(HubError):
    """An answer larger than it may be."""


_FINAL: dict[int, tuple[type[HubError], str]] = {  # by HTTP status
    401: (
        AuthError,
        "the Hub wants a valid token (401): the repository is private or does not exist, or the "
        "token is wrong; run `hf auth login` or set HF_TOKEN",
    ),
    403: (
        ForbiddenError,
        "the token may not do this (403): ask the owner for access, or use a token with write "
        "scope",
    ),
    404: (
        NotFoundError,
        "not found (404): check the spelling of the repository, revision and file",
    ),
    409: (ConflictError, "it exists already and differs (409)"),
    412: (ConflictError, "the branch has moved (412)"),
}


def call(subject: str, function: Callable[..., T], *args: Any, tries: int = 4, **kwargs: Any) -> T:
    """Call the client, with a bounded number of further tries where that can help.

    Args:
        subject: What the call is about, at the start of messages.
        function: A function of the client.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
        tries: How often 429, 5xx and broken connections are tried, 4 at most; the waits between
            are 1, 2 and 4 s, or what the server asks for.

    Raises:
        HubError: The subclass for the cause; 401, 403, 404, 409 and 412 at once.
    """
    for attempt in range(tries):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            fault = _translate(subject, error)
            if fault is None:
                raise
            is_last = attempt == tries - 1
            if is_last or not isinstance(fault, UnreachableError) or fault.retry_after is None:
                raise fault from error
            time.sleep(max(_BACKOFF[attempt], fault.retry_after))
    raise AssertionError("unreachable")


def call_client(
    api: HfApi, subject: str, function: Callable[..., T], *args: Any, tries: int = 4, **kwargs: Any
) -> T:
    """Call a method of the Hub's client as :func:`call` does, with budgets on what it reads.

    Args:
        api: Whose endpoint alone gets the token.
        subject: What the call is about, at the start of messages.
        function: A method of ``api``.
        *args: Its arguments.
        tries: As in :func:`call`.
        **kwargs: Its keyword arguments.

    Raises:
        HubError: The subclass for the cause, also where the client stumbles over an answer.
    """

    def guarded() -> T:
        with _guarded_session(api.endpoint):
            try:
                return function(*args, **kwargs)
            except (AttributeError, LookupError, TypeError, RecursionError) as error:
                raise HubError(
                    f"{subject}: the answer is not what a Hub sends "
                    f"({type(error).__name__}: {error}); check HF_ENDPOINT"
                ) from error

    return call(subject, guarded, tries=tries)


class _LimitedStream(httpx2.SyncByteStream):
    """A body of an answer to the client that may neither grow nor trickle without end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        deadline = time.monotonic() + _ANSWER_SECONDS
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            if received > _ANSWER_LIMIT or time.monotonic() > deadline:
                raise HubError(
                    f"the Hub's answer does not end ({received} bytes so far); check HF_ENDPOINT"
                )
            yield chunk

    def close(self) -> None:
        self._stream.close()


@contextlib.contextmanager
def _guarded_session(endpoint: str) -> Iterator[None]:
    """Bound the client's waits and answers, keep the token at one place, and silence warnings.

    It warns of what we report or chose ourselves: its own retries, and that open files are not sent
    by its chunk store (which keeps every Hub served).
    """

    def keep_token(request: httpx2.Request) -> None:
        request.headers["Accept-Encoding"] = "identity"
        if httpx2.URL(endpoint).copy_with(path="/", query=None) != request.url.copy_with(
            path="/", query=None, fragment=None
        ):
            request.headers.pop("Authorization", None)

    def limit_answer(response: httpx2.Response) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise HubError(f"refused, for the Hub's answer is packed ({encoding[:40]!r})")
        response.stream = _LimitedStream(response.stream)

    session = get_session()
    logger = logging.getLogger("huggingface_hub")
    timeout_before = session.timeout
    level_before = logger.level
    hooks_before = session.event_hooks
    session.timeout = httpx2.Timeout(TIMEOUT)
    session.event_hooks = {
        "request": [*hooks_before["request"], keep_token],
        "response": [*hooks_before["response"], limit_answer],
    }
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        session.timeout = timeout_before
        session.event_hooks = hooks_before
        logger.setLevel(level_before)


def _translate(subject: str, error: Exception) -> HubError | None:
    """Find our error for one of the client's; None if neither the Hub nor the user is at fault.

    The client has no errors of its own for broken connections: those of its HTTP library pass.
    """
    for cause in _causes(error):
        if isinstance(cause, HubError):
            return cause
        if isinstance(cause, OfflineModeIsEnabled):
            return OfflineError(f"{subject}: offline mode is on (HF_HUB_OFFLINE)")
        if isinstance(cause, HfHubHTTPError):
            return status_error(subject, cause.response)
        if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError):
            return UnreachableError(
                f"{subject}: no connection to the Hub ({cause}); check the network and HF_ENDPOINT"
            )
        if isinstance(cause, httpx2.TransportError):
            return UnreachableError(
                f"{subject}: the connection broke or timed out ({cause}); try again later", 0
            )
        if isinstance(cause, httpx2.HTTPError | httpx2.InvalidURL):
            return HubError(f"{subject}: {cause}; check HF_ENDPOINT")
    if isinstance(error, OSError) and error.errno is not None:
        return cache_error(subject, error)
    if isinstance(error, OSError):  # the client's check of the size
        return UnreachableError(f"{subject}: the download was cut short; try again", 0)
    return HubError(f"{subject}: {error}") if isinstance(error, ValueError) else None


def cache_error(subject: str, error: BaseException) -> HubError:
    """Make the error for a cache that cannot be read or written."""
    where = getattr(error, "filename", None) or "the cache"
    reason = getattr(error, "strerror", None) or error
    return HubError(
        f"{subject}: no access to {where} ({reason}); free it, or set HF_HOME to another folder"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def status_error(subject: str, response: httpx2.Response) -> HubError:
    """Find our error for an HTTP status that is no success.

    Args:
        subject: What the request was about.
        response: The answer; its body is not read.
    """
    status = response.status_code
    if status in _FINAL:
        kind, meaning = _FINAL[status]
        return kind(f"{subject}: {meaning}")
    if status not in (408, 429) and status < 500:
        words = response.headers.get("X-Error-Message", response.reason_phrase)[:200]
        return HubError(f"{subject}: the Hub refused the request ({status} {words})")
    retry_after = _retry_after(response)
    if retry_after > _MAX_WAIT:
        return UnreachableError(
            f"{subject}: the Hub answered {status} and asks to wait {retry_after:.0f} s; try again "
            "then"
        )
    return UnreachableError(f"{subject}: the Hub answered {status}; try again later", retry_after)


def _retry_after(response: httpx2.Response) -> float:
    """Seconds to wait by Retry-After or the reset time of the Hub's rate limit; 0 if not said."""
    seconds = response.headers.get("Retry-After", "").strip()
    if not seconds and response.status_code == 429:
        seconds = response.headers.get("ratelimit", "").rpartition("t=")[2]
    is_number = seconds.isascii() and seconds.isdigit() and len(seconds) < 10
    return float(seconds) if is_number else 0.0
