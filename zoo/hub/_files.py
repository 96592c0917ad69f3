"""Which files make a model, and what the Hub says that they are."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from zoo.errors import HubError
from zoo.hub import _client
from zoo.hub._client import call
from zoo.models.model_dir import BANK, CONFIG, WEIGHTS

CARD, METRICS = "README.md", "metrics.json"
ALLOWED = (
    CONFIG,
    CARD,
    METRICS,
    BANK,
    WEIGHTS,
)  # fetched in this order: weights in place mean that all is
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"\w[\w./-]*")


@dataclass(frozen=True)
class Record:
    """The Hub's word on a file: its size in bytes, and the sha256 of its content (LFS) or git's sha1 of it."""

    size: int
    digest: str

    def fits(self, content: bytes | Path) -> bool:
        """Whether a file, or bytes, are what the record says."""
        if isinstance(content, Path) and content.stat().st_size != self.size:
            return False
        return digest(content, sha256=len(self.digest) == 64) == self.digest


@dataclass(frozen=True)
class Remote:
    """A repository at one commit."""

    commit: str
    files: dict[str, Record]
    private: bool | None


def digest(content: bytes | Path, *, sha256: bool) -> str:
    """Hex sha256 of the content, or its git blob id."""
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    hashed = (
        hashlib.sha256() if sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    )
    if isinstance(content, bytes):
        hashed.update(content)
        return hashed.hexdigest()
    with open(content, "rb") as file:
        while part := file.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


def is_repo(model: str | Path) -> bool:
    """Whether this is written like ``org/name`` or ``org/name@revision``."""
    return isinstance(model, str) and bool(_REPO.fullmatch(model.partition("@")[0]))


def split(model: str, revision: str | None = None) -> tuple[str, str]:
    """Repository and revision (``main`` by default) of ``org/name[@revision]``.

    Raises:
        HubError: if it is not written like that, or names two revisions.
    """
    repo, _, given = model.partition("@")
    if not is_repo(model):
        raise HubError(f"{model!r} is no repository: expected org/name or org/name@revision")
    if given and revision and given != revision:
        raise HubError(
            f"{model!r} and the revision {revision!r} contradict each other; give one of them"
        )
    wanted = given or revision or "main"
    if not _REVISION.fullmatch(wanted) or ".." in wanted:
        raise HubError(
            f"{wanted!r} is no revision: expected a branch, a tag or a commit of 40 hex digits"
        )
    return repo, wanted


def check_name(name: str, repo: str) -> None:
    """Refuse file names that could lead out of a folder on some system, whether they are fetched or not.

    Raises:
        HubError: naming the file.
    """
    parts = name.split("/")
    if (
        "\\" in name
        or ":" in name
        or "\0" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise HubError(
            f"{repo}: refused, for it holds a file with the unsafe name {name!r}; nothing was fetched"
        )


def look(api: HfApi, repo: str, revision: str) -> Remote:
    """The files of a repository at a revision, with their checksums, in one request.

    Raises:
        HubError: if it cannot be read, or holds unsafe names.
    """
    info = call(
        f"{repo}@{revision}",
        api.model_info,
        repo,
        revision=revision,
        files_metadata=True,
        timeout=_client.SILENCE,
    )
    files = {}
    for file in info.siblings or []:
        check_name(file.rfilename, repo)
        known = file.lfs.sha256 if file.lfs else file.blob_id
        if known and file.size is not None:
            files[file.rfilename] = Record(file.lfs.size if file.lfs else file.size, known)
    if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
        raise HubError(f"{repo}@{revision}: the Hub did not say which commit this is")
    return Remote(info.sha or "", files, info.private)
