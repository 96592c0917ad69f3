"""Fetching a model: the listed files of one commit, each checked, kept in the Hub's own cache."""

import contextlib
import json
import os
import re
import shutil
import threading
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import HfApi, constants
from huggingface_hub.file_download import repo_folder_name

from zoo.errors import HubError, NpidError
from zoo.hub._client import (
    DamagedError,
    OfflineError,
    OversizedError,
    UnreachableError,
    cache_error,
    call,
)
from zoo.hub._files import (
    MODEL_FILES,
    SOURCE,
    FileRecord,
    hex_digest,
    is_commit,
    read_repo,
    split_revision,
)
from zoo.hub._http import download
from zoo.models.model_dir import BANK, CONFIG, WEIGHTS
from zoo.utils.files import WriteError, format_bytes, new_file, new_folder, write_text

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXT_LIMIT = 16 << 20  # bytes of any file of a model that is no tensors
_PROGRESS = 1 << 20  # bytes that a try must bring for another one after it


def pull(
    model: str,
    *,
    revision: str | None = None,
    to: str | Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    cache: str | Path | None = None,
) -> Path:
    """Fetch a model directory from the Hub, or find it in the cache.

    Only a model's own files are fetched (weights, config, card, metrics, bank), all from one
    commit, and each is checked against the Hub's record: sha256 for LFS files, git's id for others.
    A commit of 40 hex digits that the cache holds needs no network; a branch or tag falls back to
    what the cache knows of it when the Hub cannot be reached.

    Args:
        model: ``org/name`` or ``org/name@revision``.
        revision: Branch, tag or commit; ``main`` by default.
        to: Copy the files into this folder, absent or empty, with a ``source.json`` that names the
            commit.
        endpoint: URL of the Hub; HF_ENDPOINT or huggingface.co by default.
        token: By default the saved one, or HF_TOKEN.
        cache: By default the Hub's own (HF_HOME, HF_HUB_CACHE).

    Returns:
        ``to``, or the folder in the cache, whose name is the commit.

    Raises:
        HubError: The subclass for the cause; the message says what to do.
        WriteError: If ``to`` is not empty or cannot be written.
    """
    repo, revision = split_revision(model, revision)
    repo_cache = _cache_folder(cache, model) / repo_folder_name(repo_id=repo, repo_type="model")
    snapshot = _cached(repo_cache, revision) if is_commit(revision) else None
    if snapshot is None:
        api = HfApi(endpoint=endpoint, token=token)
        snapshot = _fetch_or_cached(api, repo, revision, repo_cache)
    if to is None:
        return snapshot
    with new_folder(to) as folder:
        for name in MODEL_FILES:
            if (snapshot / name).exists():
                shutil.copyfile(snapshot / name, folder / name)
        source = {"repo": repo, "revision": revision, "commit": snapshot.name}
        (folder / SOURCE).write_text(json.dumps(source, indent=2) + "\n")
    return Path(to)


def _cache_folder(cache: str | Path | None, model: str) -> Path:
    try:
        return Path(cache or constants.HF_HUB_CACHE).expanduser()
    except RuntimeError as error:
        raise HubError(
            f"{model}: there is no home folder to keep models in; set HF_HOME to a folder"
        ) from error


def _fetch_or_cached(api: HfApi, repo: str, revision: str, repo_cache: Path) -> Path:
    """Fetch a revision, or find it in the cache where the Hub cannot be reached."""
    try:
        return _fetch(api, repo, revision, repo_cache)
    except (OfflineError, UnreachableError) as error:
        snapshot = _cached(repo_cache, revision)
        if snapshot is not None:
            return snapshot
        raise type(error)(
            f"{error}\n{repo}@{revision} is not in the cache {repo_cache.parent} either. Where the "
            f"Hub can be reached, fetch it with: npid pull {repo}@{revision}"
        ) from error


def _cached(repo_cache: Path, revision: str) -> Path | None:
    """Find a revision's snapshot in the cache, if it is complete and its weights are undamaged.

    Weights are undamaged if they are what their blobs are named after: the sha256, where the cache
    could link to them.
    """
    commit = revision
    if not is_commit(revision):
        try:
            commit = (repo_cache / "refs" / revision).read_bytes()[:80].decode("ascii").strip()
        except (OSError, ValueError):
            return None
        if not is_commit(commit):
            return None
    snapshot = repo_cache / "snapshots" / commit
    if not (snapshot / CONFIG).is_file() or not (snapshot / WEIGHTS).is_file():
        return None
    for name in (WEIGHTS, BANK):
        path = snapshot / name
        if not path.is_file():
            continue
        blob = path.resolve().name
        if not _SHA256.fullmatch(blob):
            continue
        if hex_digest(path, sha256=True) != blob:
            return None
    return snapshot


