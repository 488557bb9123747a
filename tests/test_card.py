"""Card and report page: every figure of the record stands there with its n and interval; what was typed stays text."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from bundles import TRICKY, scored_session
from make import entry, random_edit

from auditor.export import card, noting
from auditor.export.audit_page import bar, page
from auditor.export.report import report
from auditor.types import Session


@pytest.fixture(scope="module")
def evidence(tiny):
    return report(scored_session(tiny, more=[random_edit(tiny, layers=(0,), seed=5, request=TRICKY)]), tiny)


@pytest.fixture(scope="module")
def written(evidence):
    return card.card(evidence)


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_front_matter_is_what_the_hub_reads(written, evidence):
    found = front(written)
    assert found["library_name"] == "transformers" and found["license"] == "other" and "base_model" not in found
    assert {"model-auditor", "random"} <= set(found["tags"])
    metrics = found["model-index"][0]["results"][0]["metrics"]
    assert metrics == [{"type": "EditBench", "value": 0.75, "name": "EditBench"}], "what was not measured has no figure"
    on_hub = {**evidence, "model": {**evidence["model"], "base": {"kind": "hub", "id": "o/m", "revision": "abc"},
                                    "licence": {"id": "apache-2.0", "said": "So."}}}
    found = front(card.card(on_hub))
    assert (found["base_model"], found["base_model_relation"], found["license"]) == ("o/m", "finetune", "apache-2.0")


def test_the_hub_clients_own_check_reads_it(written):
    from huggingface_hub import ModelCard

    assert ModelCard(written).data.license == "other"


def test_every_claim_has_its_figure_n_and_interval(written, evidence):
    assert "| EditBench | retention | 75.0 % | 50.0 % to 100.0 % | 50 % | 8 | ✔ passed |" in written
    assert "| LEME | long-form | not measured |  | 50 % | 0 | ◐ not measured | Only 1 usable case" in written
    assert "| Still true when asked differently | 50.0 % | at least 0.1" not in written
    assert "| Still true when asked differently | 50.0 % | at least 10 % | ✔ passed | 1 |" in written
    assert evidence["log_head"] in written and evidence["model"]["fingerprint"] in written
    assert "python -m auditor.verify" in written and "benchmarks were not run for 2 changes" in written
    assert all(f"`{change['id']}`" in written for change in evidence["changes"])
    assert "first layer reaches every subject" in written


def test_what_a_visitor_typed_is_shown_and_never_markup(written):
    markdown_it = pytest.importorskip("markdown_it")
    drawn = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(written.split("\n---\n", 1)[1])
    assert "<script" not in drawn and "<b>" not in drawn and "<i>" not in drawn and "<a " not in drawn
    assert "<strong>a</strong>" not in drawn and "<code>typically</code>" not in drawn
    shown = html.unescape(re.sub(r"<[^>]*>", "", drawn))
    for typed in (TRICKY.subject, TRICKY.relation, TRICKY.target_old, TRICKY.target_new):
        assert typed in shown, typed
    assert "<i>no</i> such | subject" in shown


def test_it_never_reaches_the_front_matter(written):
    assert "evil" not in written.split("---\n")[1]


@pytest.mark.parametrize("text", ["# x", "- x", "+ x", "1. x", "1) x", "---", "===", "> x", "* x", "~~x~~", "`x`",
                                  "[x](y)", "![x](y)", "<http://x.y>", "http://x.y", "www.x.y", "a\n\n# b", "&lt;",
                                  "x|y", "a@b.c", ":smile:", "\\", "$x$", "__x__", "<!-- x -->"])
def test_shown_text_reads_as_it_was_typed(text):
    markdown_it = pytest.importorskip("markdown_it")
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    drawn = reader.render(card.shown(text))
    assert re.fullmatch(r"<p>[^<]*</p>", drawn.strip()), drawn
    assert html.unescape(drawn.strip()[3:-4]) == " ".join(text.split())
    if re.search(r"https?:|www\.|@", text):
        assert not re.search(r"https?://|www\.|\w@\w", card.shown(text)), "no bare link either"


def test_directions_of_writing_cannot_be_turned_around():
    assert "\u202e" not in card.shown("a\u202eb") and card.shown("עברית") == "עברית"


def test_many_changes_share_a_table(tiny):
    session = Session(tiny.id, tiny.fingerprint)
    for seed in range(card.DETAILED + 3):
        session = session.with_entry(entry(random_edit(tiny, seed=seed)))
    text = card.card(report(session, tiny))
    assert "3 more changes" in text and text.count("\n### ") == card.DETAILED


# The page


class Reader(HTMLParser):
    """Collects tags and text, and complains about tags that do not close."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def drawn(evidence):
    return page(evidence)


def test_the_page_is_whole_and_asks_nobody_for_anything(drawn, evidence):
    reader = Reader()
    reader.feed(drawn)
    assert not reader.open and not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert not any(name in ("src", "href") or name.startswith("on") for _, attrs in reader.tags for name in attrs)
    assert "@media print" in drawn and "prefers-color-scheme: dark" in drawn and "url(" not in drawn
    text = "".join(reader.text)
    for typed in (TRICKY.subject, TRICKY.target_old, TRICKY.target_new, "<i>no</i> such | subject"):
        assert typed in text
    for row in evidence["log"]:
        assert row["hash"] in text
    assert evidence["log_head"] in text and "50.0\u00a0%\u00a0to\u00a0100.0\u00a0%" in text
    assert "Only 1 usable case could be made." in text and "✔ passed" in text


def test_bars_say_what_they_show():
    drawn = bar(0.75, 0.5, interval=(0.5, 1.0), said='7 & "8"')
    assert 'aria-label="7 &amp; &quot;8&quot;"' in drawn and 'width="150.0"' in drawn and "M100.0 0v16" in drawn
    assert "not measured" in bar(None, 0.5)
    assert 'width="200.0"' in bar(5.0, 0.5) and 'width="0.0"' in bar(-1.0, 0.5)


def test_an_older_state_is_called_so(tiny):
    session = Session(tiny.id, tiny.fingerprint)
    session = noting.compared(session, ()).with_entry(entry(random_edit(tiny)))
    session = noting.compared(session, ()).with_entry(entry(random_edit(tiny, seed=4)))
    drawn = page(report(noting.compared(session, ()), tiny))
    assert "With no change yet" in drawn and "With an earlier state (" in drawn and "With all changes of this" in drawn


def test_in_a_real_browser_the_page_fits_and_prints(browser, drawn, tmp_path):
    path, shown = tmp_path / "report.html", browser.new_page()
    path.write_text(drawn, encoding="utf-8")
    for scheme in ("light", "dark"):
        for width in (1400, 390):
            shown.set_viewport_size({"width": width, "height": 900})
            shown.emulate_media(color_scheme=scheme, media="screen")
            shown.goto(path.as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
    hidden = shown.locator("details td").first
    assert not hidden.is_visible()
    shown.emulate_media(media="print")
    assert hidden.is_visible(), "paper gets everything"


def test_the_report_is_plain_json(evidence):
    assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence
