"""Push a folder to a repository of the Hugging Face Hub as one commit, with the visitor's own token.

1. The name is checked before anything is sent.
2. The repository is made if there is none, and its newest commit is read: the new commit will stand on that one. If the
   caller last saw another (`parent`), somebody has committed since, and nothing is sent.
3. Large files go ahead, by xet where that client is installed, else by LFS. They are stored under the hash of what they
   hold and belong to no commit yet: what has arrived once is not sent again, and nobody sees a part.
4. One commit names all files. Until it is there, nothing was pushed.
5. The commit is read back: every file has to be in it. That the Hub acknowledged it is not enough.

The token lives as long as the generator. It is in no file, no log and no error: what is raised here holds sentences
only, and not the request that failed.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import HFValidationError, build_hf_headers, disable_progress_bars, validate_repo_id
from huggingface_hub.utils._runtime import is_xet_available

from auditor.errors import AuditorError, InvalidRequest, Stopped
from auditor.export import hub_words
from auditor.export.hub_words import Moved, PushFailed

__all__ = ["Moved", "PushFailed", "PushProgress", "Pushed", "home", "problem", "push"]

PULSE = 0.2
"""Seconds between two reports of progress."""
BULK = 10_000_000
"""Bytes from which the Hub takes a file as large, whatever its name; these go ahead by xet."""


@dataclass(frozen=True)
class PushProgress:
    """How many bytes of how many have been read or sent, and which of the two in words."""

    sent: int
    total: int
    doing: str


@dataclass(frozen=True)
class Pushed:
    """What was pushed: the repository's full name, its address, and the commit that now is its newest."""

    repo: str
    url: str
    commit: str


def home() -> str:
    """Address of the Hub: the environment variable HF_ENDPOINT, read now."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def problem(repo_id: str) -> str:
    """What is wrong with the name of a repository, as a sentence; empty for a good one."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        return hub_words.NAME
    return "" if repo_id else hub_words.NAME


def push(folder: str | Path, repo_id: str, token: str, *, private: bool = True, message: str, parent: str | None = None,
         endpoint: str | None = None) -> Iterator[PushProgress | Pushed]:
    """Push all files of `folder`: yield progress, at last Pushed. Closing it before that leaves the repository alone.

    Raises InvalidRequest for a name or a token that cannot be one, Moved and PushFailed for what the Hub refuses.
    """
    wrong = {"repo": problem(repo_id), "token": "" if (token or "").strip() else hub_words.TOKEN}
    if any(wrong.values()):                                                                                # 1
        raise InvalidRequest({name: text for name, text in wrong.items() if text})
    errand = _Push(Path(folder), repo_id, token.strip(), (endpoint or home()).rstrip("/"))
    with _Plain(errand) as plain:
        yield from errand.run(private, message, parent)
    if plain.failure:
        raise plain.failure


class _Plain(AbstractContextManager):
    """Scope that keeps what a client raises, which holds the request and its token, and leaves a sentence instead."""

    def __init__(self, errand: _Push):
        self.errand, self.failure = errand, None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception) and not isinstance(error, AuditorError):
            self.failure = hub_words.failure(error, self.errand.repo, unread=self.errand.unread)
        return self.failure is not None


class _Counted(io.BufferedReader):
    """A file that knows how far it has been read and can be told to stop."""

    def __init__(self, path: Path, stopped: threading.Event):
        super().__init__(io.FileIO(path))
        self.reached, self._stopped = 0, stopped

    def read(self, size: int | None = -1) -> bytes:
        if self._stopped.is_set():
            raise Stopped(hub_words.STOPPED)
        data = super().read(size)
        self.reached = self.tell()
        return data


