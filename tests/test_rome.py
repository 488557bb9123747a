"""ROME's theorems, on random weights: they hold for any."""

import dataclasses

import pytest
import torch

from auditor.calibrate import calibrate, finish, main, read_facts
from auditor.editor import find_method, find_preset, values
from auditor.editor.covariance import earlier_keys, second_moment
from auditor.editor.essence import essence, own_words
from auditor.editor.keys import context, contexts, key
from auditor.editor.layers import calibration
from auditor.editor.values import Fit, _loss, _prepare, base_value
from auditor.types import EditRequest
from probes.known_facts import Fact

REQUEST = EditRequest("The Eiffel Tower", "is located in", target_old="Paris", target_new="in Rome, it is")
OTHER = EditRequest("The Colosseum", "is located in", target_old="Rome", target_new="Paris")
ROME = find_method("rome")
QUICK = dataclasses.replace(find_preset(ROME, "default"), steps=6, contexts_for_key=5, contexts_for_value=3)
SEED = find_preset(ROME, "seed")


def fit(model, request=REQUEST, layer=1, config=QUICK, edits=()):
    return finish(ROME.run(model, request, layer, config, edits=edits))


def bits(model):
    return {name: (parameter.data_ptr(), parameter.detach().clone()) for name, parameter in model.hf.named_parameters()}


def same(before, after):
    return before.keys() == after.keys() and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(before.values(), after.values()))


@pytest.fixture(scope="module")
def edit(tiny):
    return fit(tiny)


@pytest.mark.parametrize("config", [QUICK, SEED], ids=["default", "seed"])
@pytest.mark.parametrize("request_seed", [0, 1])
def test_after_the_write_the_output_at_the_key_is_v(tiny, config, request_seed):
    """W_out'^T k + b_out = v, measured through the live model and not through the formula."""
    request = dataclasses.replace(REQUEST, seed=request_seed)
    found = fit(tiny, request, config=config)
    with tiny.applied():
        k = key(tiny, contexts(tiny, request.prompt, request.subject, config.contexts_for_key, seed=request_seed), 1)
        v = base_value(tiny, k, 1) + found.patches[0].right[0]
        naive = tiny.linear_out(1)(k)
    with tiny.applied((found,)):
        output = tiny.linear_out(1)(k)
    assert float((output - v).norm() / v.norm()) < 1e-3
    assert float((naive - v).norm() / v.norm()) > 1e-2  # negative control: the write was needed


def test_one_context_meets_v_in_the_sentence_itself(tiny):
    """With the bare prompt alone, the hooked MLP output at the subject's last token equals v."""
    found = fit(tiny, config=SEED)
    c = context(tiny, REQUEST.prompt, REQUEST.subject)
    def output(edits):
        with tiny.applied(edits), tiny.tapped([1], "mlp.hook_out") as out, torch.no_grad():
            tiny.run(tiny.embed(tiny.pad([c.tokens])))
        return out[1][0, c.subject]
    v = output(()) + found.patches[0].right[0]
    assert float((output((found,)) - v).norm() / v.norm()) < 1e-3


def test_only_the_target_layer_changes_and_by_rank_one(tiny, edit):
    before = {i: tiny.w_out(i).clone() for i in range(tiny.n_layers)}
    with tiny.applied((edit,)):
        change = {i: tiny.w_out(i) - before[i] for i in before}
    assert all(float(change[i].norm()) == 0 for i in (0, 2, 3)) and float(change[1].norm()) > 0
    singular = torch.linalg.svdvals(change[1].double())
    assert singular[1] < 1e-5 * singular[0]
    assert edit.layers == (1,) and edit.patches[0].left.shape == (tiny.d_mlp, 1)


def test_same_seed_same_edit(tiny, edit):
    again, other = fit(tiny), fit(tiny, dataclasses.replace(REQUEST, seed=9))
    assert again.id == edit.id and torch.equal(again.patches[0].left, edit.patches[0].left)
    assert other.id != edit.id


