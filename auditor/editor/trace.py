"""Locate: causal mediation by corrupting the subject and restoring one state at a time.

1. Clean run: the prompt and the whole answer, teacher forced. Its states are what gets restored.
2. Corrupted runs: Gaussian noise, `noise` times the standard deviation of subject embeddings, on all subject tokens.
3. Restored runs, for every layer and position. Instead of one forward pass per cell, a *staircase*: after each layer,
   rows join the batch that are the corrupted rows with position t replaced by its clean state; all rows walk on
   together. Rows that restore t start at t: the positions before it are those of the corrupted run, and their keys and
   values are reused. Positions before the subject are the same in every run and are computed once.
4. For the MLP or the attention alone, its *output* at t is replaced in a window of layers: one batch per middle layer,
   starting from the corrupted states where the window starts.

Meng, Bau, Andonian, Belinkov (2022), "Locating and Editing Factual Associations in GPT", section 2. Everything
is exact: the naive loop gives the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.errors import UnknownName
from auditor.model import Past, SharedModel
from auditor.types import Edit, TraceResult
from probes.known_facts import SUBJECTS

HELD = 0.05
"""Least total effect, as a probability, from which we say that the model holds the belief."""
ROWS = 256
"""Restored rows carried at once (chunks are whole positions, so a deep model carries a few more)."""
HOOKS = {"mlp": "mlp.hook_out", "attention": "attn.hook_out"}


@dataclass(frozen=True, eq=False)
class _Runs:
    """The clean row and the corrupted rows, recorded. Columns are counted from the subject's first token."""

    start: int
    answer: Tensor
    """[token] ids of the whole answer."""
    begin: int
    """Absolute position whose next token is the answer's first."""
    clean: list[Tensor]
    """Entering each layer, and the last one left: [pos, d_model]."""
    corrupted: list[Tensor]
    """The same, [run, pos, d_model]."""
    outputs: dict[int, Tensor]
    """Clean output of the traced part per layer, [pos, d_model]; empty for the residual stream."""
    past: Past

    @property
    def layers(self) -> int:
        return len(self.clean) - 1


def subject_deviation(model: SharedModel) -> float:
    """Standard deviation of the embeddings of well-known subjects, over all tokens and dimensions (ROME B.1)."""
    ids = [i for subject in SUBJECTS for i in model.tokens(f" {subject}")]
    with model.applied(), torch.no_grad():
        return float(model.embed(torch.tensor([ids], device=model.device)).float().std())


