"""The main job on the pocket model: from a form to a downloaded file that is re-read and answers the new way."""

from __future__ import annotations

import pytest
import torch
from make import CLAIM

from auditor import gpu

pytestmark = pytest.mark.timeout(240)


def test_from_the_form_to_a_file_that_answers_the_new_way(pocket_site, visit, tmp_path):
    from transformers import AutoConfig, GPTNeoXForCausalLM

    visitor = visit(pocket_site)
    visitor.fill(*CLAIM)
    visitor.tab("3 · Fix")
    visitor.press("Try the fix", until="Accepted: layer")
    visitor.tab("Take away")
    visitor.press("Build the files", until="It differs from the original")
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_text("Edited model (.pt)").locator("visible=true").first.click()
    waiting.value.save_as(tmp_path / "edited.pt")
    model = gpu.hosted()
    weights = torch.load(tmp_path / "edited.pt", weights_only=True)
    config = AutoConfig.from_pretrained(model.folder)
    edited = GPTNeoXForCausalLM.from_pretrained(None, config=config, state_dict=weights)
    ids = torch.tensor([model.tokens(" ".join(CLAIM[:2]))])
    with torch.no_grad():
        answer = model.text(edited.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1]:].tolist())
    assert answer.strip().startswith("Rome")


def test_stop_in_the_middle_of_a_real_fit_changes_nothing(pocket_site, visit):
    """Words that the pocket model never learned to say keep the fit busy at three layers: time enough to press Stop."""
    model = gpu.hosted()
    before = [model.w_out(layer) for layer in range(model.n_layers)]
    bits = [weight.clone() for weight in before]
    visitor = visit(pocket_site)
    visitor.fill("Vietnam", "has the capital", "Saigon", "Hanoi")
    visitor.tab("3 · Fix")
    visitor.press("Try the fix", until="fitting at layer")
    visitor.press("Stop", until="Stopped; nothing was changed.")
    visitor.tab("Changes so far")
    visitor.see("No change has been accepted yet.")
    with model.applied():
        now = [model.w_out(layer) for layer in range(model.n_layers)]
    assert all(new is old and torch.equal(new, kept) for new, old, kept in zip(now, before, bits, strict=True))
