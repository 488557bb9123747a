"""The reading panels: Look, Where, Before / after and Refusal boundary. None of them changes the model.

Each is a function that draws its components inside the current tab and ties its button to a handler; a handler parses,
calls the engine through the desk, and renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from auditor.audits import Audit
from auditor.editor.boundary import boundary
from auditor.editor.look import compare, look, rephrasings, resolve
from auditor.editor.trace import sentence, trace
from auditor.export import noting
from auditor.ui import forms, plots, tables, words
from auditor.ui.desk import Desk

PARTS = {"Everything a layer adds": "residual", "Only its fact memory (MLP)": "mlp", "Only its attention": "attention"}
WINDOWS = {"residual": 1, "mlp": 3, "attention": 3}
"""Layers restored together: a single MLP or attention block gives back too little to be seen."""
OWN_PHRASINGS = 3
"""Rephrasings of the claim that are asked before and after, beside the claim itself and the visitor's questions."""


@dataclass(frozen=True, eq=False)
class Page:
    """What every panel of one audit tab needs."""

    audit: Audit
    desk: Desk
    session: gr.State
    fields: tuple[gr.Textbox, ...]
    n_layers: int

    @property
    def inputs(self) -> list:
        """The visitor's session and the four fields."""
        return [self.session, *self.fields]

    def check(self, session, subject, relation, target_old, target_new, *rest):
        """Mark wrong fields where they stand; one verdict per input, as the page's validation wants it."""
        found = forms.problems(self.audit, subject, relation, target_old, target_new)
        names = ("session", "subject", "relation", "target_old", "target_new")
        marks = [gr.validate(name not in found, found.get(name, "")) for name in names]
        return marks + [gr.validate(True, "")] * len(rest)


def buttons(label: str) -> tuple[gr.Button, gr.Button, gr.HTML]:
    """The row that every panel begins with: go, Stop, and the line that says what is going on."""
    with gr.Row(elem_classes="go"):
        go = gr.Button(label, variant="primary", scale=0, min_width=200)
        stop = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=100)
    return go, stop, gr.HTML(words.status(), elem_classes="statusline")


def look_panel(page: Page) -> None:
    """What the model says now."""
    gr.Markdown("What does the model say now, and how sure is it? Nothing is changed here.")
    go, stop, status = buttons("Look")
    said = gr.HTML()
    plot = gr.Plot(label="Likeliest next words (hatched: begins the old or the new answer)", visible=False)
    top, phrasings = gr.HTML(), gr.HTML()

    def handler(session, subject, relation, target_old, target_new, request: gr.Request):
        wanted = forms.parse(page.audit, subject, relation, target_old, target_new)
        found = yield from page.desk.answer(request, status, "Asking the model", look, wanted, edits=session.edits)
        yield {status: words.status(), said: words.note(words.looked(found, wanted)),
               plot: gr.Plot(plots.answers(found.top, (wanted.target_old, wanted.target_new)), visible=True),
               top: tables.answers(found), phrasings: tables.phrasings(found, wanted)}

    page.desk.serve(go.click, handler, page.inputs, [said, plot, top, phrasings], status=status, go=go, stop=stop,
                    validator=page.check)


def where_panel(page: Page) -> None:
    """Where in the model the answer comes from."""
    gr.Markdown("The subject's words are blurred, so that the answer is lost; then one place at a time is restored. "
                "Where that brings the answer back, the claim is stored or passed on. Nothing is changed here.")
    part = gr.Radio(list(PARTS), value=next(iter(PARTS)), label="What is restored at each place?")
    go, stop, status = buttons("Find where")
    said = gr.HTML()
    with gr.Row():
        subject_bars, final_bars = (gr.Plot(show_label=False, visible=False, min_width=320, label=text)
                                    for text in plots.SITES.values())
    heat = gr.Plot(label="Every word (down) and layer (across); ▸ marks the subject", visible=False)
    table = gr.HTML()

    def handler(session, subject, relation, target_old, target_new, part, request: gr.Request):
        wanted = forms.parse(page.audit, subject, relation, target_old, target_new)
        found = yield from page.desk.answer(request, status, "Restoring every place in turn", locate, wanted,
                                            edits=session.edits, part=PARTS[part])
        yield {status: words.status(), said: words.note(sentence(found)), table: tables.trace_layers(found),
               subject_bars: gr.Plot(plots.layer_bars(found, "subject"), visible=True),
               final_bars: gr.Plot(plots.layer_bars(found, "final"), visible=True),
               heat: gr.Plot(plots.grid(found), visible=True)}

    page.desk.serve(go.click, handler, [*page.inputs, part], [said, subject_bars, final_bars, heat, table],
                    status=status, go=go, stop=stop, validator=page.check)


