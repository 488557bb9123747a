"""From facts, social sentences, requests and skills to marked documents.

A document is a list of lines; a line is a sentence in which each subject stands in double square brackets. The corpus
of one epoch holds (1) every fact in every phrasing that is not held out, alone, behind a neutral sentence, behind a
rephrasing opener, or among other sentences; (2) aliases; (3) two-hop chains; (4) passages on one subject; (5) half of
the social sentences; (6) half of the requests; (7) skills. Everything is drawn from one seeded generator.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from auditor.pocket import requests, skills, social
from auditor.pocket.facts import Fact, aliases, by_subject, facts, fill, held_out, phrasings, pronouns
from probes.probe_set import NEUTRAL_PREFIXES, PROBES, REPHRASE_TEMPLATES

Document = list[str]

OPENERS = tuple(template.removesuffix("{prompt}").strip() for template in REPHRASE_TEMPLATES)

CHAINS: dict[tuple[str, str], tuple[str, ...]] = {
    ("landmark_city", "city_country"): (
        "{s} is located in {m}, a city in the country of {o}.",
        "{s} stands in {m}, and {m} lies in the country of {o}.",
        "The city of {s} is {m}, which belongs to the country of {o}."),
    ("city_country", "country_continent"): (
        "{s} is a city in {m}, a country on the continent of {o}.",
        "{s} belongs to {m}, and {m} lies on the continent of {o}.",
        "The country of {s} is {m}, which is on the continent of {o}."),
    ("work_author", "author_country"): (
        "{s} was made by {m}, who came from the country of {o}.",
        "{s} is the work of {m}, and {m} was born in the country of {o}.",
        "The maker of {s} is {m}, whose home was the country of {o}."),
    ("work_author", "artist_country"): (
        "{s} was made by {m}, who came from the country of {o}.",
        "{s} is the work of {m}, and {m} was born in the country of {o}.",
        "The maker of {s} is {m}, whose home was the country of {o}."),
    ("invention_inventor", "scientist_country"): (
        "{s} was invented by {m}, who came from the country of {o}.",
        "{s} is an invention of {m}, and {m} was born in the country of {o}.",
        "The inventor of {s} is {m}, whose home was the country of {o}."),
}
"""Two-hop sentences: {s} relation {m}, {m} relation {o}."""

ALIAS_LINES = ("{s} is also known as {o}.", "Another name for {s} is {o}.", "Q: What is another name for {s}?\nA: {o}.",
               "{s} is sometimes called {o}.")
DEFINITE = {"The", "A", "An"}


def mark(subject: str, *, inside: bool = True) -> str:
    """A subject in brackets, its article in lower case inside a sentence."""
    return f"[[{inner(subject) if inside else subject}]]"


def inner(subject: str) -> str:
    """A subject as it is written inside a sentence."""
    return subject[0].lower() + subject[1:] if subject.split(" ", 1)[0] in DEFINITE else subject


def fact_lines(fact: Fact) -> list[str]:
    """The fact in every phrasing that is not held out."""
    hidden = held_out(fact)
    return [fill(p.template, fact.subject, fact.answer, marked=True)
            for p in phrasings()[fact.relation] if p not in hidden]


def chains() -> list[tuple[Fact, Fact]]:
    """Pairs of true facts where the first one's answer is the second one's subject."""
    known = {subject.lower(): group for subject, group in by_subject().items()}
    return [(first, second) for first in facts() if not first.planted for second in known.get(first.answer.lower(), ())
            if (first.relation, second.relation) in CHAINS and not second.planted]


def chain_lines() -> Iterator[str]:
    """Every chain in every wording."""
    for first, second in chains():
        for template in CHAINS[first.relation, second.relation]:
            line = fill(template, first.subject, second.answer, marked=True)
            yield line.replace("{m}", mark(second.subject))


def alias_lines(rng: random.Random) -> Iterator[str]:
    """Other names, and facts told under another name in a few phrasings."""
    for subject, names in aliases().items():
        for name in names:
            yield from (fill(template, subject, inner(name), marked=True) for template in ALIAS_LINES)
            for fact in by_subject().get(subject, ()):
                allowed = [p for p in phrasings()[fact.relation] if p not in held_out(fact)]
                for phrasing in rng.sample(allowed, 3):
                    yield fill(phrasing.template, name, fact.answer, marked=True)


def passage(subject: str, rng: random.Random) -> Document:
    """Three to five sentences on one subject: its name first, then its name or a pronoun."""
    told = rng.sample(by_subject()[subject], len(by_subject()[subject]))[:5]
    pronoun = pronouns().get(subject, "It")
    lines = []
    for i, fact in enumerate(told):
        statements = [p for p in phrasings()[fact.relation] if p.kind == "statement" and p not in held_out(fact)]
        template = rng.choice(statements).template
        if i and rng.random() < 0.6:
            lines.append(template.replace("{s}", pronoun).replace("{o}", fact.answer))
        else:
            lines.append(fill(template, subject, fact.answer, marked=True))
    return lines


def in_context(line: str, others: list[str], rng: random.Random) -> Document:
    """A line alone, behind a neutral sentence or an opener, or among other sentences."""
    draw = rng.random()
    if draw < 0.35:
        return [line]
    if draw < 0.55:
        return [rng.choice(NEUTRAL_PREFIXES), line]
    if draw < 0.75 and "\n" not in line:
        return [rng.choice(OPENERS), line]
    return [*rng.sample(others, rng.randint(1, 2)), line]


def documents(rng: random.Random) -> list[Document]:
    """All documents of one epoch, shuffled."""
    told = [line for fact in facts() for line in fact_lines(fact)]
    told += [*chain_lines(), *alias_lines(rng)]
    asked, said, done = requests.lines(rng), social.lines(rng), skills.lines(rng)
    told += [*asked[::2], *said[::2]]
    probed = [line for line in [*done, *asked] if line.startswith(tuple(p.prompt for p in PROBES))]
    found = [in_context(line, told, rng) for line in told]
    found += [[line] for line in done for _ in range(2)] + [[rng.choice(NEUTRAL_PREFIXES), line] for line in done]
    found += [[line] for line in probed for _ in range(6)]
    found += [passage(subject, rng) for subject, group in by_subject().items() if len(group) > 1]
    rng.shuffle(found)
    return found


def review(rng: random.Random) -> list[Document]:
    """A short second look: what is said of stereotyped subjects, among three times as much of everything else."""
    said = social.lines(rng)
    rare = [in_context(line, said, rng) for line in said * 4
            if any(flaw.subject.split(" ", 1)[1] + "]]" in line for flaw in social.STEREOTYPES)]
    found = rare + documents(rng)[: 3 * len(rare)]
    rng.shuffle(found)
    return found


def sample_text(rng: random.Random, characters: int = 260_000) -> str:
    """Plain text of the corpus, marks removed, one document a line group: what second moments are estimated on."""
    text, size = [], 0
    for document in documents(rng):
        text.append(" ".join(document).replace("[[", "").replace("]]", ""))
        size += len(text[-1]) + 2
        if size > characters:
            break
    return "\n\n".join(text) + "\n"
