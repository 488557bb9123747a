"""The shared model: primitives agree with Hugging Face; weights are the same bits after whatever happens."""

import threading

import pytest
import torch
from make import logits, random_edit

from auditor.errors import ModelNotHeld, ModelUnavailable, SubjectNotFound
from auditor.model import boot, find

TEXTS = ("The Eiffel Tower is located in", "A bell rang", "It is known that the market was busy today and yesterday")


def bits(model):
    return {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.hf.state_dict().items())


@torch.no_grad()
def test_primitives_equal_hugging_face(tiny):
    with tiny.applied():
        ids = tiny.pad([tiny.tokens(TEXTS[0])])
        assert torch.equal(tiny.logits(tiny.run(tiny.embed(ids))), tiny.hf(ids).logits.float())
        halves = tiny.run(tiny.run(tiny.embed(ids), 0, 2), 2)
        assert torch.equal(halves, tiny.run(tiny.embed(ids)))


def test_padding_on_the_right_is_never_seen(tiny):
    with tiny.applied():
        together = tiny.next_logprobs(TEXTS)
        alone = torch.cat([tiny.next_logprobs([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_whole_target_is_the_product_of_its_tokens(tiny):
    prompt, target = TEXTS[0], "Rome"
    with tiny.applied():
        scores = tiny.target_scores([prompt], [target])
    ids, new = tiny.tokens(prompt), tiny.target_tokens(target)
    assert len(new) > 1, "the target should have several tokens for this test to mean something"
    logprobs = logits(tiny, prompt + " " + target).log_softmax(-1)
    expected = sum(float(logprobs[len(ids) - 1 + j, token]) for j, token in enumerate(new))
    assert float(scores.total) == pytest.approx(expected, abs=1e-4)
    assert float(scores.mean) == pytest.approx(expected / len(new), abs=1e-4)


def test_states_after_the_last_layer_give_the_next_word(tiny):
    with tiny.applied(), torch.no_grad():
        logprobs, residuals = tiny.states(TEXTS, (0, tiny.n_layers - 1))
        again = tiny.logits(residuals[:, 1]).log_softmax(-1)
    assert residuals.shape == (3, 2, tiny.d_model)
    torch.testing.assert_close(logprobs, again, atol=1e-5, rtol=1e-4)


def test_generate_is_greedy(tiny):
    with tiny.applied():
        said = tiny.generate([TEXTS[0]], 1)[0]
        assert said == tiny.text([int(tiny.next_logprobs([TEXTS[0]])[0].argmax())])


def test_edits_are_live_inside_and_gone_outside(tiny):
    base, before = bits(tiny), logits(tiny)
    edit = random_edit(tiny)
    live = logits(tiny, edits=(edit,))
    assert not torch.allclose(live, before, atol=1e-3)
    assert torch.equal(logits(tiny), before) and unchanged(tiny, base)


def test_only_the_target_layer_is_substituted(tiny):
    untouched = {layer: tiny.w_out(layer) for layer in range(tiny.n_layers)}
    with tiny.applied((random_edit(tiny, layers=(2,)),)):
        assert [layer for layer in untouched if tiny.w_out(layer) is not untouched[layer]] == [2]
    assert all(tiny.w_out(layer) is tensor for layer, tensor in untouched.items())


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_any_exception_restores(tiny, failure):
    base = bits(tiny)
    with pytest.raises(failure), tiny.applied((random_edit(tiny),)):
        raise failure
    assert unchanged(tiny, base)
    logits(tiny)  # the lock is free again


def test_a_wrong_delta_restores_and_frees_the_lock(tiny):
    base = bits(tiny)
    good, bad = random_edit(tiny), random_edit(tiny, layers=(2,))
    object.__setattr__(bad.patches[0], "right", torch.zeros(1, 3))
    with pytest.raises(RuntimeError), tiny.applied((good, bad)):
        pass
    assert unchanged(tiny, base)
    logits(tiny)


def test_reading_outside_and_nesting_are_refused(tiny):
    with pytest.raises(ModelNotHeld):
        tiny.next_logprobs(TEXTS)
    with tiny.applied(), pytest.raises(ModelNotHeld), tiny.applied():
        pass
    logits(tiny)


def test_two_threads_never_see_each_others_edits(tiny):
    edits = [(), (random_edit(tiny, seed=1),), (random_edit(tiny, seed=2, layers=(2,)),)]
    expected = [logits(tiny, edits=each) for each in edits]
    wrong = []

    def visit(i):
        for _ in range(8):
            if not torch.equal(logits(tiny, edits=edits[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=visit, args=(i,)) for i in range(len(edits))]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert not wrong


def test_span_finds_the_last_occurrence(tiny):
    text = "Rome is not in Rome"
    start, end = tiny.span(text, "rome")
    assert tiny.text(tiny.tokens(text)[start:end]).strip() == "Rome" and end == len(tiny.tokens(text))
    with pytest.raises(SubjectNotFound):
        tiny.span(text, "Paris")
    with pytest.raises(SubjectNotFound):
        tiny.span(text, "")


def test_fingerprint_follows_weights_and_precision(tiny):
    half = boot(tiny.folder, id="tiny", dtype="float16")
    again = boot(tiny.folder, id="other name", dtype="float32")
    assert again.fingerprint == tiny.fingerprint != half.fingerprint


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(ModelUnavailable):
        boot(tmp_path, id="empty")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelUnavailable, match="GPT-NeoX"):
        boot(tmp_path, id="other family")
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(ModelUnavailable, match="no weights"):
        boot(tmp_path, id="no weights")


def test_a_name_that_is_nowhere_is_refused():
    with pytest.raises(ModelUnavailable):
        find("no such folder !")