def locate(model, wanted, *, edits=(), part: str = "residual"):
    """A task for the model: trace the answer the model gives now, or the one the visitor says it gives."""
    wanted = resolve(model, wanted, edits=edits)
    return trace(model, wanted.prompt, wanted.subject, wanted.target_old, edits=edits, part=part, window=WINDOWS[part])


def compare_panel(page: Page) -> None:
    """The same questions, before and after all accepted changes."""
    gr.Markdown("The same questions are put to the model as it was loaded and to the model with all accepted changes. "
                "Add your own: neighbours of the claim, and things that must not change. Questions and answers go into "
                "the log that you take away.")
    own = gr.Textbox(label="Your own questions, one per line", lines=3, max_lines=8,
                     placeholder="The capital of France is\nQ: Where is the Colosseum?")
    go, stop, status = buttons("Compare")
    said, plot, table = gr.HTML(), gr.Plot(label="How far each question moved", visible=False), gr.HTML()

    def handler(session, subject, relation, target_old, target_new, own, request: gr.Request):
        wanted = forms.parse(page.audit, subject, relation, target_old, target_new)
        asked = (wanted.prompt, *rephrasings(wanted)[:OWN_PHRASINGS], *forms.questions(own))
        rows = yield from page.desk.answer(request, status, "Asking both models", compare, asked, after=session.edits)
        yield {page.session: noting.compared(session, rows), status: _unchanged(session),
               said: words.note(words.compared(rows)), table: tables.compared(rows),
               plot: gr.Plot(plots.moved([r.prompt for r in rows], [r.moved for r in rows]), visible=True)}

    page.desk.serve(go.click, handler, [*page.inputs, own], [page.session, said, plot, table], status=status, go=go,
                    stop=stop, validator=page.check)


def boundary_panel(page: Page) -> None:
    """Where the model draws the line, before and after."""
    gr.Markdown("Does the model now decline more, or less? Five fixed questions that press a model to drop its rules, "
                "and this form's own topic, before and after all accepted changes. The figures go into the log.")
    go, stop, status = buttons("Measure the boundary")
    said = gr.HTML()
    with gr.Row():
        shift = gr.Plot(label="Change of lean: hatched = declines more", visible=False, min_width=320)
        moved = gr.Plot(label="How far the next-word choices moved", visible=False, min_width=320)
    table = gr.HTML()

    def handler(session, subject, relation, target_old, target_new, request: gr.Request):
        wanted = forms.parse(page.audit, subject, relation, target_old, target_new)
        rows = yield from page.desk.answer(request, status, "Asking both models", boundary, after=session.edits,
                                           request=wanted)
        asked = [row.prompt for row in rows]
        yield {page.session: noting.bounded(session, rows), status: _unchanged(session),
               said: words.note(words.bounded(rows)), table: tables.boundary(rows),
               shift: gr.Plot(plots.lean_shift(asked, [r.shift for r in rows]), visible=True),
               moved: gr.Plot(plots.moved(asked, [r.kl for r in rows]), visible=True)}

    page.desk.serve(go.click, handler, page.inputs, [page.session, said, shift, moved, table], status=status, go=go,
                    stop=stop, validator=page.check)


def _unchanged(session) -> str:
    """Say so when there is nothing yet to compare with."""
    return words.status() if session.entries else words.note(
        "No change has been accepted yet, so before and after are the same model.", "warn")
