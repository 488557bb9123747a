"""Take away, on the page: build, download, push to a Hub on the loopback address, and load again what was taken."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
import torch
from gradio.utils import get_upload_folder
from gradio_client import Client
from gradio_client.exceptions import AppError
from make import CLAIM

from auditor import gpu
from auditor.export import hub_words
from auditor.ui.takeaway_panel import LABELS

pytestmark = pytest.mark.timeout(400)
SECRET = "hf_good_" + "s3cret" * 4


@pytest.fixture
def hub(hub):
    """The Hub that the page knows from its environment, read when a visitor presses the button."""
    hub.writers[SECRET] = "ada"
    return hub


@pytest.fixture
def overheard(caplog):
    """Everything that the program logs."""
    caplog.set_level(logging.DEBUG)
    return caplog


def fixed(visitor) -> None:
    visitor.fill(*CLAIM)
    visitor.tab("Fix")
    visitor.press("Try the fix", until="Accepted: layer")
    visitor.tab("Take away")


def send(visitor, repo: str, token: str, until: str) -> None:
    visitor.box("Repository").fill(repo)
    visitor.box("Token").fill(token)
    visitor.press("Push to the Hub", until=until)


def test_build_download_push_and_what_others_see(tiny_site, visit, hub, overheard, tmp_path):
    visitor, other = visit(tiny_site), visit(tiny_site)
    heard: list[str] = []
    visitor.page.on("response", lambda response: heard.append(_text(response)))
    fixed(visitor)
    visitor.press("Build the files", until="It differs from the original in 1 layer")
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_text(LABELS[0]).locator("visible=true").first.click()
    waiting.value.save_as(tmp_path / "edited.pt")
    weights = torch.load(tmp_path / "edited.pt", weights_only=True)
    base = gpu.hosted().hf.state_dict()
    assert sum(not torch.equal(value, base[name]) for name, value in weights.items() if name in base) <= 1

    visitor.box("Repository").fill("ada/x--y")
    visitor.press("Push to the Hub", until="Write the repository's name as account/name")  # at the field
    assert not hub.asked
    send(visitor, "ada/edited", "hf_wrong", until="The Hub does not accept this token")
    assert visitor.box("Token").input_value() == "" and visitor.box("Repository").input_value() == "ada/edited"
    send(visitor, "ada/edited", SECRET, until="Pushed to")
    link = visitor.page.get_by_role("link", name="ada/edited").locator("visible=true").first
    assert link.get_attribute("href") == f"{hub.url}/ada/edited"
    assert visitor.box("Token").input_value() == ""
    commit = hub.repos["ada/edited"].commits[-1]
    assert commit.files["pytorch_model.pt"].data == (tmp_path / "edited.pt").read_bytes()
    assert hub.repos["ada/edited"].private and "Log head: " in commit.message

    hub.repos["ada/edited"].add("somebody else", commit.files)
    send(visitor, "ada/edited", SECRET, until="changed by somebody else since")
    assert hub.repos["ada/edited"].commits[-1].message == "somebody else"
    send(visitor, "ada/edited", SECRET, until="Pushed to")

    other.tab("Take away")
    assert all(other.page.get_by_text(label).locator("visible=true").first.is_disabled() for label in LABELS)
    assert "ada/edited" not in other.page.content() and "Pushed" not in other.text()
    _nowhere(SECRET, visitor, heard, overheard.text)


def _text(response) -> str:
    kind = response.headers.get("content-type", "")
    return response.text() if "json" in kind and "event-stream" not in kind else ""


def _nowhere(secret: str, visitor, heard: list[str], logged: str) -> None:
    """The token is in no answer, address, page, browser store, file of the page, or log line."""
    stores = visitor.page.evaluate("JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)])")
    for text in (*heard, *visitor.requests, visitor.page.content(), stores, logged):
        assert secret not in text
    for path in Path(get_upload_folder()).rglob("*"):
        fresh = path.is_file() and time.time() - path.stat().st_mtime < 600
        assert not fresh or secret.encode() not in path.read_bytes()


def test_another_change_takes_the_files_back_and_old_ones_are_removed(tiny_site, visit):
    visitor = visit(tiny_site)
    fixed(visitor)
    visitor.press("Build the files", until="It differs from the original in 1 layer")
    first = max(Path(get_upload_folder()).glob("takeaway-*/*"), key=lambda path: path.stat().st_mtime)
    visitor.tab("Changes")
    visitor.press("Restore all", until="All changes are gone")
    visitor.tab("Take away")
    visitor.see("Build them again")
    assert visitor.page.get_by_text(LABELS[0]).locator("visible=true").first.is_disabled()
    visitor.press("Build the files", until="There is nothing to take away yet")
    visitor.tab("Changes")
    edits = next(first.glob("*/edits.safetensors"))
    with visitor.page.expect_file_chooser() as chooser:
        visitor.button("Load a session file").click()
    chooser.value.set_files([str(edits), str(edits.with_name("edits.json"))])
    visitor.see("Loaded 1 change")  # from the bundle's own files
    visitor.fill("The Colosseum", "is located in", "Rome", "Athens")
    visitor.see("After “The Colosseum is located in” the model shall say “Athens”")
    visitor.tab("Fix")
    visitor.press("Try the fix", until="From now on “The Colosseum is located in” is to be continued")
    visitor.tab("Take away")
    visitor.press("Build the files", until="The edited model with 2 changes")
    assert not first.exists()


def test_for_programs(tiny_site, hub):
    client = Client(tiny_site, verbose=False)
    with pytest.raises(AppError, match="nothing to take away"):
        client.predict(api_name="/bundle")
    assert client.predict(*CLAIM, "factuality", "rome", "default", api_name="/edit")["accepted"]
    files = {Path(path).name: path for path in client.predict(api_name="/bundle")}
    assert torch.load(files["pytorch_model.pt"], weights_only=True)
    with pytest.raises(AppError, match=hub_words.SAID[401][:30]):
        client.predict("ada/programs", "hf_wrong", True, api_name="/push")
    done = client.predict("ada/programs", SECRET, True, api_name="/push")
    assert done == {"repo": "ada/programs", "url": f"{hub.url}/ada/programs",
                    "commit": hub.repos["ada/programs"].commits[-1].sha}
    assert set(hub.repos["ada/programs"].commits[-1].files) == set(files)