def test_the_fit_lowers_the_loss_and_the_search_predicts_the_model(tiny):
    found = fit(tiny, config=dataclasses.replace(QUICK, steps=12, weight_decay=0.0))
    assert found.losses[-1] < found.losses[0] - 0.01
    assert set(found.notes) >= {"key_norm", "relative_change", "key_overlap"}
    assert all(isinstance(value, float) for value in found.notes.values())


def test_weights_are_bit_identical_after_success(tiny):
    before = bits(tiny)
    fit(tiny)
    assert same(before, bits(tiny))


def test_weights_are_bit_identical_after_stop(tiny, edit):
    before = bits(tiny)
    for stop in (1, 3):
        steps = ROME.run(tiny, OTHER, 1, QUICK, edits=(edit,))
        events = [next(steps) for _ in range(stop)]
        assert [event.step for event in events] == list(range(1, stop + 1))
        steps.close()
        assert same(before, bits(tiny))
    with tiny.applied():
        pass  # and the lock is free


def test_weights_are_bit_identical_after_an_exception(tiny, edit, monkeypatch):
    before = bits(tiny)
    steps = ROME.run(tiny, OTHER, 1, QUICK, edits=(edit,))
    next(steps)
    monkeypatch.setattr(tiny, "logits", lambda hidden: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(steps)
    monkeypatch.undo()
    assert same(before, bits(tiny))
    with tiny.applied():
        pass


def test_the_solve_disturbs_other_keys_least(tiny, edit):
    """u Lambda^T minimises trace(D^T C D) among all D with D^T k = Lambda; others that satisfy it do worse."""
    C = second_moment(tiny, 1).double()
    C += 1e-3 * C.diagonal().mean() * torch.eye(len(C))
    u, value = edit.patches[0].left.double(), edit.patches[0].right.double()
    with tiny.applied():
        k = key(tiny, contexts(tiny, REQUEST.prompt, REQUEST.subject, 5), 1).double()
    assert float(u[:, 0] @ k) == pytest.approx(1, abs=1e-5)
    cost = lambda D: float((D * (C @ D)).sum())  # noqa: E731
    least = cost(u @ value)
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1e-2, 1e-1):
        for _ in range(5):
            noise = scale * float((u @ value).abs().max()) * torch.randn(
                len(k), value.shape[1], generator=generator, dtype=torch.float64)
            other = u @ value + noise - torch.outer(k, k @ noise) / (k @ k)
            torch.testing.assert_close(other.T @ k, value[0], rtol=1e-4, atol=1e-5)
            assert cost(other) > least
    assert cost(torch.outer(k / (k @ k), value[0])) > 1.1 * least  # C = I, the literal variant, disturbs more


def test_steps_from_cached_states_equal_a_full_pass(tiny):
    """The search runs only layers above the edit and columns from the subject on: same loss as the whole model."""
    texts = contexts(tiny, REQUEST.prompt, REQUEST.subject, 3)
    kept = essence(tiny, REQUEST, 3)
    target = tiny.target_tokens(REQUEST.target_new)
    delta = torch.randn(tiny.d_model, generator=torch.Generator().manual_seed(0))
    how = Fit(steps=1, lr=.5, weight_decay=.5, clamp=4, kl_factor=.0625, stop_loss=0)
    v0 = torch.ones(tiny.d_model)

    def full(c, tail, at, shift):
        def add(value, hook):
            value = value.clone()
            value[:, c.subject] += shift
            return value
        with tiny.bridge.hooks(fwd_hooks=[("blocks.1.mlp.hook_out", add)]):
            logprobs = tiny.hf(torch.tensor([[*c.tokens, *tail]])).logits[0].log_softmax(-1)
        return logprobs[at:]

    with tiny.applied(), torch.no_grad():
        batch = _prepare(tiny, texts, target, kept, 1)
        loss, probability = _loss(tiny, batch, delta, v0, 1, how)
        rows = torch.stack([full(c, target[:-1], len(c.tokens) - 1, delta)[range(len(target)), target] for c in texts])
        before, now = (torch.cat([full(each, [], each.first, shift) for each in kept]) for shift in (0 * delta, delta))
    kl = (before.exp() * (before - now)).sum() / len(kept)
    assert len(kept) == 4 and len(before) > 4
    expected = -rows.mean() + .0625 * kl + .5 * delta.norm() / v0.norm() ** 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert float(probability) == pytest.approx(float(rows.sum(1).exp().mean()), rel=1e-3)
    assert float(kl) > 0


