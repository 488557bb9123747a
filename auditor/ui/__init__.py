"""The page: four audits from one builder, one session per visitor. Nothing below this package knows of it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from auditor.audits import worded_for
from auditor.export.plain import public_name
from auditor.model import SharedModel
from auditor.types import Session
from auditor.ui import words
from auditor.ui.audit_tab import audit_tab
from auditor.ui.desk import Desk
from auditor.ui.endpoints import register
from auditor.ui.files import KEEP
from auditor.ui.session_panel import summary

TITLE = "Model Auditor"
THEME = gr.themes.Default(primary_hue="blue").set(
    button_primary_background_fill="#1d5f95", button_primary_background_fill_dark="#1d5f95",
    button_primary_background_fill_hover="#174c78", button_primary_background_fill_hover_dark="#2a72ad",
    button_cancel_background_fill="#b91c1c", body_text_color_subdued="#52525b", body_text_color_subdued_dark="#c4c4cc",
    block_title_text_color="#3f3f46", block_title_text_color_dark="#e4e4e7",
    block_label_text_color="#3f3f46", block_label_text_color_dark="#e4e4e7",
    input_placeholder_color="#6b7280", input_placeholder_color_dark="#a1a1aa")
"""Gradio's own theme with texts dark enough to read (4.5:1) in light and dark."""
STYLES = [Path(__file__).with_name(name) for name in ("page.css", "quality.css")]
LAUNCH = {"footer_links": ["api"], "run_history": False, "ssr_mode": False, "max_file_size": "50mb", "show_error": True,
          "enable_monitoring": False, "theme": THEME, "css_paths": STYLES}
"""Options of `launch` that belong to the page, whoever launches it."""

__all__ = ["LAUNCH", "build_app"]


def build_app(model: SharedModel) -> gr.Blocks:
    """Draw the whole page for a loaded model; the model itself is reached only through `auditor.gpu`."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, KEEP), fill_width=False) as app:
        session = gr.State(Session(model.id), time_to_live=KEEP)
        desk, shared = Desk(), []
        register(desk, session)  # first, so that its endpoints get their plain names
        gr.HTML(header(model))
        with gr.Tabs(elem_classes="audits", overflow_behavior="wrap"):
            for audit in worded_for(model.folder):
                with gr.Tab(audit.title):
                    shared.append(audit_tab(audit, desk, session, model.n_layers))
        session.change(lambda value: summary(value, model.n_layers) * len(shared), session,
                       [part for parts in shared for part in parts], queue=False, show_progress="hidden",
                       api_visibility="private")
        app.unload(desk.shelf.left)
    return app


def header(model: SharedModel) -> str:
    """Which model this is, why this one, and where it runs."""
    device = {"cpu": "the processor", "cuda": "the graphics card"}.get(model.device.type, model.device.type)
    facts = (f"{model.n_layers} layers, {model.n_parameters / 1e6:,.1f} million parameters, "
             f"on {device} in {str(model.dtype).removeprefix('torch.')} precision.")
    pocket = ("The pocket model is a small model of Pythia's architecture that was trained for this program on plain "
              "English sentences, with a few flaws put in on purpose. It is easier to edit than a model from the wild."
              if model.id == "pocket" else "")
    return (f'<header class="top"><h1>{TITLE}</h1><p>Find a flaw in a language model, see where it lives, try a small '
            f'targeted fix, see what else it moved, and take the result away.</p>'
            + words.modelcard(public_name(model.id), " ".join(filter(None, (facts, model.why, pocket)))) + "</header>")
