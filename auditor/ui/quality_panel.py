"""Quality: the thirteen benchmarks of an accepted change, its questions first, and other recipes beside it.

1. The visitor picks one of the accepted changes; its questions and scores, if it has any, are shown.
2. "Make the questions" fills the table; rows can be edited, pasted or uploaded. What stands there is what is asked.
3. "Measure the quality" runs the benchmarks on it. Scores come in one by one and belong to the session; Stop keeps
   what is done.
4. "Compare" fits the same claim with another recipe, measures it on the same questions, and adds a column. Such
   rivals live in this page only, never in the session.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from auditor import gpu
from auditor.benchmarks import BENCHMARKS, Cases
from auditor.benchmarks.cases import COLUMNS, KINDS
from auditor.editor import METHODS
from auditor.errors import AuditorError, InvalidRequest, Stopped, UserError
from auditor.types import Entry, Session
from auditor.ui import cards, forms, measuring, words
from auditor.ui.fix_panel import PRESETS
from auditor.ui.measuring import Measuring, Rival, entry_of, preset_of
from auditor.ui.panels import Page, buttons

WAITING = "No change has been accepted yet. Try a fix under “3 · Fix” first; then its quality can be measured here."
NONE_YET = "There are no questions yet. Make them, or add rows of your own."
MAX_ROWS = 1000
"""Most questions of one profile."""
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Draft:
    """Questions of one change as they stand in the table."""

    rows: tuple[tuple[str, ...], ...]
    sure: str = ""


# Values for the page; pure functions


def table_rows(value: object) -> tuple[tuple[str, ...], ...]:
    """Rows of the table as text, without empty ones."""
    rows = tuple(tuple("" if cell is None else str(cell) for cell in row) for row in value or ())
    return tuple(row for row in rows if any(cell.strip() for cell in row))


def own_rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Pasted or uploaded rows, split at tabs where there are any, else at commas; raises InvalidRequest."""
    text = text or ""
    if "\t" in text:
        found = [line.split("\t") for line in text.splitlines()]
    else:
        try:
            found = list(csv.reader(io.StringIO(text), skipinitialspace=True))
        except csv.Error as error:
            raise InvalidRequest({"cases": f"The rows could not be read as a table ({error})."}) from None
    rows = table_rows([[cell.strip() for cell in row] for row in found])
    return rows[1:] if rows and rows[0][0].lower() == COLUMNS[0] else rows


def asked(entry: Entry, rows: Rows, sure: str = "") -> Cases:
    """The rows as questions that may be asked; raises InvalidRequest for the first wrong row, or for none at all."""
    if len(rows) > MAX_ROWS:
        raise InvalidRequest({"cases": f"These are {len(rows)} questions; at most {MAX_ROWS} are accepted."})
    return measuring.fair(Cases.from_rows(entry.edit.request, rows, sure=sure))


def draft_of(entry: Entry, drafts: Mapping[str, Draft]) -> Draft:
    """What the visitor has in the table for a change, else the questions it was scored on."""
    frozen = entry.cases or {"rows": (), "sure": ""}
    return drafts.get(entry.edit.id) or Draft(table_rows(frozen["rows"]), frozen["sure"])


def filled(filling: tuple) -> gr.Dataframe:
    """The table with its rows; out of sight while empty, because one that was drawn empty shows no rows later on."""
    rows = [list(row) for row in filling[1]] if filling else []
    return gr.Dataframe(value=rows, visible=bool(rows))


def notices(session: Session, entry: Entry, draft: Draft) -> str:
    """What to bear in mind when reading the scores: edited questions, other changes since."""
    if not entry.scores:
        return ""
    said = ""
    if entry.cases and [list(r) for r in draft.rows] != [list(r) for r in entry.cases["rows"]]:
        said += words.note("The questions were edited since: the scores below belong to the earlier questions. Measure "
                           "again to score these.", "warn")
    if measuring.outdated(session, entry.edit.id):
        said += words.note("Other changes were accepted or undone since this was measured; the scores below are of "
                           "that time.", "warn")
    return said


def trouble(entry: Entry, rows: Rows) -> str:
    """What is wrong with the table's rows, or what will be left out; empty when all is well."""
    if not rows:
        return words.note(NONE_YET, "quiet")
    try:
        left_out = measuring.repeats(Cases.from_rows(entry.edit.request, rows))
    except InvalidRequest as error:
        return words.problem(str(error))
    return "" if not left_out else words.note(
        f"{words.count(left_out, 'row')} will be left out: the change was fitted on or checked by the same text.",
        "warn")


