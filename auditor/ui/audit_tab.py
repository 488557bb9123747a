"""The only tab builder: one audit's spec in, its whole tab out. The four tabs differ in words, never in parts."""

from __future__ import annotations

import gradio as gr

from auditor.audits import FIELDS, Audit
from auditor.types import EditRequest
from auditor.ui import forms, words
from auditor.ui.desk import Desk
from auditor.ui.fix_panel import fix_panel
from auditor.ui.panels import Page, boundary_panel, compare_panel, look_panel, where_panel
from auditor.ui.quality_panel import quality_panel
from auditor.ui.sequence_panel import sequence_panel
from auditor.ui.session_panel import session_panel
from auditor.ui.takeaway_panel import takeaway_panel

STEPS = (("Look", look_panel), ("Where", where_panel), ("Fix", fix_panel), ("Before / after", compare_panel),
         ("Refusal boundary", boundary_panel), ("Quality", quality_panel), ("Changes so far", session_panel),
         ("Take away", takeaway_panel), ("Many changes", sequence_panel))
"""The panels of a tab in the order of the work."""


def audit_tab(audit: Audit, desk: Desk, session: gr.State, n_layers: int) -> list[gr.components.Component]:
    """Draw one audit inside the current tab; returns the components that the session's summary fills."""
    gr.Markdown(audit.blurb, elem_classes="blurb")
    fields = form(audit)
    page, shared = Page(audit, desk, session, fields, n_layers), []
    with gr.Tabs(overflow_behavior="wrap", elem_classes="steps"):
        for number, (title, panel) in enumerate(STEPS, 1):
            with gr.Tab(f"{number} · {title}"):
                shared += panel(page) or []
    return shared


def form(audit: Audit) -> tuple[gr.Textbox, ...]:
    """Examples, the four fields, and the sentence read back while it is typed."""
    labels = [example_label(example) for example in audit.examples]
    example = gr.Radio([(label, i) for i, label in enumerate(labels)], label="Start from an example, or write your own",
                       elem_classes="examples")
    boxes = []
    with gr.Group():
        for pair in (audit.fields[:2], audit.fields[2:]):
            with gr.Row():
                boxes += [gr.Textbox(label=f.label, placeholder=f.placeholder, info=f.hint, max_lines=1, min_width=260)
                          for f in pair]
    fields = tuple(boxes)
    sentence = gr.HTML(read_back(audit, *[""] * len(FIELDS)), elem_classes="readback")
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    example.select(lambda i: filled(audit, i), example, list(fields), **quiet)
    gr.on([box.input for box in fields], lambda: None, None, example, **quiet)
    gr.on([box.change for box in fields], lambda *values: read_back(audit, *values), list(fields), sentence,
          trigger_mode="always_last", **quiet)
    return fields


def filled(audit: Audit, index: int | None) -> list[str]:
    """The four field values of an example."""
    chosen: EditRequest | None = audit.examples[index] if index is not None else None
    return [getattr(chosen, name) if chosen else "" for name in FIELDS]


def example_label(example: EditRequest) -> str:
    """An example on one line."""
    return f"{example.prompt}: {example.target_old} → {example.target_new}"


def read_back(audit: Audit, *values: str) -> str:
    """The hypothesis in a box; quiet while something is missing."""
    return words.note(forms.read_back(audit, *values), "quiet" if forms.problems(audit, *values) else "plain")
