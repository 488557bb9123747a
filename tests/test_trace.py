"""The trace against the naive loop: one forward pass per cell, the definition itself."""

import pytest
import torch

from auditor.editor.trace import HELD, HOOKS, sentence, subject_deviation, trace
from auditor.errors import SubjectNotFound, UnknownName
from auditor.types import TraceResult
from probes.known_facts import FACTS, SUBJECTS

PROMPT, SUBJECT, TARGET = "The Eiffel Tower is located in", "The Eiffel Tower", "Paris"
PREFIXED = "In fact, the Eiffel Tower is located"


def naive(model, prompt, subject, target, *, part, window, runs, noise=3.0, seed=0):
    """Every cell by its own full forward pass of the Hugging Face module, with plain PyTorch hooks."""
    tokens, answer = model.tokens(prompt), model.target_tokens(target)
    start, end = model.span(prompt, subject)
    layers = [block.original_component for block in model.bridge.blocks]
    deviation = noise * subject_deviation(model)
    blur = deviation * torch.randn(runs, end - start, model.d_model, generator=torch.Generator().manual_seed(seed))
    ids = torch.tensor([[*tokens, *answer[:-1]]])

    def modules(layer):
        module = {"residual": layer, "mlp": layer.mlp, "attention": layer.attention}[part]
        return module

    def forward(hooks=(), blurred=True):
        def corrupt(module, args, out):
            out = out.repeat(runs, 1, 1)
            out[:, start:end] += blur
            return out
        handles = [model.hf.gpt_neox.embed_in.register_forward_hook(corrupt)] if blurred else []
        handles += [module.register_forward_hook(fn) for module, fn in hooks]
        try:
            logprobs = model.hf(ids).logits.log_softmax(-1)
        finally:
            for handle in handles:
                handle.remove()
        picked = [logprobs[:, len(tokens) - 1 + i, token] for i, token in enumerate(answer)]
        return torch.stack(picked).sum(0).exp().mean()

    def head(out):
        return out[0] if isinstance(out, tuple) else out

    def restore(pos, value):
        def fn(module, args, out):
            changed = head(out).clone()
            changed[:, pos] = value[pos]
            return (changed, *out[1:]) if isinstance(out, tuple) else changed
        return fn

    clean_states = {}
    def keep(index):
        return lambda module, args, out: clean_states.__setitem__(index, head(out)[0].clone()) or None
    with model.applied(), torch.no_grad():
        clean = forward([(modules(layer), keep(i)) for i, layer in enumerate(layers)], blurred=False)
        effect = torch.empty(len(layers), len(tokens))
        for index in range(len(layers)):
            low, high = max(0, index - window // 2), min(len(layers) - 1, index + window // 2)
            for pos in range(len(tokens)):
                effect[index, pos] = forward([(modules(layers[i]), restore(pos, clean_states[i]))
                                              for i in range(low, high + 1)])
        return float(clean), float(forward()), effect


@pytest.mark.parametrize("prompt, subject, target", [(PROMPT, SUBJECT, TARGET),
                                                    (PREFIXED, "the Eiffel Tower", "in Paris, it is known")])
@pytest.mark.parametrize("part, window", [("residual", 1), ("mlp", 3), ("attention", 3), ("mlp", 1)])
def test_staircase_equals_naive_loop(tiny, prompt, subject, target, part, window):
    found = trace(tiny, prompt, subject, target, part=part, window=window, runs=3, seed=5)
    clean, corrupted, effect = naive(tiny, prompt, subject, target, part=part, window=window, runs=3, seed=5)
    scale = float(effect.max())  # a random model gives tiny probabilities: compare relative to the largest
    assert found.clean == pytest.approx(clean, rel=1e-4)
    assert found.corrupted == pytest.approx(corrupted, rel=1e-4)
    torch.testing.assert_close(found.effect / scale, effect / scale, atol=1e-5, rtol=1e-5)
    assert float((effect.max() - effect.min()) / scale) > 1e-3  # negative control: there is something to tell apart


def test_chunking_changes_nothing(tiny, monkeypatch):
    whole = trace(tiny, PROMPT, SUBJECT, TARGET, runs=3)
    monkeypatch.setattr("auditor.editor.trace.ROWS", 1)
    torch.testing.assert_close(trace(tiny, PROMPT, SUBJECT, TARGET, runs=3).effect, whole.effect, rtol=1e-5, atol=0)


def test_final_token_final_layer_recovers_everything(tiny):
    """By construction, with a one-token answer: the restored state is the clean output state."""
    found = trace(tiny, PROMPT, SUBJECT, "P", runs=3)
    assert len(tiny.target_tokens("P")) == 2  # space and letter: only the second one's state is not restored
    one = trace(tiny, PROMPT + " ", SUBJECT, " ", runs=3)
    assert float(one.effect[-1, -1]) == pytest.approx(one.clean, rel=1e-4)
    assert found.tokens == tiny.pieces(PROMPT)


def test_before_the_subject_nothing_can_be_restored(tiny):
    found = trace(tiny, PREFIXED, "the Eiffel Tower", TARGET, runs=3)
    assert found.subject[0] > 0
    assert (found.effect[:, : found.subject[0]] == found.corrupted).all()


def test_same_seed_same_trace(tiny):
    first, again, other = (trace(tiny, PROMPT, SUBJECT, TARGET, runs=2, seed=s).effect for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_noise_is_in_standard_deviations_of_subject_embeddings(tiny):
    assert trace(tiny, PROMPT, SUBJECT, TARGET, runs=2).noise == pytest.approx(3 * subject_deviation(tiny))
    still = trace(tiny, PROMPT, SUBJECT, TARGET, runs=2, noise=0.0)
    assert still.clean == pytest.approx(still.corrupted, rel=1e-5)


def test_wrong_input_is_refused(tiny):
    with pytest.raises(SubjectNotFound):
        trace(tiny, PROMPT, "The Colosseum", TARGET)
    with pytest.raises(UnknownName, match="residual"):
        trace(tiny, PROMPT, SUBJECT, TARGET, part="mpl")
    assert set(HOOKS) == {"mlp", "attention"}


def result(clean, corrupted, part="residual"):
    effect = torch.full((4, 3), corrupted)
    effect[1, 1] = clean
    return TraceResult(("The", " Tower", " is"), (0, 2), effect, clean, corrupted, 0.1, 10, part)


def test_sentence_says_what_was_found():
    assert "does not hold this belief" in sentence(result(HELD / 2, 0.0))
    held = sentence(result(0.9, 0.1))
    assert "does not hold" not in held and "layer 1" in held and "final layer returns everything" in held
    assert "feed-forward" in sentence(result(0.9, 0.1, "mlp"))


def test_known_facts_are_many_and_well_formed():
    assert len(FACTS) >= 80 and len(SUBJECTS) >= 80
    assert len({fact.prompt for fact in FACTS}) == len(FACTS)
    assert all(fact.true != fact.false for fact in FACTS)
