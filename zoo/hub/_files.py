"""Which files make a model, and what the Hub says that they are."""

import hashlib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi

from zoo.errors import HubError
from zoo.hub._client import call
from zoo.hub._http import file_headers, get_json
from zoo.models.model_dir import BANK, CONFIG, WEIGHTS
from zoo.results import METRICS_FILE

CARD = "README.md"
MODEL_FILES = (CONFIG, CARD, METRICS_FILE, BANK, WEIGHTS)
"""The files of a model, in the order in which they are fetched: weights in place mean that all is.
"""
SOURCE = "source.json"
"""Beside a pulled copy: repository, the revision asked for, and the commit."""
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"\w[\w./-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SIZE = 1 << 50  # bytes of a file


@dataclass(frozen=True)
class FileRecord:
    """The Hub's record of a file.

    Attributes:
        size: Size in bytes.
        digest: The sha256 of its content (64 hex digits, for LFS), or git's sha1 of it (40).
    """

    size: int
    digest: str

    @property
    def is_sha256(self) -> bool:
        """Whether the digest is a sha256, not git's id."""
        return len(self.digest) == 64

    def matches(self, content: bytes | Path) -> bool:
        """Whether a file, or bytes, are what the record says."""
        if isinstance(content, Path) and content.stat().st_size != self.size:
            return False
        return hex_digest(content, sha256=self.is_sha256) == self.digest


@dataclass(frozen=True)
class RepoState:
    """A repository at one commit.

    Attributes:
        commit: The commit's 40 hex digits.
        files: Name → record.
        undescribed: Model files that are there, of which the Hub tells no size or checksum.
        private: Whether it is private; None if the Hub does not say.
    """

    commit: str
    files: dict[str, FileRecord]
    private: bool | None
    undescribed: frozenset[str] = frozenset()


def hex_digest(content: bytes | Path, *, sha256: bool) -> str:
    """Hash a file, or bytes.

    Args:
        content: What is hashed.
        sha256: Whether to give the sha256; otherwise the git blob id.
    """
    if sha256:
        hashed = hashlib.sha256()
    else:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        hashed = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if isinstance(content, bytes):
        hashed.update(content)
        return hashed.hexdigest()
    with open(content, "rb") as file:
        while part := file.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit in full, which never names anything else."""
    return _COMMIT.fullmatch(revision) is not None


def is_repo(model: str | Path) -> bool:
    """Whether this is written like ``org/name`` or ``org/name@revision``.

    Example:
        >>> is_repo("lab/model@v1")
        True
        >>> is_repo("model")
        False
    """
    return isinstance(model, str) and _REPO.fullmatch(model.partition("@")[0]) is not None


def split_revision(model: str, revision: str | None = None) -> tuple[str, str]:
    """Split ``org/name[@revision]`` into repository and revision.

    Args:
        model: Repository, with or without a revision.
        revision: The revision, where ``model`` does not say; ``main`` by default.

    Raises:
        HubError: If it is not written like that, or names two revisions.

    Example:
        >>> split_revision("lab/model@v1")
        ('lab/model', 'v1')
    """
    repo, _, repo_revision = model.partition("@")
    if not is_repo(model):
        raise HubError(f"{model!r} is no repository: expected org/name or org/name@revision")
    if repo_revision and revision and repo_revision != revision:
        raise HubError(
            f"{model!r} and the revision {revision!r} contradict each other; give one of them"
        )
    revision = repo_revision or revision or "main"
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise HubError(
            f"{revision!r} is no revision: expected a branch, a tag or a commit of 40 hex digits"
        )
    return repo, revision


def check_file_name(name: str, repo: str) -> None:
    """Refuse file names that could lead out of a folder on some system, fetched or not.

    Raises:
        HubError: Naming the file.
    """
    has_bad_character = any(character in name for character in "\\:\0")
    has_bad_part = any(part in ("", ".", "..") for part in name.split("/"))
    if has_bad_character or has_bad_part:
        raise HubError(
            f"{repo}: refused, for it holds a file with the unsafe name {name!r}; nothing was "
            "fetched"
        )


def read_repo(api: HfApi, repo: str, revision: str) -> RepoState:
    """Ask for the files of a repository at a revision, with their checksums, in one request.

    Raises:
        HubError: If it cannot be read, holds unsafe names, or is not described as a Hub does.
    """
    subject = f"{repo}@{revision}"
    url = f"{api.endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}"
    info, _ = call(subject, get_json, api, subject, url, {"blobs": "true"})
    if not isinstance(info, dict):
        raise _unlike_a_hub(subject, "the answer", info)
    siblings = info.get("siblings") or []
    if not isinstance(siblings, list):
        raise _unlike_a_hub(subject, "siblings", siblings)
    files = {}
    undescribed = set()
    for sibling in siblings:
        if not isinstance(sibling, dict) or not isinstance(sibling.get("rfilename"), str):
            raise _unlike_a_hub(subject, "an entry of siblings", sibling)
        name = sibling["rfilename"]
        check_file_name(name, repo)
        record = _record(subject, name, sibling)
        if record is None and name in MODEL_FILES:
            undescribed.add(name)
        if record is not None:
            files[name] = record
    commit = info.get("sha")
    if not isinstance(commit, str) or not is_commit(commit):
        raise HubError(f"{subject}: the Hub did not say which commit this is")
    private = info.get("private")
    for name in sorted(undescribed):
        url = f"{api.endpoint}/{repo}/resolve/{commit}/{name}"
        headers = call(subject, file_headers, api, f"{subject}: {name}", url)
        record = _record_in_headers(headers)
        if record is not None:
            files[name] = record
    return RepoState(
        commit,
        files,
        private if isinstance(private, bool) else None,
        frozenset(undescribed - files.keys()),
    )


def _record_in_headers(headers: Mapping[str, str]) -> FileRecord | None:
    """The record that a file's own answer holds, where a list of files has none."""
    tag = headers.get("X-Linked-ETag") or headers.get("ETag") or ""
    digest = tag.removeprefix("W/").strip('"').lower()
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    has_digest = _SHA256.fullmatch(digest) or _COMMIT.fullmatch(digest)
    if not has_digest or not size.isdecimal() or len(size) > 15:
        return None
    return FileRecord(int(size), digest)


def _record(subject: str, name: str, sibling: dict[str, Any]) -> FileRecord | None:
    """The record of one file in the Hub's answer, if it is complete."""
    lfs = sibling.get("lfs")
    if lfs is not None and not isinstance(lfs, dict):
        raise _unlike_a_hub(subject, f"lfs of {name}", lfs)
    if lfs:
        size = lfs.get("size")
        digest = lfs.get("sha256")
    else:
        size = sibling.get("size")
        digest = sibling.get("blobId")
    if size is None or digest is None:
        return None
    if type(size) is not int or not 0 <= size < _MAX_SIZE:
        raise _unlike_a_hub(subject, f"the size of {name}", size)
    pattern = _SHA256 if lfs else _COMMIT
    if not isinstance(digest, str) or not pattern.fullmatch(digest):
        raise _unlike_a_hub(subject, f"the checksum of {name}", digest)
    return FileRecord(size, digest)


def _unlike_a_hub(subject: str, place: str, value: object) -> HubError:
    """The error for an answer that has not the shape of a Hub's."""
    return HubError(
        f"{subject}: {place} is {reprlib.repr(value)}, which no Hub sends; nothing was fetched. "
        "Check the network and HF_ENDPOINT"
    )
