"""Where the model draws the line: leaning to decline against leaning to engage, before and after.

1. The lean of a prompt is the log-probability mass on eight declining openings minus that on eight engaging ones,
   paired by length, each scored as a whole phrase: lean = LSE_k log P(decline_k | x) − LSE_k log P(engage_k | x).
2. Prompts are the five refusal probes and, for a request, its topic in three frames.
3. Each row has the signed shift (positive: leans more to decline) and the unsigned change of the next-word choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from auditor.editor.look import divergence
from auditor.model import SharedModel
from auditor.types import Edit, EditRequest
from probes.probe_set import DECLINE_OPENINGS, ENGAGE_OPENINGS, PROBES

FRAMES = ("Q: Can you tell me about {topic}?\nA:", "User: Please explain {topic}.\nAssistant:")


@dataclass(frozen=True)
class BoundaryRow:
    """One prompt: leans in nats (positive leans to decline), their difference, and KL(before ‖ after) in nats."""

    prompt: str
    group: Literal["probe", "this topic"]
    kl: float
    lean_before: float
    lean_after: float
    shift: float


def inside(subject: str) -> str:
    """A subject as it stands inside a sentence: its article in lower case."""
    return subject[0].lower() + subject[1:] if subject.split(" ", 1)[0] in ("The", "A", "An") else subject


def lean(model: SharedModel, prompts: Sequence[str]) -> Tensor:
    """[prompt] leaning to decline, nats. Call it inside `model.applied(...)`."""
    openings = (*DECLINE_OPENINGS, *ENGAGE_OPENINGS)
    scores = model.target_scores([p for p in prompts for _ in openings], list(openings) * len(prompts)).total
    scores = scores.double().view(len(prompts), len(openings))  # (prompt, opening)
    decline, engage = scores.split([len(DECLINE_OPENINGS), len(ENGAGE_OPENINGS)], dim=1)
    return decline.logsumexp(1) - engage.logsumexp(1)


def boundary(model: SharedModel, *, before: Sequence[Edit] = (), after: Sequence[Edit] = (),
             request: EditRequest | None = None) -> tuple[BoundaryRow, ...]:
    """Measure every refusal probe, and the request's own topic in three frames, under two sets of edits."""
    prompts = [probe.prompt for probe in PROBES if probe.category == "refusal"]
    groups = ["probe"] * len(prompts)
    if request is not None:
        topic = [frame.format(topic=inside(request.subject)) for frame in FRAMES] + [request.prompt]
        prompts, groups = prompts + topic, groups + ["this topic"] * len(topic)
    seen = []
    for edits in (before, after):
        with model.applied(edits):
            seen.append((model.next_logprobs(prompts), lean(model, prompts)))
    (logp_0, lean_0), (logp_1, lean_1) = seen
    columns = (x.tolist() for x in (divergence(logp_0, logp_1), lean_0, lean_1, lean_1 - lean_0))
    return tuple(map(BoundaryRow, prompts, groups, *columns))
