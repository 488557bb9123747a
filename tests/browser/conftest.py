"""A served page and a headless Chromium. Two pages: the random tiny model with limits that every edit meets, for what
does not depend on what a model knows; and the pocket model, for the whole job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr  # noqa: E402

from auditor import gpu  # noqa: E402
from auditor.editor import validate  # noqa: E402
from auditor.model import SharedModel  # noqa: E402
from auditor.ui import LAUNCH, build_app  # noqa: E402

WAIT = 90_000
"""Milliseconds to wait for anything on the page: generous, because test machines are slow and shared."""


@contextlib.contextmanager
def serving(model: SharedModel) -> Iterator[str]:
    gpu.host(model)
    app: gr.Blocks = build_app(model).queue(max_size=16)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, share=False, server_name="127.0.0.1", **LAUNCH)
    try:
        yield url
    finally:
        app.close()


@pytest.fixture(scope="module")
def lenient() -> Iterator[None]:
    """Limits that any edit meets, so that a random model accepts one."""
    with pytest.MonkeyPatch.context() as patch:
        limits = {"paraphrase": 0.0, "behaviour": 99.0, "behaviour, censoring": 99.0, "fingerprint": -1.0}
        for name, value in limits.items():
            patch.setitem(validate.LIMITS, name, value)
        yield


@pytest.fixture(scope="module")
def tiny_site(tiny, lenient) -> Iterator[str]:
    with serving(tiny) as url:
        yield url


@pytest.fixture(scope="module")
def pocket_site(pocket) -> Iterator[str]:
    with serving(pocket) as url:
        yield url


@dataclass
class Visitor:
    """One person's page, in words of the page."""

    page: object
    requests: list[str]

    def tab(self, title: str) -> None:
        self.page.locator(f'button[role=tab]:visible:has-text("{title}")').first.click()

    def fill(self, *values: str) -> None:
        labels = ("What is it about?", "Which claim?", "What does the model say now?", "What should it say?")
        for label, value in zip(labels, values, strict=True):
            self.box(label).fill(value)

    def box(self, label: str):
        return self.page.get_by_label(label).locator("visible=true").first

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True).locator("visible=true").first

    def press(self, name: str, until: str = "") -> None:
        """Press a button; wait for a text, where one is given."""
        self.button(name).click()
        if until:
            self.see(until)

    def see(self, text: str):
        found = self.page.get_by_text(text).locator("visible=true").first
        found.wait_for(timeout=WAIT)
        return found

    def text(self) -> str:
        return self.page.inner_text("body")


@pytest.fixture
def visit(browser) -> Iterator:
    """Open a page as a new visitor; call it again for a second one."""
    contexts = []

    def opened(url: str, **options) -> Visitor:
        context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        page.get_by_text("Start from an example").locator("visible=true").first.wait_for(timeout=WAIT)
        return Visitor(page, requests)

    yield opened
    for context in contexts:
        context.close()
