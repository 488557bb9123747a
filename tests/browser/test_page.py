"""The page in a real browser, on a random model: bad input, Stop, two visitors, downloads, and no word to strangers."""

from __future__ import annotations

import json

import pytest
import torch

from auditor import gpu
from auditor.ui.takeaway_panel import LABELS

EIFFEL = ("The Eiffel Tower", "is located in", "Paris", "Rome")
ACCEPTED = "Accepted: layer"

pytestmark = pytest.mark.timeout(240)


def test_every_field_says_what_is_wrong_with_it_and_keeps_what_was_typed(tiny_site, visit):
    visitor = visit(tiny_site)
    visitor.fill("", "is located in", "Paris", "paris")
    visitor.press("Look", until="Please write what the claim is about.")
    visitor.see("The new answer is the same as the old one")
    assert visitor.box("Which claim?").input_value() == "is located in"
    visitor.fill("x" * 301, "", "Paris", "")
    visitor.press("Look", until="This is 301 characters long; the limit is 300.")
    visitor.see("Please write the claim, as words that follow the subject.")
    visitor.see("Please write what the model should say.")
    visitor.fill(*EIFFEL)
    visitor.press("Look", until="the likeliest next word is")
    assert "Traceback" not in visitor.text()


def test_what_a_visitor_writes_is_shown_and_never_run(tiny_site, visit):
    visitor = visit(tiny_site)
    visitor.fill("<img src=x onerror='window.hit=1'>", "is ${1+1} {{2+2}}", "a", "<b>b</b>")
    visitor.see("<img src=x onerror='window.hit=1'> is ${1+1} {{2+2}}")
    visitor.press("Look", until="the likeliest next word is")
    assert visitor.page.evaluate("window.hit") is None


def test_the_whole_way_to_the_files_and_no_request_to_another_host(tiny_site, visit, tmp_path):
    visitor = visit(tiny_site)
    visitor.page.get_by_text("The Eiffel Tower is located in: Paris → Rome").locator("visible=true").first.click()
    visitor.see("After “The Eiffel Tower is located in” the model shall say “Rome” instead of “Paris”.")
    visitor.press("Look", until="The same claim, asked in different ways")
    visitor.tab("2 · Where")
    visitor.press("Find where", until="Probability of the answer brought back")
    visitor.tab("3 · Fix")
    visitor.press("Try the fix", until=ACCEPTED)
    assert visitor.text().count("✔ passed") == 3
    visitor.tab("4 · Before")
    visitor.box("Your own questions").fill("The capital of France is")
    visitor.press("Compare", until="Of 5 questions")
    visitor.tab("5 · Refusal")
    visitor.press("Measure the boundary", until="On the fixed refusal questions")
    visitor.tab("Take away")
    visitor.press("Build the files", until="It differs from the original in 1 layer only.")
    paths = {}
    for label in LABELS:
        with visitor.page.expect_download() as waiting:
            visitor.page.get_by_text(label).locator("visible=true").first.click()
        paths[label] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(paths[label])
    weights = torch.load(paths["Edited model (.pt)"], weights_only=True)
    base = gpu.hosted()
    changed = [i for i in range(base.n_layers)
               if not torch.equal(weights[f"gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight"], base.w_out(i))]
    assert len(changed) == 1
    assert json.loads(paths["Report (.json)"].read_text())["model"]["name"] == "tiny"
    strangers = [url for url in visitor.requests if not url.startswith((tiny_site, "data:", "blob:"))]
    assert strangers == []


def test_two_visitors_at_once_do_not_see_each_other(tiny_site, visit):
    one, two = visit(tiny_site), visit(tiny_site)
    one.fill(*EIFFEL)
    two.fill("The Colosseum", "is located in", "Rome", "Athens")
    for visitor in (one, two):
        visitor.tab("3 · Fix")
        visitor.button("Try the fix").click()
    for visitor, own, other in ((one, "Eiffel", "Colosseum"), (two, "Colosseum", "Eiffel")):
        visitor.see(ACCEPTED)
        visitor.tab("Changes so far")
        table = visitor.page.locator("table:visible:has-text('Accepted changes')").first
        table.wait_for()
        assert own in table.inner_text() and other not in table.inner_text()
    one.press("Restore all", until="the model is exactly as it was loaded")
    two.tab("4 · Before")
    two.tab("Changes so far")
    assert "Colosseum" in two.page.locator("table:visible:has-text('Accepted changes')").first.inner_text()


def test_stop_in_the_middle_of_an_edit_changes_nothing(tiny_site, visit, monkeypatch):
    from auditor.editor import loop

    def endless(model, request, session, **_):
        yield from (None for _ in iter(int, 1))

    monkeypatch.setattr(loop, "edit", endless)
    before = {i: gpu.hosted().w_out(i).clone() for i in range(gpu.hosted().n_layers)}
    visitor = visit(tiny_site)
    visitor.fill(*EIFFEL)
    visitor.tab("3 · Fix")
    visitor.press("Try the fix", until="Stage 1 of 3")
    visitor.press("Stop", until="Stopped; nothing was changed.")
    visitor.tab("Changes so far")
    visitor.see("No change has been accepted yet.")
    assert all(torch.equal(gpu.hosted().w_out(i), old) for i, old in before.items())


def test_undo_lists_and_session_files(tiny_site, visit, tmp_path):
    visitor = visit(tiny_site)
    visitor.tab("Changes so far")
    visitor.page.get_by_text("A list of many changes").locator("visible=true").first.click()
    visitor.box("Rows").fill("only, three, columns")
    visitor.press("Run the list", until="Row 1 has 3 columns; it needs 4.")
    visitor.box("Rows").fill("The Eiffel Tower, is located in, Paris, Rome\nThe Colosseum, is located in, Rome, Athens")
    visitor.press("Run the list", until="2 rows done.")
    visitor.see("2. The Colosseum is located in")
    with visitor.page.expect_download() as waiting:
        visitor.button("Save session to a file").click()
    waiting.value.save_as(tmp_path / "session.safetensors")
    visitor.page.get_by_label("1. The Eiffel Tower").locator("visible=true").first.check()
    visitor.press("Undo this change", until="Undone.")
    visitor.see("◐ check again")
    other = visit(tiny_site)
    other.tab("Changes so far")
    upload = other.page.locator("input[type=file][accept*=safetensors]").first
    upload.set_input_files(tmp_path / "session.safetensors")
    other.see("Loaded 2 changes, in place of the 0 before.")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    upload = other.page.locator("input[type=file][accept*=safetensors]").first
    upload.set_input_files(tmp_path / "broken.safetensors")
    other.page.locator("[role=alert]:visible").first.wait_for()
    assert "Traceback" not in other.text()
