"""Fetching a model: the listed files of one commit, each checked, kept in the Hub's own cache."""

import contextlib
import json
import re
import shutil
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.file_download import repo_folder_name

from zoo.errors import HubError, NpidError
from zoo.hub._client import DamagedError, OfflineError, UnreachableError, call
from zoo.hub._files import (
    MODEL_FILES,
    SOURCE,
    FileRecord,
    hex_digest,
    is_commit,
    read_repo,
    split_revision,
)
from zoo.models.model_dir import BANK, CONFIG, WEIGHTS
from zoo.utils.files import new_folder, write_text

_SHA256 = re.compile(r"[0-9a-f]{64}")


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
    cache_dir = Path(cache or constants.HF_HUB_CACHE).expanduser()
    repo_cache = cache_dir / repo_folder_name(repo_id=repo, repo_type="model")
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
            commit = (repo_cache / "refs" / revision).read_text().strip()
        except OSError:
            return None
        if not is_commit(commit):
            return None
    snapshot = repo_cache / "snapshots" / commit
    if not (snapshot / CONFIG).is_file() or not (snapshot / WEIGHTS).is_file():
        return None
    for name in (WEIGHTS, BANK):
        path = snapshot / name
        blob = path.resolve().name
        if not path.is_file() or not _SHA256.fullmatch(blob):
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
    if ref.is_file() and ref.read_text() == commit:
        return
    with contextlib.suppress(NpidError):
        write_text(ref, commit)


def _fetch_file(
    api: HfApi, repo: str, name: str, commit: str, record: FileRecord, repo_cache: Path
) -> Path:
    """Fetch one file at a commit; once more if it differs from its record."""
    subject = f"{repo}@{commit[:8]}: {name}"
    for force_download in (False, True):
        path = Path(
            call(
                subject,
                hf_hub_download,
                repo,
                name,
                revision=commit,
                endpoint=api.endpoint,
                token=api.token,
                cache_dir=repo_cache.parent,
                force_download=force_download,
                tries=2,
            )
        )
        if record.matches(path):
            return path
    with contextlib.suppress(OSError):
        path.resolve().unlink()
        path.unlink()
    kind = "sha256" if record.is_sha256 else "git id"
    raise DamagedError(
        f"{subject} does not have the {kind} {record.digest} of the Hub's record, not even when "
        "fetched again; nothing was loaded. Try another network or mirror (HF_ENDPOINT), or tell "
        "the owner of the repository"
    )
