"""Fix: one edit, told stage by stage as it happens, and accepted or declared failed."""

from __future__ import annotations

import gradio as gr

from auditor import gpu
from auditor.editor import METHODS, loop
from auditor.ui import forms, plots, tables
from auditor.ui.panels import Page, buttons
from auditor.ui.story import Story

PRESETS = {"default": "recommended settings", "seed": "the original recipe, for comparison (rougher)"}


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
    go, stop, status = buttons("Try the fix")
    verdict, stages, checks = gr.HTML(), gr.HTML(), gr.HTML()
    curve, fits = gr.Plot(label="The fit, step by step", visible=False), gr.HTML()
    with gr.Accordion("What each check was made of", open=False, visible=False) as box:
        evidence = gr.HTML()

    def handler(session, subject, relation, target_old, target_new, preset, request: gr.Request):
        wanted, story = forms.parse(page.audit, subject, relation, target_old, target_new), Story(session)
        yield {**dict.fromkeys((verdict, stages, checks, fits), ""), curve: gr.Plot(visible=False),
               box: gr.Accordion(visible=False)}
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

    page.desk.serve(go.click, handler, [*page.inputs, preset], [page.session, verdict, stages, checks, curve, fits, box,
                                                               evidence], status=status, go=go, stop=stop,
                    validator=page.check)
