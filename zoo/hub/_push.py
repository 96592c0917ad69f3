"""Publishing a model directory in one commit: the repository shows the old state or the new one."""

import contextlib
import io
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from zoo import cards
from zoo.errors import HubError
from zoo.hub._client import ConflictError, NotFoundError, UnreachableError, call_client
from zoo.hub._files import CARD, MODEL_FILES, SOURCE, RepoState, is_repo, read_repo
from zoo.models.model_dir import load_bank, load_directory
from zoo.utils.files import format_bytes

_COMMIT_TRIES = 2
_COMMIT_WAIT = 2.0  # seconds between them, unless the server asks for more

Contents = dict[str, Path | bytes]
"""The files of a model: name → where the content lies, or the content itself."""


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What a push did, or would do.

    Attributes:
        repo: ``org/name``.
        sizes: File → bytes, for all files of the model.
        uploaded: Files that the commit changed; for a dry run, all that could be needed.
        card: The text of README.md.
        deleted: Files that the commit removed.
        left_out: Files of the directory that are no part of a model.
        commit: The repository's commit afterwards; None for a dry run.
        url: Where to look at it.
        tag: The tag that names the commit.
        dry_run: Whether nothing was sent.
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
        """Say what was done, one statement a line."""
        verb = "would upload" if self.dry_run else "uploaded"
        lines = []
        for name, size in self.sizes.items():
            status = verb if name in self.uploaded else "unchanged"
            lines.append(f"{status}: {name} ({format_bytes(size)})")
        for name in self.deleted:
            lines.append(f"deleted: {name}")
        for name in self.left_out:
            lines.append(f"left out: {name} (no part of a model)")
        if self.dry_run:
            lines.append(f"dry run: nothing was sent to {self.url}")
        else:
            tag = f", tag {self.tag}" if self.tag else ""
            lines.append(f"{self.url} is at commit {(self.commit or '')[:12]}{tag}")
        return lines


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
) -> PushResult:
    """Publish a model directory: weights, config, card, metrics and bank in one commit.

    The repository is created if need be. Nothing is uploaded when it holds the same files already,
    so a push that was interrupted is finished by pushing again. A card is generated where the
    directory has none.

    Args:
        directory: A model directory; it must load.
        repo: ``org/name``.
        private: Whether a new repository is private; one that exists and is public is refused.
        tag: Names the commit, for ``org/name@tag``; a tag that names another commit is never moved.
        endpoint: URL of the Hub; HF_ENDPOINT or huggingface.co by default.
        dry_run: Only say what would be sent; no network is used.
        token: By default the saved one, or HF_TOKEN.
        parent: The commit of ``main`` that this push builds on; by default whatever it is when the
            push starts.
        message: The commit's message.

    Raises:
        ModelError: If the directory does not load.
        ConflictError: If the branch moved meanwhile, the tag is taken, or the repository is public
            against ``private``.
        HubError: Another subclass for the cause; the repository is as it was.
    """
    if not is_repo(repo) or "@" in repo:
        raise HubError(f"{repo!r} is no repository name: expected org/name; a tag is given apart")
    directory = Path(directory)
    load_directory(directory)
    load_bank(directory)
    card = _card(directory, repo)
    contents = _contents(directory, card)
    api = HfApi(endpoint=endpoint, token=token)
    plan = PushResult(
        repo=repo,
        sizes={name: _size(content) for name, content in contents.items()},
        uploaded=list(contents),
        card=card,
        left_out=_left_out(directory),
        url=f"{api.endpoint}/{repo}",
        tag=tag,
        dry_run=dry_run,
    )
    if dry_run:
        return plan
    return _send(api, plan, contents, private, parent, message or f"Push {directory.name}")


def _card(directory: Path, repo: str) -> str:
    """Read the directory's card, or write one."""
    path = directory / CARD
    return path.read_text() if path.is_file() else cards.render(directory, repo=repo)


def _contents(directory: Path, card: str) -> Contents:
    contents: Contents = {}
    for name in MODEL_FILES:
        if (directory / name).is_file():
            contents[name] = directory / name
    contents[CARD] = card.encode()
    return contents


