"""The nouns of the product: frozen values, CPU tensors only.

Orientation, declared once: W_out is written as in the papers, `[d_mlp, d_model]`, so that `k @ W_out + b_out` is the
MLP's output; checkpoints store its transpose. Dataclasses that hold tensors compare by identity (`eq=False`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from auditor.errors import InvalidRequest
from auditor.log import Log, head, noted

Category = Literal["factuality", "bias", "overcensoring", "undercensoring"]
CATEGORIES: tuple[str, ...] = ("factuality", "bias", "overcensoring", "undercensoring")
MAX_FIELD = 300
"""Longest accepted form field, in characters: a hypothesis is a sentence, not a document."""


def option(default: Any, help: str, *, unit: str = "", source: str = "", choices: tuple = ()) -> Any:
    """A config field that carries its meaning, unit and source to whoever renders it."""
    return field(default=default, metadata={"help": help, "unit": unit, "source": source, "choices": choices})


@dataclass(frozen=True)
class EditRequest:
    """A hypothesis to write: `subject relation` shall be continued by `target_new` instead of `target_old`.

    `target_old` may be empty: the model's own greedy answer then takes its place. Raises InvalidRequest with one
    sentence per wrong field.
    """

    subject: str
    relation: str
    target_old: str = ""
    target_new: str = ""
    category: str = "factuality"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("subject", "relation", "target_old", "target_new"):
            object.__setattr__(self, name, " ".join(str(getattr(self, name)).split()))
        problems = self._problems()
        if problems:
            raise InvalidRequest(problems)

    def _problems(self) -> dict[str, str]:
        what = {"subject": "what the claim is about", "relation": "the claim, as words that follow the subject",
                "target_new": "what the model should say"}
        problems = {name: f"Please write {text}." for name, text in what.items() if not getattr(self, name)}
        for name in ("subject", "relation", "target_old", "target_new"):
            if len(getattr(self, name)) > MAX_FIELD:
                problems[name] = f"This is {len(getattr(self, name))} characters long; the limit is {MAX_FIELD}."
        if self.target_new and self.target_new.casefold() == self.target_old.casefold():
            problems["target_new"] = "The new answer is the same as the old one, so there is nothing to change."
        if self.category not in CATEGORIES:
            problems["category"] = f"The category must be one of {', '.join(CATEGORIES)}."
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**31:
            problems["seed"] = "The seed must be a whole number from 0 to 2147483647."
        return problems

    @property
    def prompt(self) -> str:
        """Subject and relation joined: the text that the model is asked to continue."""
        return f"{self.subject} {self.relation}"

    @property
    def sentence(self) -> str:
        """The whole hypothesis read back in plain words."""
        now = f"instead of “{self.target_old}”" if self.target_old else "instead of what it says now"
        return f"After “{self.prompt}” the model shall say “{self.target_new}” {now}."


@dataclass(frozen=True, eq=False)
class TraceResult:
    """What a causal trace found for one prompt and one answer.

    `effect[layer, pos]` is the mean probability of the whole answer when that one state is restored in the corrupted
    run; `clean` and `corrupted` are the same without corruption and without restoration.
    """

    tokens: tuple[str, ...]
    subject: tuple[int, int]
    """First and one-past-last position of the subject span."""
    effect: Tensor
    clean: float
    corrupted: float
    noise: float
    """Standard deviation of the noise in embedding units."""
    runs: int
    part: Literal["residual", "mlp", "attention"] = "residual"
    window: int = 1

    @property
    def total_effect(self) -> float:
        """How much probability the corruption destroyed (ROME section 2.1, TE)."""
        return self.clean - self.corrupted

    @property
    def indirect(self) -> Tensor:
        """[layer, pos] probability that restoring the state gives back (IE)."""
        return self.effect - self.corrupted

    def at(self, site: Literal["subject", "final"]) -> Tensor:
        """[layer] indirect effect at the subject's last token (ROME) or at the final token (the seed)."""
        return self.indirect[:, self.subject[1] - 1 if site == "subject" else -1]

    def recovery(self, site: Literal["subject", "final"]) -> Tensor:
        """[layer] share of the total effect that restoring gives back; zeros where nothing was destroyed."""
        return self.at(site) / self.total_effect if self.total_effect > 1e-9 else torch.zeros(len(self.effect))

    def marked(self, site: Literal["subject", "final"], share: float = 0.4) -> tuple[int, ...]:
        """Layers whose recovery is above `share` of the peak."""
        values = self.at(site)
        peak = float(values.max())
        return tuple(i for i, value in enumerate(values.tolist()) if peak > 0 and value >= share * peak)

    def ranked(self, band: range) -> tuple[int, ...]:
        """Layers of the band by recovery at the subject's last token, strongest first."""
        values = self.at("subject").tolist()
        return tuple(sorted(band, key=lambda layer: -values[layer]))


