"""Changes so far: the session's table, undo, restore, norms, session files, and lists of many changes."""

from __future__ import annotations

import gradio as gr

from auditor import gpu
from auditor.editor import loop
from auditor.errors import Stopped
from auditor.types import Accepted, Rejected, Session
from auditor.ui import files, forms, tables, words
from auditor.ui.desk import QUEUE
from auditor.ui.fix_panel import chosen, preset_radio
from auditor.ui.panels import Page, buttons
from auditor.ui.story import Story


def session_panel(page: Page) -> list[gr.components.Component]:
    """Draw the panel; returns what `summary` fills whenever the session changes, in its order."""
    gr.Markdown("Your accepted changes, shared by the four audits. They live in your session only: other visitors "
                "never see them, and the model's own weights are never written. A saved session can be loaded again, "
                "and so can the edits.safetensors and edits.json of a bundle, chosen together.")
    empty = Session("")
    table, stale = gr.HTML(tables.session(empty)), gr.HTML()
    pick = gr.Radio([], label="Which change shall be undone?", visible=False)
    with gr.Row(elem_classes="go"):
        undo = gr.Button("Undo this change", interactive=False, scale=0, min_width=180)
        restore = gr.Button("Restore all", interactive=False, scale=0, min_width=140)
        save = gr.DownloadButton("Save session to a file", interactive=False, scale=0, min_width=200)
        load = gr.UploadButton("Load a session file", file_types=[".safetensors", ".json", ".jsonl"],
                               file_count="multiple", scale=0, min_width=180)
    said = gr.HTML()
    with gr.Accordion("Size of the change in each layer", open=False):
        norms = gr.HTML(tables.norms(empty, page.n_layers))
    with gr.Accordion("A list of many changes", open=False):
        bulk_panel(page)
    wiring(page, undo, restore, load, pick, said)
    return [table, stale, pick, undo, restore, save, norms]


def summary(session: Session, n_layers: int) -> list:
    """Values for the components that `session_panel` returned."""
    some = bool(session.entries)
    choices = [(f"{i}. {words.change(e.edit.request)}", e.edit.id) for i, e in enumerate(session.entries, 1)]
    notice = "" if not session.stale else words.note(
        f"{words.count(len(session.stale), 'change')} marked “check again”: an earlier change that was live during "
        "the fit has been undone. The change still works as it was written, but its checks are out of date.", "warn")
    return [tables.session(session), notice,
            gr.Radio(choices, value=choices[-1][1] if some else None, visible=some), gr.Button(interactive=some),
            gr.Button(interactive=some),
            gr.DownloadButton(value=files.save_session(session) if some else None, interactive=some),
            tables.norms(session, n_layers)]


def wiring(page: Page, undo: gr.Button, restore: gr.Button, load: gr.UploadButton, pick: gr.Radio,
           said: gr.HTML) -> None:
    """Tie the three buttons that replace the session; each answers with a new session and one sentence."""
    def undone(session: Session, edit_id: str):
        return {page.session: session.without(edit_id),
                said: words.note("Undone. The other changes are as they were.", "good")}

    def restored(session: Session):
        return {page.session: session.emptied(),
                said: words.note("All changes are gone; the model is exactly as it was loaded.", "good")}

    def loaded(session: Session, paths: list[str], request: gr.Request):
        yield {said: words.status("Reading the file …")}
        new = files.load_session(paths)
        yield {page.session: new, said: words.note(
            f"Loaded {words.count(len(new.entries), 'change')}, in place of the {len(session.entries)} before.",
            "good")}

    private = {"api_visibility": "private", "show_progress": "hidden", **QUEUE}
    undo.click(undone, [page.session, pick], [page.session, said], **private)
    restore.click(restored, [page.session], [page.session, said], **private)
    page.desk.serve(load.upload, loaded, [page.session, load], [page.session], status=said, go=load)


def bulk_panel(page: Page) -> None:
    """Many changes in order, each with the earlier ones live."""
    gr.Markdown("One change per row, four columns: what it is about, which claim, what it says now, what it should "
                "say. Copy them from a spreadsheet, or type them with commas. Rows are done in order.")
    pasted = gr.Textbox(label="Rows", lines=4, max_lines=12, max_length=forms.MAX_BYTES,
                        placeholder="The Eiffel Tower, is located in, Paris, Rome")
    upload = gr.UploadButton("Take the rows from a file (CSV or TSV)", file_types=[".csv", ".tsv", ".txt"], size="sm")
    preset = preset_radio()
    go, stop, status = buttons("Run the list")
    table = gr.HTML()

    def handler(session, text, preset, request: gr.Request):
        wanted, story = forms.rows(page.audit, text), Story(session)
        done: list[tuple[str, str, str]] = []
        events = page.desk.watch(request.session_hash, gpu.stream(loop.bulk, wanted, session, **chosen(preset)))
        try:
            for item in events:
                story = _told(story, item, done)
                yield _progress(item, story, wanted, done)
        except Stopped:
            rows = words.count(len(done), "row")
            raise Stopped(f"Stopped after {rows}; what was accepted until then is kept.") from None
        yield {status: words.note(f"{words.count(len(done), 'row')} done.", "good"), page.session: story.session}

    def _progress(item, story, wanted, done) -> dict:
        head = f"Row {min(len(done) + 1, len(wanted))} of {len(wanted)}"
        shown = {status: words.status(f"{head} · {story.doing}", share=len(done) / len(wanted),
                                      left=story.per_row(len(done), len(wanted)))}
        ended = item and isinstance(item[1], Accepted | Rejected)
        return {**shown, table: tables.bulk(done), page.session: story.session} if ended else shown

    def taken(session, path: str, request: gr.Request):
        yield {pasted: forms.read_rows(path)}

    page.desk.serve(go.click, handler, [page.session, pasted, preset], [page.session, table], status=status, go=go,
                    stop=stop)
    page.desk.serve(upload.upload, taken, [page.session, upload], [pasted], status=status, go=upload)


def _told(story: Story, item: tuple | None, done: list) -> Story:
    """Take in one (row, event); a finished row goes to `done`."""
    if item is None:
        return story
    story.tell(item[1])
    match item[1]:
        case Accepted(entry=entry):
            done.append((words.change(entry.edit.request), "✔ accepted", f"layer {words.layers(entry.edit)}"))
        case Rejected(request=request, reasons=reasons):
            done.append((words.change(request), "✖ not fixed", " ".join(reasons)))
        case _:
            return story
    return story.next()
