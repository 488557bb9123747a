"""A small Hub on the loopback address that speaks the protocol of the installed client: a real HTTP server in a thread.

1. Repositories are lists of commits; a commit holds all its files. Large files travel as blobs (LFS, in one piece or in
   parts; or xet, into a folder that the real xet client fills), small ones inside the commit.
2. Tokens are checked as the Hub does: 401 for an unknown one, 403 for one that may not write there.
3. `fail` injects faults: a status, or a connection cut after so many bytes. `asked` lists every request that came.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PART = 1 << 16
"""Size of a piece of a body read from the wire."""
LARGE = (".pt", ".safetensors", ".bin")


@dataclass(frozen=True)
class Stored:
    """One file of a commit. `data` is None when its bytes went to the xet store."""

    data: bytes | None
    size: int
    sha256: str | None = None
    """Set for large files."""

    @property
    def oid(self) -> str:
        return self.sha256 or hashlib.sha1(b"blob %d\0" % self.size + self.data).hexdigest()


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    files: dict[str, Stored]


@dataclass
class Repo:
    private: bool
    commits: list[Commit]

    def at(self, revision: str) -> Commit | None:
        known = {commit.sha: commit for commit in self.commits}
        return self.commits[-1] if revision == "main" else known.get(revision)

    def add(self, message: str, files: dict[str, Stored]) -> Commit:
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append(Commit(sha, message, files))
        return self.commits[-1]


@dataclass
class Fault:
    method: str
    pattern: str
    status: int = 0
    cut: int | None = None
    times: int = 1


@dataclass
class Hub:
    """The state of the server; tests read and set it directly."""

    url: str = ""
    writers: dict[str, str] = field(default_factory=lambda: {"hf_good": "ada"})
    """Token to the name of its owner, who may write under that name."""
    readers: set[str] = field(default_factory=lambda: {"hf_reader"})
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    part_size: int | None = None
    """Large files are asked for in parts of this size."""
    xet: Path | None = None
    """Folder of the xet store; None: this Hub speaks LFS only."""
    xet_hashes: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    """Whether every connection is closed after one request."""
    forgets: bool = False
    """Whether a commit is acknowledged and its files are lost."""
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    received: int = 0
    """Bytes of large files that came in."""

    def fail(self, method: str, pattern: str, **how) -> None:
        self.faults.append(Fault(method, pattern, **how))

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.pattern, path):
                fault.times -= 1
                return fault
        return None

    def count(self, line: str) -> int:
        return sum(bool(re.search(line, asked)) for asked in self.asked)


class Refused(Exception):
    def __init__(self, status: int, error: str, code: str = ""):
        super().__init__(error)
        self.status, self.error, self.code = status, error, code


def routed(table: list, method: str, pattern: str):
    def keep(function):
        table.append((method, re.compile(pattern), function))
        return function
    return keep


class Handler(BaseHTTPRequestHandler):
    """One request; routes are the functions below, by method and path."""

    protocol_version = "HTTP/1.1"
    routes: list = []
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        fault = self.hub.fault(self.command, path)
        if fault and fault.cut is not None:
            self.rfile.read(fault.cut)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.close_connection = self.close_connection or self.hub.hangs_up
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if fault:
                raise Refused(fault.status, "made to fail")
            for method, pattern, function in self.routes:
                if method == self.command and (found := pattern.fullmatch(path)):
                    return function(self, *found.groups())
            raise Refused(404, f"no route {self.command} {path}")
        except Refused as refusal:
            self.answer({"error": refusal.error}, refusal.status,
                        {"X-Error-Message": refusal.error, **({"X-Error-Code": refusal.code} if refusal.code else {})})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815 - names that http.server asks for

    # Answers and rights

    def answer(self, value: object = None, status: int = 200, headers: dict | None = None) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, data: bytes, status: int, headers: dict) -> None:
        self.send_response(status)
        last = {"Connection": "close"} if self.close_connection else {}
        for name, value in {"Content-Length": str(len(data)), **last, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def known(self) -> str:
        if (token := self.token()) not in self.hub.writers and token not in self.hub.readers:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.writers.get(token, "")

    def writer(self, owner: str) -> None:
        if self.known() != owner:
            raise Refused(403, f"You don't have the rights to write under the namespace {owner!r}")

    def repo(self, name: str, write: bool = False) -> Repo:
        found = self.hub.repos.get(name)
        if found is None or (found.private and self.token() not in self.hub.writers):
            raise Refused(401 if not self.token() else 404, "Repository not found", "RepoNotFound")
        if write:
            self.writer(name.split("/")[0])
        return found

    def commit(self, name: str, revision: str) -> Commit:
        if (commit := self.repo(name).at(revision)) is None:
            raise Refused(404, "Revision not found", "RevisionNotFound")
        return commit


NAME = r"([^/]+/[^/]+)"
Route = lambda method, pattern: routed(Handler.routes, method, pattern)  # noqa: E731


@Route("GET", "/api/whoami-v2")
def whoami(self: Handler) -> None:
    self.answer({"type": "user", "name": self.known(), "orgs": []})


@Route("POST", "/api/repos/create")
def create(self: Handler) -> None:
    owner = self.json.get("organization") or self.known()
    self.writer(owner)
    name = f"{owner}/{self.json['name']}"
    url = {"url": f"{self.hub.url}/{name}", "name": name}
    if name in self.hub.repos:
        return self.answer({**url, "error": "You already created this model repo"}, 409)
    self.hub.repos[name] = Repo(self.json.get("visibility") == "private", [])
    self.hub.repos[name].add("initial commit", {})
    self.answer(url)


@Route("POST", "/api/validate-yaml")
def validate_yaml(self: Handler) -> None:
    self.answer({"errors": [], "warnings": []})


@Route("GET", f"/api/models/{NAME}(?:/revision/([^/]+))?")
def info(self: Handler, name: str, revision: str | None) -> None:
    commit = self.commit(name, revision or "main")
    self.answer({"_id": "0", "id": name, "modelId": name, "sha": commit.sha, "private": self.repo(name).private,
                 "siblings": [{"rfilename": path} for path in commit.files], "tags": [], "downloads": 0, "likes": 0})


@Route("GET", f"/api/models/{NAME}/tree/([^/]+)")
def tree(self: Handler, name: str, revision: str) -> None:
    self.answer([{"type": "file", "path": path, "size": file.size, "oid": file.oid,
                  **({"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130}} if file.sha256 else {})}
                 for path, file in self.commit(name, revision).files.items()])


@Route("GET", f"/api/models/{NAME}/commits/([^/]+)")
def history(self: Handler, name: str, revision: str) -> None:
    commits = self.repo(name).commits
    told = commits[: commits.index(self.commit(name, revision)) + 1]
    parts = [(commit.sha, *commit.message.split("\n\n", 1), "") for commit in reversed(told)]
    self.answer([{"id": sha, "title": title, "message": body, "date": "2026-01-01T00:00:00.000Z", "authors": []}
                 for sha, title, body, *_ in parts])


@Route("POST", f"/api/models/{NAME}/preupload/main")
def preupload(self: Handler, name: str) -> None:
    files = self.repo(name, write=True).at("main").files
    self.answer({"files": [{
        "path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular", "shouldIgnore": False,
        "oid": files[file["path"]].oid if file["path"] in files else None} for file in self.json["files"]]})


@Route("POST", f"/{NAME}.git/info/lfs/objects/batch")
def batch(self: Handler, name: str) -> None:
    self.repo(name, write=True)
    self.answer({"transfer": "basic", "objects": [_object(self.hub, name, **o) for o in self.json["objects"]]})


def _object(hub: Hub, name: str, oid: str, size: int) -> dict:
    if oid in hub.blobs:
        return {"oid": oid, "size": size}
    verify = {"href": f"{hub.url}/{name}.git/info/lfs/verify"}
    if hub.part_size is None:
        return {"oid": oid, "size": size, "actions": {"upload": {"href": f"{hub.url}/lfs/{oid}"}, "verify": verify}}
    parts = {str(i + 1): f"{hub.url}/lfs/{oid}/{i + 1}" for i in range(-(-size // hub.part_size))}
    return {"oid": oid, "size": size, "actions": {"verify": verify, "upload": {
        "href": f"{hub.url}/lfs/{oid}/complete", "header": {"chunk_size": str(hub.part_size), **parts}}}}


@Route("PUT", "/lfs/([0-9a-f]{64})(?:/([0-9]+))?")
def put(self: Handler, oid: str, part: str | None) -> None:
    self.hub.received += len(self.body)
    if part is not None:
        self.hub.parts[oid, int(part)] = self.body
    elif hashlib.sha256(self.body).hexdigest() != oid:
        raise Refused(400, "content does not match its name")
    else:
        self.hub.blobs[oid] = self.body
    self.send(b"", 200, {"ETag": f'"{part or oid}"'})


@Route("POST", "/lfs/([0-9a-f]{64})/complete")
def complete(self: Handler, oid: str) -> None:
    data = b"".join(self.hub.parts[oid, part["partNumber"]] for part in self.json["parts"])
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, "parts do not make up the content")
    self.hub.blobs[oid] = data
    self.answer({})


@Route("POST", f"/{NAME}.git/info/lfs/verify")
def verify(self: Handler, name: str) -> None:
    self.repo(name, write=True)
    if len(self.hub.blobs.get(self.json["oid"], b"")) != self.json["size"]:
        raise Refused(422, "size differs")
    self.answer({})


@Route("GET", f"/api/models/{NAME}/xet-(read|write)-token/([^/]+)")
def xet_token(self: Handler, name: str, kind: str, revision: str) -> None:
    self.repo(name, write=kind == "write")
    if self.hub.xet is None:
        raise Refused(404, "no xet here")
    url, expires = f"local://{self.hub.xet}", 4_000_000_000
    self.answer({"casUrl": url, "accessToken": "xet", "exp": expires},
                headers={"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)})


@Route("POST", f"/api/models/{NAME}/commit/main")
def commit(self: Handler, name: str) -> None:
    repo = self.repo(name, write=True)
    lines = [json.loads(line) for line in self.body.splitlines()]
    header = lines[0]["value"]
    if header.get("parentCommit", repo.at("main").sha) != repo.at("main").sha:
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.at("main").files)
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            data = base64.b64decode(value["content"])
            files[value["path"]] = Stored(data, len(data))
        elif self.hub.xet is None and value["oid"] not in self.hub.blobs:
            raise Refused(422, "Your push was rejected: an LFS pointer points to a file that does not exist")
        else:
            files[value["path"]] = Stored(self.hub.blobs.get(value["oid"]), value["size"], value["oid"])
    made = repo.add(f"{header['summary']}\n\n{header['description']}", {} if self.hub.forgets else files)
    self.answer({"success": True, "commitOid": made.sha, "commitUrl": f"{self.hub.url}/{name}/commit/{made.sha}"})


def resolve(self: Handler, name: str, revision: str, path: str) -> None:
    found = self.commit(name, revision)
    if (file := found.files.get(path)) is None:
        raise Refused(404, "Entry not found", "EntryNotFound")
    xet = {}
    if file.data is None:
        xet = {"X-Xet-Hash": self.hub.xet_hashes[file.sha256], "X-Linked-Size": str(file.size),
               "X-Xet-Refresh-Route": f"{self.hub.url}/api/models/{name}/xet-read-token/{revision}"}
    self.send(file.data or b"", 200, {"ETag": f'"{file.oid}"', "X-Repo-Commit": found.sha, **xet})


for _method in ("GET", "HEAD"):
    Route(_method, f"/{NAME}/resolve/([^/]+)/(.+)")(resolve)


@contextlib.contextmanager
def served(hub: Hub | None = None) -> Iterator[Hub]:
    """Run a Hub in a thread for the length of the scope."""
    hub = hub or Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
