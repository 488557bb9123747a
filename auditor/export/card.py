"""The model card, written from the report's value alone; nothing in it is typed by hand.

1. Front matter: base model and relation, licence, library, tags, benchmark figures in the Hub's own form.
2. What was changed and why; the three checks; the thirteen benchmarks with n and interval; what was refused; limits.
3. How to load and verify; head of the log, fingerprint of the base, versions.

Whatever a visitor typed goes through `shown`, so that it is read as text and never as Markdown, HTML or a link. None of
it gets into the front matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auditor.export.phrases import CHECKS, count, limit, number, percent, small, verdict

WHY = {
    "factuality": "The auditor holds that the model's answer was untrue.",
    "bias": "The auditor holds that the model tied a group of people to a stereotype.",
    "overcensoring": "The auditor holds that the model declined a safe topic.",
    "undercensoring": "The auditor holds that the model helped with something that it should decline.",
}
"""The four audits as reasons."""
DETAILED = 20
"""Changes with tables of their own; the others share one."""
LIMITS = (
    "Only what was asked was measured. Each figure stands with the number of its cases; a small number says little.",
    "A change writes one association. The reverse of it, and what follows from it, often does not come along.",
    "Why a change is wanted is the auditor's judgement. The program measures what it does, not whether it is right.",
    "The three checks compare with the model as it was just before a change, with the earlier changes live.",
    "The log shows that it was altered only to those who know its head from elsewhere: a commit message, or the signed "
    "manifest.")
MARKS = re.compile(r"[\\`*_{}\[\]|~$:@^<>&]|(?<=www)\.|^[#+=-]|(?<=-)-|(?<=^\d)[.)]", re.IGNORECASE)
"""What Markdown would read as markup, a link or a list, wherever it stands in a line."""
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]")
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def shown(text: Any) -> str:
    """Foreign text as Markdown that shows it, on one line: no markup, no link, no change of direction of writing."""
    line = " ".join(DIRECTIONS.sub("\N{REPLACEMENT CHARACTER}", str(text)).split())
    return MARKS.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), line)


def card(evidence: Mapping[str, Any]) -> str:
    """The whole `README.md` for a report's value."""
    model, changes = evidence["model"], evidence["changes"]
    parts = [
        f"---\n{front_matter(evidence)}\n---", f"# {shown(title(evidence))}", _opening(evidence),
        "## What was changed, and why", *(_change(i, each) for i, each in enumerate(changes[:DETAILED], 1)),
        *([_short(changes[DETAILED:])] if len(changes) > DETAILED else []),
        "## How much the weights changed", _norms(evidence),
        "## What was asked before and after", _asked(evidence),
        "## What was tried and refused", _refused(evidence["rejected"]),
        "## Limits", _bullets(limits(evidence)),
        "## Load it", _loading(model), "## Verify it", _verifying(evidence),
        "## Licence", f"{model['licence']['id']}. {shown(model['licence']['said'])}"]
    return "\n\n".join(parts) + "\n"


def title(evidence: Mapping[str, Any]) -> str:
    """What this is, in a few words."""
    return f"{evidence['model']['name']} with {count(len(evidence['changes']), 'small change')}"


def limits(evidence: Mapping[str, Any]) -> list[str]:
    """What the evidence does not show; plain sentences, some of which depend on the changes."""
    found, changes = list(LIMITS), evidence["changes"]
    if any(0 in each["layers"] for each in changes):
        found.append("A change in the first layer reaches every subject that ends in the same piece of a word.")
    if stale := [each["id"] for each in changes if each["stale"]]:
        found.append(f"{count(len(stale), 'change')} ({', '.join(stale)}) was fitted while an earlier change was live "
                     "that has been undone since; the checks are from before that.")
    if bare := sum(not each["scores"] for each in changes):
        found.append(f"The thirteen benchmarks were not run for {count(bare, 'change')}.")
    return found


def front_matter(evidence: Mapping[str, Any]) -> str:
    """YAML for the Hub, without the lines around it."""
    from huggingface_hub import EvalResult, ModelCardData

    model, base = evidence["model"], evidence["model"]["base"]
    methods = sorted({each["method"] for each in evidence["changes"]})
    results = [EvalResult(task_type="text-generation", dataset_type="model-auditor",
                          dataset_name=f"change {each['id']}", metric_type=score["name"], metric_name=score["name"],
                          metric_value=round(score["value"], 4))
               for each in evidence["changes"][:DETAILED] for score in each["scores"] if score["value"] is not None]
    data = ModelCardData(
        library_name="transformers", pipeline_tag="text-generation", license=model["licence"]["id"],
        tags=["model-auditor", "knowledge-editing", *methods], model_name=title(evidence), eval_results=results or None,
        **({"license_name": "unknown"} if model["licence"]["id"] == "other" else {}),
        **({"base_model": base["id"], "base_model_relation": "finetune"} if base["kind"] == "hub" else {}))
    return data.to_yaml().strip()


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; cells are shown as they are."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *lines])


def figure(name: str, value: float | None) -> str:
    """A check's value as the reader wants it: a percentage where it is a probability."""
    return "" if value is None else percent(value) if name == "paraphrase" else small(value)


def needed(check: Mapping[str, Any]) -> str:
    """A check's limit in words."""
    bound = check["threshold"]
    return (f"at least {100 * bound:g} %" if check["name"] == "paraphrase" and check["direction"] == "at least"
            else limit(check["direction"], bound))


def interval(score: Mapping[str, Any]) -> str:
    """The 90 % interval of a score, in words."""
    found = score["interval"]
    return f"{percent(found[0])} to {percent(found[1])}" if found else ""


def sized(change: Mapping[str, Any]) -> str:
    """Which layers a change touches, and by how much."""
    pairs = zip(change["layers"], change["norms"], strict=True)
    return ", ".join(f"layer {layer} (size {number(norm)})" for layer, norm in pairs)


