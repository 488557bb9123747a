"""What the model says now: top next words, how likely the old and the new answer are, phrasing by phrasing.

1. `resolve` fills an empty old answer with the model's own greedy one, so that later steps always compare two answers.
2. `look` scores whole answers (every token, not only the first) on the claim itself and on seven rephrasings.
3. `compare` asks the same questions of two sets of live edits and says how far the next-word choices moved.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from auditor.errors import InvalidRequest
from auditor.model import SharedModel
from auditor.types import MAX_FIELD, Edit, EditRequest
from probes.probe_set import REPHRASE_TEMPLATES

TOP = 10
"""Next words shown."""
ANSWER_TOKENS = 24
"""Longest greedy answer, in tokens."""
ROW_TOKENS = 12
"""The same for each of the rephrasings."""
MAX_QUESTION = 1000
"""Longest accepted question, in characters."""


@dataclass(frozen=True)
class LookRow:
    """One phrasing of the claim: probability of each whole answer, and what the model says by itself."""

    prompt: str
    old: float
    new: float
    answer: str


@dataclass(frozen=True)
class Look:
    """How the model takes a claim now. `rows` are the rephrasings; the other fields are about the claim itself."""

    prompt: str
    top: tuple[tuple[str, float], ...]
    old: float
    new: float
    old_answer: str
    rows: tuple[LookRow, ...]


@dataclass(frozen=True)
class Comparison:
    """One question asked before and after; `moved` is KL(before ‖ after) of the next word, nats."""

    prompt: str
    before: str
    after: str
    top_before: tuple[tuple[str, float], ...]
    top_after: tuple[tuple[str, float], ...]
    moved: float


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """KL(before ‖ after) in nats from log-probabilities [..., d_vocab]; summed in fp64."""
    p, q = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)


def first_sentence(text: str) -> str:
    """The first sentence of a continuation, without its full stop and spaces around it."""
    line = next((part for part in text.splitlines() if part.strip()), "")
    return " ".join(re.split(r"(?<=\w\w)[.!?;](?=\s|$)", line.strip(), maxsplit=1)[0].split())


def top_words(model: SharedModel, logprobs: Tensor, count: int = TOP) -> tuple[tuple[str, float], ...]:
    """The likeliest next tokens of one prompt's [d_vocab] log-probabilities, with probabilities."""
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]))
    return tuple((model.text([i]), value) for i, value in zip(ids.tolist(), values.exp().tolist(), strict=True))


def rephrasings(request: EditRequest) -> tuple[str, ...]:
    """The claim in the seven fixed phrasings; each still ends where the answer begins."""
    return tuple(template.format(prompt=request.prompt) for template in REPHRASE_TEMPLATES)


def resolve(model: SharedModel, request: EditRequest, *, edits: Sequence[Edit] = ()) -> EditRequest:
    """Fill an empty `target_old` with the model's own greedy answer; raises InvalidRequest when that is the new one."""
    if request.target_old:
        return request
    with model.applied(edits):
        answer = first_sentence(model.generate([request.prompt], ANSWER_TOKENS)[0])[:MAX_FIELD].strip()
    if not answer:
        raise InvalidRequest({"target_old": "The model gives no answer of its own here. Please write the old answer."})
    if answer.casefold() == request.target_new.casefold():
        raise InvalidRequest({"target_new": f"The model already says “{answer}” here, so there is nothing to change."})
    return dataclasses.replace(request, target_old=answer)


def look(model: SharedModel, request: EditRequest, *, edits: Sequence[Edit] = ()) -> Look:
    """Show what the model says now: 10 likeliest next words, and both whole answers in eight phrasings."""
    prompts = (request.prompt, *rephrasings(request))
    with model.applied(edits):
        top = top_words(model, model.next_logprobs(prompts[:1])[0])
        said = model.generate(prompts[:1], ANSWER_TOKENS) + model.generate(prompts[1:], ROW_TOKENS)
        answers = [first_sentence(text) for text in said]
        old_answer = request.target_old or answers[0]
        targets = [old_answer or top[0][0]] * len(prompts) + [request.target_new] * len(prompts)
        p = model.target_scores(prompts * 2, targets).probability.tolist()
    old, new = p[: len(prompts)], p[len(prompts) :]
    rows = tuple(map(LookRow, prompts, old, new, answers))
    return Look(request.prompt, top, old[0], new[0], old_answer, rows[1:])


def compare(model: SharedModel, prompts: Sequence[str], *, before: Sequence[Edit] = (),
            after: Sequence[Edit] = ()) -> tuple[Comparison, ...]:
    """Ask the same questions under two sets of edits; raises InvalidRequest for an empty or overlong question."""
    prompts = [check_question(prompt) for prompt in prompts]
    if not prompts:
        return ()
    seen = []
    for edits in (before, after):
        with model.applied(edits):
            said = [text.strip() for text in model.generate(prompts, ANSWER_TOKENS)]
            seen.append((model.next_logprobs(prompts), said))
    (logp_0, said_0), (logp_1, said_1) = seen
    moved = divergence(logp_0, logp_1).tolist()
    return tuple(
        Comparison(prompt, said_0[i], said_1[i], top_words(model, logp_0[i]), top_words(model, logp_1[i]), moved[i])
        for i, prompt in enumerate(prompts))


def check_question(text: str) -> str:
    """A question without spaces at its ends; raises InvalidRequest with a sentence when it cannot be asked."""
    text = str(text).strip()
    if not text:
        raise InvalidRequest({"question": "Please write a question or the beginning of a sentence."})
    if len(text) > MAX_QUESTION:
        raise InvalidRequest({"question": f"This is {len(text)} characters long; the limit is {MAX_QUESTION}."})
    return text
