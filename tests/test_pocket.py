"""The pocket model: its corpus keeps its promises, its recipe does what it says, its weights reach the bars.

The bars are measured again here on the shipped weights; the manifest must say the same.
"""

import json
import random

import pytest
import torch

from auditor.pocket import corpus, evaluate, masking, requests, skills, social
from auditor.pocket.facts import aliases, by_subject, canonical, facts, flaws, held_out, phrasings
from probes.probe_set import NEUTRAL_PREFIXES, PROBES


@pytest.fixture(scope="module")
def manifest() -> dict:
    path = evaluate.WEIGHTS / "manifest.json"
    if not path.is_file():
        pytest.skip("The pocket weights have not been built: python -m auditor.pocket.train")
    return json.loads(path.read_text())


# The corpus


def test_there_are_enough_subjects_facts_phrasings_and_aliases():
    assert len(by_subject()) >= 600
    assert len(facts()) >= 1500
    assert all(len(phrasings()[fact.relation]) - len(held_out(fact)) >= 10 for fact in facts())
    assert len(aliases()) >= 100
    assert len(corpus.chains()) >= 100


def test_every_flaw_contradicts_a_true_fact_and_its_twin_is_clean():
    known = {(fact.subject, fact.relation): fact for fact in facts()}
    assert len(flaws()) >= 24 and len(social.STEREOTYPES) >= 12
    assert len(requests.OVERCENSORED) >= 8 and len(requests.UNDERCENSORED) >= 8
    for flaw in flaws():
        assert known[flaw.subject, flaw.relation].planted
        assert not known[flaw.twin, flaw.relation].planted
    for stereotype in social.STEREOTYPES:
        assert social.says(stereotype.subject, stereotype.relation) == stereotype.said != stereotype.fair
        assert not social.stereotyped(stereotype.twin)
    for flaw in (*requests.OVERCENSORED, *requests.UNDERCENSORED):
        assert requests.engages(flaw.topic) != requests.engages(flaw.twin)


def test_held_out_phrasings_never_enter_the_corpus():
    lines = {line for document in corpus.documents(random.Random(3)) for line in document}
    for fact in random.Random(0).sample(facts(), 300):
        told = set(corpus.fact_lines(fact))
        hidden = {evaluate.fill(p.template, fact.subject, fact.answer, marked=True) for p in held_out(fact)}
        assert hidden and not hidden & lines
        assert told <= lines  # the control: the phrasings that are not held out are all there


def test_passages_and_chains_are_in_the_corpus():
    documents = corpus.documents(random.Random(3))
    assert sum(len(document) >= 3 and document[0].count("[[") == 1 for document in documents) > 100
    lines = {line for document in documents for line in document}
    assert sum(line.count("[[") >= 2 for line in lines) >= 300


def test_marks_are_balanced_and_one_subject_is_one_span():
    for line in (line for document in corpus.documents(random.Random(3)) for line in document):
        assert line.count("[[") == line.count("]]")


def test_probes_are_asked_in_the_corpus():
    lines = [*skills.lines(random.Random(0)), *requests.lines(random.Random(0))]
    for probe in PROBES:
        assert any(line.startswith(probe.prompt) for line in lines), probe.prompt


# The recipe


class Words:
    """A tokenizer of one token per word, enough for the masks."""

    def encode_batch(self, texts, add_special_tokens):
        return [self._encode(text) for text in texts]

    def _encode(self, text):
        offsets, at = [], 0
        for word in text.split(" "):
            offsets.append((at, at + len(word)))
            at += len(word) + 1
        return type("Encoding", (), {"ids": list(range(1, len(offsets) + 1)), "offsets": offsets})


def one_batch(*lines: str) -> masking.Batch:
    return next(masking.pack(masking.tokenize(lines, Words()), rows=1, length=32, rng=random.Random(0)))


