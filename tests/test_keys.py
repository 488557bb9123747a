"""Keys, their second moment, and the solve."""

import threading

import pytest
import torch
from safetensors.torch import load_file

from auditor.editor import covariance
from auditor.editor.covariance import measure, sample_text, second_moment, solve
from auditor.editor.keys import context, contexts, key
from auditor.editor.layers import cache_folder
from auditor.model import boot

PROMPT, SUBJECT = "The Eiffel Tower is located in", "The Eiffel Tower"


def test_contexts_end_in_the_prompt_and_point_at_the_subject(tiny):
    found = contexts(tiny, PROMPT, SUBJECT, 6, seed=3)
    assert len(found) == len({c.tokens for c in found}) == 6
    assert tiny.text(found[0].tokens) == PROMPT
    for c in found:
        assert tiny.text(c.tokens).endswith(PROMPT)
        assert tiny.text(c.tokens[: c.subject + 1]).endswith(SUBJECT)
    assert found == contexts(tiny, PROMPT, SUBJECT, 6, seed=3) != contexts(tiny, PROMPT, SUBJECT, 6, seed=4)


def test_key_is_the_mean_input_of_w_out(tiny):
    """Against plain PyTorch hooks, one text at a time, whole texts."""
    texts, seen = contexts(tiny, PROMPT, SUBJECT, 4), []
    module = tiny.linear_out(2)
    for c in texts:
        handle = module.register_forward_pre_hook(lambda _, args, at=c.subject: seen.append(args[0][0, at].detach()))
        with tiny.applied(), torch.no_grad():
            tiny.hf(torch.tensor([c.tokens]))
        handle.remove()
    with tiny.applied():
        torch.testing.assert_close(key(tiny, texts, 2), torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)


def test_second_moment_is_the_mean_outer_product(tiny):
    text = sample_text(tiny)[:3]
    with tiny.applied(), tiny.tapped([1]) as keys, torch.no_grad():
        tiny.run(tiny.embed(text))
    k = keys[1].flatten(0, 1).double()
    C = measure(tiny, [1, 2], text)[1]
    torch.testing.assert_close(C.double(), k.T @ k / len(k), rtol=1e-4, atol=1e-5)


def test_second_moment_is_symmetric_and_positive(tiny):
    C = second_moment(tiny, 1)
    assert C.shape == (tiny.d_mlp, tiny.d_mlp) and C.dtype == torch.float32 and torch.equal(C, C.T)
    smallest = float(torch.linalg.eigvalsh(C.double()).min())
    assert smallest > -1e-5 * float(C.diagonal().mean())  # fp32 sums: positive to rounding; the ridge is 100 x larger


def test_second_moment_is_kept_on_disk_for_the_whole_band(tiny, monkeypatch):
    first = second_moment(tiny, 1)
    stored = sorted(path.name for path in cache_folder(tiny).iterdir())
    assert stored == [f"second_moment_{i}.safetensors" for i in range(4)]  # and no half-written file
    monkeypatch.setattr(covariance, "measure", lambda *_: pytest.fail("measured again"))
    assert torch.equal(second_moment(tiny, 1), first)


def test_two_at_once_write_one_whole_file(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_AUDITOR_CACHE", str(tmp_path))
    found = []
    threads = [threading.Thread(target=lambda: found.append(second_moment(tiny, 2))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(*found)
    assert torch.equal(load_file(cache_folder(tiny) / "second_moment_2.safetensors")["second_moment"], found[0])


def test_second_moment_is_of_the_base_weights_and_takes_the_model_itself(tiny):
    from auditor.errors import ModelNotHeld

    with tiny.applied(), pytest.raises(ModelNotHeld):
        measure(tiny, [1], sample_text(tiny)[:1])


def test_a_model_without_sample_text_writes_its_own(tmp_path):
    from make import make_tiny

    folder = make_tiny(tmp_path / "mute", layers=3, width=32)
    (folder / "sample_text.txt").unlink()
    model = boot(folder, id="mute")
    text = sample_text(model, tokens=covariance.BATCH)
    assert text.numel() >= covariance.BATCH and text.shape[1] == covariance.WIDTH
    assert len(text.unique()) > 50  # it is text of some variety, not one token
    assert torch.equal(text, sample_text(model, tokens=covariance.BATCH))
    assert not torch.equal(text, sample_text(model, tokens=covariance.BATCH, seed=1))


def test_solve_solves(tiny):
    C, k = second_moment(tiny, 1), torch.randn(tiny.d_mlp, generator=torch.Generator().manual_seed(0))
    protect = torch.randn(2, tiny.d_mlp, generator=torch.Generator().manual_seed(1))
    full = C.double() + 1e-3 * C.diagonal().double().mean() * torch.eye(len(C)) + protect.double().T @ protect.double()
    expected = torch.linalg.solve(full, k.double())
    torch.testing.assert_close(solve(C, k, protect=protect).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(solve(C, torch.stack([k, 2 * k], 1)), torch.stack([solve(C, k), 2 * solve(C, k)], 1))


def test_context_refuses_an_absent_subject(tiny):
    from auditor.errors import SubjectNotFound

    with pytest.raises(SubjectNotFound):
        context(tiny, PROMPT, "The Colosseum")
