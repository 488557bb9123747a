"""The shared model: load once, read by everybody, written by nobody.

1. `load` finds a checkpoint (`pocket`, a folder, or a Hub id of the GPT-NeoX family) and boots it through
   transformer_lens, which wraps the Hugging Face module in place and leaves its weights raw.
2. `SharedModel.applied(edits)` is the only way to the model and the only code that touches a weight. It holds the lock,
   substitutes one merged W_out per touched layer, and puts the original Parameter objects back in `finally`.
3. Three primitives make every forward pass: `embed`, `run(hidden, start, stop)`, `logits`. Padding is on the right, so
   causal attention needs no mask and a row never sees its own padding.

Base tensors are never written: restoring is exact by construction.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from auditor.errors import ModelNotHeld, ModelUnavailable, SubjectNotFound
from auditor.types import Edit, WeightDelta, combined

POCKET = Path(__file__).parent / "pocket" / "weights"
PYTHIA = "EleutherAI/pythia-2.8b"
PINNED = {PYTHIA: "2a259cdd96a4beb1cdf467512e3904197345f6a9"}
"""Hub ids whose revision is fixed: the commit of the final checkpoint (step 143000)."""
ROWS = 32
"""Rows per batch of scored work: fixed, because scores move in the last digits with the batch shape."""


@dataclass(frozen=True, eq=False)
class TargetScores:
    """How the model takes a list of whole answers; one row per (prompt, target) pair."""

    total: Tensor
    """[n] log-probability of the whole target, nats."""
    mean: Tensor
    """[n] the same per target token: length-normalised, as in CounterFact."""
    on_top: Tensor
    """[n] True where every target token is the model's first choice."""

    @property
    def probability(self) -> Tensor:
        return self.total.exp()


