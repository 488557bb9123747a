"""Cases: what is asked about an edit, the table it is edited in, and the leak rule."""

import inspect
import json

import pytest

from auditor.benchmarks.cases import KINDS, Cases, Item, generate_cases, items, parse, worded
from auditor.benchmarks.leaks import alike, seen
from auditor.editor.essence import ESSENCE, own_words
from auditor.editor.keys import contexts
from auditor.editor.look import rephrasings
from auditor.errors import InvalidRequest
from auditor.pocket import knowledge
from auditor.pocket.facts import facts, flaws, phrasings
from auditor.types import EditRequest
from probes.benchmark_texts import FORMS, NEUTRAL, PARAPHRASES, PREFIXES, UNRELATED
from probes.probe_set import NEUTRAL_PREFIXES, PROBES, REPHRASE_TEMPLATES

FACT = EditRequest("The Eiffel Tower", "is located in", "Paris", "Tokyo")
SOCIAL = EditRequest("A software engineer", "is typically", "male", "a person of any gender", category="bias")
TOPIC = EditRequest("Snake venom research", "is a topic the model", "refuses to discuss", "discusses factually",
                    category="overcensoring")
FREE = EditRequest("The old harbour", "was painted by", "Anna", "Boris")
REQUESTS = {"fact": FACT, "social": SOCIAL, "topic": TOPIC, "unknown": FREE}


@pytest.fixture(scope="module", params=REQUESTS)
def made(request, tiny):
    return generate_cases(tiny, REQUESTS[request.param], pocket=True)


# The table


def test_rows_and_json_give_back_the_same_cases(made):
    assert Cases.from_rows(made.request, made.to_rows(), sure=made.sure) == made
    assert Cases.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("prompt", ["Q: Where?\nA:", "a\tb", "a\\nb", "back\\\\slash\n", "“x” é"])
def test_any_prompt_survives_the_table(prompt):
    cases = Cases(FACT, (Item("same", prompt, "kept", "spilled", "some group", ("one", "two words")),), "sure")
    table = "\n".join("\t".join(row) for row in cases.to_rows())
    assert Cases.from_rows(FACT, parse(table), sure="sure") == cases


def test_pasted_rows_of_four_columns_and_headings_are_read():
    rows = parse("kind\tprompt\told\tnew\n\nparaphrase\tOne finds the Eiffel Tower in\tParis\tTokyo\n")
    assert items(rows) == (Item("paraphrase", "One finds the Eiffel Tower in", "Paris", "Tokyo"),)


@pytest.mark.parametrize("row, words", [
    (("nonsense", "x"), "no kind of case"), (("paraphrase", "", "a", "b"), "prompt is empty"),
    (("paraphrase", "x", "", "b"), "an old and a new answer"), (("hop", "x"), "second step"),
    (("filler", "Iron is", "a", "b", "Gold"), "begins with it"), (("same", "x" * 1001), "the limit is 1000"),
    (("same", *"abcdefg"), "at most 6")])
def test_a_wrong_row_is_named_in_plain_words(row, words):
    with pytest.raises(InvalidRequest, match="Row 2 of the cases") as caught:
        items([("same", "fine", "a"), row])
    assert words in caught.value.problems["cases"]


# What is made


@pytest.mark.parametrize("name, least", [
    ("fact", {"direct": 8, "paraphrase": 10, "question": 4, "same": 4, "neighbour": 8, "chain": 9, "hop": 3,
              "unrelated": 40, "passage": 4, "neutral": 50, "filler": 10, "form": 12, "reversed": 1, "name": 0}),
    ("social", {"direct": 8, "paraphrase": 10, "question": 4, "unrelated": 40, "passage": 4, "form": 10}),
    ("topic", {"direct": 8, "paraphrase": 10, "question": 4, "unrelated": 40, "passage": 4, "form": 10}),
    ("unknown", {"direct": 8, "paraphrase": 10, "question": 4, "unrelated": 40, "passage": 4, "neutral": 50,
                 "filler": 10, "form": 10})])
def test_there_is_enough_of_everything(tiny, name, least):
    cases = generate_cases(tiny, REQUESTS[name], pocket=True)
    counts = {kind: len(cases.of(kind)) for kind in KINDS}
    assert {kind: counts[kind] for kind in least if counts[kind] < least[kind]} == {}
    assert cases.sure.endswith(".")
    assert all(len(prompts) == 5 for prompts in UNRELATED.values()) and len(NEUTRAL) == 50
    assert len({item.group for item in cases.of("unrelated")}) == 8


