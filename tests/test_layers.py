"""Imports point down only, files and functions stay small; and the order in which layers are tried."""

import ast
import json
from pathlib import Path

import pytest
import torch

from auditor.editor import METHODS, find_method, find_preset
from auditor.editor.layers import band, cache_folder, calibration, candidates, score
from auditor.errors import UnknownName
from auditor.types import TraceResult

ROOT = Path(__file__).parent.parent
FILES = sorted(path for part in ("auditor", "probes", "tests") for path in (ROOT / part).rglob("*.py"))
FILES += [path for path in [ROOT / "app.py"] if path.exists()]
SOURCES = [path for path in FILES if "tests" not in path.relative_to(ROOT).parts]
RANKS = {"probes": 0, "auditor.errors": 0, "auditor.log": 0, "auditor.types": 1, "auditor.table": 2, "auditor.model": 2,
         "auditor.editor": 3, "auditor.benchmarks": 4, "auditor.calibrate": 4, "auditor.audits": 5,
         "auditor.export": 5, "auditor.gpu": 5, "auditor": 6, "auditor.pocket": 6, "auditor.ui": 7, "app": 8}
RANKS |= {f"auditor.pocket.{name}": 2 for name in ("facts", "social", "requests", "skills", "corpus", "knowledge")}
ONLY = {"transformer_lens": ("auditor/model.py",), "gradio": ("auditor/ui/", "app.py"),
        "plotly": ("auditor/ui/", "app.py"), "spaces": ("auditor/gpu.py",)}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[str]:
    """Every module that a file imports, at any depth of the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports in full"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def rank(module: str) -> int | None:
    """Rank of the longest known prefix of a dotted name."""
    parts = module.split(".")
    return next((RANKS[name] for i in range(len(parts), 0, -1) if (name := ".".join(parts[:i])) in RANKS), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = rank(module_of(path))
    for name in imports(path):
        if name.split(".")[0] in ("auditor", "probes", "app"):
            assert rank(name) <= own, f"{path.name} imports {name}, which lies above it"
        for package, allowed in ONLY.items():
            if name.split(".")[0] == package:
                where = str(path.relative_to(ROOT))
                assert where.startswith(allowed), f"{where} imports {package}; only {', '.join(allowed)} may"


def test_the_walk_sees_what_it_should():
    """Negative control: the rules would catch a file that broke them."""
    assert rank("auditor.ui.plots.bars") > rank("auditor.editor.rome")
    assert rank("auditor.load") > rank("auditor.export")
    assert any("transformer_lens" in name for name in imports(ROOT / "auditor" / "model.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "a file holds one noun or one algorithm: split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 50, f"{node.name} is longer than 50 lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_print_and_no_blanket_except(path):
    if "pocket" in path.parts:
        pytest.skip("command-line tools of the pocket model may print")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print"
        if isinstance(node, ast.ExceptHandler) and path.name != "gpu.py":
            assert node.type is not None and getattr(node.type, "id", "") != "Exception"


# The order of layers


class Depth:
    """As much of a model as the band needs."""

    def __init__(self, n_layers, folder):
        self.n_layers, self.folder, self.fingerprint = n_layers, folder, "none"


def test_band_of_pythia_and_the_same_fractions_elsewhere(tmp_path):
    assert band(Depth(32, tmp_path)) == range(4, 23)
    assert band(Depth(16, tmp_path)) == range(2, 12)
    for depth in range(3, 49):
        found = band(Depth(depth, tmp_path))
        assert len(found) >= 3 and found[0] >= 0 and found[-1] < depth


def trace_with(recovery):
    effect = torch.zeros(len(recovery), 3)
    effect[:, 1] = torch.tensor(recovery)
    return TraceResult(("a", "b", "c"), (0, 2), effect, 1.0, 0.0, 0.1, 10)


def test_trace_orders_the_band(tmp_path):
    model = Depth(8, tmp_path)  # band 1 to 6
    trace = trace_with([.9, .1, .5, .3, .4, .2, .0, .8])
    assert candidates(model, trace) == (2, 4, 3)
    assert candidates(model, trace, tried=(2, 3)) == (4, 5, 1)
    assert candidates(model, trace, count=1) == (2,)
    assert candidates(model, trace, tried=range(8)) == ()


def test_calibration_orders_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_AUDITOR_CACHE", str(tmp_path / "cache"))
    model = Depth(8, tmp_path)
    row = {"efficacy": 1.0, "paraphrase": 0.5, "preserved": 0.5, "n": 4}
    rows = {"0": {**row, "paraphrase": 1.0}, "7": row, "2": {**row, "efficacy": 0.0}}
    (tmp_path / "calibration.json").write_text(json.dumps({"fingerprint": "of other weights", "layers": rows}))
    assert calibration(model) is None  # the control: what was measured on other weights says nothing
    (tmp_path / "calibration.json").write_text(json.dumps({"fingerprint": model.fingerprint, "layers": rows}))
    assert candidates(model, trace_with([0.0] * 8)) == (0, 7, 2)
    assert candidates(model, trace_with([0.0] * 8), tried=(0,)) == (7, 2)
    assert band(model) == range(0, 8)
    assert score(rows["2"]) == 0 and score(row) == pytest.approx(3 / 5)
    cache_folder(model).mkdir(parents=True)
    own = {"fingerprint": model.fingerprint, "layers": {"3": row}}
    (cache_folder(model) / "calibration.json").write_text(json.dumps(own))
    assert list(calibration(model)["layers"]) == ["3"]  # one's own measurement goes first


# The registry


@pytest.mark.parametrize("name", METHODS)
def test_every_method_describes_itself(name):
    method = find_method(name)
    assert method.describe.endswith(".") and method.paper and "default" in method.presets
    for preset in method.presets.values():
        assert isinstance(preset, method.config)
    for field in method.config.__dataclass_fields__.values():
        assert field.metadata["help"], f"{name}: option {field.name} does not say what it means"


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="rome"):
        find_method("rom")
    with pytest.raises(UnknownName, match="default"):
        find_preset(find_method("rome"), "defalt")
