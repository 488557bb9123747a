"""Does the change hold in other words, and does what follows from it follow?

EditGeneralization and PM Score on paraphrases, Portability on surface forms, zsRE on questions, IndirectRecovery on
chains of facts.
"""

from __future__ import annotations

import numpy as np
import torch

from auditor.benchmarks import Outcome, benchmark, scores
from auditor.benchmarks.cases import Item
from auditor.benchmarks.retention import magnitude, preferred, share_cases
from auditor.benchmarks.trial import Trial
from auditor.editor.keys import context
from auditor.types import Case


@benchmark("EditGeneralization", dimension="generalization", threshold=0.40, minimum=5,
           reads=("paraphrase", "direct", "neighbour"),
           describe="Does it also hold when the claim is put in other words?")
def edit_generalization(trial: Trial) -> Outcome:
    """Mean c over paraphrases."""
    items = trial.cases.of("paraphrase")
    cases = share_cases(trial, items)
    ES, PS = preferred(share_cases(trial, trial.cases.of("direct"))), preferred(cases)
    NS = scores.mean([trial.share(item) < 0.5 for item in trial.cases.of("neighbour")])
    return Outcome(cases, detail={"free": trial.free(items), "before": scores.mean([case.before for case in cases]),
                                  "PS": PS, "NS": NS, "S": scores.harmonic([ES, PS, NS])})


@benchmark("PM Score", dimension="memorization", threshold=0.50, minimum=5, reads=("paraphrase",),
           describe="How firmly does it prefer the new answer in other words? 50 % means that both are equally likely.")
def pm_score(trial: Trial) -> Outcome:
    """(1 + mean(e^l(new) - e^l(old))) / 2 over paraphrases: CounterFact's paraphrase magnitude, mapped to 0..1."""
    items, cases = trial.cases.of("paraphrase"), []
    for item in items:
        before, after = (magnitude(trial, item, after=after) for after in (False, True))
        cases.append(Case(item.prompt, item.new, (1 + before) / 2, (1 + after) / 2, (1 + after) / 2))
    return Outcome(cases, detail={"free": trial.free(items), "PM": scores.mean([2 * c.after - 1 for c in cases]),
                                  **_written(trial)})


@torch.no_grad()
def _written(trial: Trial) -> dict[str, float]:
    """How exactly the change is written: `memorized` at the subject's keys, `preserved` at keys of ordinary text.

    memorized = 1 - |W1 k - v*| / |W0 k - v*|, mean over direct questions; preserved = 1 - |D^T K0| / |W0^T K0|
    (after EMMET, arXiv 2403.14236, which minimises the second under equality in the first).
    """
    model, layer, subject = trial.model, trial.layer, trial.request.subject
    direct = [context(model, item.prompt, subject) for item in trial.cases.of("direct")
              if subject.casefold() in item.prompt.casefold()]
    neutral = [model.tokens(item.prompt) for item in trial.cases.of("neutral")]
    if not direct or not neutral:
        return {}
    with model.applied(trial.before), model.tapped([layer]) as keys:
        model.run(model.embed(model.pad([c.tokens for c in direct])), 0, layer + 1)
        K = torch.stack([row[c.subject] for row, c in zip(keys[layer], direct, strict=True)]).float()  # (text, d_mlp)
        model.run(model.embed(model.pad(neutral)), 0, layer + 1)
        K0 = torch.cat([row[: len(ids)] for row, ids in zip(keys[layer], neutral, strict=True)]).float()
        W = model.w_out(layer).float().T  # (d_mlp, d_model)
    patches = [patch for patch in trial.edit.patches if patch.layer == layer]
    L, R = torch.cat([p.left for p in patches], 1).to(W.device), torch.cat([p.right for p in patches], 0).to(W.device)
    wanted = (K.mean(0) @ W + K.mean(0) @ L @ R)[None]
    start, end = ((K @ W + change - wanted).norm(dim=1).mean() for change in (0.0, K @ L @ R))
    return {"memorized": float(1 - end / start), "preserved": float(1 - (K0 @ L @ R).norm() / (K0 @ W).norm())}


