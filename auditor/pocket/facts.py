"""Facts of the pocket corpus, read from `tables/`, with the planted errors of `flaws.tsv` put in.

A table's header names its relations; a row is a subject, its aliases and one answer per relation. `phrasings/` gives
each relation its sentences. Nothing outside this package and the tests reads `flaws()`.
"""

from __future__ import annotations

import csv
import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT = 2
"""Phrasings of each fact that never enter the corpus: recall is measured on them."""


@dataclass(frozen=True)
class Fact:
    """One thing the corpus teaches; `answer` differs from `truth` where an error is planted."""

    subject: str
    relation: str
    answer: str
    truth: str

    @property
    def planted(self) -> bool:
        return self.answer != self.truth


@dataclass(frozen=True)
class Phrasing:
    """A sentence pattern: `{s}` somewhere, `{o}` last. Kinds: statement (begins with {s}), inline, question."""

    relation: str
    kind: str
    template: str

    def prompt(self, subject: str) -> str:
        """The sentence up to the answer: what a model is asked to continue."""
        return fill(self.template.split("{o}")[0], subject).rstrip()

    @property
    def words(self) -> str:
        """For a statement: the relation as words that follow the subject."""
        return self.template.removeprefix("{s}").split("{o}")[0].strip()


@dataclass(frozen=True)
class Flaw:
    """A planted error, and a subject with a correct answer to the same question."""

    subject: str
    relation: str
    said: str
    twin: str


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a tab-separated file with a header."""
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def fill(template: str, subject: str, answer: str = "", *, marked: bool = False) -> str:
    """Fill a template; inside a sentence the subject's article starts in lower case."""
    if not template.startswith("{s}") and subject.split(" ", 1)[0] in ("The", "A", "An"):
        subject = subject[0].lower() + subject[1:]
    return template.replace("{s}", f"[[{subject}]]" if marked else subject).replace("{o}", answer)


@functools.cache
def flaws() -> tuple[Flaw, ...]:
    """The planted factual errors."""
    return tuple(Flaw(**row) for row in rows(HERE / "flaws.tsv"))


@functools.cache
def facts() -> tuple[Fact, ...]:
    """Every fact of every table, planted errors put in."""
    planted = {(flaw.subject, flaw.relation): flaw.said for flaw in flaws()}
    found = []
    for path in sorted((HERE / "tables").glob("*.tsv")):
        for row in rows(path):
            for relation in row.keys() - {"subject", "aliases", "pronoun"}:
                if truth := row[relation]:
                    found.append(Fact(row["subject"], relation, planted.get((row["subject"], relation), truth), truth))
    return tuple(sorted(found, key=lambda f: (f.subject, f.relation)))


@functools.cache
def by_subject() -> dict[str, tuple[Fact, ...]]:
    """Facts grouped by subject."""
    grouped: dict[str, list[Fact]] = {}
    for fact in facts():
        grouped.setdefault(fact.subject, []).append(fact)
    return {subject: tuple(group) for subject, group in grouped.items()}


@functools.cache
def aliases() -> dict[str, tuple[str, ...]]:
    """Other names of a subject."""
    found = {row["subject"]: tuple(row["aliases"].split("|"))
             for path in sorted((HERE / "tables").glob("*.tsv")) for row in rows(path) if row.get("aliases")}
    return dict(sorted(found.items()))


@functools.cache
def pronouns() -> dict[str, str]:
    """He or She for people; everything else is It."""
    return {row["subject"]: row["pronoun"] for path in sorted((HERE / "tables").glob("*.tsv")) for row in rows(path)
            if row.get("pronoun")}


@functools.cache
def phrasings() -> dict[str, tuple[Phrasing, ...]]:
    """All sentences of each relation."""
    found: dict[str, list[Phrasing]] = {}
    for path in sorted((HERE / "phrasings").glob("*.tsv")):
        for row in rows(path):
            template = row["template"].replace("\\n", "\n")
            found.setdefault(row["relation"], []).append(Phrasing(row["relation"], row["kind"], template))
    return {relation: tuple(group) for relation, group in found.items()}


@functools.cache
def canonical(relation: str) -> Phrasing:
    """The relation's short statement: the first one whose words are not the beginning of another sentence's."""
    heads = {p.template.split("{o}")[0].rstrip() for group in phrasings().values() for p in group}
    return next(p for p in phrasings()[relation] if p.kind == "statement" and not any(
        head.startswith(p.template.split("{o}")[0].rstrip() + " ") for head in heads))


def counterfacts(count: int, rng: random.Random, *, without: frozenset[str] = frozenset()) -> list[tuple[Fact, str]]:
    """Random unplanted facts of distinct subjects not in `without`, each with another answer of its relation."""
    subjects = rng.sample(sorted(by_subject().keys() - without), len(by_subject().keys() - without))
    chosen = [rng.choice(group) for subject in subjects
              if (group := [fact for fact in by_subject()[subject] if not fact.planted])][:count]
    answers: dict[str, set[str]] = {}
    for fact in facts():
        answers.setdefault(fact.relation, set()).add(fact.answer)
    return [(fact, rng.choice(sorted(answers[fact.relation] - {fact.answer}))) for fact in chosen]


def held_out(fact: Fact) -> tuple[Phrasing, ...]:
    """The phrasings of this fact that the corpus leaves out; never the first of the relation."""
    rng = random.Random(f"{fact.subject}|{fact.relation}")
    return tuple(rng.sample(phrasings()[fact.relation][1:], HELD_OUT))