class Past:
    """Keys and values of earlier positions: they stand in for positions that are the same in every pass.

    `Past(keep=True)` records what a pass computes; `.before(stop)` is that record, cut before a position (one for all
    rows, or one per row), and serves it to later passes whose rows start there. A pass may have a multiple of its rows.
    """

    def __init__(self, pairs: Mapping[int, tuple[Tensor, Tensor]] | None = None, stop: int | Tensor = 0, *,
                 keep: bool = False):
        self._pairs, self._keep, self.stop = dict(pairs or {}), keep, stop
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def before(self, stop: int | Tensor, rows: slice = slice(None), *, keep: bool = False) -> Past:
        """What this pass recorded of `rows`, at the positions before `stop` (an int, or [row] positions)."""
        width = int(torch.as_tensor(stop).max())
        return Past({i: (k[rows, :, :width], v[rows, :, :width]) for i, (k, v) in self.kept.items()}, stop, keep=keep)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_) -> tuple[Tensor, Tensor]:
        """Join recorded and new keys and values, [row, head, pos, d_head]; called by the attention of a layer."""
        if layer in self._pairs:
            keys, values = (torch.cat([old.repeat(len(new) // len(old), 1, 1, 1), new], dim=2)
                            for old, new in zip(self._pairs[layer], (keys, values)))
        if self._keep:
            self.kept[layer] = keys, values
        return keys, values

    def positions(self, width: int, device: torch.device) -> Tensor:
        """[1 or row, pos] absolute positions of a pass of `width` new columns."""
        return torch.as_tensor(self.stop, device=device).reshape(-1, 1) + torch.arange(width, device=device)

    def mask(self, width: int, device: torch.device) -> Tensor | None:
        """[row, 1, new, old + new] what each new column may see; None where all rows start at one position."""
        if not isinstance(self.stop, Tensor):
            return None
        old = torch.arange(int(self.stop.max()), device=device) < self.stop.to(device)[:, None]  # (row, old)
        new = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        rows = len(old)
        return torch.cat([old[:, None].expand(rows, width, -1), new.expand(rows, -1, -1)], dim=2)[:, None]


class SharedModel:
    """A wrapped GPT-NeoX model, its tokenizer and its place on disk. Use `load` to get one."""

    def __init__(self, bridge, folder: Path, *, id: str, why: str = ""):
        self.bridge = bridge
        self.hf = bridge.original_model
        self.tokenizer = bridge.tokenizer
        self.folder, self.id, self.why = Path(folder), id, why
        self._neox = self.hf.gpt_neox
        self._head = getattr(self.hf, "lm_head", None) or self.hf.embed_out
        self._lock, self._owner = threading.Lock(), None
        config = self.hf.config
        self.n_layers, self.d_model, self.d_mlp = config.num_hidden_layers, config.hidden_size, config.intermediate_size
        self.n_vocab = config.vocab_size
        for parameter in self.hf.parameters():
            parameter.requires_grad_(False)

    # What it is

    @property
    def device(self) -> torch.device:
        return self.w_out(0).device

    @property
    def dtype(self) -> torch.dtype:
        return self.w_out(0).dtype

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the checkpoint's weight files and of the precision they run in: an edit fits no other weights."""
        digest = hashlib.sha256(str(self.dtype).encode())
        for path in weight_files(self.folder):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def n_parameters(self) -> int:
        """Parameters of the model; the bridge's split copies of the attention weights are not counted twice."""
        copies = sum(p.numel() for name, p in self.hf.named_parameters()
                     if any(f".attention.{part}." in name for part in "qkv"))
        return sum(p.numel() for p in self.hf.parameters()) - copies

    def linear_out(self, layer: int) -> nn.Linear:
        """The Hugging Face module that holds W_out of a layer (weight `[d_model, d_mlp]`)."""
        return self.bridge.blocks[layer].mlp.out.original_component

    def w_out(self, layer: int) -> Tensor:
        """W_out as it is live now, in the checkpoint's orientation `[d_model, d_mlp]`."""
        return self.linear_out(layer).weight

    # The only code that touches a weight

    def merged(self, layer: int, delta: WeightDelta, base: Tensor | None = None) -> Tensor:
        """Base W_out plus a delta, `[d_model, d_mlp]`: summed in fp32, cast once. Live use and export share it."""
        base = self.w_out(layer) if base is None else base
        left, right = delta.left.to(base.device), delta.right.to(base.device)
        return (base.float() + (left @ right).T).to(base.dtype)

    @contextmanager
    def applied(self, edits: Sequence[Edit] = ()) -> Iterator[SharedModel]:
        """Hold the model with `edits` live. Not re-entrant; never yield to somebody else inside it."""
        if self._owner == threading.get_ident():
            raise ModelNotHeld("`applied` is not re-entrant: pass all edits to the outer call.")
        with self._lock:
            originals = {}
            try:
                for layer, delta in combined(tuple(edits)).items():
                    linear = self.linear_out(layer)
                    originals[layer] = linear.weight
                    linear.weight = nn.Parameter(self.merged(layer, delta), requires_grad=False)
                self._owner = threading.get_ident()
                yield self
            finally:
                self._owner = None
                for layer, parameter in originals.items():
                    self.linear_out(layer).weight = parameter

    def _check_held(self) -> None:
        if self._owner != threading.get_ident():
            raise ModelNotHeld("Read it inside `with model.applied(edits):`, so that no one else's edits are live.")

    # Text and tokens

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text; nothing is prepended."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def pieces(self, text: str) -> tuple[str, ...]:
        """The text cut at token borders, for display."""
        return tuple(self.text([i]) for i in self.tokens(text))

    def target_tokens(self, target: str) -> list[int]:
        """Token ids of an answer as it continues a prompt: with a leading space."""
        return self.tokens(target if target[:1].isspace() else f" {target}")

    def span(self, text: str, subject: str) -> tuple[int, int]:
        """First and one-past-last token position of the last occurrence of `subject` in `text`.

        Raises SubjectNotFound when it does not occur.
        """
        start = text.lower().rfind(subject.lower())
        if start < 0 or not subject:
            raise SubjectNotFound(f"The words “{subject}” do not occur in “{text}”. Write them as in the sentence.")
        end = start + len(subject)
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        return inside[0], inside[-1] + 1

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """[row, pos] ids, padded on the right with token 0."""
        width = max(map(len, rows))
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)

    # The three primitives

    def embed(self, ids: Tensor) -> Tensor:
        """[row, pos] ids to [row, pos, d_model] embeddings."""
        self._check_held()
        return self._neox.embed_in(ids)

    def run(self, hidden: Tensor, start: int = 0, stop: int | None = None, *, past: Past | None = None) -> Tensor:
        """Residual stream entering layer `start` to the one entering layer `stop`.

        With `past`, `hidden` holds only the positions from `past.stop` on.
        """
        self._check_held()
        past = past or Past()
        positions = past.positions(hidden.shape[1], hidden.device)
        mask, rotary = past.mask(hidden.shape[1], hidden.device), self._neox.rotary_emb(hidden, positions)
        for layer in self._neox.layers[start:stop]:
            hidden = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary,
                           layer_past=past)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Final norm and unembedding of any [..., d_model], in fp32."""
        self._check_held()
        return self._head(self._neox.final_layer_norm(hidden)).float()

    @contextmanager
    def tapped(self, layers: Sequence[int], hook: str = "mlp.out.hook_in") -> Iterator[dict[int, Tensor]]:
        """Collect an activation of some layers during passes inside the scope: layer to the latest tensor.

        The default is ROME's key: the input of W_out, `[row, pos, d_mlp]`. `mlp.hook_out` is the MLP's output.
        """
        found: dict[int, Tensor] = {}

        def keep(layer: int):
            def hook_fn(value, hook):  # noqa: ARG001 - transformer_lens passes `hook` by name
                found[layer] = value.detach()
            return hook_fn

        with self.bridge.hooks(fwd_hooks=[(f"blocks.{layer}.{hook}", keep(layer)) for layer in layers]):
            yield found

    # Reading answers

    @torch.no_grad()
    def target_scores(self, prompts: Sequence[str], targets: Sequence[str]) -> TargetScores:
        """Log-probability of each whole target after its prompt, batched."""
        pairs = [(self.tokens(p), self.target_tokens(t)) for p, t in zip(prompts, targets, strict=True)]
        total, mean, on_top = [], [], []
        for chunk in (pairs[i : i + ROWS] for i in range(0, len(pairs), ROWS)):
            hidden = self.run(self.embed(self.pad([p + t for p, t in chunk])))
            where = [(row, len(p) - 1 + j, token) for row, (p, t) in enumerate(chunk) for j, token in enumerate(t)]
            row, pos, token = (torch.tensor(column, device=self.device) for column in zip(*where))
            logprobs = self.logits(hidden[row, pos]).log_softmax(-1)  # (target tokens, d_vocab)
            picked = logprobs.gather(1, token[:, None])[:, 0].cpu()
            best = (logprobs.argmax(-1) == token).cpu()
            for values, hits in zip(*(x.split([len(t) for _, t in chunk]) for x in (picked, best))):
                total.append(values.sum()), mean.append(values.mean()), on_top.append(hits.all())
        return TargetScores(torch.stack(total), torch.stack(mean), torch.stack(on_top))

    @torch.no_grad()
    def next_logprobs(self, prompts: Sequence[str]) -> Tensor:
        """[prompt, d_vocab] log-probabilities of the next token, fp32, CPU."""
        return self.states(prompts, ())[0]

    @torch.no_grad()
    def states(self, prompts: Sequence[str], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Next-token log-probabilities [prompt, d_vocab]; residuals after `layers` there [prompt, layer, d_model]."""
        out, residuals = [], []
        for start in range(0, len(prompts), ROWS):
            rows = [self.tokens(p) for p in prompts[start : start + ROWS]]
            last = torch.tensor([len(r) - 1 for r in rows], device=self.device)
            each = torch.arange(len(rows), device=self.device)
            hidden, at, kept = self.embed(self.pad(rows)), 0, {}
            for layer in sorted(set(layers)):
                hidden, at = self.run(hidden, at, layer + 1), layer + 1
                kept[layer] = hidden[each, last].float().cpu()
            out.append(self.logits(self.run(hidden, at)[each, last]).log_softmax(-1).cpu())
            none = torch.empty(len(rows), 0, self.d_model)
            residuals.append(torch.stack([kept[i] for i in layers], 1) if layers else none)
        return torch.cat(out), torch.cat(residuals)

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], max_new: int = 24) -> list[str]:
        """Greedy continuations, without the prompts, ended at the end-of-text token."""
        answers: dict[int, str] = {}
        rows = [self.tokens(p) for p in prompts]
        for length in sorted({len(r) for r in rows}):
            index = [i for i, r in enumerate(rows) if len(r) == length]
            new = self.decode(torch.tensor([rows[i] for i in index], device=self.device), max_new)
            for i, ids in zip(index, new.tolist()):
                end = ids.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in ids else len(ids)
                answers[i] = self.text(ids[:end])
        return [answers[i] for i in range(len(rows))]

    @torch.no_grad()
    def decode(self, ids: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """[row, steps] new ids after equally long rows: greedy, or sampled when a generator is given."""
        self._check_held()
        cache, new = None, []
        for _ in range(steps):
            out = self.hf(ids, past_key_values=cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[:, -1].float()
            if generator is None:
                ids = logits.argmax(-1, keepdim=True)
            else:
                ids = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator).to(self.device)
            new.append(ids)
            if generator is None and bool((torch.cat(new, 1) == self.tokenizer.eos_token_id).any(1).all()):
                break
        return torch.cat(new, dim=1)


# Loading


def load(name: str | None = None, *, device: str | None = None, dtype: str | None = None,
         revision: str | None = None) -> SharedModel:
    """Load `pocket`, a checkpoint folder, or a Hub id of the GPT-NeoX family.

    Rule: no name means Pythia 2.8B where CUDA is present and its weights can be had, else pocket. Device is CUDA where
    present, else CPU. Precision is the checkpoint's own on CUDA and float32 on CPU. The environment variables
    MODEL_AUDITOR_MODEL, MODEL_AUDITOR_DEVICE and MODEL_AUDITOR_DTYPE take the place of arguments that are not given.
    Raises ModelUnavailable with the reason.
    """
    name = name or os.environ.get("MODEL_AUDITOR_MODEL")
    device = device or os.environ.get("MODEL_AUDITOR_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or os.environ.get("MODEL_AUDITOR_DTYPE")
    if name is None:
        return _load_default(device, dtype)
    folder = find(name, revision)
    return boot(folder, id="pocket" if folder == POCKET else name, device=device, dtype=dtype)


def _load_default(device: str, dtype: str | None) -> SharedModel:
    if not device.startswith("cuda"):
        return boot(POCKET, id="pocket", device=device, dtype=dtype,
                    why="No GPU was found, so the small model that comes with this program is used.")
    try:
        return boot(find(PYTHIA), id=PYTHIA, device=device, dtype=dtype,
                    why="A GPU was found and the weights of Pythia 2.8B could be had.")
    except ModelUnavailable as error:
        return boot(POCKET, id="pocket", device=device, dtype=dtype,
                    why=f"A GPU was found, but Pythia 2.8B could not be had ({error}), so the small model is used.")


def find(name: str, revision: str | None = None) -> Path:
    """The local folder of a checkpoint, downloaded from the Hub if it is not there yet."""
    if name == "pocket":
        return POCKET
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or PINNED.get(name),
                                      allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except HFValidationError:
        raise ModelUnavailable(f"“{name}” is neither a folder on this machine nor a Hub id such as {PYTHIA}.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(f"“{name}” is not on this machine and could not be downloaded "
                               f"({type(error).__name__}). Check the name, the network and your access.") from None


def boot(folder: Path, *, id: str, device: str = "cpu", dtype: str | None = None, why: str = "") -> SharedModel:
    """Wrap the checkpoint in `folder`; raises ModelUnavailable when it is not a GPT-NeoX checkpoint."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"“{folder}” holds no model configuration ({type(error).__name__}).") from None
    if config.model_type != "gpt_neox":
        raise ModelUnavailable(f"“{id}” is a {config.model_type} model; only the GPT-NeoX family (Pythia) works.")
    if not weight_files(folder):
        raise ModelUnavailable(f"“{folder}” holds no weights in safetensors or .bin form.")
    precision = getattr(torch, dtype) if dtype else config.dtype if device.startswith("cuda") else torch.float32
    bridge = TransformerBridge.boot_transformers(str(folder), device=device, dtype=precision or torch.float32)
    return SharedModel(bridge, folder, id=id, why=why)


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's weight files in name order; safetensors where there are any. The factors of edits are none."""
    found = sorted(path for path in Path(folder).glob("*.safetensors") if path.name != "edits.safetensors")
    return found or sorted(Path(folder).glob("pytorch_model*.bin"))
