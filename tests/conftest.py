"""Fixtures shared by all tests: a tiny random model made on the spot, and the shipped pocket model."""

from __future__ import annotations

import os
import shutil
import time
import types
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hub.stub import Hub, served  # noqa: E402
from make import make_tiny  # noqa: E402

from auditor.model import POCKET, SharedModel, boot, load  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what the tests measure out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_AUDITOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SharedModel:
    """A random GPT-NeoX of 4 layers x 64, fp32: for identities and theorems, which hold for any weights."""
    return boot(make_tiny(tmp_path_factory.mktemp("tiny")), id="tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def pocket() -> SharedModel:
    """The trained model that ships with the repository."""
    if not (POCKET / "config.json").exists():
        pytest.skip("auditor/pocket/weights holds no model yet; `python -m auditor.pocket.train` makes it")
    return load("pocket", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium; per module, because it keeps the thread's event loop while it is open."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium was found on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def online(monkeypatch) -> None:
    """Let the Hub's client speak, by LFS, without long pauses between its own attempts."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time", types.SimpleNamespace(sleep=lambda _: time.sleep(0.01)))


@pytest.fixture
def hub(online, monkeypatch) -> Iterator[Hub]:
    """A Hub on the loopback address, which the environment names."""
    with served() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def xet(monkeypatch, tmp_path, hub) -> Hub:
    """The same with xet."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    hub.xet = tmp_path / "store"
    hub.xet.mkdir()
    return hub
