"""Many changes: how changes in a row hold, on trial. One builder for every tab; a visitor's session is not touched.

1. The visitor chooses how many and which ways; `running` makes and measures them in turn, in the long queue.
2. Every step goes into the visitor's `Runs` at once, so that Stop, an error or a lost line keeps what is done.
3. “Go on” hands the `Runs` back to `running`; files carry it to another day or to the command line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import gradio as gr

from auditor import gpu
from auditor.errors import AuditorError, Stopped, UserError
from auditor.ui import files, words
from auditor.ui import sequence_plots as plots
from auditor.ui import sequence_words as said
from auditor.ui.desk import LONG, long
from auditor.ui.panels import Page
from auditor.ui.sequence_runs import COUNTS, WAYS, Runs, opened, running, save

EXPLAINED = (
    "How do many changes in a row hold? Facts are changed one after another, each to a wrong answer of its kind, and "
    "after each one the model is asked about all the others. This is a trial on the model as it was loaded: **your own "
    "accepted changes are neither used nor touched.** Two hundred changes can take many minutes; others can use the "
    "page meanwhile.")
DRAWN = 1.0
"""Seconds between two redraws."""


@dataclass(eq=False)
class Shown:
    """The parts of the panel that a `Runs` fills."""

    sentence: gr.HTML = field(default_factory=gr.HTML)
    curves: dict[str, gr.Plot] = field(default_factory=dict)
    matrices: dict[str, gr.Plot] = field(default_factory=dict)
    tables: gr.HTML | None = None

    @property
    def parts(self) -> list:
        return [self.sentence, *self.curves.values(), *self.matrices.values(), self.tables]

    def of(self, runs: Runs) -> dict:
        """Everything that a trial shows: the sentence, the curves, the matrices, the tables."""
        found = {way: runs.steps[way] for way in WAYS if runs.steps.get(way)}
        looked = [way for way, steps in found.items() if any(step.retention for step in steps)]
        tables = [said.overview(found)]
        for way in looked:
            tables += [said.lost(said.NAMES[way], found[way]), said.by_step(said.NAMES[way], found[way])]
        return {self.sentence: said.sentences(found), self.tables: "".join(tables),
                **{plot: gr.Plot(plots.curves(found, said.MEASURES[name]) if found else None, visible=bool(found))
                   for name, plot in self.curves.items()},
                **{plot: gr.Plot(plots.retention(found[way]) if way in looked else None,
                                 visible=way in looked) for way, plot in self.matrices.items()}}


def sequence_panel(page: Page) -> None:
    """Draw the panel."""
    gr.Markdown(EXPLAINED)
    kept = gr.State(Runs())
    with gr.Row():
        edits = gr.Radio([(f"{n} (a quick look)" if n == COUNTS[0] else str(n), n) for n in COUNTS], value=COUNTS[1],
                         label="How many changes?", min_width=320)
        ways = gr.CheckboxGroup([(said.NAMES[way], way) for way in WAYS], value=["default"], min_width=320,
                                label="With which settings? Several are compared side by side")
    with gr.Row(elem_classes="go"):
        run = gr.Button("Run", variant="primary", scale=0, min_width=160)
        more = gr.Button("Go on", scale=0, min_width=120)
        stop = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=100)
        keep = gr.Button("Save run to files", scale=0, min_width=160)
        load = gr.UploadButton("Load a saved run (both files)", file_count="multiple", scale=0, min_width=280,
                               file_types=[".jsonl", ".safetensors"])
    status = gr.HTML(words.status(), elem_classes="statusline")
    saved = gr.File(label="The run as files; “Load” and the command line go on with them", file_count="multiple",
                    interactive=False, visible=False)
    shown = _shown()
    _run(page, kept, (edits, ways), (run, more, load), stop, status, saved, shown)
    _carry(page, kept, keep, load, status, saved, shown)


def _shown() -> Shown:
    shown = Shown()
    for pair in (("retention", "perplexity"), ("facts", "entropy")):
        with gr.Row():
            shown.curves |= {name: gr.Plot(label=said.MEASURES[name].title, show_label=False, visible=False,
                                           min_width=320) for name in pair}
    shown.matrices = {way: gr.Plot(label=f"What is left of each change (✕ = below {said.BAR:g}): {said.NAMES[way]}",
                                   visible=False) for way in WAYS}
    shown.tables = gr.HTML()
    return shown


def _run(page: Page, kept: gr.State, chosen: tuple, busy: tuple, stop: gr.Button, status: gr.HTML, saved: gr.File,
         shown: Shown) -> None:
    """Run and Go on; `busy` are they and whatever must wait for them."""
    def begun(edits, ways, request: gr.Request):
        yield from going(request, edits, _some(ways), None)

    def gone_on(runs: Runs, ways, request: gr.Request):
        if not runs.requests:
            raise UserError("There is nothing to go on with yet: press “Run”, or load a saved run.")
        if not runs.left(_some(ways)):
            raise UserError("Every change of this run is made. Tick other settings to compare, or press “Run” for "
                            "another one.")
        yield from going(request, len(runs.requests), ways, runs)

    def going(request: gr.Request, edits: int, ways: Sequence[str], runs: Runs | None):
        clock = Clock()
        try:
            for event in page.desk.watch(long(request), gpu.stream(running, edits, ways, kept=runs)):
                stepped = isinstance(event, tuple)
                runs = runs.with_step(*event) if stepped else event or runs
                clock.steps += stepped
                yield {status: clock.status(runs, ways), **({kept: runs, saved: gr.File(visible=False)} if stepped
                       else {}), **(shown.of(runs) if stepped and clock.due else {})}
        except AuditorError as error:
            if clock.steps:  # else what was here before still is
                yield shown.of(runs)
            if clock.steps and isinstance(error, Stopped):
                raise Stopped(f"Stopped after {runs.done(ways)} of {len(ways) * len(runs.requests)} changes. What was "
                              "measured is kept: “Go on” continues from there.") from None
            raise
        yield {status: words.note(f"{words.count(runs.done(ways), 'change')} made and measured; the model is as it "
                                  "was loaded.", "good"), **shown.of(runs)}

    outputs, how = [kept, saved, *shown.parts], {"status": status, "go": busy, "stop": stop, "line": LONG}
    page.desk.serve(busy[0].click, begun, list(chosen), outputs, **how)
    page.desk.serve(busy[1].click, gone_on, [kept, chosen[1]], outputs, **how)


def _carry(page: Page, kept: gr.State, keep: gr.Button, load: gr.UploadButton, status: gr.HTML, saved: gr.File,
           shown: Shown) -> None:
    """Files of a run, out and in."""
    def written(runs: Runs, request: gr.Request):
        if not any(runs.steps.values()):
            raise UserError("There is nothing to save yet: press “Run” first.")
        yield {saved: gr.File(save(gpu.hosted(), runs, files.folder()), visible=True), status: words.status("Saved.")}

    def loaded(paths: list[str], request: gr.Request):
        yield {status: words.status("Reading the files …")}
        runs = gpu.call(opened, [str(path) for path in paths])
        counts = ", ".join(f"{words.count(len(steps), 'change')} with the {said.NAMES[way]}"
                           for way, steps in runs.steps.items())
        yield {kept: runs, saved: gr.File(visible=False), **shown.of(runs),
               status: words.note(f"Loaded: {counts}, of {len(runs.requests)}, in place of what was here.", "good")}

    page.desk.serve(keep.click, written, [kept], [saved], status=status, go=keep)
    page.desk.serve(load.upload, loaded, [load], [kept, saved, *shown.parts], status=status, go=load)


def _some(ways: Sequence[str]) -> Sequence[str]:
    """The settings chosen; raises UserError when there are none."""
    if not ways:
        raise UserError("Please tick at least one of the settings.")
    return ways


@dataclass
class Clock:
    """Time of a run that is under way: remaining time by the pace of the steps made since it began."""

    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    _drawn: float = 0.0

    @property
    def due(self) -> bool:
        """Whether the pictures should be drawn again now."""
        now = time.monotonic()
        if now - self._drawn < DRAWN:
            return False
        self._drawn = now
        return True

    def status(self, runs: Runs | None, ways: Sequence[str]) -> str:
        """The line that says how far the run is."""
        spent = time.monotonic() - self.began
        if not self.steps:
            return words.status(f"Measuring the model as it was loaded … {spent:.0f} s so far")
        total = len(ways) * len(runs.requests)
        return words.status(f"{runs.done(ways)} of {words.count(total, 'change')} made and measured",
                            share=runs.done(ways) / total, left=spent / self.steps * runs.left(ways))
