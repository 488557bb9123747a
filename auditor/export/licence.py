"""Under which licence the base model comes, as far as that is known, and the notices that travel with it."""

from __future__ import annotations

from pathlib import Path

from auditor.model import POCKET, SharedModel

KNOWN = {"EleutherAI/pythia": "apache-2.0"}
"""Beginning of a Hub id to what its model card says."""
NOTICES = ("LICENSE*", "LICENCE*", "NOTICE*")


def licence(model: SharedModel) -> dict[str, str]:
    """Licence id as the Hub writes it, and how it is known; `other` where it is not."""
    if _is_pocket(model):
        return {"id": "mit", "said": "The pocket model comes with this program, under the MIT licence."}
    if found := _from_card(model.folder / "README.md"):
        return {"id": found, "said": "So says the base model's own card."}
    for beginning, found in KNOWN.items():
        if model.id.startswith(beginning):
            return {"id": found, "said": f"So says the card of {model.id}."}
    return {"id": "other", "said": "The licence of the base model is not known to this program: look it up before you "
                                   "pass these files on."}


def notices(model: SharedModel) -> list[Path]:
    """Licence files beside the base's weights; the pocket model's lies at the top of the program."""
    folders = [model.folder, *([POCKET.parents[2]] if _is_pocket(model) else [])]
    found = {path.name: path for folder in folders for pattern in NOTICES for path in sorted(folder.glob(pattern))
             if path.is_file()}
    return [found[name] for name in sorted(found)]


def _is_pocket(model: SharedModel) -> bool:
    return model.folder.resolve() == POCKET.resolve()


def _from_card(path: Path) -> str:
    """The licence in a model card's front matter; empty where there is none."""
    from huggingface_hub import ModelCard

    try:
        found = ModelCard.load(path).data.license if path.is_file() else ""
    except (ValueError, OSError):
        return ""
    return found if isinstance(found, str) else ""
