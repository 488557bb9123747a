"""Fix: one edit, told stage by stage as it happens, and accepted or declared failed.

Before it begins, the visitor is told whether it will disturb a change accepted earlier; the same can be asked alone.
"""

from __future__ import annotations

import gradio as gr

from auditor import gpu
from auditor.editor import METHODS, loop
from auditor.editor.overlap import overlap
from auditor.ui import forms, plots, tables, words
from auditor.ui.panels import Page, buttons
from auditor.ui.story import Story

COMPARING = "Comparing with your earlier changes"
PRESETS = {"default": "recommended settings", "published": "the published recipe, for comparison",
           "seed": "the original recipe, for comparison (rougher)"}


def presets() -> list[tuple[str, str]]:
    """Every preset of every registered method, as (words, "method/preset")."""
    return [(f"{name.upper()}: {PRESETS.get(preset, preset)}", f"{name}/{preset}")
            for name, method in METHODS.items() for preset in method.presets]


def chosen(value: str) -> dict[str, str]:
    """Options of the engine for a choice of `presets`."""
    method, _, preset = value.partition("/")
    return {"method": method, "preset": preset}


def preset_radio() -> gr.Radio:
    """The choice of method and settings."""
    return gr.Radio(presets(), value=presets()[0][1], label="Which way of changing the model?")


def fix_panel(page: Page) -> None:
    """Try a fix and show every stage."""
    gr.Markdown("A small, targeted change to one layer is fitted and checked; up to three layers are tried. A change "
                f"that fails a check is dropped, and the weights are as before, bit for bit. {page.audit.tolerance}")
    preset = preset_radio()
    overlap_accordion(page, preset)
    go, stop, status = buttons("Try the fix")
    verdict, warned, stages, checks = gr.HTML(), gr.HTML(), gr.HTML(), gr.HTML()
    curve, fits = gr.Plot(label="The fit, step by step", visible=False), gr.HTML()
    with gr.Accordion("What each check was made of", open=False, visible=False) as box:
        evidence = gr.HTML()

    def handler(session, subject, relation, target_old, target_new, preset, request: gr.Request):
        wanted, story = forms.parse(page.audit, subject, relation, target_old, target_new), Story(session)
        yield {**dict.fromkeys((verdict, warned, stages, checks, fits), ""), curve: gr.Plot(visible=False),
               box: gr.Accordion(visible=False)}
        if session.entries:
            found = yield from page.desk.answer(request, status, COMPARING, overlap, wanted, session, **chosen(preset))
            yield {warned: words.note(found.sentence, "warn")}
        for event in page.desk.watch(request.session_hash, gpu.stream(loop.edit, wanted, session, **chosen(preset))):
            story.tell(event)
            yield {status: story.status(), **(drawn(story) if story.due else {})}
        yield {page.session: story.session, evidence: tables.evidence(story.attempts), box: gr.Accordion(visible=True)}

    def drawn(story: Story) -> dict:
        parts = {stages: story.stages(), verdict: story.verdict(),
                 checks: tables.checks(story.attempts) if story.attempts else ""}
        if story.steps:
            parts |= {curve: gr.Plot(plots.loss(story.steps), visible=True), fits: tables.fits(story.steps)}
        return parts

    page.desk.serve(go.click, handler, [*page.inputs, preset], [page.session, verdict, warned, stages, checks, curve,
                                                               fits, box, evidence], status=status, go=go, stop=stop,
                    validator=page.check)


def overlap_accordion(page: Page, preset: gr.Radio) -> None:
    """Ask without changing anything whether a fix would disturb the changes accepted earlier."""
    with gr.Accordion("Will it disturb my earlier changes?", open=False):
        gr.Markdown("Two changes in one layer can get into each other's way. This is known before anything is changed, "
                    "and what can be spared of an earlier change is spared. A subject has one place in a layer, "
                    "whatever is said of it; in layer 0 the place is that of its last word-piece alone, which other "
                    "subjects may share.")
        go, stop, status = buttons("Ask before trying")
        said, table = gr.HTML(), gr.HTML()

    def handler(session, subject, relation, target_old, target_new, preset, request: gr.Request):
        wanted = forms.parse(page.audit, subject, relation, target_old, target_new)
        found = yield from page.desk.answer(request, status, COMPARING, overlap, wanted, session, **chosen(preset))
        calm = ("No change has been accepted yet, so there is nothing to disturb." if not session.entries else
                "No: it would leave your earlier changes as they are, or almost.")
        yield {status: words.status(), table: tables.overlap(found),
               said: words.note(found.sentence, "warn") or words.note(calm, "good")}

    page.desk.serve(go.click, handler, [*page.inputs, preset], [said, table], status=status, go=go, stop=stop,
                    validator=page.check)
