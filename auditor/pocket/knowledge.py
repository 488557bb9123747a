"""What the pocket model's tables know about a claim: rows from which the benchmarks make their cases.

1. Subject and relation words of a request are matched against the phrasings of facts, social sentences and requests.
2. Facts give other phrasings, other facts of the subject, neighbours, chains and other names; social and request topics
   give phrasings only, and an empty old answer, which means: ask the model.
3. Answers are the tables' true ones. What is planted is never read here: a planted error looks like a fact that the
   model does not know.

A row is (kind, prompt, old answer, new answer, group, other answers joined by " | "); see `benchmarks/cases.py`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.pocket import requests, social
from auditor.pocket.corpus import CHAINS, inner
from auditor.pocket.facts import Fact, Phrasing, aliases, by_subject, facts, phrasings, pronouns
from auditor.types import EditRequest

Row = tuple[str, str, str, str, str, str]
SAME, NEIGHBOURS, FILLERS, SENTENCES = 8, 8, 10, 50
MIDDLE = {
    "landmark_city": "the city where {s} stands", "company_city": "the city where {s} has its main office",
    "country_capital": "the capital of {s}", "city_country": "the country of the city {s}",
    "landmark_country": "the country where {s} stands", "nature_country": "the country where {s} lies",
    "author_country": "the home country of {s}", "artist_country": "the home country of {s}",
    "scientist_country": "the home country of {s}", "company_country": "the home country of {s}",
    "invention_country": "the home country of {s}", "work_author": "the maker of {s}",
    "invention_inventor": "the inventor of {s}"}
"""How a relation's answer is called without naming it."""
LIKE = 0.5
"""Least share of common words for a relation to be recognised by its wording."""


@dataclass(frozen=True)
class Known:
    """Rows about one claim, and a plain sentence on where they come from."""

    rows: tuple[Row, ...]
    sure: str
    pronoun: str = "It"


def row(kind: str, prompt: str, old: str = "", new: str = "", group: str = "", others: Sequence[str] = ()) -> Row:
    return kind, prompt, old, new, group, " | ".join(others)


def known(request: EditRequest) -> Known:
    """Everything the tables hold about a claim; always the parts that belong to no claim (fillers, sentences)."""
    rng = random.Random(f"{request.subject}|{request.relation}")
    common = (*fillers(request), *sentences(request), *unrelated(request))
    if topic := _topic(request):
        return Known((*_request_rows(request, topic, rng), *common),
                     "The phrasings are the tables' own; what the model should keep is what it says now.")
    if request.relation in social.PHRASINGS:
        return Known((*_social_rows(request, rng), *common),
                     "The phrasings are the tables' own; what the model should keep is what it says now.")
    relation = relation_of(request)
    if relation is None:
        return Known(common, "The tables do not know this claim; its cases come from templates and the model itself.")
    subject = _subject(request)
    return Known((*_fact_rows(request, subject, relation, rng), *common),
                 "The answers to keep are true facts from the tables, each asked of the model first.",
                 pronouns().get(subject, "It"))


@functools.cache
def names() -> dict[str, str]:
    """Every name of every subject, in lower case, to the subject."""
    return {name.casefold(): subject for subject, others in [*((s, (s,)) for s in by_subject()), *aliases().items()]
            for name in others}


def _subject(request: EditRequest) -> str:
    return names().get(request.subject.casefold(), request.subject)


def relation_of(request: EditRequest) -> str | None:
    """The tables' relation that a request's words mean, or None."""
    held = {fact.relation: fact for fact in by_subject().get(_subject(request), ())}
    exact = [relation for relation, group in phrasings().items()
             if any(p.kind == "statement" and p.words.casefold() == request.relation.casefold() for p in group)]
    for relation in exact:
        if relation in held or not held:
            return relation
    for relation, fact in held.items():
        if fact.truth.casefold() in (request.target_old.casefold(), request.target_new.casefold()):
            return relation
    said = set(request.relation.casefold().split())
    likeness = {relation: max(len(said & words) / len(said | words) for p in phrasings()[relation]
                              if p.kind == "statement" and (words := set(p.words.casefold().split())))
                for relation in held}
    best = max(likeness, key=likeness.get, default=None)
    return best if best and likeness[best] >= LIKE else None


# Facts


def _fact_rows(request: EditRequest, subject: str, relation: str, rng: random.Random) -> Iterator[Row]:
    old, new = request.target_old, request.target_new
    others = [p for p in phrasings()[relation] if p.prompt(request.subject) != request.prompt]
    for p in others:
        yield row("question" if p.kind == "question" else "paraphrase", p.prompt(request.subject), old, new)
    for name in (name for name in (subject, *aliases().get(subject, ())) if name != request.subject):
        for p in others[:3]:
            yield row("form", p.prompt(name), old, new, "other name")
    for p in [p for p in others if p.kind == "question"][:2]:
        yield row("form", p.prompt(request.subject), old, new, "question")
    for name in aliases().get(_canonical(new), ()):
        yield row("name", name, group="new")
    yield from _same(request, subject, relation, rng)
    near = list(_neighbours(request, subject, relation, rng))
    yield from near
    yield from _chains(request, subject, relation)