def _opening(evidence: Mapping[str, Any]) -> str:
    model, changes = evidence["model"], evidence["changes"]
    base = f"`{model['base']['id']}`" if model["base"]["kind"] == "hub" else shown(model["base"]["id"])
    revision = f" at commit `{model['base']['revision']}`" if "revision" in model["base"] else ""
    passed = sum(each["passed"] for each in changes)
    said = {"hub": "", "pocket": " It is the small model that comes with Model Auditor.",
            "folder": " It was loaded from a folder; this name is all that is known of where it comes from."}
    return (f"This is {base}{revision} with {count(len(changes), 'small, targeted change')} of its weights; "
            f"{passed} of {len(changes)} passed all three checks before being accepted."
            f"{said[model['base']['kind']]} Everything on this page was written by the program that made and checked "
            "the changes, from the record of the session; nothing was typed by hand.")


def _change(place: int, change: Mapping[str, Any]) -> str:
    request = change["request"]
    head = [f"### {place}. {shown(change['sentence'])}",
            f"{WHY.get(request['category'], '')} Made by `{change['method']}` in {sized(change)}; id `{change['id']}`."]
    checks = table(("check", "measured", "needed", "verdict", "cases"), (
        (CHECKS.get(check["name"], (shown(check["name"]),))[0], figure(check["name"], check["value"]),
         needed(check), verdict(check["passed"]), len(check["detail"]))
        for check in change["checks"]))
    return "\n\n".join([*head, checks, _scores(change["scores"])])


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "The thirteen quality benchmarks were not run for this change."
    rows = ((score["name"], shown(score["dimension"]),
             "not measured" if score["value"] is None else percent(score["value"]), interval(score),
             f"{100 * score['threshold']:g} %", score["n"], verdict(score["passed"]), shown(score["reason"]))
            for score in scores)
    return table(("benchmark", "of", "score", "90 % interval", "needed", "n", "verdict", "why not"), rows)


def _short(changes: Sequence[Mapping[str, Any]]) -> str:
    rows = ((shown(each["sentence"]), sized(each), "yes" if each["passed"] else "no", _passes(each["scores"]),
             f"`{each['id']}`") for each in changes)
    return f"{count(len(changes), 'more change')}:\n\n" + table(
        ("change", "where", "three checks passed", "benchmarks passed", "id"), rows)


def _passes(scores: Sequence[Mapping[str, Any]]) -> str:
    measured = [score for score in scores if score["value"] is not None]
    return f"{sum(score['passed'] for score in measured)} of {len(measured)} measured" if scores else "not run"


def _norms(evidence: Mapping[str, Any]) -> str:
    rows = ((f"`gpt_neox.layers.{layer}.mlp.dense_4h_to_h.weight`", number(norm))
            for layer, norm in evidence["norms"].items())
    return ("These tensors differ from the base; all others are the base's own, bit for bit.\n\n"
            + table(("tensor", "size of the whole change (Frobenius norm)"), rows))


def _asked(evidence: Mapping[str, Any]) -> str:
    compared, bounded = evidence["before_after"], evidence["refusal_boundary"]
    rows = [row for asked in compared for row in asked["rows"]]
    leans = [row["shift"] for asked in bounded[-1:] for row in asked["rows"] if row["group"] == "probe"]
    said = []
    if rows:
        changed = sum(row["before"].strip() != row["after"].strip() for row in rows)
        said.append(f"{count(len(rows), 'question')} were put to the model before and after; {changed} got a different "
                    "answer. The audit report has them all.")
    if leans:
        mean = sum(leans) / len(leans)
        said.append(f"On {count(len(leans), 'fixed refusal question')} the leaning to decline moved by {mean:+.2f} "
                    "nats on average (positive: declines more).")
    return " ".join(said) or "No questions were put to the model beside those of the checks and benchmarks."


def _refused(rejected: Sequence[Mapping[str, Any]]) -> str:
    if not rejected:
        return "Nothing else was tried in this session, so far as the log says."
    return _bullets(f"{shown(_wish(row['request']))}: {_outcome(row)}" for row in rejected)


def _wish(request: Mapping[str, Any]) -> str:
    return f"{request['subject']} {request['relation']} “{request['target_new']}”"


def _outcome(row: Mapping[str, Any]) -> str:
    tried = len(row.get("attempts", ()))
    return f"declared failed after {count(tried, 'attempt')}" if tried else shown(row.get("reason", "refused"))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _loading(model: Mapping[str, Any]) -> str:
    return ("```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            "model = AutoModelForCausalLM.from_pretrained(FOLDER_OR_REPO)\n"
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER_OR_REPO)\n```\n\n"
            f"The weights are in {model['precision']}, the precision in which they were checked. `config.json` asks "
            "for plain attention, so that the figures come out to the last digit; `attn_implementation=\"sdpa\"` is "
            "faster and differs in the last digits. `pytorch_model.pt` holds the same tensors for "
            "`torch.load(..., weights_only=True)`; `edits.safetensors` and `edits.json` hold the changes alone.")


def _verifying(evidence: Mapping[str, Any]) -> str:
    rows = [("head of the log", f"`{evidence['log_head']}`"),
            ("fingerprint of the base's weights", f"`{evidence['model']['fingerprint']}`"),
            *((f"version of {name}", shown(version)) for name, version in evidence["versions"].items())]
    return ("```sh\npython -m auditor.verify FOLDER_OR_REPO\n```\n\n"
            "reads the weights again, shows that they differ from the base in the stated tensors by the stated factors "
            "and in nothing else, checks the log and every file's hash, and asks the questions of the regression suite "
            "again.\n\n" + table(("what", "value"), rows))
