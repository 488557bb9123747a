"""What the README says is true of this commit: its commands, its code, its figures."""

import json
import re
from pathlib import Path

import pytest

import auditor
import auditor.model
from auditor.pocket import evaluate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_second_command_is_what_ci_runs():
    start, test = blocks("sh")[:2]
    assert "app.py" in start and "pytest" in test
    assert test.strip() in (ROOT / ".ci" / "run").read_text()


def test_the_python_lines_run_and_end_in_an_accepted_edit(pocket, monkeypatch):
    monkeypatch.setattr(auditor, "load", lambda name: pocket)
    scope: dict = {}
    exec(blocks("python")[0], scope)
    assert isinstance(scope["outcome"], auditor.Accepted)
    assert scope["outcome"].entry.report.passed


def test_the_figures_are_those_of_the_manifest():
    path = evaluate.WEIGHTS / "manifest.json"
    if not path.is_file():
        pytest.skip("The pocket weights have not been built: python -m auditor.pocket.train")
    assert evaluate.table(json.loads(path.read_text())["measured"]) in README


def test_every_file_that_is_named_exists():
    for name in re.findall(r"`((?:auditor|tests|probes)/[\w/.]+)`|\]\(([\w/.]+)\)", README):
        assert (ROOT / (name[0] or name[1])).exists(), name


def test_front_matter_pins_what_the_requirements_pin():
    wanted = (ROOT / "requirements.txt").read_text()
    assert re.search(r"^sdk_version: (.*)$", README, flags=re.M)[1] == re.search(r"gradio\[oauth\]==(.*)", wanted)[1]
    assert "hf_oauth: true" in README and "contribute-repos" in README
    assert f"{auditor.model.PYTHIA} " in README and auditor.model.PINNED[auditor.model.PYTHIA] in README
