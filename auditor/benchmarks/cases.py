"""Cases: everything a profile asks about one edit, made before the run, shown, editable, frozen, kept with the record.

1. Rows that the auditor pasted come first.
2. On the pocket model, its tables (`auditor/pocket/knowledge.py`) give phrasings, other facts, neighbours and chains.
3. Templates (`probes/benchmark_texts.py`) add what any claim can be asked in; on other models the model itself is asked
   for other things it says about the subject and for neighbours.
4. Where an answer to keep is not known, it is what the model says before the edit.
5. Leak rule: what repeats a text of the fit or of the three checks is left out. The claim itself is the one exception:
   EditBench asks it by definition, and nothing else does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.benchmarks.leaks import allowed
from auditor.editor.essence import own_words
from auditor.editor.look import first_sentence, resolve
from auditor.editor.rome import PRESETS
from auditor.errors import InvalidRequest
from auditor.model import POCKET, SharedModel
from auditor.pocket import knowledge
from auditor.types import Edit, EditRequest
from probes import benchmark_texts as texts
from probes.known_facts import FACTS

KINDS: dict[str, str] = {
    "direct": "the claim itself, bare and behind neutral sentences",
    "paraphrase": "the claim in other words",
    "question": "the claim as a question",
    "form": "the claim in another surface form, or under another name of the subject",
    "reversed": "from the answer back to the subject",
    "same": "another thing about the subject, which should stay",
    "neighbour": "the same about another subject, which should stay",
    "chain": "what follows from the new answer; {m} stands for the answer that the model itself prefers",
    "hop": "the second step of a chain, which the model must know beforehand",
    "unrelated": "a prompt that has nothing to do with the claim; the group is its domain",
    "passage": "the beginning of a longer text, on the subject or on something related",
    "neutral": "an ordinary sentence",
    "filler": "an edit of another subject (the group), made after this one",
    "name": "another name of the new answer",
}
"""Every kind of row, in the order of the table."""
COLUMNS = ("kind", "prompt", "old answer", "new answer", "group", "other answers")
ANSWERED = ("direct", "paraphrase", "question", "form", "chain", "filler")
"""Kinds that need both answers."""
PARAPHRASES, QUESTIONS, SAME, NEIGHBOURS, SENTENCES, FILLERS, LONGEST = 12, 4, 8, 8, 50, 10, 1000
SEPARATOR = " | "


@dataclass(frozen=True)
class Item:
    """One row: a prompt with the answer that stood there before and the one that should stand there now.

    For what should stay (`same`, `neighbour`), `old` is the answer to keep and `new` the one that must not spill over.
    """

    kind: str
    prompt: str
    old: str = ""
    new: str = ""
    group: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cases:
    """The frozen questions of one profile; `sure` says in plain words how far they can be trusted."""

    request: EditRequest
    items: tuple[Item, ...]
    sure: str = ""

    def of(self, *kinds: str) -> tuple[Item, ...]:
        """All rows of some kinds, in order."""
        return tuple(item for item in self.items if item.kind in kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """The new answer and its other names."""
        return (self.request.target_new, *(item.prompt for item in self.of("name")))

    def to_rows(self) -> tuple[tuple[str, ...], ...]:
        """The table as text, one tuple of `COLUMNS` per row; line breaks are written as backslash n."""
        return tuple((item.kind, *map(_escape, (item.prompt, item.old, item.new, item.group,
                                                SEPARATOR.join(item.others)))) for item in self.items)

    @classmethod
    def from_rows(cls, request: EditRequest, rows: Iterable[Sequence[str]], *, sure: str = "") -> Cases:
        """Cases from an edited table; raises InvalidRequest with one sentence that names the first wrong row."""
        return cls(request, items(rows), sure)

    def to_dict(self) -> dict:
        """Plain types only, for JSON."""
        return {"request": dataclasses.asdict(self.request), "rows": [list(row) for row in self.to_rows()],
                "sure": self.sure}

    @classmethod
    def from_dict(cls, plain: dict) -> Cases:
        """The inverse of `to_dict`."""
        return cls.from_rows(EditRequest(**plain["request"]), plain["rows"], sure=plain["sure"])


def items(rows: Iterable[Sequence[str]]) -> tuple[Item, ...]:
    """Rows of text to items; empty rows and a heading row are skipped."""
    found = []
    for number, row in enumerate(rows, start=1):
        cells = [str(cell) for cell in row] + [""] * (len(COLUMNS) - len(row))
        if not any(cell.strip() for cell in cells) or cells[0].strip().lower() == COLUMNS[0]:
            continue
        kind, (prompt, old, new, group, others) = cells[0].strip(), map(_unescape, cells[1 : len(COLUMNS)])
        problem = _problem(kind, prompt, old, new, group, len(row))
        if problem:
            raise InvalidRequest({"cases": f"Row {number} of the cases: {problem}"})
        found.append(Item(kind, prompt, old, new, group, tuple(others.split(SEPARATOR)) if others else ()))
    return tuple(found)


def _problem(kind: str, prompt: str, old: str, new: str, group: str, width: int) -> str:
    if width > len(COLUMNS):
        return f"there are {width} columns; at most {len(COLUMNS)} are read ({', '.join(COLUMNS)})."
    if kind not in KINDS:
        return f"“{kind}” is no kind of case. There are: {', '.join(KINDS)}."
    if not prompt.strip():
        return "the prompt is empty."
    if len(prompt) > LONGEST:
        return f"the prompt is {len(prompt)} characters long; the limit is {LONGEST}."
    if kind in ANSWERED and not (old.strip() and new.strip()):
        return f"a case of kind “{kind}” needs an old and a new answer."
    if kind == "hop" and not new.strip():
        return "a case of kind “hop” needs the answer of the second step as its new answer."
    if kind == "filler" and not (group and prompt.startswith(group) and prompt.removeprefix(group).strip()):
        return "a case of kind “filler” needs its subject as group, and a prompt that begins with it and goes on."
    return ""


def parse(text: str) -> tuple[tuple[str, ...], ...]:
    """Pasted tab-separated text to rows: kind, prompt, old answer, new answer, and, if wanted, group and others."""
    return tuple(tuple(line.split("\t")) for line in text.splitlines() if line.strip())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _unescape(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")


# Making them


def generate_cases(model: SharedModel, request: EditRequest, *, edits: Sequence[Edit] = (),
                   rows: Iterable[Sequence[str]] = (), pocket: bool | None = None) -> Cases:
    """Make the cases of a request, with `edits` live; `rows` are the auditor's own.

    `pocket` says whether the pocket model's tables apply; without it, the model's folder tells.
    Raises InvalidRequest for wrong rows.
    """
    request = resolve(model, request, edits=edits)
    own = items(rows)                                                                                        # 1
    sure = "The cases come from templates and from what the model itself says, so some may be odd: read them first."
    known, pronoun = (), "It"
    if is_pocket(model) if pocket is None else pocket:                                                       # 2
        told = knowledge.known(request)
        known, sure, pronoun = _plain(told.rows), told.sure, told.pronoun
    found = [*own, *known]
    found += _templates(request, found, pronoun)                                                             # 3
    if not any(item.kind == "same" for item in found):
        found += [_continued(text, request) for text in texts.CONTINUED]
    if not any(item.kind == "neighbour" for item in found):
        found += _ask_neighbours(model, request, edits)
    found = _fill(model, request, found, edits)                                                              # 4
    said = own_words(model, request, PRESETS["default"].own_words, edits=edits)
    kept = _checked(request, found, said)                                                                    # 5
    if own:
        left_out = sum(not allowed(request, item, said) for item in own)
        sure += f" {len(own) - left_out} rows are the auditor's own."
        sure += f" {left_out} more repeat what the edit was fitted or checked on and were left out." if left_out else ""
    return Cases(request, kept, sure)


def is_pocket(model: SharedModel) -> bool:
    """Whether this is the model that was trained on the pocket tables: by its place, or by its manifest."""
    return model.folder.resolve() == POCKET.resolve() or (model.folder / "training_log.jsonl").is_file()


def _plain(rows: Iterable[Sequence[str]]) -> tuple[Item, ...]:
    """The tables' rows, which hold real line breaks."""
    return tuple(Item(kind, prompt, old, new, group, tuple(others.split(SEPARATOR)) if others else ())
                 for kind, prompt, old, new, group, others in rows)


