"""A small Hub on the loopback interface for the real client, with faults on demand.

It speaks what a push and a pull need: repositories, preupload, LFS batches, commits with a parent,
tags, listings, and files with ETag and Range. ``server.fault(...)`` makes the next matching
requests fail, break off or lie.
"""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.hub_store import HubStore


@dataclass
class Fault:
    """What happens to the next ``times`` requests that match.

    ``status`` is answered with ``headers`` and ``body``; ``add`` adds the headers to the honest
    answer; ``grow`` says too much; ``cut`` sends half of the body and closes; ``drop``
    closes without an answer; ``late`` does what was asked, then drops; ``corrupt`` flips a byte of
    the body; ``before`` is called.
    """

    method: str
    path: str
    action: str
    times: int
    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    before: object = None


class HubServer(HubStore):
    """State and switchboard; requests are seen in ``log`` as (method, path)."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.log: list[tuple[str, str]] = []
        self.tokens: list[str] = []  # every Authorization that arrived
        self.faults: list[Fault] = []
        self.token: str | None = None  # expected on every request, if set
        self.lock = threading.RLock()
        self.closed = False
        handler = type("Handler", (_Handler,), {"hub": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closed = True  # for connections that are kept open
        self.http.shutdown()
        self.http.server_close()

    def fault(self, method: str, path: str, action: str = "status", times: int = 1, **more) -> None:
        self.faults.append(Fault(method, path, action, times, **more))

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if (
                    fault.times > 0
                    and re.fullmatch(fault.method, method)
                    and re.search(fault.path, path)
                ):
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, path: str) -> int:
        return sum(m == method and bool(re.search(path, p)) for m, p in self.log)


_ID = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = [
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("GET", r"/api/models", "listing"),
    ("POST", rf"/api/models/{_ID}/preupload/(?P<rev>.+)", "preupload"),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "upload"),
    ("POST", r"/lfs/verify", "verify"),
    ("POST", rf"/api/models/{_ID}/commit/(?P<rev>.+)", "commit"),
    ("POST", rf"/api/models/{_ID}/tag/(?P<rev>.+)", "tag"),
    ("GET", rf"/api/models/{_ID}/tree/(?P<rev>[^/]+).*", "tree"),
    ("GET", rf"/api/models/{_ID}(/revision/(?P<rev>.+))?", "info"),
    ("HEAD", rf"/{_ID}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
    ("GET", rf"/{_ID}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    # headers and body in one packet: a second one would wait 40 ms for the first's acknowledgement
    wbufsize = -1
    disable_nagle_algorithm = True
    fault: Fault | None = None

    def log_message(self, *args) -> None:
        pass

    def _serve(self) -> None:
        if self.hub.closed:
            return self._close()
        path, _, query = self.path.partition("?")
        self.query = urllib.parse.parse_qs(query)
        path = urllib.parse.unquote(path)
        self.hub.log.append((self.command, path))
        if "Authorization" in self.headers:
            self.hub.tokens.append(self.headers["Authorization"])
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.body = self._chunks()
        self.fault = self.hub.take_fault(self.command, path)
        if self.fault:
            if self.fault.before:
                self.fault.before()
            if self.fault.action == "status":
                return self._send(self.fault.status, self.fault.body, self.fault.headers)
            if self.fault.action == "drop":
                return self._close()
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._send(401, b'{"error":"Unauthorized"}')
        for method, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if method == self.command and match:
                with self.hub.lock:
                    return getattr(self, name)(**match.groupdict())
        self._send(404, b"no such route")

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _close(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _send(self, status: int, content: bytes, headers: dict | None = None) -> None:
        action = self.fault.action if self.fault else ""
        if action == "late":
            return self._close()
        if action == "corrupt" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if action == "grow":
            content += bytes(1 << 20)
        if action == "add":
            headers = (headers or {}) | self.fault.headers
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if action == "cut" else content)
        self.wfile.flush()
        if action == "cut":
            self._close()

    def _json(self, content, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _missing(self, what: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": what})

    def create(self) -> None:
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        if self.hub.repo(name):
            return self._json({"url": f"{self.hub.url}/{name}"}, 409)
        self.hub.create(name, private=request.get("visibility") == "private")
        self._json({"url": f"{self.hub.url}/{name}"})

    def validate(self) -> None:
        header = json.loads(self.body)["content"].split("---")
        good = len(header) > 2 and isinstance(yaml.safe_load(header[1]), dict)
        self._json(
            {"errors": [] if good else [{"message": "no metadata"}], "warnings": []},
            200 if good else 400,
        )

    def listing(self) -> None:
        models = []
        for name in self.hub.names():
            card = self.hub.files(name, self.hub.resolve(name, "main")).get("README.md")
            data = {}
            if card:
                data = yaml.safe_load(self.hub.blob(card["oid"]).decode().split("---")[1])
            is_authors = name.startswith(self.query["author"][0] + "/")
            requested_tags = set(self.query.get("filter", []))
            if is_authors and requested_tags <= set(data.get("tags", [])):
                models.append({"id": name, "tags": data.get("tags"), "cardData": data})
        self._json(models)

    def preupload(self, repo: str, rev: str) -> None:
        here = self.hub.files(repo, self.hub.resolve(repo, rev))
        answer = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
            answer.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
            if file["path"] in here and not here[file["path"]]["lfs"]:
                answer[-1]["oid"] = here[file["path"]]["oid"]
        self._json({"files": answer})

    def batch(self, repo: str) -> None:
        objects = []
        for item in json.loads(self.body)["objects"]:
            if not self.hub.blob_path(item["oid"]).exists():
                links = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
                item["actions"] = links | {"verify": {"href": f"{self.hub.url}/lfs/verify"}}
            objects.append(item)
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._json({"error": "sha256 differs"}, 422)
        self.hub.put_blob(self.body, lfs=True)
        self._send(200, b"")

    def verify(self) -> None:
        item = json.loads(self.body)
        path = self.hub.blob_path(item["oid"])
        self._send(200 if path.exists() and path.stat().st_size == item["size"] else 404, b"")

    def commit(self, repo: str, rev: str) -> None:
        record = self.hub.repo(repo)
        head = record["refs"][rev]
        files = self.hub.files(repo, head)
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", head) != head:
                return self._json({"error": "the branch has moved"}, 412)
            if key == "file":
                files[value["path"]] = self.hub.put_blob(
                    base64.b64decode(value["content"]), lfs=False
                )
            elif key == "lfsFile":
                size = len(self.hub.blob(value["oid"]))
                files[value["path"]] = {"oid": value["oid"], "size": size, "lfs": True}
            elif key == "deletedFile":
                del files[value["path"]]
        commit = self.hub.put_commit(repo, head, files)
        record["refs"][rev] = commit
        self.hub.put_repo(repo, record)
        self._json({"commitOid": commit, "commitUrl": f"{self.hub.url}/{repo}/commit/{commit}"})

    def tag(self, repo: str, rev: str) -> None:
        record = self.hub.repo(repo)
        name = json.loads(self.body)["tag"]
        if name in record["refs"]:
            return self._json({"error": "tag exists"}, 409)
        record["refs"][name] = self.hub.resolve(repo, rev)
        self.hub.put_repo(repo, record)
        self._send(200, b"")

    def _commit_of(self, repo: str, rev: str | None) -> str | None:
        if self.hub.repo(repo) is None:
            self._missing("RepoNotFound")
            return None
        commit = self.hub.resolve(repo, rev or "main")
        if commit is None:
            self._missing("RevisionNotFound")
        return commit

    def info(self, repo: str, rev: str | None = None) -> None:
        if commit := self._commit_of(repo, rev):
            siblings = []
            for name, file in self.hub.files(repo, commit).items():
                lfs = {"sha256": file["oid"], "size": file["size"], "pointerSize": 130}
                more = {"lfs": lfs} if file["lfs"] else {"blobId": file["oid"]}
                siblings.append({"rfilename": name, "size": file["size"], **more})
            private = self.hub.repo(repo)["private"]
            self._json({"id": repo, "sha": commit, "private": private, "siblings": siblings})

    def tree(self, repo: str, rev: str) -> None:
        if commit := self._commit_of(repo, rev):
            entries = []
            for name, file in self.hub.files(repo, commit).items():
                entry = {"type": "file", "path": name, "size": file["size"], "oid": file["oid"]}
                entries.append(entry)
            self._json(entries)

    def resolve(self, repo: str, rev: str, path: str) -> None:
        commit = self._commit_of(repo, rev)
        if commit is None:
            return
        file = self.hub.files(repo, commit).get(path)
        if file is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = self.hub.blob(file["oid"])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file["oid"]}"', "Accept-Ranges": "bytes"}
        if file["lfs"]:
            headers |= {"X-Linked-Etag": f'"{file["oid"]}"', "X-Linked-Size": str(file["size"])}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            end = int(part[2]) + 1 if part[2] else len(content)
            headers["Content-Range"] = f"bytes {part[1]}-{end - 1}/{len(content)}"
            return self._send(206, content[int(part[1]) : end], headers)
        self._send(200, content, headers)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server, and no waiting.

    ``hub.slept`` holds the seconds that the client or we would have waited.
    """
    server = HubServer(tmp_path / "hub")
    server.slept = []
    monkeypatch.setattr("time.sleep", server.slept.append)
    yield server
    server.close()
