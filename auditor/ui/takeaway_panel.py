"""Take away: the edited model with all its evidence, as files to download, and as a repository of the Hub.

1. `building` makes the bundle in the visitor's folder and tells how far it is; what is there already is not made again.
2. The files are offered one by one. They go when another change is accepted or undone, on every tab of the page.
3. What was taken away is noted in the session's log by a short event of its own: building runs beside the model's line,
   and must not put back a session that has moved on.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from auditor import gpu
from auditor.errors import UserError
from auditor.export import bundle as bundles
from auditor.export import noting
from auditor.export.bundle import Bundle, bundle
from auditor.export.checkpoint import exporting
from auditor.export.factors import FACTORS, LOG, RECORD
from auditor.export.plain import public_name
from auditor.types import Session
from auditor.ui import words
from auditor.ui.desk import FILES, QUEUE, Desk, beside
from auditor.ui.hub_panel import hub_panel
from auditor.ui.meter import Meter, size
from auditor.ui.panels import Page, buttons

LABELS = ("Edited model (.pt)", "Edited model (.safetensors)", "Changes (.safetensors)", "Report (.html)",
          "Report (.json)", "Record (.json)")
"""The files that are asked for most, in the order of `_main`."""
MEANINGS = {
    bundles.TORCH: "the whole edited model, under the original's own names",
    FACTORS: "the changes by themselves, small", RECORD: "what was asked for, how it was made, every check",
    LOG: "what was done, line by line, each chained to the one before", bundles.PAGE: "the report, to read or print",
    bundles.REPORT: "the same for programs", bundles.CARD: "the model card", bundles.CONFIG: "the model's shape",
    bundles.SUITE: "questions that show whether the change holds, with the expected answers",
    bundles.MANIFEST: "every file with its fingerprint"}


def taking(model, session, folder):
    """A task for the model: the export's progress, then what was exported."""
    yield (yield from exporting(model, session, folder))


def bundling(model, session, folder):
    """A task for the model: the bundle's progress, then the Bundle."""
    yield from bundle(model, session, folder)


def build(desk: Desk, request: gr.Request, session: Session) -> Generator[tuple[int, int] | None, None, Bundle]:
    """Make the visitor's bundle, or take the one that is there; yields bytes, the value is the Bundle."""
    if not session.entries:
        raise UserError("There is nothing to take away yet: accept a change under “3 · Fix” first.")
    if found := desk.shelf.of(request.session_hash, session):
        return found
    place = desk.shelf.place(request.session_hash) / f"{public_name(session.model_id)}-edited"
    for event in desk.watch(beside(request, FILES), gpu.stream(bundling, session, place)):
        if isinstance(event, Bundle):
            desk.shelf.keep(request.session_hash, event, session)
            return event
        yield event
    raise UserError("The files could not be built; nothing was left behind.")


def finished(work: Generator) -> Any:
    """Run a generator to its end; returns its value."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def building(page: Page, request: gr.Request, session: Session, status: gr.HTML) -> Generator[dict, None, Bundle]:
    """The same as page updates."""
    meter, work = Meter(), build(page.desk, request, session)
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        if event is not None:
            yield {status: meter.tell("Writing the model", *event)}


def takeaway_panel(page: Page) -> None:
    """Build the files, offer each as a download, and offer to push them to the Hub."""
    gr.Markdown("The whole edited model, which loads like the original; the small changes by themselves; and the "
                "evidence: what was changed and why, with every check. Keep the files together: anybody can then "
                "verify them with `python -m auditor.verify FOLDER`.")
    go, stop, status = buttons("Build the files")
    with gr.Row(elem_classes="downloads"):
        links = [gr.DownloadButton(label, interactive=False, min_width=300) for label in LABELS]
    said, listing = gr.HTML(), gr.HTML()
    with gr.Accordion("Every file by itself", open=False, visible=False) as box:
        every = gr.File(label="All files", show_label=False, file_count="multiple", interactive=False)
    news = gr.State(None)
    shown = [*links, said, listing, every, box]

    def handler(session, request: gr.Request):
        made = yield from building(page, request, session, status)
        yield {status: words.status("Written."), news: ("exported", dict(made.hashes)),
               **dict(zip(shown, offered(made, session)))}

    def refreshed(session, request: gr.Request):
        made = page.desk.shelf.of(request.session_hash, session)
        return offered(made, session) if made else withdrawn(request.session_hash in page.desk.shelf.kept)

    page.desk.serve(go.click, handler, [page.session], [*shown, news], status=status, go=go, stop=stop, line=FILES)
    page.session.change(refreshed, [page.session], shown, queue=False, show_progress="hidden",
                        api_visibility="private")
    hub_panel(page, building, news)
    news.change(noted, [page.session, news], [page.session], show_progress="hidden", api_visibility="private", **QUEUE)


def noted(session: Session, news: tuple[str, dict] | None):
    """Write into the log what has left the page; the session is the one of this moment."""
    match news:
        case ("exported", hashes):
            return noting.exported(session, hashes)
        case (action, facts):
            return session.noted(action, facts)
    return gr.skip()


def offered(made: Bundle, session: Session) -> list:
    """Values for the panel's components once the files are there."""
    buttons = [gr.DownloadButton(value=str(path), interactive=True) if path else gr.DownloadButton(interactive=False)
               for path in main_files(made)]
    return [*buttons, words.note(_contents(made, session), "good"), _listing(made),
            gr.File(value=[str(path) for path in made.files]), gr.Accordion(visible=True)]


def withdrawn(some: bool) -> list:
    """The same while there are none, or none of the present changes."""
    said = "The changes are others since the files were built. Build them again." if some else ""
    return [*[gr.DownloadButton(interactive=False) for _ in LABELS], words.note(said, "warn"), "", gr.File(value=None),
            gr.Accordion(visible=False)]


def main_files(made: Bundle) -> list[Path | None]:
    """The files behind the download buttons; None where the model is in several parts."""
    named = {path.name: path for path in made.files}
    weights = [path for name, path in named.items() if name.startswith("model") and path.suffix == ".safetensors"]
    return [named[bundles.TORCH], weights[0] if len(weights) == 1 else None, named[FACTORS], named[bundles.PAGE],
            named[bundles.REPORT], named[RECORD]]


def _listing(made: Bundle) -> str:
    return words.table("What the folder holds", ("File", "Size", "What it is"),
                       [(path.name, size(path.stat().st_size), _meaning(path.name)) for path in made.files])


def _meaning(name: str) -> str:
    if name.startswith("model") and name.endswith(".safetensors"):
        return "the whole edited model, which from_pretrained finds in the folder"
    return MEANINGS.get(name, "goes with the original model")


def _contents(made: Bundle, session: Session) -> str:
    return (f"The edited model with {words.count(len(session.entries), 'change')} and its evidence: "
            f"{words.count(len(made.files), 'file')}, {size(made.size)} in all. It differs from the original in "
            f"{words.count(len(session.norms()), 'layer')} only.")