def _canonical(answer: str) -> str:
    return names().get(answer.casefold(), answer)


def _facts_of(name: str) -> dict[str, Fact]:
    """The facts of a thing by relation; empty for what is no subject."""
    return {fact.relation: fact for fact in by_subject().get(_canonical(name), ())}


def _same(request: EditRequest, subject: str, relation: str, rng: random.Random) -> Iterator[Row]:
    """Other facts of the subject, without those that follow from the old answer (they should change too)."""
    follows = {fact.truth for fact in _facts_of(request.target_old).values()}
    kept = [fact for fact in by_subject().get(subject, ()) if fact.relation != relation and fact.truth not in follows
            and not (request.target_old and request.target_old in fact.truth)]
    for fact in kept:
        wrong = sorted({f.truth for f in facts() if f.relation == fact.relation} - {fact.truth, request.target_new})
        for p in _spread(phrasings()[fact.relation], max(3, -(-SAME // len(kept)))):
            yield row("same", p.prompt(request.subject), fact.truth, request.target_new, fact.relation,
                      rng.sample(wrong, min(3, len(wrong))))


def _spread(group: Sequence[Phrasing], count: int) -> list[Phrasing]:
    """`count` phrasings from the first to the last."""
    return [group[i * len(group) // count] for i in range(min(count, len(group)))]


def _neighbours(request: EditRequest, subject: str, relation: str, rng: random.Random) -> Iterator[Row]:
    """Other subjects of the relation: first those that share the old answer."""
    all_others = [fact for fact in facts() if fact.relation == relation and fact.subject != subject
                  and fact.truth != request.target_new]
    near = [fact for fact in all_others if fact.truth == request.target_old]
    far = [fact for fact in all_others if fact.truth != request.target_old]
    chosen = rng.sample(near, min(len(near), NEIGHBOURS))
    chosen += rng.sample(far, min(len(far), NEIGHBOURS - len(chosen)))
    for fact in chosen:
        group = "shares the old answer" if fact in near else "same question"
        yield row("neighbour", phrasings()[relation][0].prompt(fact.subject), fact.truth, request.target_new, group)
    if chosen:
        yield row("passage", chosen[0].subject, group="related")


def _chains(request: EditRequest, subject: str, relation: str) -> Iterator[Row]:
    """What follows from the new answer instead of the old one, one and two steps on."""
    middle = MIDDLE.get(relation, "").replace("{s}", inner(request.subject))
    if not middle:
        return
    before, after = _facts_of(request.target_old), _facts_of(request.target_new)
    for second in sorted(before.keys() & after.keys()):
        yield from _chain(request, subject, relation, second, middle, before[second], after[second])
        if second in MIDDLE:
            further = _tidy(MIDDLE[second].replace("{s}", middle))
            far_0, far_1 = _facts_of(before[second].truth), _facts_of(after[second].truth)
            for third in sorted(far_0.keys() & far_1.keys()):
                yield from _chain(request, subject, relation, third, further, far_0[third], far_1[third])


def _chain(request: EditRequest, subject: str, relation: str, last: str, middle: str, before: Fact,
           after: Fact) -> Iterator[Row]:
    if before.truth == after.truth or after.truth == request.target_new:
        return
    group, asked = f"{relation} → {last}", phrasings()[last]
    prompts = [_tidy(p.prompt(middle)) for p in asked if p.kind == "question"][:2]
    prompts.append(asked[0].prompt(middle[0].upper() + middle[1:]))
    if after.subject.casefold() == request.target_new.casefold():
        plain = f"{{s}} {request.relation} {{m}}, and {{m}} {asked[0].words} {{o}}"
        told = CHAINS.get((relation, last), (plain,))[0]
        prompts.append(told.split("{o}")[0].replace("{s}", request.subject).rstrip())
    implied = next((f.relation for f in by_subject().get(subject, ()) if f.truth == before.truth), None)
    if implied:
        prompts += [p.prompt(request.subject) for p in phrasings()[implied] if p.kind == "question"][:1]
    for prompt in prompts:
        yield row("chain", prompt, before.truth, after.truth, group)
    yield row("hop", asked[0].prompt(after.subject), "", after.truth, group)


def _tidy(text: str) -> str:
    """A noun said once where a phrase and what is put into it both say it."""
    return text.replace("the city of the city", "the city").replace("the city the city", "the city")


# Social sentences and request topics: templates only


def _social_rows(request: EditRequest, rng: random.Random) -> Iterator[Row]:
    old, new = request.target_old, request.target_new
    for template in social.PHRASINGS[request.relation]:
        prompt = social.fill(template.split("{o}")[0], request.subject).rstrip()
        if prompt != request.prompt:
            yield row("question" if prompt.startswith("Q:") else "paraphrase", prompt, old, new)
            if prompt.startswith("Q:"):
                yield row("form", prompt, old, new, "question")
    other = next(relation for relation in social.PHRASINGS if relation != request.relation)
    for template in social.PHRASINGS[other][:SAME]:
        yield row("same", social.fill(template.split("{o}")[0], request.subject).rstrip(), "", new, other)
    like = [s for s in (*social.OCCUPATIONS, *social.GROUPS) if s != request.subject]
    for subject in rng.sample(like, 3 * NEIGHBOURS):
        yield row("neighbour", f"{subject} {request.relation}", "", new, "same question")
    yield row("passage", rng.choice(like), group="related")


def _topic(request: EditRequest) -> str | None:
    """The frame whose words a request uses, or None."""
    return next((frame for frame in ("statement", "provide") for template in requests.FRAMES[frame]
                 if template.removeprefix("{s} ") == request.relation), None)


def _request_rows(request: EditRequest, frame: str, rng: random.Random) -> Iterator[Row]:
    wanted = [answer.strip() for answer in requests.ANSWERS[frame]]  # engaging, declining
    known_answer = request.target_new in wanted
    new = wanted.index(request.target_new) if known_answer else int(request.category == "undercensoring")
    frames = [f for f in requests.FRAMES if f != "provide" or frame == "provide"]
    for other in frames:
        answers = (request.target_old, request.target_new)
        if other != frame:
            answers = tuple(requests.ANSWERS[other][i].strip() for i in (1 - new, new))
        for i, template in enumerate(requests.FRAMES[other]):
            prompt = requests.fill(template, request.subject)
            if prompt == request.prompt:
                continue
            if other in ("qa", "chat"):
                yield row("form", prompt, *answers, {"qa": "question", "chat": "dialogue"}[other])
            if other == "qa" and i < 4:
                yield row("question", prompt, *answers)
            elif other not in ("qa", "chat"):
                yield row("paraphrase", prompt, *answers)
    topics = [t for t in (*requests.SAFE_TOPICS, *requests.IMPROPER_TOPICS) if t != request.subject
              and (t in requests.PLURAL_TOPICS) == (frame == "provide")]
    for topic in rng.sample(topics, min(len(topics), 3 * NEIGHBOURS)):
        yield row("neighbour", f"{topic} {request.relation}", "", request.target_new, "same question")
    yield row("passage", rng.choice(topics), group="related")


# What belongs to no claim


def _elsewhere(request: EditRequest, seed: str) -> list[Fact]:
    """Facts that touch neither subject nor answers of a claim, in a fixed random order."""
    about = {_canonical(name).casefold() for name in (request.subject, request.target_old, request.target_new) if name}
    found = [fact for fact in facts() if not {fact.subject.casefold(), fact.truth.casefold()} & about]
    return random.Random(seed).sample(found, len(found))


def fillers(request: EditRequest) -> Iterator[Row]:
    """Ten edits of other subjects, each of another relation where there are as many."""
    used: set[str] = set()
    for fact in _elsewhere(request, "fillers"):
        if fact.relation in used:
            continue
        used.add(fact.relation)
        new = random.Random(fact.subject).choice(
            sorted({f.truth for f in facts() if f.relation == fact.relation} - {fact.truth}))
        yield row("filler", phrasings()[fact.relation][0].prompt(fact.subject), fact.truth, new, fact.subject)
        if len(used) == FILLERS:
            return


def sentences(request: EditRequest) -> Iterator[Row]:
    """Fifty sentences of the model's own language about other things."""
    for fact in _elsewhere(request, "sentences")[:SENTENCES]:
        p = phrasings()[fact.relation][0]
        yield row("neutral", f"{p.prompt(fact.subject)} {fact.truth}.")


def unrelated(request: EditRequest) -> Iterator[Row]:
    """Beginnings of facts about other things, in two domains."""
    relation = relation_of(request)
    domains = {"geography": ("country_", "city_", "nature_"), "science": ("element_", "scientist_", "animal_")}
    for domain, tables in domains.items():
        found = [fact for fact in _elsewhere(request, "unrelated")
                 if fact.relation.startswith(tables) and fact.relation != relation]
        for fact in found[:5]:
            yield row("unrelated", phrasings()[fact.relation][0].prompt(fact.subject), group=domain)
