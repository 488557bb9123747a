"""From a bundle to the Hub, down again by somebody else, and verified: the real client, the real command."""

from __future__ import annotations

import hashlib

import pytest
from bundles import made, scored_session

from auditor.__main__ import main
from auditor.export.hub import Pushed, push

NAME, TOKEN = "ada/edited", "hf_good"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def made_bundle(tiny, tmp_path):
    return made(tiny, scored_session(tiny), tmp_path / "out", shard=200_000)


@pytest.fixture
def somebody_else(monkeypatch, tmp_path, hub):
    """Another person's machine: an empty cache, and a token that may read."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def pushed(hub, folder, message: str) -> str:
    *_, last = push(folder, NAME, TOKEN, message=message, endpoint=hub.url)
    assert isinstance(last, Pushed)
    return last.commit


@pytest.mark.parametrize("way", ["hub", "xet"])
def test_a_pushed_repository_is_verified_by_its_name(tiny, made_bundle, somebody_else, way, request, capsys):
    hub = request.getfixturevalue(way)
    pushed(hub, made_bundle.folder, made_bundle.message)
    if way == "xet":
        assert hub.received == 0
        _tell_hashes(hub, made_bundle.folder)
    assert main(["verify", NAME, "--base", str(tiny.folder)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "verified" and "names the same head of the log" in said


def test_what_was_altered_after_the_push_is_named_and_the_first_commit_stays_true(tiny, made_bundle, somebody_else,
                                                                                  hub, capsys):
    first = pushed(hub, made_bundle.folder, made_bundle.message)
    card = made_bundle.folder / "README.md"
    card.write_text(card.read_text().replace("Rome", "Oslo"))
    pushed(hub, made_bundle.folder, "A small correction")
    assert main(["verify", NAME, "--base", str(tiny.folder)]) == 1
    said = capsys.readouterr().out
    assert "README.md" in said and said.splitlines()[-1].startswith("Not verified: ")
    assert main(["verify", NAME, "--base", str(tiny.folder), "--revision", first]) == 0


def test_a_commit_that_names_another_head_is_told(tiny, made_bundle, somebody_else, hub, capsys):
    pushed(hub, made_bundle.folder, "Edited\n\nLog head: " + "0" * 64)
    assert main(["verify", NAME, "--base", str(tiny.folder)]) == 1
    assert "name another head of the log" in capsys.readouterr().out


def test_without_access_it_is_one_sentence(made_bundle, somebody_else, hub, monkeypatch, capsys):
    pushed(hub, made_bundle.folder, made_bundle.message)
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert main(["verify", NAME]) == 2
    assert f"“{NAME}” could not be downloaded" in capsys.readouterr().out


def _tell_hashes(hub, folder) -> None:
    """What a Hub knows of the files that went to its xet store."""
    import hf_xet

    for path in folder.iterdir():
        data = path.read_bytes()
        (info,) = hf_xet.hash_files([str(path)])
        hub.xet_hashes[hashlib.sha256(data).hexdigest()] = info.hash
