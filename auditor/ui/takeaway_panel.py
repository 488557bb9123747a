"""Take away: the edited checkpoint, the factors, the record and the report, as files."""

from __future__ import annotations

import gradio as gr

from auditor import gpu
from auditor.errors import UserError
from auditor.export.checkpoint import Exported, exporting
from auditor.ui import files, words
from auditor.ui.panels import Page, buttons

LABELS = ("Edited model (.pt)", "Changes as factors (.safetensors)", "Record of the changes (.json)", "Report (.json)")


def taking(model, session, folder):
    """A task for the model: the export's progress, then what was exported."""
    yield (yield from exporting(model, session, folder))


def takeaway_panel(page: Page) -> None:
    """Build the files and offer each as a download."""
    gr.Markdown("The whole edited model as one file that loads like the original, the small changes by themselves, and "
                "the evidence: what was changed and why, with every check. Keep the four files together.")
    go, stop, status = buttons("Build the files")
    with gr.Row(elem_classes="downloads"):
        links = [gr.DownloadButton(label, interactive=False, min_width=220) for label in LABELS]
    said = gr.HTML()

    def handler(session, request: gr.Request):
        if not session.entries:
            raise UserError("There is nothing to take away yet: accept a change under “3 · Fix” first.")
        made, events = None, gpu.stream(taking, session, files.folder())
        for event in page.desk.watch(request.session_hash, events):
            made = event or made
            if isinstance(event, tuple):
                yield {status: words.status("Writing the model", share=event[0] / max(event[1], 1))}
        yield {status: words.status("Written."), **_offer(made, session),
               said: words.note(_contents(made, session), "good")}

    def _offer(event: Exported, session) -> dict:
        report = files.write_report(session, event.checkpoint.parent / "report.json")
        paths = (event.checkpoint, event.factors, event.record, report)
        return {link: gr.DownloadButton(value=str(path), interactive=True) for link, path in zip(links, paths)}

    page.desk.serve(go.click, handler, [page.session], [*links, said], status=status, go=go, stop=stop)


def _contents(event: Exported, session) -> str:
    return (f"{event.checkpoint.name} ({event.size / 1e6:.1f} MB) holds the model with "
            f"{words.count(len(session.entries), 'change')}. It differs from the original in "
            f"{words.count(len(session.norms()), 'layer')} only.")
