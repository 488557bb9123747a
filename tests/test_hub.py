"""Pushing to the Hub: the real client against a real HTTP server on the loopback address, and back again."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import time

import pytest
from hub.stub import Repo, served
from huggingface_hub import snapshot_download

from auditor.errors import InvalidRequest
from auditor.export import hub_words
from auditor.export.hub import Moved, Pushed, PushFailed, PushProgress, problem, push

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("online")]
TOKEN, NAME = "hf_good", "ada/edited"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "bundle"
    (path / "sub").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: mit\n---\n# Edited\n")
    (path / "sub" / "suite.jsonl").write_text('{"a": 1}\n')
    (path / "model.pt").write_bytes(os.urandom(300_000))
    (path / "model.safetensors").write_bytes(os.urandom(200_000))
    (path / "model.pt.part").write_bytes(b"unfinished")
    return path


def pushed(hub, folder, name=NAME, token=TOKEN, message="Edit\n\nhead abc", **options) -> Pushed:
    *_, last = push(folder, name, token, message=message, endpoint=hub.url, **options)
    assert isinstance(last, Pushed)
    return last


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".part" and ".cache" not in path.parts}


def fetched(hub, tmp_path, name=NAME) -> dict[str, bytes]:
    where = tmp_path / f"down{len(list(tmp_path.iterdir()))}"
    snapshot_download(name, endpoint=hub.url, token=TOKEN, local_dir=where)
    return contents(where)


# Pushed, and the same bytes come back


@pytest.mark.parametrize("part_size", [None, 1 << 16])
def test_a_folder_comes_back_byte_for_byte(hub, folder, tmp_path, part_size):
    hub.part_size = part_size
    found = pushed(hub, folder)
    assert fetched(hub, tmp_path) == contents(folder)
    assert found == Pushed(NAME, f"{hub.url}/{NAME}", hub.repos[NAME].commits[-1].sha)
    assert hub.repos[NAME].private
    assert [commit.message for commit in hub.repos[NAME].commits[1:]] == ["Edit\n\nhead abc"]  # one commit
    assert "model.pt.part" not in hub.repos[NAME].commits[-1].files


def test_progress_is_in_bytes_and_ends_full(hub, folder):
    *progress, last = push(folder, NAME, TOKEN, message="m", endpoint=hub.url)
    assert isinstance(last, Pushed) and all(isinstance(p, PushProgress) for p in progress)
    assert all(0 <= p.sent <= p.total == sum(map(len, contents(folder).values())) for p in progress)
    assert progress[-1].sent == progress[-1].total and progress[-1].doing == hub_words.CHECKING


def test_a_name_without_account_goes_to_ones_own(hub, folder):
    assert pushed(hub, folder, name="edited").repo == NAME


def test_a_second_push_stands_on_the_first_and_sends_only_what_changed(hub, folder, tmp_path):
    first, before = pushed(hub, folder), hub.received
    (folder / "model.pt").write_bytes(os.urandom(1000))
    second = pushed(hub, folder, parent=first.commit)
    assert hub.received == before + 1000 and second.commit != first.commit
    assert fetched(hub, tmp_path) == contents(folder)


def test_an_unchanged_folder_makes_no_empty_commit(hub, folder):
    assert pushed(hub, folder) == pushed(hub, folder)
    assert len(hub.repos[NAME].commits) == 2


# What the Hub refuses


@pytest.mark.parametrize(("token", "name", "said"), [
    ("hf_unknown", NAME, hub_words.SAID[401]), ("hf_reader", NAME, hub_words.SAID[403]),
    (TOKEN, "bob/edited", hub_words.SAID[403])])
def test_rights_are_asked_before_anything_is_sent(hub, folder, token, name, said):
    with pytest.raises(PushFailed) as caught:
        pushed(hub, folder, token=token, name=name)
    assert str(caught.value) == said.format(repo=name)
    assert hub.received == 0 and not hub.repos


@pytest.mark.parametrize("name", ["", " ", "a/b/c", "ada/-x", "ada/x..y", "ada/x--y", "ada/x.git", "ada/é", "x" * 97,
                                  "https://huggingface.co/ada/x", "ada/<script>"])
def test_a_bad_name_is_told_without_a_request(hub, folder, name):
    assert problem(name) == hub_words.NAME
    with pytest.raises(InvalidRequest) as caught:
        pushed(hub, folder, name=name, token="")
    assert set(caught.value.problems) == {"repo", "token"} and not hub.asked


def test_a_good_name_is_one():
    assert not problem("ada/edited") and not problem("edited_1.0")


@pytest.mark.parametrize("status", [400, 402, 404, 409, 413])
@pytest.mark.parametrize("where", ["/commit/", "/objects/batch"])
def test_every_refusal_has_its_sentence(hub, folder, status, where):
    hub.fail("POST", where, status=status)
    with pytest.raises(PushFailed) as caught:
        pushed(hub, folder)
    assert str(caught.value) == hub_words.SAID[status].format(repo=NAME)
    assert len(hub.repos[NAME].commits) == 1 and not hub.repos[NAME].commits[0].files


def test_a_call_for_a_pause(hub, folder):
    hub.fail("POST", "/commit/", status=429)
    with pytest.raises(PushFailed, match="asks for a pause"):
        pushed(hub, folder)


def test_private_is_not_pushed_where_everybody_reads(hub, folder):
    hub.repos[NAME] = Repo(private=False, commits=[])
    hub.repos[NAME].add("initial commit", {})
    with pytest.raises(PushFailed, match="everybody can read it"):
        pushed(hub, folder)
    assert hub.received == 0
    assert pushed(hub, folder, private=False)  # the control


# Somebody else was faster


def test_a_parent_that_is_not_the_newest_stops_before_sending(hub, folder):
    first, sent = pushed(hub, folder), hub.received
    head = hub.repos[NAME].add("somebody else", hub.repos[NAME].commits[-1].files).sha
    (folder / "model.pt").write_bytes(os.urandom(1000))
    with pytest.raises(Moved) as caught:
        pushed(hub, folder, parent=first.commit)
    assert caught.value.head == head and hub.received == sent
    assert pushed(hub, folder, parent=head)


def test_a_commit_that_comes_between_is_not_overwritten(hub, folder):
    """The other one arrives after our look at the newest commit: the Hub's own check of the parent catches it."""
    events = push(folder, NAME, TOKEN, message="m", endpoint=hub.url)
    for event in events:
        if event.doing == hub_words.COMMITTING:
            hub.repos[NAME].add("somebody else", {})
            break
    with pytest.raises(Moved, match="changed by somebody else"):
        list(events)
    assert hub.repos[NAME].commits[-1].message == "somebody else"


