"""Model directories on the Hugging Face Hub.

One commit publishes a model; its files are checked when they are fetched; the cache works offline.
"""

from zoo.hub._client import (
    AuthError,
    ConflictError,
    DamagedError,
    ForbiddenError,
    NotFoundError,
    OfflineError,
    UnreachableError,
)
from zoo.hub._files import is_repo
from zoo.hub._list import list_remote
from zoo.hub._pull import pull
from zoo.hub._push import PushResult, push

__all__ = [
    "AuthError",
    "ConflictError",
    "DamagedError",
    "ForbiddenError",
    "NotFoundError",
    "OfflineError",
    "PushResult",
    "UnreachableError",
    "is_repo",
    "list_remote",
    "pull",
    "push",
]