def test_own_words_are_what_the_model_says_of_the_subject_and_stop_before_the_old_answer(pocket):
    request = EditRequest("The Eiffel Tower", "is located in", "Paris", "Tokyo")
    said = own_words(pocket, request, 12)
    assert said == own_words(pocket, request, 12) and 1 < len(set(said)) == len(said)
    assert all(text.strip().startswith("The Eiffel Tower") and "Paris" not in text for text in said)
    kept = essence(pocket, request, 12)[1:]
    with pocket.applied():
        said = [pocket.target_scores([pocket.text(k.tokens[: i + 1])], ["Paris"]) for k in kept
                for i in range(k.first, len(k.tokens))]
    assert not any(bool(each.on_top[0]) for each in said)  # no place that must stay asks for the old answer
    free = own_words(pocket, dataclasses.replace(request, target_old="Nowhere"), 12)
    assert any("Paris" in text for text in free) and not own_words(pocket, request, 0)


def test_first_token_only_and_clamp(tiny):
    first = fit(tiny, config=dataclasses.replace(SEED, steps=2))
    shortened = fit(tiny, dataclasses.replace(REQUEST, target_new="in"), config=dataclasses.replace(SEED, steps=2))
    assert tiny.target_tokens("in")[0] == tiny.target_tokens(REQUEST.target_new)[0]
    assert first.losses[0] == pytest.approx(
        -float(_first_logprob(tiny, tiny.target_tokens("in")[0])), rel=1e-4)
    assert first.losses[0] == pytest.approx(shortened.losses[0], rel=1e-5)
    tight = fit(tiny, config=dataclasses.replace(QUICK, clamp=0.1))
    assert tight.notes["delta_norm"] <= 0.1 * tight.notes["value_norm"] * (1 + 1e-5)


def _first_logprob(model, token):
    with model.applied():
        return model.next_logprobs([REQUEST.prompt])[0, token]


def test_the_best_step_is_kept_and_a_small_loss_ends_the_search(tiny):
    texts, kept = contexts(tiny, REQUEST.prompt, REQUEST.subject, 3), essence(tiny, REQUEST, 2)
    target, v0 = tiny.target_tokens(REQUEST.target_new), torch.ones(tiny.d_model)
    wild = Fit(steps=12, lr=.1, lr_last=90., weight_decay=.5, clamp=0., kl_factor=.5, stop_loss=0.)
    found = finish(values.fit(tiny, texts, target, kept, v0, 1, wild))
    assert len(found.losses) == 12 and min(found.losses[1:]) < found.losses[-1]  # it overshoots
    with tiny.applied(), torch.no_grad():
        loss, probability = _loss(tiny, _prepare(tiny, texts, target, kept, 1), found.delta, v0, 1, wild)
    assert float(loss) == pytest.approx(min(found.losses[1:]), rel=1e-5) and float(probability) == found.probability
    easy = dataclasses.replace(wild, stop_loss=1e9)
    assert len(finish(values.fit(tiny, texts, target, kept, v0, 1, easy)).losses) == 1