# Faults on the way


def test_a_fault_that_passes_is_not_noticed(hub, folder, tmp_path):
    hub.fail("PUT", "/lfs/", status=500)
    hub.fail("PUT", "/lfs/", cut=1000)
    pushed(hub, folder)
    assert fetched(hub, tmp_path) == contents(folder)


def test_a_connection_cut_in_a_file_commits_nothing_and_the_retry_sends_the_rest(hub, folder, tmp_path):
    second = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    hub.fail("PUT", second, cut=1000, times=99)
    with pytest.raises(PushFailed) as caught:
        pushed(hub, folder)
    assert str(caught.value) == hub_words.NETWORK
    assert not hub.repos[NAME].commits[-1].files and hub.received == 300_000
    hub.faults.clear()
    pushed(hub, folder)
    assert hub.received == 500_000  # the first file was not sent twice
    assert fetched(hub, tmp_path) == contents(folder)


def test_trouble_at_the_commit_keeps_what_was_sent(hub, folder):
    hub.fail("POST", "/commit/", status=500)
    with pytest.raises(PushFailed, match="trouble of its own"):
        pushed(hub, folder)
    assert not hub.repos[NAME].commits[-1].files
    sent = hub.received
    assert pushed(hub, folder) and hub.received == sent


def test_a_commit_whose_answer_was_lost_counts_when_it_is_there(hub, folder, monkeypatch):
    from hub import stub

    original, lost = stub.Handler.answer, []

    def answer(self, value=None, status=200, headers=None):
        if "commitOid" in (value or {}) and not lost:
            lost.append(value)
            status, value = 502, {"error": "bad gateway"}
        original(self, value, status, headers)

    monkeypatch.setattr(stub.Handler, "answer", answer)
    assert pushed(hub, folder).commit == lost[0]["commitOid"]


def test_no_network(folder):
    with served() as hub:
        pass
    with pytest.raises(PushFailed) as caught:
        pushed(hub, folder)
    assert str(caught.value) == hub_words.NETWORK


def test_started_without_network(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PushFailed, match="HF_HUB_OFFLINE"):
        pushed(hub, folder)


def test_an_acknowledged_commit_without_its_files_is_not_counted_as_pushed(hub, folder):
    """The negative control of the reading back."""
    hub.forgets = True
    with pytest.raises(PushFailed, match="not in it as they were sent: README.md"):
        pushed(hub, folder)


