"""Model directories on the Hugging Face Hub: one commit to publish, checked files to fetch, offline from the cache."""

from zoo.hub._client import (
    AuthError,
    ConflictError,
    DamagedError,
    ForbiddenError,
    NotFoundError,
    OfflineError,
    UnreachableError,
)
from zoo.hub._list import list_remote
from zoo.hub._pull import is_repo, pull
from zoo.hub._push import Pushed, push

__all__ = [
    "AuthError",
    "ConflictError",
    "DamagedError",
    "ForbiddenError",
    "NotFoundError",
    "OfflineError",
    "Pushed",
    "UnreachableError",
    "is_repo",
    "list_remote",
    "pull",
    "push",
]