def columns(session: Session, rivals: Sequence[Rival]) -> list[cards.Column]:
    """The comparison: every scored change, each followed by its rivals."""
    found = []
    for entry in session.entries:
        edit = entry.edit
        if entry.scores:
            standing = "◐ accepted; check again" if edit.id in session.stale else "✔ accepted"
            found.append(cards.Column(words.change(edit.request), recipe(edit.method, preset_of(edit)),
                                      words.layers(edit), standing, entry.scores))
        for rival in (r for r in rivals if r.of == edit.id):
            same = measuring.same_questions(entry.cases, rival.cases)
            found.append(cards.Column(words.change(edit.request), recipe(rival.method, rival.preset),
                                      ", ".join(map(str, rival.layers)), "○ not accepted, for comparison"
                                      + ("" if same else " (other questions)"), rival.scores))
    return found


def recipe(method: str, preset: str) -> str:
    """Method and settings in words."""
    return f"{method.upper()}, {PRESETS.get(preset, preset or 'settings of its own')}"


def other_recipes(entry: Entry | None) -> gr.Radio:
    """The choice of what to compare with: every recipe of the change's method but its own, the roughest first."""
    presets = METHODS[entry.edit.method].presets if entry and entry.edit.method in METHODS else {}
    names = [name for name in reversed(presets) if name != preset_of(entry.edit)]
    return gr.Radio([(PRESETS.get(name, name), name) for name in names], value=names[0] if names else None,
                    label="Compare with")


# The panel


def quality_panel(page: Page) -> None:
    """Draw the panel and tie it to the visitor's session."""
    gr.Markdown("How good is an accepted change? Thirteen benchmarks ask whether it holds, also in other words, what "
                "else it moved, and whether it survives further changes. Nothing is changed here.")
    Quality(page).wire()