def _fetch(api: HfApi, repo: str, revision: str, repo_cache: Path) -> Path:
    """Fetch every file of a model at a revision, and check each.

    Returns:
        The snapshot's folder in the cache.
    """
    state = read_repo(api, repo, revision)
    missing = [name for name in (CONFIG, WEIGHTS) if name not in state.files]
    if missing and set(missing) <= state.undescribed:
        raise HubError(
            f"{repo}@{revision} holds {' and '.join(missing)}, but the Hub tells no size and "
            "checksum of it, so it cannot be checked; try another mirror (HF_ENDPOINT)"
        )
    if missing:
        existing = ", ".join(sorted(state.files)[:8]) or "nothing"
        raise HubError(
            f"{repo}@{revision} is no model of this library: it lacks {' and '.join(missing)}; "
            f"it has {existing}"
        )
    for name in MODEL_FILES:
        if name in state.files:
            path = _fetch_file(api, repo, name, state.commit, state.files[name], repo_cache)
    if not is_commit(revision):
        _remember(repo_cache / "refs" / revision, state.commit)
    return path.parent


def _remember(ref: Path, commit: str) -> None:
    """Note in the cache which commit a branch or tag is; a read-only cache cannot learn it."""
    with contextlib.suppress(NpidError, OSError):
        if ref.is_file() and ref.read_bytes() == commit.encode():
            return
        write_text(ref, commit)


def _fetch_file(
    api: HfApi, repo: str, name: str, commit: str, record: FileRecord, repo_cache: Path
) -> Path:
    """Fetch one file at a commit; once more if it differs from its record.

    Where it lies is made of the repository's name, the commit and the checksum, all of them
    checked: the server's headers name nothing, and no link in the cache is followed to write.
    """
    subject = f"{repo}@{commit[:8]}: {name}"
    if name not in (WEIGHTS, BANK) and record.size > _TEXT_LIMIT:
        raise HubError(
            f"{subject} has {format_bytes(record.size)}; expected at most "
            f"{format_bytes(_TEXT_LIMIT)}. Tell the owner of the repository"
        )
    path = repo_cache / "snapshots" / commit / name
    blob = repo_cache / "blobs" / record.digest
    try:
        if path.is_file() and record.matches(path):
            return path
        for folder in (blob.parent, path.parent.parent, path.parent):
            if folder.is_symlink():
                raise HubError(f"{folder} is a link, as no cache has it; remove it and try again")
        if not (blob.is_file() and record.matches(blob)):
            url = f"{api.endpoint}/{repo}/resolve/{commit}/{name}"
            with new_file(blob) as aside:
                _download(api, subject, url, record, aside)
        _link(blob, path)
    except (OSError, WriteError) as error:
        cause = error.__cause__ if isinstance(error, WriteError) else error
        raise cache_error(subject, cause or error) from error
    return path


def _download(api: HfApi, subject: str, url: str, record: FileRecord, to: Path) -> None:
    """Download a content, and check it against its record; a second time if they differ."""
    free = shutil.disk_usage(to.parent).free
    if free < record.size:
        raise HubError(
            f"{subject} has {format_bytes(record.size)}, and {to.parent} has room for "
            f"{format_bytes(free)}; free some, or set HF_HOME to another folder"
        )
    for _ in range(2):
        with open(to, "wb") as file, contextlib.suppress(OversizedError):
            _download_once(api, subject, url, file, record.size)
        if record.matches(to):
            return
    kind = "sha256" if record.is_sha256 else "git id"
    raise DamagedError(
        f"{subject} does not have the {kind} {record.digest} of the Hub's record, not even when "
        "fetched again; nothing was loaded. Try another network or mirror (HF_ENDPOINT), or tell "
        "the owner of the repository"
    )


def _download_once(api: HfApi, subject: str, url: str, file: BinaryIO, size: int) -> None:
    """Fill a file; a connection that breaks is taken up again as long as that brings some more."""
    while True:
        before = file.tell()
        try:
            call(subject, download, api, subject, url, file, size)
            return
        except UnreachableError as error:
            if error.retry_after is None or file.tell() - before < _PROGRESS:
                raise


def _link(blob: Path, path: Path) -> None:
    """Put a name in a snapshot for a blob, in place of any other; a copy where links are not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        aside.symlink_to(os.path.relpath(blob, path.parent))
    except (OSError, NotImplementedError):
        with new_file(path) as copy:
            shutil.copyfile(blob, copy)
        return
    os.replace(aside, path)
