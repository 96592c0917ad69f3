"""What a small Hub keeps on disk: repositories with their branches and tags, commits, and blobs.

``repos/ORG/NAME/repo.json`` holds a repository's refs, ``repos/ORG/NAME/COMMIT.json`` the files of
a commit, and ``blobs/`` every content by its sha256 (LFS) or git id.
"""

import hashlib
import json
from pathlib import Path


class HubStore:
    """Repositories below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, name: str, file: str) -> Path:
        return self.root / "repos" / name / file

    def names(self) -> list[str]:
        """List all repositories."""
        names = []
        for path in sorted((self.root / "repos").glob("*/*/repo.json")):
            names.append(f"{path.parent.parent.name}/{path.parent.name}")
        return names

    def repo(self, name: str) -> dict | None:
        """Read whether a repository is private, and its refs; None if there is none."""
        path = self._path(name, "repo.json")
        return json.loads(path.read_text()) if path.exists() else None

    def put_repo(self, name: str, repo: dict) -> None:
        """Write what :meth:`repo` reads."""
        path = self._path(name, "repo.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(repo))

    def create(self, name: str, private: bool = False) -> None:
        """Make an empty repository."""
        self.put_repo(name, {"private": private, "refs": {"main": self.put_commit(name, None, {})}})

    def put_commit(self, name: str, parent: str | None, files: dict) -> str:
        """Write a commit, and return its id."""
        content = json.dumps({"parent": parent, "files": files}, sort_keys=True)
        commit = hashlib.sha1(content.encode()).hexdigest()
        path = self._path(name, f"{commit}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return commit

    def files(self, name: str, commit: str) -> dict:
        """Read the files of a commit: name → oid, size and whether it is in LFS."""
        return json.loads(self._path(name, f"{commit}.json").read_text())["files"]

    def resolve(self, name: str, revision: str) -> str | None:
        """Find the commit of a branch, tag or commit."""
        if len(revision) == 40 and self._path(name, f"{revision}.json").exists():
            return revision
        repo = self.repo(name)
        return repo["refs"].get(revision) if repo else None

    def put_blob(self, content: bytes, *, lfs: bool) -> dict:
        """Keep a content, and return what a commit says of it."""
        git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        oid = hashlib.sha256(content).hexdigest() if lfs else git_id
        path = self.blob_path(oid)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return {"oid": oid, "size": len(content), "lfs": lfs}

    def blob_path(self, oid: str) -> Path:
        """Say where a content lies."""
        return self.root / "blobs" / oid

    def blob(self, oid: str) -> bytes:
        """Read a content."""
        return self.blob_path(oid).read_bytes()

    def edit(self, name: str, changes: dict[str, bytes]) -> str:
        """Commit from behind the client's back, and return the commit."""
        repo = self.repo(name)
        head = repo["refs"]["main"]
        files = self.files(name, head)
        for path, content in changes.items():
            files[path] = self.put_blob(content, lfs=path.endswith(".safetensors"))
        repo["refs"]["main"] = self.put_commit(name, head, files)
        self.put_repo(name, repo)
        return repo["refs"]["main"]
