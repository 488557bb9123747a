"""The quality of a change on the pocket model: from the questions to the cards; and Stop keeps what is done."""

from __future__ import annotations

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from auditor.benchmarks import BENCHMARKS
from auditor.ui.fix_panel import PRESETS

pytestmark = pytest.mark.timeout(420)
PATIENCE = 240_000
"""Milliseconds for a whole profile on a busy machine; alone it takes a good half minute."""
ASKED = "Nobody spoke for a minute. Australia has the capital"
OWN = "The map hung on the wall. Australia has the capital"


def accepted(visit, site):
    """A visitor with one accepted change, on the quality step."""
    visitor = visit(site)
    visitor.tab("Quality")
    visitor.see("No change has been accepted yet.")
    visitor.page.get_by_text("Australia has the capital: Sydney → Canberra").locator("visible=true").first.click()
    visitor.see("the model shall say “Canberra” instead of “Sydney”.")
    visitor.tab("3 · Fix")
    visitor.press("Try the fix", until="Accepted: layer")
    visitor.tab("Quality")
    visitor.see("1. Australia has the capital")
    return visitor


def rewrite(visitor, old: str, new: str) -> None:
    """Edit one cell of the table as a person would."""
    visitor.page.locator(f"[role=gridcell]:visible:has-text('{old}')").first.dblclick()
    visitor.page.keyboard.press("Control+a")
    visitor.page.keyboard.insert_text(new)
    visitor.page.keyboard.press("Enter")


def test_from_the_questions_to_thirteen_cards(pocket_site, visit):
    visitor = accepted(visit, pocket_site)
    visitor.press("Make the questions", until="Read them before they are asked")
    visitor.see("The answers to keep are true facts")
    visitor.see(ASKED)
    rewrite(visitor, "direct", "nonsense")
    visitor.see("“nonsense” is no kind of case")
    rewrite(visitor, "nonsense", "direct")
    visitor.page.get_by_text("is no kind of case").locator("visible=true").first.wait_for(state="hidden")
    rewrite(visitor, ASKED, OWN)
    visitor.see("Rows of your own").click()
    visitor.box("Own questions").fill("strange, What is this?")
    visitor.press("Add to the questions", until="“strange” is no kind of case")
    assert visitor.box("Own questions").input_value() == "strange, What is this?"  # nothing is lost
    visitor.box("Own questions").fill("paraphrase\tThe seat of government of Australia is\tSydney\tCanberra")
    visitor.press("Add to the questions", until="1 row added on top.")

    visitor.press("Measure the quality", until="Putting the short questions")
    done = visitor.page.get_by_text("Done after").locator("visible=true").first
    done.wait_for(timeout=PATIENCE)
    measured = visitor.page.locator(".quality:visible .card:has(.fill)")
    visitor.page.locator(".quality:visible .here").wait_for()
    assert visitor.page.locator(".quality:visible .card").count() == len(BENCHMARKS) == 13
    assert measured.count() >= 11 and visitor.page.locator(".radar:visible svg").count() == 1
    card = visitor.page.locator(".card:visible", has_text="EditBench").first
    card.locator("summary").click()
    card.get_by_text(OWN).wait_for()
    assert "✔ passed" in card.inner_text() and "limit 50 %" in card.inner_text()
    visitor.see("Side by side")
    visitor.page.set_viewport_size({"width": 390, "height": 900})
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.page.set_viewport_size({"width": 1400, "height": 900})
    rewrite(visitor, OWN, ASKED)
    visitor.see("the scores below belong to the earlier questions")
    assert "Traceback" not in visitor.text()


def test_stop_keeps_what_is_done_and_the_other_recipe_stands_beside_it(pocket_site, visit):
    visitor = accepted(visit, pocket_site)
    visitor.press("Measure the quality", until="SeqCollapse, 5 of 13")
    visitor.page.locator("button:visible:enabled:text-is('Stop')").click()
    visitor.see("Stopped after 4 of 13 benchmarks; what was measured until then is kept.")
    visitor.tab("Changes so far")
    visitor.tab("Quality")
    visitor.see("of 4 measured benchmarks passed; 9 were not measured.")
    assert visitor.page.locator(".card:visible:has(.fill)").count() == 4
    choice = visitor.page.locator("label:visible:has(input[type=radio])", has_text="for comparison")
    assert [text.strip() for text in choice.all_inner_texts()] == [PRESETS["seed"], PRESETS["published"]]
    choice.last.click()
    visitor.press("Compare", until="○ not accepted, for comparison")
    visitor.see("ROME, the published recipe")
    visitor.tab("Changes so far")
    table = visitor.page.locator("table:visible:has-text('Accepted changes')").first.inner_text()
    assert table.count("Australia") == 1


def test_programs_ask_for_questions_and_scores(pocket_site):
    client = Client(pocket_site, verbose=False)
    done = client.predict("Australia", "has the capital", "Sydney", "Canberra", "factuality", "rome", "default",
                          api_name="/edit")
    made = client.predict(done["id"], api_name="/cases")
    assert made["columns"][0] == "kind" and len(made["rows"]) > 100 and made["sure"]
    rows = [["question", "Which town is the capital of Australia?", "Sydney", "Canberra"], *made["rows"]]
    found = client.predict(done["id"], rows, ["EditBench", "zsRE"], api_name="/benchmark")
    assert [score["name"] for score in found["scores"]] == ["EditBench", "zsRE"] and not found["stopped"]
    assert found["scores"][0]["passed"] and "2 of 2 measured benchmarks passed" in found["sentence"]
    assert rows[0][1] in [row[1] for row in found["questions"]["rows"]]
    (kept,) = client.predict(api_name="/scores")
    assert kept["id"] == done["id"] and kept["scores"] == found["scores"]
    with pytest.raises(AppError, match="is no kind of case"):
        client.predict(done["id"], [["nonsense", "x"]], [], api_name="/benchmark")
    with pytest.raises(AppError, match="There is no change"):
        client.predict("none", api_name="/cases")
