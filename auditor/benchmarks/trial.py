"""Trial: one edit on the bench. Scores what benchmarks ask, before and after, each text once.

1. `ask` pools every short question of the chosen benchmarks, sorts it by length, and runs batches of 32 rows. What
   enters the edited layer is the same before and after the edit, so the layers below it run once.
2. `reading` and `said` look the results up; `readings` scores under any other edits (scratch runs).
3. `fillers` makes ten further edits by the same method on a scratch tuple of edits and measures on the way; nothing is
   written, and two benchmarks share it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass

import torch

from auditor.benchmarks import Step, scores
from auditor.benchmarks.cases import Cases, Item
from auditor.benchmarks.decoding import continued
from auditor.editor import METHODS, find_method
from auditor.editor.look import divergence, resolve
from auditor.editor.loop import belongs
from auditor.errors import UnknownName
from auditor.model import ROWS, SharedModel
from auditor.types import Edit, EditRequest, Session
from probes.probe_set import PROBES

FREE = 12
"""Tokens of a free answer."""
CHECKPOINTS = (1, 2, 5, 10)
"""Further edits after which the scratch run is measured."""
ANSWERED_FREELY = ("direct", "paraphrase", "question", "form", "same", "neighbour", "chain")
LIGHT = {"contexts_for_key": 8, "contexts_for_value": 3, "own_words": 2, "steps": 15, "rounds": 1}
"""Most texts and steps of a further edit: the engine is the same, it only reads less and searches shorter."""
Row = tuple[tuple[int, ...], int]
"""Token ids, and the first position that is scored."""


@dataclass(frozen=True)
class Reading:
    """How the model takes one answer: log-probability per token, tokens, and the share of tokens on top."""

    mean: float
    tokens: int
    right: float


@dataclass(frozen=True)
class Mark:
    """The scratch run after some further edits: shares of the new answer, and log-probabilities of the sentences."""

    after: int
    shares: tuple[float, ...]
    totals: tuple[float, ...]
    texts: tuple[str, ...] = ()
    """Texts written by the model, at the ends of the run only."""
    free: float | None = None
    """Share of free answers to the direct questions that name the new answer, where texts are written."""


class Trial:
    """One edit, the edits beside it, and its cases. Memory of everything that was measured."""

    def __init__(self, model: SharedModel, edit: Edit, cases: Cases, *, live: Sequence[Edit] = ()):
        self.model, self.edit, self.cases = model, edit, cases
        self.request: EditRequest = resolve(model, cases.request, edits=live)
        self.before, self.after = tuple(live), (*live, edit)
        self._read: dict[tuple[Row, bool], Reading] = {}
        self._said: dict[tuple[str, bool], list[int]] = {}
        self._marks: tuple[Mark, ...] = ()
        self._moved: torch.Tensor | None = None
        self.further: list[Edit] = []
        """Edits of the scratch run, in order."""

    @classmethod
    def of(cls, model: SharedModel, session: Session, edit_id: str, cases: Cases) -> Trial:
        """The trial of one edit of a session, all others live; raises UnknownName and SessionRejected."""
        belongs(session, model)
        edit = next((edit for edit in session.edits if edit.id == edit_id), None)
        if edit is None:
            raise UnknownName("edit", edit_id, [edit.id for edit in session.edits])
        return cls(model, edit, cases, live=[other for other in session.edits if other.id != edit_id])

    @property
    def layer(self) -> int:
        return self.edit.layers[-1]

    @property
    def claim(self) -> Item:
        """The claim itself as a case."""
        return Item("direct", self.request.prompt, self.request.target_old, self.request.target_new)

    # What to ask

    def row(self, prompt: str, answer: str) -> Row:
        """Prompt and answer as one row of tokens."""
        ids = self.model.tokens(prompt)
        return (*ids, *self.model.target_tokens(answer)), len(ids)

    def rows(self, item: Item) -> list[Row]:
        """Everything that is scored for one case."""
        answers = [answer for answer in (item.new, item.old, *item.others) if answer]
        return [self.row(prompt, answer) for prompt in self.wordings(item) for answer in answers]

    def wordings(self, item: Item) -> tuple[str, ...]:
        """The prompt; for a chain that names its middle, one per answer that the middle may be: new, old."""
        if "{m}" not in item.prompt:
            return (item.prompt,)
        request = self.request
        return tuple(item.prompt.replace("{m}", answer) for answer in (request.target_new, request.target_old))

    def ask(self, kinds: Collection[str]) -> Generator[Step, None, None]:
        """Score all cases of some kinds before and after, and let the model answer freely where that is read."""
        short = [kind for kind in kinds if kind not in ("unrelated", "passage", "neutral", "filler", "name")]
        rows = {row for item in self.cases.of(*short) for row in self.rows(item)}
        if "chain" in kinds:
            rows |= set(self.rows(self.claim))
        order = sorted(rows, key=lambda row: (len(row[0]), row))
        free = [item.prompt for item in self.cases.of(*(kind for kind in kinds if kind in ANSWERED_FREELY))
                if "{m}" not in item.prompt]
        apart = [item.prompt for item in self.cases.of("unrelated")] if "unrelated" in kinds else []
        work = [("read", order[i : i + ROWS]) for i in range(0, len(order), ROWS)]
        free, apart = (sorted(set(prompts), key=lambda p: len(self.model.tokens(p))) for prompts in (free, apart))
        work += [("free", free[i : i + ROWS]) for i in range(0, len(free), ROWS)]
        work += [("apart", apart[i : i + ROWS]) for i in range(0, len(apart), ROWS)]
        for done, (what, part) in enumerate(work):
            yield Step(done, len(work))
            if what == "read":
                self._read_both(part)
                continue
            for after in (False, True) if what == "apart" else (True,):
                with self.model.applied(self.after if after else self.before):
                    answers = continued(self.model, part, FREE)
                self._said |= {(prompt, after): ids for prompt, ids in zip(part, answers, strict=True)}

    def _read_both(self, rows: Sequence[Row]) -> None:
        """Layers below the edit once, the others before and after."""
        first = min(self.edit.layers)
        with self.model.applied(self.before), torch.no_grad():
            hidden = self.model.run(self.model.embed(self.model.pad([ids for ids, _ in rows])), 0, first)
            before = _scored(self.model, hidden, first, rows)
        with self.model.applied(self.after), torch.no_grad():
            after = _scored(self.model, hidden, first, rows)
        for row, was, now in zip(rows, before, after, strict=True):
            self._read[row, False], self._read[row, True] = was, now

    # What was found

    def reading(self, prompt: str, answer: str, *, after: bool = True) -> Reading:
        """One answer's standing, scored by `ask` or, for what it did not foresee, now."""
        row = self.row(prompt, answer)
        if (row, after) not in self._read:
            self._read_both([row])
        return self._read[row, after]

    def share(self, item: Item, *, after: bool = True) -> float:
        """c: the new answer's share against the old one."""
        return scores.share(*(self.reading(item.prompt, answer, after=after).mean for answer in (item.new, item.old)))

    def said(self, prompt: str, *, after: bool = True) -> list[int]:
        """Token ids of the greedy answer to a prompt that `ask` was told of."""
        return self._said[prompt, after]

    def free(self, items: Iterable[Item], *, kept: bool = False) -> float:
        """f: share of free answers that name the new answer and not the old one; for `kept`, the other way round."""
        return scores.mean([self.freely(item, self.model.text(self.said(item.prompt)), kept=kept) for item in items])

    def freely(self, item: Item, text: str, *, kept: bool = False) -> bool:
        """Whether a free answer names what it should, and not what it should not."""
        new = self.cases.names if item.new == self.request.target_new else (item.new,)
        wanted, other = ((item.old,), new) if kept else (new, (item.old,))
        return scores.says(text, wanted) and not scores.says(text, other)

    def moved(self) -> torch.Tensor:
        """[25] nats by which the next-word choices moved on the behavioural probes."""
        if self._moved is None:
            prompts, seen = [probe.prompt for probe in PROBES], []
            for edits in (self.before, self.after):
                with self.model.applied(edits):
                    seen.append(self.model.next_logprobs(prompts))
            self._moved = divergence(*seen)
        return self._moved

    # Under other edits

    def readings(self, rows: Sequence[Row], edits: Sequence[Edit]) -> list[Reading]:
        """Score rows with any edits live; not remembered."""
        order, found = sorted(range(len(rows)), key=lambda i: len(rows[i][0])), {}
        for part in (order[i : i + ROWS] for i in range(0, len(order), ROWS)):
            with self.model.applied(edits), torch.no_grad():
                hidden = self.model.embed(self.model.pad([rows[i][0] for i in part]))
                found |= dict(zip(part, _scored(self.model, hidden, 0, [rows[i] for i in part]), strict=True))
        return [found[i] for i in range(len(rows))]

    def shares(self, items: Sequence[Item], edits: Sequence[Edit]) -> tuple[float, ...]:
        """c of some cases with any edits live."""
        means = [r.mean for r in self.readings([self.row(i.prompt, a) for i in items for a in (i.new, i.old)], edits)]
        return tuple(map(scores.share, means[::2], means[1::2]))

    def fit(self, request: EditRequest, edits: Sequence[Edit], *, light: bool = True) -> Generator[Step, None, Edit]:
        """An edit by this edit's own method, configuration and layer, with `edits` live."""
        method = find_method(self.edit.method if self.edit.method in METHODS else "rome")
        names = {field.name for field in dataclasses.fields(method.config)}
        config = method.config(**self.edit.config) if names == set(self.edit.config) else method.presets["default"]
        if light:
            config = dataclasses.replace(config, **{name: min(most, getattr(config, name))
                                                    for name, most in LIGHT.items() if name in names})
        steps = method.run(self.model, request, self.layer, config, edits=tuple(edits))
        while True:
            try:
                fitting = next(steps)
            except StopIteration as end:
                return end.value
            yield Step(fitting.step, fitting.steps)

    def requests(self) -> list[EditRequest]:
        """The further edits of the scratch run."""
        return [EditRequest(item.group, item.prompt.removeprefix(item.group).strip(), item.old, item.new)
                for item in self.cases.of("filler") if item.prompt.startswith(item.group) and item.group]

    def fillers(self) -> Generator[Step, None, tuple[Mark, ...]]:
        """Marks before the edit (-1), after it (0), and after 1, 2, 5 and 10 further edits on top."""
        if self._marks:
            return self._marks
        requests = self.requests()
        marks, total = [self._mark(-1, self.before, write=True), self._mark(0, self.after)], max(CHECKPOINTS)
        for number, request in enumerate(requests[:total], start=1):
            for _ in self._fit_next(request):
                yield Step(number - 1, total)
            if number in CHECKPOINTS:
                marks.append(self._mark(number, (*self.after, *self.further), write=number == total))
        self._marks = tuple(marks)
        return self._marks

    def _fit_next(self, request: EditRequest) -> Generator[Step, None, None]:
        self.further.append((yield from self.fit(request, (*self.after, *self.further))))

    def _mark(self, number: int, edits: Sequence[Edit], *, write: bool = False) -> Mark:
        direct, neutral = self.cases.of("direct"), self.cases.of("neutral")
        rows = [(tuple(self.model.tokens(item.prompt)), 1) for item in neutral]
        totals = tuple(r.mean * r.tokens for r in self.readings(rows, edits))
        mark = Mark(number, self.shares(direct, edits), totals)
        if not write:
            return mark
        with self.model.applied(edits):
            starts = [" ".join(item.prompt.split()[:2]) for item in neutral[:4]]
            texts = tuple(map(self.model.text, continued(self.model, starts, 60)))
        return dataclasses.replace(mark, texts=texts, free=self.free_under(direct, edits))

    def free_under(self, items: Sequence[Item], edits: Sequence[Edit]) -> float:
        """f with any edits live."""
        with self.model.applied(edits):
            said = continued(self.model, [item.prompt for item in items], FREE)
        return scores.mean([self.freely(item, self.model.text(ids)) for item, ids in zip(items, said, strict=True)])


def _scored(model: SharedModel, hidden: torch.Tensor, start: int, rows: Sequence[Row]) -> list[Reading]:
    """Readings of rows whose states enter layer `start`; inside `applied`."""
    final = model.run(hidden, start)
    where = [(i, pos - 1, ids[pos]) for i, (ids, first) in enumerate(rows) for pos in range(first, len(ids))]
    row, place, token = (torch.tensor(column, device=model.device) for column in zip(*where))
    logprobs = model.logits(final[row, place]).log_softmax(-1)  # (scored token, d_vocab)
    picked = logprobs.gather(1, token[:, None])[:, 0].cpu()
    best = (logprobs.argmax(-1) == token).float().cpu()
    sizes = [len(ids) - first for ids, first in rows]
    return [Reading(float(x.mean()), len(x), float(hit.mean()))
            for x, hit in zip(picked.split(sizes), best.split(sizes), strict=True)]