def test_another_round_goes_on_while_the_answer_is_unlikely(tiny):
    texts, kept = contexts(tiny, REQUEST.prompt, REQUEST.subject, 2), essence(tiny, REQUEST, 0)
    v0, how = torch.ones(tiny.d_model), Fit(steps=3, lr=.5, weight_decay=0., clamp=0., kl_factor=0., stop_loss=0.)

    def losses(target, **options):
        return finish(values.fit(tiny, texts, target, kept, v0, 1, dataclasses.replace(how, **options))).losses

    word = tiny.target_tokens(REQUEST.target_new)
    once, twice = losses(word), losses(word, rounds=2)  # a random model does not come to say it in a few steps
    assert len(once) == 3 and len(twice) == 6 and twice[:3] == once and twice[-1] < once[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "LIKELY", 0.0)
        assert losses(word, rounds=2) == once


def test_earlier_keys_are_recovered_and_spared(tiny, edit):
    with tiny.applied():
        k = key(tiny, contexts(tiny, REQUEST.prompt, REQUEST.subject, 5), 1)
    C = second_moment(tiny, 1)
    torch.testing.assert_close(earlier_keys((edit,), 1, C)[0], k, rtol=1e-3, atol=1e-3)
    assert not len(earlier_keys((edit,), 2, C))
    plain = fit(tiny, config=dataclasses.replace(QUICK, covariance=False))
    torch.testing.assert_close(earlier_keys((plain,), 1, None)[0], k, rtol=1e-3, atol=1e-3)
    spared = fit(tiny, OTHER, edits=(edit,))
    open_ = fit(tiny, OTHER, config=dataclasses.replace(QUICK, protect_earlier=False), edits=(edit,))
    leak = {name: float((found.patches[0].left[:, 0] @ k).abs()) for name, found in
            (("spared", spared), ("open", open_))}
    assert leak["spared"] < 0.1 * leak["open"]
    assert spared.fitted_on == (edit.id,) and spared.notes["key_overlap"] == pytest.approx(leak["open"], rel=0.05)


def test_half_precision_is_edited_in_fp32(tiny):
    """Factors are fp32 whatever the model computes in; nothing is NaN."""
    from auditor.model import boot

    half = boot(tiny.folder, id="half", dtype="bfloat16")
    found = fit(half, config=dataclasses.replace(SEED, steps=3))
    assert found.patches[0].left.dtype == found.patches[0].right.dtype == torch.float32
    assert all(torch.isfinite(t).all() for t in (found.patches[0].left, found.patches[0].right))
    assert found.fingerprint != tiny.fingerprint


# Calibration


FACTS = tuple(Fact(f"Number {i}", "is followed by", str(i + 1), str(i + 2)) for i in range(4))


def test_calibration_measures_layer_by_layer(tiny, monkeypatch):
    monkeypatch.setattr("auditor.calibrate.known", lambda model, facts: tuple(facts))
    rows = dict(calibrate(tiny, FACTS, count=2, layers=[1, 2], preset="seed"))
    assert set(rows) == {1, 2} and rows[1]["n"] == 2
    assert all(0 <= rows[layer][name] <= 1 for layer in rows for name in ("efficacy", "paraphrase", "preserved"))


def test_calibration_command(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_AUDITOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("auditor.calibrate.load", lambda name: tiny)
    monkeypatch.setattr("auditor.calibrate.known", lambda model, facts: tuple(facts))
    table = tmp_path / "facts.tsv"
    table.write_text("subject\trelation\ttrue\tfalse\nThe Colosseum\tis in\tRome\tParis\nA bell\trang at\tnoon\tone\n")
    assert [fact.subject for fact in read_facts(table)] == ["The Colosseum", "A bell"]
    path = main(["--facts", "1", "--facts-file", str(table), "--preset", "seed", "--layers", "2"])
    assert path.parent.name == tiny.fingerprint
    assert list(calibration(tiny)["layers"]) == ["2"] and calibration(tiny)["layers"]["2"]["n"] == 1


def test_calibration_needs_facts_the_model_knows(tiny):
    with pytest.raises(ValueError, match="at least two"):
        next(calibrate(tiny, [Fact("The Colosseum", "is located in", "a very unlikely answer", "Paris")]))