def worded(template: str, request: EditRequest, pronoun: str = "It", subject: str = "") -> str:
    """A template filled with the claim's words; the subject's article is in lower case inside a sentence."""
    subject = subject or request.subject
    inside = subject[0].lower() + subject[1:] if subject.split(" ", 1)[0] in ("The", "A", "An") else subject
    for mark, text in (("{s}", inside), ("{S}", subject[0].upper() + subject[1:]), ("{r}", request.relation),
                       ("{o}", request.target_new), ("{It}", pronoun)):
        template = template.replace(mark, text)
    return template


def _templates(request: EditRequest, found: Sequence[Item], pronoun: str) -> list[Item]:
    """What can be asked of any claim; fills up to the wanted number where the tables gave some."""
    def have(kind: str) -> int:
        return sum(item.kind == kind for item in found)

    def claims(kind: str, templates: Iterable[str], group: str = "") -> list[Item]:
        return [Item(kind, worded(template, request, pronoun), request.target_old, request.target_new, group)
                for template in templates]

    made = [Item("direct", request.prompt, request.target_old, request.target_new, "the claim itself")]
    made += [Item("direct", f"{prefix} {request.prompt}", request.target_old, request.target_new)
             for prefix in texts.PREFIXES]
    made += claims("paraphrase", texts.PARAPHRASES[: max(0, PARAPHRASES - have("paraphrase"))])
    made += claims("question", texts.QUESTIONS[: max(0, QUESTIONS - have("question"))])
    for form, templates in texts.FORMS.items():
        made += claims("form", templates, form)
    made += [Item("reversed", worded(t, request), "", request.subject) for t in texts.REVERSED]
    domains = {item.group for item in found if item.kind == "unrelated"}
    made += [Item("unrelated", prompt, group=domain) for domain, prompts in texts.UNRELATED.items()
             if domain not in domains for prompt in prompts]
    made += [Item("passage", worded(t, request), group="subject") for t in texts.PASSAGES]
    if not any(item.kind == "passage" and item.group == "related" for item in found):
        made.append(Item("passage", request.target_new[0].upper() + request.target_new[1:], group="related"))
    if not have("neutral"):
        made += [Item("neutral", sentence) for sentence in texts.NEUTRAL[:SENTENCES]]
    return made + ([] if have("filler") else _fillers(request))