@dataclass(frozen=True, eq=False)
class WeightDelta:
    """A low-rank change to one W_out: `left @ right`, kept factored until the instant of use."""

    layer: int
    left: Tensor
    """[d_mlp, r], fp32, CPU."""
    right: Tensor
    """[r, d_model], fp32, CPU."""

    @property
    def norm(self) -> float:
        """Frobenius norm of the change, computed from the factors."""
        left, right = self.left.double(), self.right.double()
        return float(((left.T @ left) * (right @ right.T)).sum().clamp_min(0).sqrt())


@dataclass(frozen=True, eq=False)
class Edit:
    """What a method returns: low-rank changes and everything needed to repeat or refuse them."""

    request: EditRequest
    method: str
    patches: tuple[WeightDelta, ...]
    fingerprint: str
    """Fingerprint of the base weights it was fitted on."""
    config: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: tuple[str, ...] = ()
    """Ids of the edits that were live during the fit."""
    losses: tuple[float, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)
    """Diagnostics of the fit: norms, key overlap, and the like."""

    @property
    def id(self) -> str:
        """Content hash: the same request, method, factors and base give the same id."""
        digest = hashlib.sha256()
        head = [dataclasses.asdict(self.request), self.method, dict(self.config), self.fingerprint, self.fitted_on]
        digest.update(json.dumps(head, sort_keys=True, default=str).encode())
        for patch in self.patches:
            digest.update(str(patch.layer).encode())
            digest.update(patch.left.contiguous().numpy().tobytes() + patch.right.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(patch.layer for patch in self.patches)


@dataclass(frozen=True)
class Check:
    """One validation check: a number against a limit, and the rows it was made of."""

    name: str
    value: float
    threshold: float
    direction: Literal["at least", "at most"]
    summary: str = ""
    """One plain sentence."""
    detail: tuple[Mapping[str, Any], ...] = ()
    """Rows for the table under the plot."""

    @property
    def passed(self) -> bool:
        return self.value >= self.threshold if self.direction == "at least" else self.value < self.threshold


@dataclass(frozen=True)
class ValidationReport:
    """The three checks of one attempt."""

    layer: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed, one sentence for each failed check."""
        return tuple(check.summary for check in self.checks if not check.passed)


@dataclass(frozen=True)
class Case:
    """One question of a benchmark, with the answer's standing before and after the edit."""

    prompt: str
    expected: str
    before: float
    after: float
    score: float
    note: str = ""


@dataclass(frozen=True)
class BenchmarkScore:
    """A benchmark's figure with its evidence; `value` None means *not measured*, and `reason` says why."""

    name: str
    dimension: str
    value: float | None
    threshold: float
    n: int
    interval: tuple[float, float] | None = None
    cases: tuple[Case, ...] = ()
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        return None if self.value is None else self.value >= self.threshold


@dataclass(frozen=True)
class AuditFinding:
    """A suspicion with its evidence, and the request that would answer it."""

    audit: str
    sentence: str
    effect: float
    interval: tuple[float, float]
    severity: float
    n: int
    examples: tuple[Mapping[str, Any], ...] = ()
    suggestion: EditRequest | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """An accepted edit with the evidence that got it accepted."""

    edit: Edit
    report: ValidationReport
    scores: tuple[BenchmarkScore, ...] = ()
    cases: Mapping[str, Any] | None = None
    """The frozen questions that the scores were measured on, as `Cases.to_dict` writes them."""


@dataclass(frozen=True, eq=False)
class Session:
    """Everything one visitor owns. Immutable: every change returns a new session."""

    model_id: str
    fingerprint: str = ""
    """Fingerprint of the weights; filled in by the engine with the first edit."""
    entries: tuple[Entry, ...] = ()
    log: Log = ()
    """What was done so far, undone work included."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(entry.edit for entry in self.entries)

    @property
    def head(self) -> str:
        """Hash that stands for the whole log."""
        return head(self.log)

    def noted(self, action: str, facts: Any) -> Session:
        """The session with one more line in its log."""
        return dataclasses.replace(self, log=noted(self.log, action, facts))

    def with_entry(self, entry: Entry) -> Session:
        facts = {"id": entry.edit.id, "request": entry.edit.request, "method": entry.edit.method,
                 "layers": entry.edit.layers, "checks": {check.name: check.value for check in entry.report.checks}}
        return dataclasses.replace(self, entries=(*self.entries, entry)).noted("accepted", facts)

    def with_scores(self, edit_id: str, scores: tuple[BenchmarkScore, ...], cases: Mapping[str, Any]) -> Session:
        """Keep an edit's benchmark scores with the questions that they were measured on."""
        entries = tuple(dataclasses.replace(entry, scores=scores, cases=cases) if entry.edit.id == edit_id else entry
                        for entry in self.entries)
        facts = {"id": edit_id, "scores": {score.name: score.value for score in scores}}
        return dataclasses.replace(self, entries=entries).noted("scored", facts)

    def without(self, edit_id: str) -> Session:
        """Undo one edit, whichever its place. Later edits stay as they were fitted; see `stale`."""
        kept = tuple(entry for entry in self.entries if entry.edit.id != edit_id)
        return dataclasses.replace(self, entries=kept).noted("undone", {"id": edit_id})

    def emptied(self) -> Session:
        """Undo all edits."""
        return dataclasses.replace(self, entries=()).noted("restored", {"ids": [edit.id for edit in self.edits]})

    @property
    def stale(self) -> tuple[str, ...]:
        """Ids of edits that were fitted while an edit was live which is now gone: validate them again."""
        alive = {edit.id for edit in self.edits}
        return tuple(edit.id for edit in self.edits if not alive.issuperset(edit.fitted_on))

    def norms(self) -> dict[int, float]:
        """Per-layer Frobenius norm of the whole change to W_out: only target layers appear."""
        return {layer: delta.norm for layer, delta in combined(self.edits).items()}


def combined(edits: tuple[Edit, ...]) -> dict[int, WeightDelta]:
    """Stack all factors that touch one layer into one WeightDelta per layer, in session order."""
    by_layer: dict[int, list[WeightDelta]] = {}
    for edit in edits:
        for patch in edit.patches:
            by_layer.setdefault(patch.layer, []).append(patch)
    return {layer: WeightDelta(layer, torch.cat([p.left for p in patches], dim=1),
                               torch.cat([p.right for p in patches], dim=0))
            for layer, patches in sorted(by_layer.items())}


# What the engine says while it works. Small, picklable, typed: the page renders them by type.

@dataclass(frozen=True, eq=False)
class Traced:
    """The trace is done and these layers will be tried, in this order."""

    trace: TraceResult
    candidates: tuple[int, ...]
    sentence: str


@dataclass(frozen=True)
class Fitting:
    """One step of the value optimisation at one layer."""

    layer: int
    attempt: int
    step: int
    steps: int
    loss: float
    probability: float
    """Mean probability of the whole new target over the fitting contexts."""


@dataclass(frozen=True, eq=False)
class Attempted:
    """An edit was fitted at one layer and checked."""

    edit: Edit
    report: ValidationReport


@dataclass(frozen=True, eq=False)
class Accepted:
    """All three checks passed; `session` holds the new entry."""

    entry: Entry
    session: Session


@dataclass(frozen=True, eq=False)
class Rejected:
    """No candidate layer passed; no weight was changed. One sentence per failed check and layer."""

    request: EditRequest
    reasons: tuple[str, ...]
    session: Session | None = None
    """The session with the failure in its log."""


Event = Traced | Fitting | Attempted | Accepted | Rejected
