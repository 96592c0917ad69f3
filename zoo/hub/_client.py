"""Calls to the Hub's client with one policy for faults: which are final, which are worth another try, what to say."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from zoo.errors import HubError

T = TypeVar("T")
_WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try
_LONGEST = 60.0  # seconds; a server that asks for more gets no further try
SILENCE = 60.0  # seconds without a byte after which a request has failed


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
        wait: seconds that the server asks to wait, 0 if it does not say; None where another try is no use.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class OfflineError(HubError):
    """Offline mode, and the cache does not hold what was asked for."""


class DamagedError(HubError):
    """A file that differs from the Hub's record of it, twice."""


_FINAL: dict[int, tuple[type[HubError], str]] = {
    401: (
        AuthError,
        "the Hub wants a valid token (401): the repository is private or does not exist, or the token is wrong; "
        "run `hf auth login` or set HF_TOKEN",
    ),
    403: (
        ForbiddenError,
        "the token may not do this (403): ask the owner for access, or use a token with write scope",
    ),
    404: (
        NotFoundError,
        "not found (404): check the spelling of the repository, revision and file",
    ),
    409: (ConflictError, "it exists already and differs (409)"),
    412: (ConflictError, "the branch has moved (412)"),
}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _seconds(response: Any) -> float | None:
    """What the server asks for: Retry-After, or the reset time of the Hub's rate limit."""
    asked = response.headers.get("Retry-After", "").strip()
    if not asked and response.status_code == 429:
        asked = response.headers.get("ratelimit", "").rpartition("t=")[2]
    return float(asked) if asked.isdigit() else None


def _explain(what: str, error: Exception) -> HubError | None:
    """Our error for one of the client's; None for what is no fault of the Hub's or the user's."""
    for cause in _chain(error):
        if isinstance(cause, HubError):
            return cause
        if isinstance(cause, OfflineModeIsEnabled):
            return OfflineError(f"{what}: offline mode is on (HF_HUB_OFFLINE)")
        if isinstance(cause, HfHubHTTPError):
            return _answered(what, cause)
        if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError):
            return UnreachableError(
                f"{what}: no connection to the Hub ({cause}); check the network and HF_ENDPOINT"
            )
        if isinstance(cause, httpx2.TransportError):
            return UnreachableError(
                f"{what}: the connection broke or timed out ({cause}); try again later", 0
            )
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename or "the cache"
        return HubError(
            f"{what}: no access to {where} ({error.strerror}); free it, or set HF_HOME to another folder"
        )
    if isinstance(error, OSError):  # the client's check of the size
        return UnreachableError(f"{what}: the download was cut short; try again", 0)
    return HubError(f"{what}: {error}") if isinstance(error, ValueError) else None


def _answered(what: str, error: HfHubHTTPError) -> HubError:
    status = error.response.status_code
    if status in _FINAL:
        kind, meaning = _FINAL[status]
        return kind(f"{what}: {meaning}")
    if status not in (408, 429) and status < 500:
        return HubError(f"{what}: the Hub refused the request ({error})")
    asked = _seconds(error.response) or 0.0
    if asked > _LONGEST:
        return UnreachableError(
            f"{what}: the Hub answered {status} and asks to wait {asked:.0f} s; try again then"
        )
    return UnreachableError(f"{what}: the Hub answered {status}; try again later", asked)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """The client waits without end by default, and warns of what we report or chose ourselves: its own retries, and
    that open files are not sent by its chunk store (which keeps every Hub served)."""
    session, logger = get_session(), logging.getLogger("huggingface_hub")
    before, session.timeout = session.timeout, httpx2.Timeout(SILENCE)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        session.timeout = before
        logger.setLevel(level)


def call(what: str, function: Callable[..., T], *args: Any, tries: int = 4, **kwargs: Any) -> T:
    """Call the client, with a bounded number of further tries where that can help.

    Args:
        what: names the thing in messages.
        tries: 429, 5xx and broken connections are tried so often, after 1, 2, 4 s or what the server asks for.

    Raises:
        HubError: the subclass for the cause; 401, 403, 404, 409 and 412 at once.
    """
    for wait in (*_WAITS[: tries - 1], None):
        try:
            with _limited():
                return function(*args, **kwargs)
        except Exception as error:
            fault = _explain(what, error)
            if fault is None:
                raise
            if wait is None or not isinstance(fault, UnreachableError) or fault.wait is None:
                raise fault from error
            time.sleep(max(wait, fault.wait))
    raise AssertionError("unreachable")