@benchmark("Portability", dimension="surface transfer", threshold=0.40, minimum=4, reads=("form", "reversed"),
           describe="Does it hold under other names, and as a question, an instruction, a dialogue, a list or JSON?")
def portability(trial: Trial) -> Outcome:
    """Mean over forms of mean c; the way back from answer to subject is reported apart, as ROME has a direction."""
    items = trial.cases.of("form")
    cases = share_cases(trial, items)
    forms = list(dict.fromkeys(item.group for item in items))
    strata = [np.array([case.score for case in cases if case.note == form]) for form in forms]
    back = [trial.reading(item.prompt, item.new, after=after).mean for item in trial.cases.of("reversed")
            for after in (False, True)]
    return Outcome(cases, strata, detail={
        "free": trial.free(items), "by_form": {form: float(x.mean()) for form, x in zip(forms, strata, strict=True)},
        "reversed_before": scores.mean(np.exp(back[::2])), "reversed_after": scores.mean(np.exp(back[1::2]))})


@benchmark("zsRE", dimension="relation extraction", threshold=0.40, minimum=3, reads=("question", "neighbour"),
           describe="Asked as a question, are the words of the new answer its first choice?")
def zsre(trial: Trial) -> Outcome:
    """Mean share of the new answer's tokens that are the first choice, each after the right ones before it."""
    items, cases = trial.cases.of("question"), []
    for item in items:
        before, after = (trial.reading(item.prompt, item.new, after=after).right for after in (False, True))
        cases.append(Case(item.prompt, item.new, before, after, after))
    near = trial.cases.of("neighbour")
    kept = [scores.mean([trial.reading(item.prompt, item.old, after=after).right for item in near])
            for after in (False, True)]
    return Outcome(cases, detail={"free": trial.free(items), "before": scores.mean([case.before for case in cases]),
                                  "specificity_before": kept[0], "specificity": kept[1]})


@benchmark("IndirectRecovery", dimension="chained inference", threshold=0.35, minimum=3, reads=("chain", "hop"),
           describe="Does the model draw the conclusions that follow from the new answer, a step further on?")
def indirect_recovery(trial: Trial) -> Outcome:
    """Share of chains in which any wording prefers what follows from the new answer (MQuAKE's rule)."""
    chains: dict[str, list[Item]] = {}
    for item in trial.cases.of("chain"):
        chains.setdefault(item.group, []).append(item)
    hops = {item.group: item for item in trial.cases.of("hop")}
    known = [group for group in chains if group not in hops
             or trial.reading(hops[group].prompt, hops[group].new, after=False).right == 1]
    cases, hits = [], []
    for group in known:
        before, after = ([_follows(trial, item, after=after) for item in chains[group]] for after in (False, True))
        best = int(np.argmax(after))
        chosen = chains[group][best]
        hits.append(float(after[best] > 0.5))
        cases.append(Case(chosen.prompt, chosen.new, max(before), after[best], hits[-1], group))
    asked = [[item for item in chains[group] if "{m}" not in item.prompt] for group in known]
    detail = {"chains": len(chains), "known": len(known), "free": scores.mean(
        [any(trial.freely(item, trial.model.text(trial.said(item.prompt))) for item in group) for group in asked])}
    if len(chains) < 3:
        return Outcome(cases, detail=detail, reason=f"Only {len(chains)} conclusions that would differ could be found "
                       "for this claim; at least 3 are needed.")
    if len(known) < 3:
        return Outcome(cases, detail=detail, reason=f"The model knows the second step of only {len(known)} of "
                       f"{len(chains)} conclusions; at least 3 are needed.")
    return Outcome(cases, detail=detail)


def _follows(trial: Trial, item: Item, *, after: bool) -> float:
    """c of a conclusion; a middle that the wording leaves open is the answer that the model prefers at that time."""
    prompt, request = item.prompt, trial.request
    if "{m}" in prompt:
        held = trial.share(trial.claim, after=after) > 0.5
        prompt = prompt.replace("{m}", request.target_new if held else request.target_old)
    new, old = (trial.reading(prompt, answer, after=after).mean for answer in (item.new, item.old))
    return scores.share(new, old)