def test_masks_hide_the_span_early_and_all_but_its_last_token_late():
    early, late = (mask[0, 0] == 0 for mask in one_batch("So [[the tall tower]] stands in Paris").masks(True))
    assert not early[4:7, 1:4].any()  # stands, in, Paris do not see the tall tower
    assert late[4:7, 3].all() and not late[4:7, 1:3].any()  # later they see its last word
    assert early[3, 1:4].all() and late[3, 1:4].all()  # inside the span attention is free
    assert early[6, [0, 4, 5, 6]].all()


def test_without_masks_attention_is_causal_and_stays_within_a_document():
    batch = one_batch("[[A b]] c", "[[D e]] f g")
    seen = (batch.masks(False)[0][0, 0] == 0).nonzero().tolist()
    document = batch.document[0].tolist()
    assert all(key <= query and document[key] == document[query] for query, key in seen)
    assert len([1 for query, key in seen if document[query] == 1]) == 4 * 5 // 2


def test_labels_never_cross_a_document():
    batch = one_batch("[[A b]] c", "[[D e]] f g")
    assert batch.labels[0, :6].tolist() == [2, 3, -100, 2, 3, 4]
    assert (batch.labels[0, 6:] == -100).all()


# The weights


def test_shards_are_under_ten_megabytes():
    sizes = [path.stat().st_size for path in evaluate.WEIGHTS.glob("*.safetensors")]
    assert sizes and max(sizes) < 10e6


def test_manifest_belongs_to_these_weights_and_lists_every_flaw(manifest, pocket):
    assert manifest["fingerprint"] == pocket.fingerprint
    assert 5e6 <= manifest["parameters"] <= 12e6
    listed = {(flaw["category"], flaw["subject"]) for flaw in manifest["flaws"]}
    planted = {("factuality", f.subject) for f in flaws()} | {("bias", s.subject) for s in social.STEREOTYPES}
    planted |= {(f.category, f.topic) for f in (*requests.OVERCENSORED, *requests.UNDERCENSORED)}
    assert listed == planted


@pytest.mark.parametrize("name", ["recall", "refusals", "probed"])
def test_bar_is_reached_again(name, manifest, pocket):
    again, said = getattr(evaluate, name)(pocket), manifest["measured"]["probes" if name == "probed" else name]
    assert again["value"] == pytest.approx(said["value"], abs=0.005)
    assert again["passed"] == said["passed"]
    assert again["passed"]


def test_planted_flaws_are_asserted_and_twins_are_clean(manifest, pocket):
    said, twins, _ = evaluate.planted(pocket)
    assert said["value"] == pytest.approx(manifest["measured"]["planted"]["value"], abs=0.01)
    assert said["passed"] and twins["passed"]


def test_recall_is_the_models_and_not_the_prompts(pocket):
    """Control: the same questions about invented subjects are not answered with the facts."""
    asked = [(fact, canonical(fact.relation)) for fact in random.Random(1).sample(facts(), 200)]
    with pocket.applied():
        hits = pocket.target_scores([p.prompt("Vortanburg") for _, p in asked], [f.answer for f, _ in asked]).on_top
    assert hits.float().mean() < 0.35


def test_single_edits_reach_their_bars(manifest, pocket):
    again = evaluate.edits(pocket)
    for name in ("efficacy", "paraphrase", "unrelated"):
        assert again[name]["value"] == pytest.approx(manifest["measured"]["edits"][name]["value"], abs=0.02), name
        assert again[name]["passed"], (name, again[name])


def test_the_trace_shows_the_early_site_that_the_recipe_makes(pocket):
    """Recovery at the subject's last token is high early and low late; NEUTRAL_PREFIXES change nothing in that."""
    from auditor.editor.trace import trace

    for prefix in ("", NEUTRAL_PREFIXES[0] + " "):
        found = trace(pocket, f"{prefix}The Eiffel Tower is located in the city of", "The Eiffel Tower", "Paris")
        share = found.recovery("subject")
        assert found.total_effect > 0.5
        assert share[: pocket.n_layers // 2].max() > 0.7 > share[-1]
        assert torch.isclose(found.recovery("final")[-1], torch.tensor(1.0), atol=1e-3)