def _fillers(request: EditRequest) -> list[Item]:
    """Ten edits of general facts that touch neither the subject nor the answers."""
    about = {name.casefold() for name in (request.subject, request.target_old, request.target_new)}
    others = [fact for fact in FACTS if not {fact.subject.casefold(), fact.true.casefold()} & about]
    spread = others[:: max(1, len(others) // FILLERS)][:FILLERS]
    return [Item("filler", fact.prompt, fact.true, fact.false, fact.subject) for fact in spread]


def _continued(template: str, request: EditRequest) -> Item:
    return Item("same", worded(template, request), "", request.target_new, "as the model says it")


def _ask_neighbours(model: SharedModel, request: EditRequest, edits: Sequence[Edit]) -> list[Item]:
    """Neighbours: what the model itself names together with the subject, then subjects of general facts."""
    with model.applied(edits):
        said = model.generate([worded(t, request) for t in texts.LIKE], 16)
    named = [name.strip(" .,;:\"'") for text in said for name in first_sentence(text).replace(" and ", ",").split(",")]
    proper = [name for name in named if name[:1].isupper() and name.casefold() not in request.subject.casefold()]
    like = sorted((fact for fact in FACTS if fact.subject != request.subject),
                  key=lambda fact: -len(set(fact.relation.split()) & set(request.relation.split())))
    subjects = dict.fromkeys((*proper[:NEIGHBOURS], *(fact.subject for fact in like)))
    return [Item("neighbour", f"{subject} {request.relation}", "", request.target_new, "same question")
            for subject in list(subjects)[: 2 * NEIGHBOURS]]


def _fill(model: SharedModel, request: EditRequest, found: Sequence[Item], edits: Sequence[Edit]) -> list[Item]:
    """Put the model's own answer where an answer to keep is missing; neighbours that share the old one go first."""
    empty = [item.prompt for item in found if item.kind in ("same", "neighbour") and not item.old]
    with model.applied(edits):
        said = dict(zip(empty, map(_answer, model.generate(empty, 12)), strict=True)) if empty else {}
    filled = [dataclasses.replace(item, old=said[item.prompt])
              if item.kind in ("same", "neighbour") and not item.old else item for item in found]
    bad = {"", request.target_new.casefold()}
    filled = [item for item in filled if item.kind not in ("same", "neighbour") or item.old.casefold() not in bad]
    answers = list(dict.fromkeys(item.old for item in filled if item.kind == "same"))
    rest = [dataclasses.replace(item, others=tuple(answer for answer in answers if answer != item.old)[:3])
            if item.kind == "same" and item.prompt in said else item for item in filled if item.kind != "neighbour"]
    near = [item for item in filled if item.kind == "neighbour"]
    near.sort(key=lambda item: (item.prompt in said, item.old.casefold() != request.target_old.casefold()))
    return rest + near[: max(NEIGHBOURS, sum(item.prompt not in said for item in near))]


def _answer(text: str) -> str:
    """The first few words of a continuation: an answer short enough to be compared."""
    return " ".join(first_sentence(text).split(",")[0].split()[:6])


def _checked(request: EditRequest, found: Sequence[Item], said: Sequence[str]) -> tuple[Item, ...]:
    """Each prompt once per kind, in the order of KINDS, without what leaks."""
    unique = {(item.kind, item.group if item.kind == "form" else "", item.prompt): item for item in reversed(found)}
    order = list(KINDS)
    kept = [item for item in reversed(unique.values()) if allowed(request, item, said)]
    return tuple(sorted(kept, key=lambda item: order.index(item.kind)))
