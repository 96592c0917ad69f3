"""Fetching a model: allow-listed files of one commit, each checked, kept in the Hub's own cache."""

import contextlib
import json
import re
import shutil
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.file_download import repo_folder_name

from zoo.errors import HubError, NpidError
from zoo.hub._client import DamagedError, OfflineError, UnreachableError, call
from zoo.hub._files import ALLOWED, Record, digest, is_repo, look, split
from zoo.models.model_dir import BANK, CONFIG, WEIGHTS
from zoo.utils.files import new_folder, write_text

__all__ = ["is_repo", "pull"]
SOURCE = "source.json"  # beside a pulled copy: repository, revision asked for and commit


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

    Only a model's own files are fetched (weights, config, card, metrics, bank), all from one commit, and each is
    checked against the Hub's record: sha256 for LFS files, git's id for others. A commit of 40 hex digits that the
    cache holds needs no network; a branch or tag falls back to what the cache knows of it when the Hub cannot be
    reached.

    Args:
        model: ``org/name`` or ``org/name@revision``.
        revision: branch, tag or commit; ``main`` by default.
        to: copy the files into this folder, absent or empty, with a ``source.json`` that names the commit.
        endpoint: of the Hub; HF_ENDPOINT or huggingface.co by default.
        token: by default the saved one, or HF_TOKEN.
        cache: by default the Hub's own (HF_HOME, HF_HUB_CACHE).

    Returns:
        ``to``, or the folder in the cache, whose name is the commit.

    Raises:
        HubError: the subclass for the cause; the message says what to do.
        WriteError: if ``to`` is not empty or cannot be written.
    """
    repo, wanted = split(model, revision)
    store = Path(cache or constants.HF_HUB_CACHE).expanduser() / repo_folder_name(
        repo_id=repo, repo_type="model"
    )
    found = _cached(store, wanted) if _is_commit(wanted) else None
    if found is None:
        try:
            found = _fetch(HfApi(endpoint=endpoint, token=token), repo, wanted, store)
        except (OfflineError, UnreachableError) as error:
            found = _cached(store, wanted)
            if found is None:
                raise type(error)(
                    f"{error}\n{repo}@{wanted} is not in the cache {store.parent} either. Where the Hub can be "
                    f"reached, fetch it with: npid pull {repo}@{wanted}"
                ) from error
    if to is None:
        return found
    with new_folder(to) as folder:
        for name in ALLOWED:
            if (found / name).exists():
                shutil.copyfile(found / name, folder / name)
        source = {"repo": repo, "revision": wanted, "commit": found.name}
        (folder / SOURCE).write_text(json.dumps(source, indent=2) + "\n")
    return Path(to)


def _is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def _cached(store: Path, revision: str) -> Path | None:
    """The snapshot of a revision in the cache, if it is complete and its weights are what their blobs are named after
    (the sha256, where the cache could link to them)."""
    commit: str | None = revision if _is_commit(revision) else None
    with contextlib.suppress(OSError):
        commit = commit or (store / "refs" / revision).read_text().strip()
    if commit is None or not _is_commit(commit):
        return None
    snapshot = store / "snapshots" / commit
    if not all((snapshot / name).is_file() for name in (CONFIG, WEIGHTS)):
        return None
    for path in (snapshot / name for name in (WEIGHTS, BANK) if (snapshot / name).is_file()):
        blob = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", blob) and digest(path, sha256=True) != blob:
            return None
    return snapshot


def _fetch(api: HfApi, repo: str, revision: str, store: Path) -> Path:
    """Every allowed file at a revision, checked; the snapshot's folder in the cache."""
    remote = look(api, repo, revision)
    absent = [name for name in (CONFIG, WEIGHTS) if name not in remote.files]
    if absent:
        there = ", ".join(sorted(remote.files)[:8]) or "nothing"
        raise HubError(
            f"{repo}@{revision} is no model of this library: it lacks {' and '.join(absent)}; it has {there}"
        )
    for name in ALLOWED:
        if name in remote.files:
            path = _checked(api, repo, name, remote.commit, remote.files[name], store)
    if not _is_commit(revision):
        with contextlib.suppress(
            NpidError
        ):  # what the cache knows of a branch or tag; a read-only cache cannot learn
            if (
                not (store / "refs" / revision).is_file()
                or (store / "refs" / revision).read_text() != remote.commit
            ):
                write_text(store / "refs" / revision, remote.commit)
    return path.parent


def _checked(api: HfApi, repo: str, name: str, commit: str, record: Record, store: Path) -> Path:
    """One file at a commit. A file that differs from its record is fetched once more."""
    what = f"{repo}@{commit[:8]}: {name}"
    for again in (False, True):
        path = Path(
            call(
                what,
                hf_hub_download,
                repo,
                name,
                revision=commit,
                endpoint=api.endpoint,
                token=api.token,
                cache_dir=store.parent,
                force_download=again,
                tries=2,
            )
        )
        if record.fits(path):
            return path
    with contextlib.suppress(OSError):
        path.resolve().unlink()
        path.unlink()
    kind = "sha256" if len(record.digest) == 64 else "git id"
    raise DamagedError(
        f"{what} does not have the {kind} {record.digest} of the Hub's record, not even when fetched again; nothing "
        "was loaded. Try another network or mirror (HF_ENDPOINT), or tell the owner of the repository"
    )