class Quality:
    """The panel's components, and what happens when its buttons are pressed."""

    def __init__(self, page: Page):
        self.page = page
        self.drafts, self.rivals, self.filling = gr.State({}), gr.State(()), gr.State(())
        self.number = itertools.count(1)
        self.waiting = gr.HTML(words.note(WAITING, "quiet"))
        with gr.Column(visible=False) as self.work:
            self.pick = gr.Radio([], label="Which change?")
            self.draw_questions()
            with gr.Accordion("Which benchmarks?", open=False):
                names = [(f"{b.name}: {b.describe}", b.name) for b in BENCHMARKS.values()]
                self.which = gr.CheckboxGroup(names, value=list(BENCHMARKS), show_select_all=True,
                                              label="Benchmarks to measure")
            self.measure_go, self.measure_stop, self.measure_status = buttons("Measure the quality")
            self.notices, self.result = gr.HTML(), gr.HTML()
            with gr.Column(visible=False, elem_classes="beside") as self.beside:
                self.other = other_recipes(None)
                self.compare_go, self.compare_stop, self.compare_status = buttons("Compare")
            self.comparison = gr.HTML()

    def draw_questions(self) -> None:
        """The table and the ways to fill it."""
        self.make_go, self.make_stop, self.make_status = buttons("Make the questions")
        self.sure = gr.HTML()
        self.table = gr.Dataframe(headers=list(COLUMNS), column_count=len(COLUMNS), datatype="str", type="array",
                                  interactive=True, wrap=True, max_height=420, show_row_numbers=True, visible=False,
                                  column_widths=["11%", "37%", "13%", "13%", "12%", "14%"],
                                  label="Questions; every cell can be edited", elem_classes="questions")
        self.trouble = gr.HTML(words.note(NONE_YET, "quiet"))
        with gr.Accordion("What the kinds mean", open=False):
            gr.HTML(words.table("Kinds of questions", ("Kind", "What it is"), KINDS.items()))
        with gr.Accordion("Rows of your own", open=False):
            self.pasted = gr.Textbox(label="Own questions", lines=3, max_lines=10, max_length=forms.MAX_BYTES,
                                     info="One per line, copied from a spreadsheet (tabs) or typed with commas: "
                                     "kind, prompt, old answer, new answer, and if you like group and other answers.",
                                     placeholder="paraphrase, The Eiffel Tower stands in, Paris, Rome")
            with gr.Row(elem_classes="go"):
                self.add = gr.Button("Add to the questions", scale=0, min_width=200)
                self.upload = gr.UploadButton("Take the rows from a file (CSV or TSV)", scale=0, min_width=280,
                                              file_types=[".csv", ".tsv", ".txt"])
            self.added = gr.HTML()

    # Wiring

    def wire(self) -> None:
        """Tie everything together."""
        page, serve = self.page, self.page.desk.serve
        where = [page.session, self.pick, self.drafts]
        shown = [self.drafts, self.filling, self.sure, self.trouble, self.notices]
        quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        state = [page.session, self.pick, self.drafts, self.rivals]
        drawn = [self.waiting, self.work, self.pick, *shown, self.result, self.comparison, self.beside, self.other]
        self.filling.change(filled, self.filling, self.table, **quiet)
        page.session.change(self.follow, state, drawn, **quiet)
        self.pick.input(self.show, state, drawn, **quiet)
        self.table.input(self.typed, [*where, self.table], [self.drafts, self.trouble, self.notices],
                         trigger_mode="always_last", **quiet)
        serve(self.make_go.click, self.make, [*where, self.pasted], shown, status=self.make_status, go=self.make_go,
              stop=self.make_stop)
        serve(self.add.click, self.append, [*where, self.table, self.pasted], [*shown, self.pasted], status=self.added,
              go=self.add)
        serve(self.upload.upload, self.taken, [self.upload], [self.pasted], status=self.added, go=self.upload)
        serve(self.measure_go.click, self.measure, [*where, self.table, self.pasted, self.which],
              [*shown, page.session, self.result], status=self.measure_status, go=self.measure_go,
              stop=self.measure_stop)
        serve(self.compare_go.click, self.compare, [page.session, self.pick, self.other, self.rivals],
              [self.rivals, self.comparison], status=self.compare_status, go=self.compare_go, stop=self.compare_stop)

    # What is shown

    def follow(self, session: Session, picked: str | None, drafts: dict, rivals: tuple) -> dict:
        """After the session changed: keep the choice while it exists, but a change just accepted goes first."""
        ids = [edit.id for edit in session.edits]
        newest = bool(session.log) and session.log[-1].action == "accepted"
        chosen = picked if picked in ids and not newest else ids[-1] if ids else None
        shown = self.show(session, chosen, drafts, rivals)
        if chosen == picked and chosen in drafts:
            shown.pop(self.filling, None)  # somebody may be typing in it
        choices = [(f"{i}. {words.change(edit.request)}", edit.id) for i, edit in enumerate(session.edits, 1)]
        return {**shown, self.pick: gr.Radio(choices, value=chosen), self.work: gr.Column(visible=bool(ids)),
                self.waiting: "" if ids else words.note(WAITING, "quiet")}

    def show(self, session: Session, picked: str | None, drafts: dict, rivals: tuple) -> dict:
        """Questions, scores and comparison of the chosen change."""
        if picked not in {edit.id for edit in session.edits}:
            return {self.result: "", self.comparison: "", self.beside: gr.Column(visible=False)}
        entry = entry_of(session, picked)
        return {**self.laid_out(session, entry, draft_of(entry, drafts)), **self.scored(entry),
                self.comparison: cards.comparison(columns(session, rivals)),
                self.beside: gr.Column(visible=bool(entry.scores)), self.other: other_recipes(entry)}

    def laid_out(self, session: Session, entry: Entry, draft: Draft) -> dict:
        """The table with what is to be said of it.

        The table is written through `filling`, numbered so that equal rows count as new ones: a table that is not on
        the screen takes whole values only, and a stream of updates to other parts would wipe it. See `filled`.
        """
        return {self.filling: (next(self.number), draft.rows), self.sure: words.note(draft.sure),
                self.trouble: trouble(entry, draft.rows), self.notices: notices(session, entry, draft)}

    def scored(self, entry: Entry) -> dict:
        """The profile, once there is one."""
        return {self.result: cards.profile(entry.scores) if entry.scores else ""}

    def typed(self, session: Session, picked: str, drafts: dict, rows: list) -> dict:
        """After a cell was edited."""
        entry = entry_of(session, picked)
        draft = Draft(table_rows(rows), draft_of(entry, drafts).sure)
        return {self.drafts: {**drafts, picked: draft}, self.trouble: trouble(entry, draft.rows),
                self.notices: notices(session, entry, draft)}

    # The buttons

    def make(self, session: Session, picked: str, drafts: dict, pasted: str, request: gr.Request) -> Iterator[dict]:
        """Fill the table anew, with the visitor's own rows first."""
        made = yield from self.making(session, picked, pasted, request, self.make_status)
        entry, draft = entry_of(session, picked), Draft(made.to_rows(), made.sure)
        yield {**self.laid_out(session, entry, draft), self.drafts: {**drafts, picked: draft},
               self.make_status: words.status(f"{words.count(len(draft.rows), 'question')}. Read them before they are "
                                              "asked; what stands in the table counts.")}

    def making(self, session: Session, picked: str, pasted: str, request: gr.Request, status: gr.HTML) -> Iterator:
        """The questions for a change; the generator's value is the Cases."""
        entry_of(session, picked)
        return (yield from self.page.desk.answer(request, status, "Making the questions", measuring.questions, session,
                                                 picked, own_rows(pasted)))

    def append(self, session: Session, picked: str, drafts: dict, rows: list, pasted: str) -> Iterator[dict]:
        """Put own rows on top of the table; they stay in their box when one of them is wrong."""
        entry, own = entry_of(session, picked), own_rows(pasted)
        if not own:
            raise UserError("Paste at least one row: kind, prompt, old answer, new answer.")
        Cases.from_rows(entry.edit.request, own)
        have = table_rows(rows)
        draft = Draft((*(row + ("",) * (len(COLUMNS) - len(row)) for row in own if row not in have), *have),
                      draft_of(entry, drafts).sure)
        yield {**self.laid_out(session, entry, draft), self.drafts: {**drafts, picked: draft}, self.pasted: "",
               self.added: words.note(f"{words.count(len(draft.rows) - len(have), 'row')} added on top.", "good")}

    def taken(self, path: str) -> Iterator[dict]:
        """Put an uploaded list into the box for own rows."""
        yield {self.pasted: forms.read_rows(path), self.added: words.note("Read. Add them when they look right.")}

    def measure(self, session: Session, picked: str, drafts: dict, rows: list, pasted: str, which: list[str],
                request: gr.Request) -> Iterator[dict]:
        """Run the chosen benchmarks on what stands in the table, made first where nothing does."""
        entry, draft = entry_of(session, picked), Draft(table_rows(rows), drafts.get(picked, Draft(())).sure)
        if not which:
            raise UserError("Choose at least one benchmark under “Which benchmarks?”.")
        if not draft.rows:
            made = yield from self.making(session, picked, pasted, request, self.measure_status)
            draft = Draft(made.to_rows(), made.sure)
            yield {**self.laid_out(session, entry, draft), self.drafts: {**drafts, picked: draft}}
        try:
            cases = asked(entry, draft.rows, draft.sure or (entry.cases or {}).get("sure", ""))
        except InvalidRequest as error:
            yield {self.trouble: words.problem(str(error))}
            raise
        frozen = Draft(cases.to_rows(), cases.sure)
        yield {self.drafts: {**drafts, picked: frozen}, **self.laid_out(session, entry, frozen), self.notices: ""}
        names = [name for name in BENCHMARKS if name in which]
        yield from self.run(session, picked, cases, Measuring(names, self.page.desk.pace), request)

    def run(self, session: Session, picked: str, cases: Cases, tale: Measuring, request: gr.Request) -> Iterator[dict]:
        """Measure, showing each score as it comes; whatever ends it, what is done is kept."""
        events, before = gpu.stream(measuring.measured, session, picked, cases, tale.names), 0
        try:
            for event in self.page.desk.watch(request.session_hash, events):
                tale.tell(event)
                yield {self.measure_status: tale.status()}
                if len(tale.scores) > before:
                    before = len(tale.scores)
                    yield self.scored(entry_of(measuring.kept(session, picked, tale.scores, cases), picked))
        except (AuditorError, gr.Error) as error:
            if tale.scores:
                yield {self.page.session: measuring.kept(session, picked, tale.scores, cases)}
            raise told(error, tale, "what was measured until then is kept.") from None
        yield {self.page.session: measuring.kept(session, picked, tale.scores, cases),
               self.measure_status: tale.status()}

    def compare(self, session: Session, picked: str, preset: str, rivals: tuple, request: gr.Request) -> Iterator[dict]:
        """Fit another recipe at the same layer, measure it on the same questions, and add its column."""
        entry = entry_of(session, picked)
        if not entry.scores or not entry.cases:
            raise UserError("Measure this change first; then there is something to compare with.")
        cases = Cases.from_dict(dict(entry.cases))
        tale = Measuring([score.name for score in cards.complete(entry.scores) if score in entry.scores],
                         self.page.desk.pace, fit=True)
        events = gpu.stream(measuring.rivalled, session, picked, cases, preset, tale.names)

        def added() -> dict:
            new = Rival(picked, preset, entry.edit.method, tale.fitted.layers, tuple(tale.scores.values()),
                        cases.to_dict())
            others = tuple(r for r in rivals if (r.of, r.preset) != (picked, preset))
            return {self.rivals: (*others, new), self.comparison: cards.comparison(columns(session, (*others, new)))}

        try:
            for event in self.page.desk.watch(request.session_hash, events):
                tale.tell(event)
                yield {self.compare_status: tale.status()}
        except (AuditorError, gr.Error) as error:
            if tale.scores:
                yield added()
            raise told(error, tale, "what was measured until then stands in the table.") from None
        yield {**added(), self.compare_status: tale.status()}


def told(error: AuditorError | gr.Error, tale: Measuring, after: str) -> AuditorError | gr.Error:
    """The error to show: Stop says how far it got."""
    if not isinstance(error, Stopped) or not tale.scores:
        return error
    return Stopped(f"Stopped after {len(tale.scores)} of {words.count(len(tale.names), 'benchmark')}; {after}")