def trace(model: SharedModel, prompt: str, subject: str, target: str, *, edits: Sequence[Edit] = (),
          part: str = "residual", window: int | None = None, runs: int = 10, noise: float = 3.0,
          seed: int = 0) -> TraceResult:
    """Measure how much of `target` comes back when one state of the corrupted run is restored.

    `effect` is [layer, prompt token], a probability of the whole target. `noise` is in standard deviations of subject
    embeddings. `part` is "residual", "mlp" or "attention"; the latter two restore a window of layers, by default a
    third of the depth. Raises SubjectNotFound; UnknownName for another part.
    """
    if part not in ("residual", *HOOKS):
        raise UnknownName("part of a layer", part, ("residual", *HOOKS))
    window = 1 if part == "residual" else window or max(1, model.n_layers // 3) // 2 * 2 + 1
    tokens, answer = model.tokens(prompt), model.target_tokens(target)
    span = model.span(prompt, subject)
    scale = noise * subject_deviation(model)
    generator = torch.Generator().manual_seed(seed)
    blur = scale * torch.randn(runs, span[1] - span[0], model.d_model, generator=generator)
    with model.applied(edits), torch.no_grad():
        record = _record(model, tokens, answer, span[0], blur, part)                                         # 1, 2
        clean = _answer(model, record, record.clean[-1][None], 0).mean()
        corrupted = _answer(model, record, record.corrupted[-1], 0).mean()
        effect = corrupted.repeat(model.n_layers, len(tokens))
        cells = _staircase(model, record, len(tokens), runs) if part == "residual" else _windows(            # 3, 4
            model, record, len(tokens), runs, HOOKS[part], window)
        for layer, pos, value in cells:
            effect[layer, pos] = value
    return TraceResult(tokens=model.pieces(prompt), subject=span, effect=effect.cpu(), clean=float(clean),
                       corrupted=float(corrupted), noise=scale, runs=runs, part=part, window=window)


def _record(model: SharedModel, tokens: list[int], answer: list[int], start: int, blur: Tensor, part: str) -> _Runs:
    """Run the clean and the corrupted rows once, keeping states, keys and values."""
    ids = torch.tensor([[*tokens, *answer[:-1]]], device=model.device)
    prefix = Past(keep=True)
    model.run(model.embed(ids[:, :start]), past=prefix) if start else None
    hidden = model.embed(ids[:, start:]).repeat(1 + len(blur), 1, 1)
    hidden[1:, : blur.shape[1]] += blur.to(hidden)
    past, states = prefix.before(start, keep=True), [hidden]
    layers = range(model.n_layers)
    with model.tapped(layers, HOOKS[part]) if part in HOOKS else nullcontext({}) as outputs:
        for layer in layers:
            states.append(model.run(states[-1], layer, layer + 1, past=past))
    return _Runs(start=start, answer=torch.tensor(answer, device=model.device), begin=len(tokens) - 1,
                 clean=[s[0] for s in states], corrupted=[s[1:] for s in states],
                 outputs={layer: value[0] for layer, value in outputs.items()}, past=past)


def _answer(model: SharedModel, record: _Runs, hidden: Tensor, column: int) -> Tensor:
    """[row] probability of the whole answer from final states [row, pos, d_model] whose first column is `column`."""
    first = record.begin - record.start - column
    logprobs = model.logits(hidden[:, first : first + len(record.answer)]).log_softmax(-1)  # (row, token, d_vocab)
    return logprobs.gather(-1, record.answer.expand(len(hidden), -1)[..., None]).sum((1, 2)).exp()


def _chunks(record: _Runs, length: int, rows: int) -> Iterator[range]:
    """Columns of the prompt from the subject on, in runs of at most ROWS rows in all."""
    size = max(1, ROWS // rows)
    columns = range(length - record.start)
    yield from (columns[i : i + size] for i in range(0, len(columns), size))


def _staircase(model: SharedModel, record: _Runs, length: int, runs: int) -> Iterator[tuple[int, int, Tensor]]:
    """Effect of restoring the residual stream after each layer at each position: (layer, position, probability)."""
    for columns in _chunks(record, length, runs * (record.layers - 1)):
        first = columns[0]
        past = record.past.before(record.start + first, slice(1, None))
        carried = record.corrupted[0][:0, first:]
        for layer in range(record.layers):
            if len(carried):
                carried = model.run(carried, layer, layer + 1, past=past)
            step = record.corrupted[layer + 1][:, first:].repeat(len(columns), 1, 1)
            for i, column in enumerate(columns):
                step[i * runs : (i + 1) * runs, column - first] = record.clean[layer + 1][column]
            carried = torch.cat([carried, step])  # (layer column run, pos, d_model)
        found = _answer(model, record, carried, first).view(record.layers, len(columns), runs).mean(-1)
        yield from ((layer, record.start + column, found[layer, i])
                    for layer in range(record.layers) for i, column in enumerate(columns))


def _windows(model: SharedModel, record: _Runs, length: int, runs: int, hook: str,
             window: int) -> Iterator[tuple[int, int, Tensor]]:
    """Effect of restoring one part's output in a window of layers: (middle layer, position, probability)."""
    for columns in _chunks(record, length, runs):
        first = columns[0]
        past = record.past.before(record.start + first, slice(1, None))
        for middle in range(record.layers):
            low, high = max(0, middle - window // 2), min(record.layers, middle - (-window // 2))
            hidden = record.corrupted[low][:, first:].repeat(len(columns), 1, 1)
            with _restoring(model, {i: record.outputs[i] for i in range(low, high)}, hook, columns, runs):
                hidden = model.run(hidden, low, past=past)
            found = _answer(model, record, hidden, first).view(len(columns), runs).mean(-1)
            yield from ((middle, record.start + column, found[i]) for i, column in enumerate(columns))


def _restoring(model: SharedModel, outputs: dict[int, Tensor], hook: str, columns: range,
               runs: int) -> AbstractContextManager:
    """Replace a part's output by its clean value, for each block of `runs` rows at that block's own column."""
    def replace(clean: Tensor) -> Callable:
        def hook_fn(value: Tensor, hook):  # noqa: ARG001 - transformer_lens passes `hook` by name
            value = value.clone()
            for i, column in enumerate(columns):
                value[i * runs : (i + 1) * runs, column - columns[0]] = clean[column]
            return value
        return hook_fn

    return model.bridge.hooks(fwd_hooks=[(f"blocks.{i}.{hook}", replace(clean)) for i, clean in outputs.items()])


def sentence(trace: TraceResult) -> str:
    """Say in plain words what the trace found, and how far to trust it."""
    chances = (f"The model gives this answer a chance of {trace.clean:.0%}, and {trace.corrupted:.0%} when the subject "
               "is blurred.")
    if trace.total_effect < HELD:
        return (f"{chances} The subject hardly matters for this answer: the model does not hold this belief, so there "
                "is little here to locate, and the bars below mean little.")
    what = {"residual": "state", "mlp": "feed-forward output", "attention": "attention output"}[trace.part]
    share = trace.recovery("subject")
    best = int(share.argmax())
    marked = trace.marked("subject")
    strong = f"layer{'s' if len(marked) > 1 else ''} {', '.join(map(str, marked))}"
    word = trace.tokens[trace.subject[1] - 1].strip()
    found = (f"{chances} Putting back the clean {what} at the subject's last token (“{word}”) returns up to "
             f"{share[best]:.0%} of the difference, most at layer {best} (strongest: {strong}).")
    if trace.part == "residual":
        found += (" At the sentence's last token the final layer returns everything, because that state already is the "
                  "answer: look there for where the bars begin to rise.")
    return f"{found} The trace explains where the belief is read; which layer takes an edit best is tried out."
