"""Publishing a model directory in one commit: the repository shows the old state or the new one."""

import contextlib
import io
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from zoo import cards
from zoo.errors import HubError
from zoo.hub._client import ConflictError, NotFoundError, UnreachableError, call
from zoo.hub._files import ALLOWED, CARD, Remote, is_repo, look
from zoo.models.model_dir import load_bank, load_directory
from zoo.utils.files import format_bytes


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        repo: ``org/name``.
        sizes: {file: bytes} of all files of the model.
        uploaded, deleted: files that the commit changed; for a dry run, ``uploaded`` is all that could be needed.
        left_out: files of the directory that are no part of a model.
        card: the text of README.md.
        commit: of the repository afterwards; None for a dry run.
        url: where to look at it.
        tag: the tag that names the commit.
        dry_run: whether nothing was sent.
    """

    repo: str
    sizes: dict[str, int]
    uploaded: list[str]
    card: str
    deleted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    commit: str | None = None
    url: str
    tag: str | None = None
    dry_run: bool = False

    def lines(self) -> list[str]:
        """What to tell the user, one statement a line."""
        verb = {True: "would upload", False: "uploaded"}[self.dry_run]
        said = []
        for name, size in self.sizes.items():
            said.append(
                f"{verb if name in self.uploaded else 'unchanged'}: {name} ({format_bytes(size)})"
            )
        said += [f"deleted: {name}" for name in self.deleted]
        said += [f"left out: {name} (no part of a model)" for name in self.left_out]
        if self.dry_run:
            return [*said, f"dry run: nothing was sent to {self.url}"]
        tag = f", tag {self.tag}" if self.tag else ""
        return [*said, f"{self.url} is at commit {(self.commit or '')[:12]}{tag}"]


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = False,
    tag: str | None = None,
    endpoint: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    parent: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Publish a model directory: weights, config, card, metrics and bank in one commit.

    The repository is created if need be. Nothing is uploaded when it holds the same files already, so a push that was
    interrupted is finished by pushing again. A card is generated where the directory has none.

    Args:
        directory: a model directory; it must load.
        repo: ``org/name``.
        private: whether a new repository is private; one that exists and is public is refused.
        tag: names the commit, for ``org/name@tag``; a tag that names another commit is never moved.
        endpoint: of the Hub; HF_ENDPOINT or huggingface.co by default.
        dry_run: only say what would be sent; no network is used.
        token: by default the saved one, or HF_TOKEN.
        parent: the commit of ``main`` that this push builds on; by default whatever it is when the push starts.
        message: of the commit.

    Raises:
        ModelError: if the directory does not load.
        ConflictError: if the branch moved meanwhile, the tag is taken, or the repository is public against ``private``.
        HubError: another subclass for the cause; the repository is as it was.
    """
    if not is_repo(repo) or "@" in repo:
        raise HubError(f"{repo!r} is no repository name: expected org/name; a tag is given apart")
    directory = Path(directory)
    load_directory(directory)
    load_bank(directory)
    card = (
        (directory / CARD).read_text()
        if (directory / CARD).is_file()
        else cards.render(directory, repo=repo)
    )
    files: dict[str, Path | bytes] = {
        name: directory / name for name in ALLOWED if (directory / name).is_file()
    }
    files[CARD] = card.encode()
    api = HfApi(endpoint=endpoint, token=token)
    plan = Pushed(
        repo=repo,
        sizes={name: _size(content) for name, content in files.items()},
        uploaded=list(files),
        card=card,
        left_out=sorted(
            p.name for p in directory.iterdir() if p.name not in ALLOWED and p.name != "source.json"
        ),
        url=f"{api.endpoint}/{repo}",
        tag=tag,
        dry_run=dry_run,
    )
    return (
        plan
        if dry_run
        else _send(api, plan, files, private, parent, message or f"Push {directory.name}")
    )


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _send(
    api: HfApi,
    plan: Pushed,
    files: dict[str, Path | bytes],
    private: bool,
    parent: str | None,
    message: str,
) -> Pushed:
    repo, tag = plan.repo, plan.tag
    try:
        remote = look(api, repo, "main")
    except NotFoundError:
        call(f"creating {repo}", api.create_repo, repo, private=private, exist_ok=True)
        remote = look(api, repo, "main")
    if private and remote.private is False:
        raise ConflictError(
            f"{repo} exists and is public, so nothing was sent; make it private on the Hub first"
        )
    tagged = _tagged(api, repo, tag) if tag else None
    changed, stale = _difference(files, remote)
    if tagged and (changed or stale or tagged != remote.commit):
        raise ConflictError(
            f"{repo}: the tag {tag!r} names commit {tagged[:12]} already; choose another tag"
        )
    if changed or stale:
        if parent not in (None, remote.commit):
            raise _moved(repo, str(parent), remote)
        remote = _publish(api, repo, files, remote, message)
    if tag and not tagged:
        call(f"{repo}: tag {tag}", api.create_tag, repo, tag=tag, revision=remote.commit)
    return replace(plan, uploaded=changed, deleted=stale, commit=remote.commit)


def _difference(files: dict[str, Path | bytes], remote: Remote) -> tuple[list[str], list[str]]:
    """Files to upload, and files of a model that the repository has too many."""
    changed = [
        name
        for name in files
        if name not in remote.files or not remote.files[name].fits(files[name])
    ]
    return changed, [name for name in ALLOWED if name in remote.files and name not in files]


def _publish(
    api: HfApi, repo: str, files: dict[str, Path | bytes], before: Remote, message: str
) -> Remote:
    """Commit on top of ``before``. An answer may be lost after the commit has arrived, so the branch is asked each
    time: it holds the new state, the old one (another try is safe), or someone else's."""
    changed, stale = _difference(files, before)
    for wait in (2.0, None):
        fault = None
        try:
            _commit(
                api, repo, {name: files[name] for name in changed}, stale, before.commit, message
            )
        except ConflictError as error:
            raise _moved(repo, before.commit, look(api, repo, "main")) from error
        except UnreachableError as error:
            fault = error
        now = look(api, repo, "main")
        if _difference(files, now) == ([], []):
            return now
        if now.commit != before.commit:
            raise _moved(repo, before.commit, now) from fault
        if fault is None:
            raise HubError(f"{repo}: the Hub took the push but shows the old state; push again")
        if wait is None or fault.wait is None:
            raise fault
        time.sleep(max(wait, fault.wait))
    raise AssertionError("unreachable")


def _moved(repo: str, parent: str, now: Remote) -> ConflictError:
    return ConflictError(
        f"{repo}: the branch main moved from {parent[:12]} to {now.commit[:12]} meanwhile, so nothing was published. "
        f"See what is there with `npid pull {repo} --to DIR`, and push again if yours is to replace it"
    )


def _tagged(api: HfApi, repo: str, tag: str) -> str | None:
    with contextlib.suppress(NotFoundError):
        return look(api, repo, tag).commit
    return None


def _commit(
    api: HfApi,
    repo: str,
    files: dict[str, Path | bytes],
    stale: list[str],
    parent: str,
    message: str,
) -> None:
    """Upload what is large, then change everything in one commit on top of ``parent``."""
    with contextlib.ExitStack() as stack:
        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for name, content in files.items():
            opened = (
                io.BytesIO(content)
                if isinstance(content, bytes)
                else stack.enter_context(open(content, "rb"))
            )
            operations.append(CommitOperationAdd(name, opened))
        operations += [CommitOperationDelete(name) for name in stale]
        call(
            f"pushing to {repo}",
            api.create_commit,
            repo,
            operations,
            commit_message=message,
            parent_commit=parent,
            tries=1,
        )