def test_stop_leaves_the_repository_alone_and_the_next_push_goes_on(hub, folder):
    events = push(folder, NAME, TOKEN, message="m", endpoint=hub.url)
    for event in events:
        if event.doing == hub_words.COMMITTING:
            break
    events.close()
    assert not hub.repos[NAME].commits[-1].files and not hub.count("/commit/")
    sent = hub.received
    assert pushed(hub, folder) and hub.received == sent


# The xet path


def test_large_files_by_xet_come_back_byte_for_byte(xet, folder, tmp_path, monkeypatch):
    import hf_xet

    monkeypatch.setattr("auditor.export.hub.BULK", 250_000)  # model.pt ahead, model.safetensors by the client itself
    pushed(xet, folder)
    assert xet.received == 0 and not xet.count("objects/batch") and xet.count("xet-write-token")
    for name in ("model.pt", "model.safetensors"):
        data = (folder / name).read_bytes()
        (info,) = hf_xet.hash_files([str(folder / name)])
        xet.xet_hashes[hashlib.sha256(data).hexdigest()] = info.hash
    assert fetched(xet, tmp_path) == contents(folder)


def test_a_hub_without_xet_is_served_by_lfs(xet, folder, tmp_path):
    xet.xet = None
    pushed(xet, folder)
    assert xet.count("objects/batch") and fetched(xet, tmp_path) == contents(folder)


def test_a_refusal_by_xet_has_its_sentence(xet, folder):
    xet.fail("GET", "xet-write-token", status=403, times=99)
    with pytest.raises(PushFailed, match="may not write"):
        pushed(xet, folder)
    assert not xet.repos[NAME].commits[-1].files


def test_stop_in_a_large_file_by_xet(xet, folder, monkeypatch):
    monkeypatch.setattr("auditor.export.hub.PULSE", 0.01)
    (folder / "model.pt").write_bytes(os.urandom(60_000_000))
    events = push(folder, NAME, TOKEN, message="m", endpoint=xet.url)
    assert any(event.doing == hub_words.SENDING for event in events)
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 5 and not xet.count("/commit/")


# The token


@pytest.mark.parametrize("trouble", [None, ("POST", "/commit/", 500), ("POST", "/repos/create", 401),
                                     ("POST", "/objects/batch", 422), ("GET", "/tree/", 404)])
def test_the_token_is_in_no_file_log_or_error(hub, folder, tmp_path, caplog, monkeypatch, trouble):
    secret = "hf_" + "s3cret" * 6
    hub.writers[secret] = "ada"
    caplog.set_level(logging.DEBUG)
    if trouble:
        hub.fail(*trouble[:2], status=trouble[2], times=99)
    error = None
    try:
        pushed(hub, folder, token=secret)
    except PushFailed as caught:
        error = caught
    assert bool(error) == bool(trouble)
    chain = [error]
    while chain[-1] is not None:
        assert secret not in f"{chain[-1]} {chain[-1]!r} {vars(chain[-1])}"
        assert not hasattr(chain[-1], "response")
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert secret not in caplog.text
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


class Hashed(dict):
    """The writers of a Hub that keeps no token, only its hash."""

    def get(self, token, default=None):
        return super().get(hashlib.sha256(token.encode()).hexdigest(), default)

    def __contains__(self, token):
        return self.get(token) is not None


def holders(secret) -> list[str]:
    """What in this process holds a text with the secret: everything that the collector can reach is looked through."""
    gc.collect()
    text, found = secret(), []
    raw, stack = text.encode(), gc.get_objects()
    seen = set(map(id, stack))
    while stack:
        holder = stack.pop()
        for item in gc.get_referents(holder):
            if type(item) in (str, bytes):
                found += [type(holder).__name__] if ((text if type(item) is str else raw) in item) else []
            elif not gc.is_tracked(item) and id(item) not in seen:
                seen.add(id(item))
                stack.append(item)
    return found


@pytest.mark.parametrize("by_xet", [False, True])
def test_the_token_outlives_the_push_nowhere_in_memory(hub, folder, by_xet, request, monkeypatch):
    if by_xet:
        request.getfixturevalue("xet")
        monkeypatch.setattr("auditor.export.hub.BULK", 250_000)

    def secret() -> str:
        return bytes.fromhex("68665f6f6e6c7948657265").decode()

    hub.writers, hub.hangs_up = Hashed({hashlib.sha256(secret().encode()).hexdigest(): "ada"}), True
    assert pushed(hub, folder, token=secret())
    assert not holders(secret)
    kept = [f"Bearer {secret()}"]  # the control
    assert holders(secret) and kept