class _Push:
    """One push under way."""

    def __init__(self, folder: Path, repo_id: str, token: str, endpoint: str):
        self.repo, self.endpoint, self._token = repo_id, endpoint, token
        self.api = HfApi(endpoint=endpoint, token=token)
        self.paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))
                      if path.is_file() and path.suffix != ".part"}
        self.sizes = {name: path.stat().st_size for name, path in self.paths.items()}
        self.total = sum(self.sizes.values())
        self.stopped, self.unread = threading.Event(), False
        self.operations: dict[str, CommitOperationAdd] = {}
        self._sent: Callable[[], int] = lambda: 0
        self._abort: Callable[[], None] = lambda: None
        self._doing = hub_words.ASKING

    def run(self, private: bool, message: str, parent: str | None) -> Iterator[PushProgress | Pushed]:
        """Steps 2 to 5."""
        if not self.paths:
            raise PushFailed("There is nothing to push: the folder holds no files.")
        yield self.now()
        head = self._repository(private)                                                                   # 2
        if parent and parent != head:
            raise Moved(hub_words.moved(self.repo), head)
        if not (is_xet_available() and (yield from self._beside(self._by_xet))):                           # 3
            yield from self._beside(self._by_lfs)
        self._doing, self._sent = hub_words.COMMITTING, lambda: self.total
        yield self.now()
        commit = self._commit(message, head)                                                               # 4
        self.unread, self._doing = True, hub_words.CHECKING
        yield self.now()
        self._check(commit)                                                                                # 5
        yield Pushed(self.repo, f"{self.endpoint}/{self.repo}", commit)

    def now(self) -> PushProgress:
        return PushProgress(min(self._sent(), self.total), self.total, self._doing)

    def _beside(self, task: Callable[[], bool]) -> Iterator[PushProgress]:
        """Run a task in a thread and report how it gets on; the value is the task's. Closing this ends the task."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(task)
            try:
                while not wait([running], PULSE).done:
                    yield self.now()
                return running.result()
            finally:
                if not running.done():
                    self.stopped.set()
                    self._abort()

    # The steps

    def _repository(self, private: bool) -> str:
        """Make the repository if there is none; returns its newest commit."""
        self.repo = self.api.create_repo(self.repo, private=private, exist_ok=True).repo_id
        info = self.api.repo_info(self.repo)
        if private and not info.private:
            raise PushFailed(hub_words.public(self.repo))
        return info.sha

    def _by_xet(self) -> bool:
        """Send large files by xet, each once; False where this Hub has none, which is found before anything is sent."""
        import hf_xet

        self._doing = hub_words.SENDING
        bulk = [name for name, size in self.sizes.items() if size >= BULK]
        self.operations = {name: CommitOperationAdd(name, path) for name, path in self.paths.items()}
        try:
            with hf_xet.XetSession().new_upload_commit(
                    token_refresh_url=f"{self.endpoint}/api/models/{self.repo}/xet-write-token/main",
                    token_refresh_headers=build_hf_headers(token=self._token)) as commit:
                self._sent, self._abort = lambda: commit.progress().total_bytes_completed, commit.abort
                if self.stopped.is_set():
                    raise Stopped(hub_words.STOPPED)
                sent = {name: commit.start_upload_file(str(self.paths[name])) for name in bulk}
        except ConnectionError as error:
            if hub_words.status_of(error) != 404:
                raise
            return False
        finally:
            self._abort = lambda: None
        for name, handle in sent.items():
            operation = self.operations[name]
            operation.upload_info.sha256 = bytes.fromhex(handle.result().xet_info.sha256)
            operation._upload_mode, operation._is_uploaded = "lfs", True  # or the client would read them all again
        with disable_progress_bars():
            self.api.preupload_lfs_files(self.repo, list(self.operations.values()))
        return True

    def _by_lfs(self) -> bool:
        """Send large files by plain HTTP, one after another; those that the Hub has are passed over."""
        files = {name: _Counted(path, self.stopped) for name, path in self.paths.items()}
        self._sent, self._doing = lambda: sum(file.reached for file in files.values()), hub_words.READING
        self.operations = {name: CommitOperationAdd(name, file) for name, file in files.items()}  # hashes them
        for file in files.values():
            file.reached = 0
        self._doing = hub_words.SENDING
        for name, operation in self.operations.items():
            self.api.preupload_lfs_files(self.repo, [operation])
            files[name].reached = self.sizes[name]
        return True

    def _commit(self, message: str, head: str) -> str:
        """Commit everything on top of `head`; returns the new commit. An answer that was lost is looked up."""
        subject, _, body = message.strip().partition("\n")
        try:
            with disable_progress_bars():
                return self.api.create_commit(
                    self.repo, list(self.operations.values()), commit_message=subject or "Push",
                    commit_description=body.strip(), parent_commit=head).oid
        except HTTPError as error:
            self.unread = (hub_words.status_of(error) or 500) >= 500
            if not self.unread or (now := self.api.repo_info(self.repo).sha) == head:
                self.unread = False
                raise
            return now  # step 5 tells whether it is ours

    def _check(self, commit: str) -> None:
        """Read the commit back; raises PushFailed when a file is not in it as it was sent."""
        there = {item.path: item for item in self.api.list_repo_tree(self.repo, recursive=True, revision=commit)
                 if isinstance(item, RepoFile)}
        lost = [name for name, size in self.sizes.items() if name not in there or there[name].size != size or (
            there[name].lfs is not None and there[name].lfs.sha256 != self.operations[name].upload_info.sha256.hex())]
        if lost:
            raise PushFailed(hub_words.lost(self.repo, lost))