def _left_out(directory: Path) -> list[str]:
    expected = (*MODEL_FILES, SOURCE)
    return sorted(path.name for path in directory.iterdir() if path.name not in expected)


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _send(
    api: HfApi,
    plan: PushResult,
    contents: Contents,
    private: bool,
    parent: str | None,
    message: str,
) -> PushResult:
    """Bring the repository to the planned state, creating it if need be."""
    repo = plan.repo
    tag = plan.tag
    state = _read_or_create(api, repo, private)
    if private and state.private is False:
        raise ConflictError(
            f"{repo} exists and is public, so nothing was sent; make it private on the Hub first"
        )
    tagged = _tagged_commit(api, repo, tag) if tag else None
    changed = _changed(contents, state)
    stale = _stale(contents, state)
    is_current = not changed and not stale
    if tagged and not (is_current and tagged == state.commit):
        raise ConflictError(
            f"{repo}: the tag {tag!r} names commit {tagged[:12]} already; choose another tag"
        )
    if not is_current:
        if parent is not None and parent != state.commit:
            raise _moved(repo, parent, state)
        state = _publish(api, repo, contents, state, message)
    if tag and not tagged:
        call_client(api, f"{repo}: tag {tag}", api.create_tag, repo, tag=tag, revision=state.commit)
    return replace(plan, uploaded=changed, deleted=stale, commit=state.commit)


def _read_or_create(api: HfApi, repo: str, private: bool) -> RepoState:
    try:
        return read_repo(api, repo, "main")
    except NotFoundError:
        call_client(api, f"creating {repo}", api.create_repo, repo, private=private, exist_ok=True)
        return read_repo(api, repo, "main")


def _tagged_commit(api: HfApi, repo: str, tag: str) -> str | None:
    """Find the commit that a tag names, if there is such a tag."""
    try:
        return read_repo(api, repo, tag).commit
    except NotFoundError:
        return None


def _changed(contents: Contents, state: RepoState) -> list[str]:
    """List the files to upload."""
    changed = []
    for name, content in contents.items():
        record = state.files.get(name)
        if record is None or not record.matches(content):
            changed.append(name)
    return changed


def _stale(contents: Contents, state: RepoState) -> list[str]:
    """List the files of a model that the repository has too many."""
    return [name for name in MODEL_FILES if name in state.files and name not in contents]


def _publish(
    api: HfApi, repo: str, contents: Contents, before: RepoState, message: str
) -> RepoState:
    """Commit on top of ``before``.

    An answer may be lost after the commit has arrived, so the branch is asked each time: it holds
    the new state, the old one (another try is safe), or someone else's.
    """
    changed = {name: contents[name] for name in _changed(contents, before)}
    stale = _stale(contents, before)
    for attempt in range(_COMMIT_TRIES):
        fault = None
        try:
            _commit(api, repo, changed, stale, before.commit, message)
        except ConflictError as error:
            raise _moved(repo, before.commit, read_repo(api, repo, "main")) from error
        except UnreachableError as error:
            fault = error
        now = read_repo(api, repo, "main")
        if not _changed(contents, now) and not _stale(contents, now):
            return now
        if fault is None and now.commit != before.commit and now.undescribed:
            if set(_changed(contents, now)) <= now.undescribed:
                return now  # the commit succeeded; the Hub only does not describe its files
        if now.commit != before.commit:
            raise _moved(repo, before.commit, now) from fault
        if fault is None:
            raise HubError(f"{repo}: the Hub took the push but shows the old state; push again")
        if attempt == _COMMIT_TRIES - 1 or fault.retry_after is None:
            raise fault
        time.sleep(max(_COMMIT_WAIT, fault.retry_after))
    raise AssertionError("unreachable")


def _moved(repo: str, parent: str, now: RepoState) -> ConflictError:
    return ConflictError(
        f"{repo}: the branch main moved from {parent[:12]} to {now.commit[:12]} meanwhile, so "
        f"nothing was published. See what is there with `npid pull {repo} --to DIR`, and push "
        "again if yours is to replace it"
    )


def _commit(
    api: HfApi,
    repo: str,
    changed: Contents,
    stale: list[str],
    parent: str,
    message: str,
) -> None:
    """Upload what is large, then change everything in one commit on top of ``parent``."""
    with contextlib.ExitStack() as open_files:
        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for name, content in changed.items():
            if isinstance(content, bytes):
                operations.append(CommitOperationAdd(name, io.BytesIO(content)))
            else:
                file = open_files.enter_context(open(content, "rb"))
                operations.append(CommitOperationAdd(name, file))
        for name in stale:
            operations.append(CommitOperationDelete(name))
        call_client(
            api,
            f"pushing to {repo}",
            api.create_commit,
            repo,
            operations,
            commit_message=message,
            parent_commit=parent,
            tries=1,
        )