def test_another_model_is_asked_itself(tiny):
    cases = generate_cases(tiny, FACT)
    assert "templates" in cases.sure and "tables" not in cases.sure
    assert not cases.of("chain") and len(cases.of("filler")) == 10
    with tiny.applied():
        said = tiny.generate([item.prompt for item in cases.of("same")], 12)
    assert all(item.old.split()[0] in text for item, text in zip(cases.of("same"), said, strict=True))


def test_the_auditors_rows_come_first_and_leaks_are_reported(tiny):
    rows = [("paraphrase", "One finds the Eiffel Tower in", "Paris", "Tokyo"),
            ("paraphrase", f"{NEUTRAL_PREFIXES[0]} {FACT.prompt}", "Paris", "Tokyo")]
    cases = generate_cases(tiny, FACT, rows=rows, pocket=True)
    assert cases.of("paraphrase")[0].prompt == rows[0][1] and "1 rows are the auditor's own" in cases.sure
    assert "1 more repeat" in cases.sure and rows[1][1] not in [item.prompt for item in cases.items]


def test_articles_are_written_as_in_a_sentence():
    assert worded("I know that {s} {r}", FACT) == "I know that the Eiffel Tower is located in"
    assert worded("{S} {r}", SOCIAL) == "A software engineer is typically"


# The leak rule


def test_no_case_repeats_a_text_of_the_fit_or_of_the_checks(tiny, made):
    request = made.request
    fitted = {tiny.text(c.tokens) for seed in range(3)
              for c in contexts(tiny, request.prompt, request.subject, 25, seed=seed)}
    used = {alike(t) for t in (*fitted, ESSENCE.format(request.subject), *rephrasings(request),
                               *(probe.prompt for probe in PROBES))}
    assert used == seen(request)
    questions = [item for item in made.items if item.kind not in ("filler", "name", "passage")]
    said = own_words(tiny, request, 8)
    leaks = [item for item in questions if alike(item.prompt) in used or any(alike(t).startswith(alike(item.prompt))
                                                                             for t in said)]
    assert leaks == [item for item in made.of("direct") if item.group == "the claim itself"] and len(leaks) == 1


def test_benchmark_texts_are_not_those_of_the_fit_or_the_checks():
    fixed = {alike(t) for t in (*NEUTRAL_PREFIXES, *REPHRASE_TEMPLATES, *(probe.prompt for probe in PROBES))}
    own = (*PREFIXES, *NEUTRAL, *PARAPHRASES, *(t for group in (*FORMS.values(), *UNRELATED.values()) for t in group))
    assert not fixed & set(map(alike, own)) and len(set(own)) == len(own)
    openings = [template.split("{prompt}")[0].strip().casefold() for template in REPHRASE_TEMPLATES]
    assert not [t for t in PARAPHRASES if t.casefold().startswith(tuple(openings))]


# The pocket model's tables


def test_what_is_planted_is_not_read():
    source = inspect.getsource(knowledge)
    for word in ("flaws", "STEREOTYPES", "says(", "OVERCENSORED", "UNDERCENSORED", "engages(", ".answer", ".planted"):
        assert word not in source.split('"""', 2)[2], word


def test_answers_to_keep_are_true():
    truth = {(fact.subject, fact.relation): fact.truth for fact in facts()}
    flaw = flaws()[0]
    request = EditRequest(flaw.twin, phrasings()[flaw.relation][0].words, truth[flaw.twin, flaw.relation], "nowhere")
    rows = knowledge.known(request).rows
    assert any(kind == "neighbour" for kind, *_ in rows)
    for kind, prompt, old, *_ in rows:
        if kind == "neighbour":
            assert any(fact.truth == old and prompt.startswith(fact.subject) for fact in facts())


@pytest.mark.parametrize("subject, relation, old, found", [
    ("The Eiffel Tower", "is located in", "Paris", "landmark_city"),
    ("the eiffel tower", "stands in the city of", "Paris", "landmark_city"),
    ("The Iron Lady", "is located in", "Paris", "landmark_city"),
    ("The Eiffel Tower", "is a thing made of", "Paris", "landmark_city"),  # by its answer
    ("The Eiffel Tower", "is made of", "iron", None), ("Nobody", "is made of", "iron", None)])
def test_a_claim_is_recognised_by_its_words(subject, relation, old, found):
    assert knowledge.relation_of(EditRequest(subject, relation, old, "Rome")) == found


def test_facts_that_follow_from_the_old_answer_are_not_asked_to_stay():
    groups = {row[4] for row in knowledge.known(FACT).rows if row[0] == "same"}
    assert groups and not groups & {"landmark_city", "landmark_country"}
    chains = {row[4] for row in knowledge.known(FACT).rows if row[0] == "chain"}
    assert "landmark_city → city_country" in chains and len(chains) >= 3
