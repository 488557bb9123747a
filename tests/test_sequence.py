"""Many edits in a row: what protection promises, what overlap foretells, and that a killed run goes on."""

import dataclasses
import json

import pytest
import torch

from auditor.benchmarks import sequence
from auditor.benchmarks.sequence import SequenceStep, _Bench, main, matrix, neutral_text, run_sequence, summary
from auditor.benchmarks.sequence_file import SequenceFile
from auditor.calibrate import finish
from auditor.editor import find_method, find_preset
from auditor.editor.covariance import earlier_keys, second_moment, solve
from auditor.editor.keys import contexts, key
from auditor.editor.overlap import Overlap, OverlapRow, overlap, overlap_at
from auditor.errors import SessionRejected
from auditor.types import Edit, EditRequest, Entry, Session, ValidationReport, WeightDelta
from probes.known_facts import Fact

ROME = find_method("rome")
QUICK = dataclasses.replace(find_preset(ROME, "default"), steps=4, contexts_for_key=4, contexts_for_value=2)
OPEN = dataclasses.replace(QUICK, protect_earlier=False)
SUBJECTS = ("The Eiffel Tower", "The Colosseum", "A bell", "The market")
REQUESTS = [EditRequest(subject, "is located in", "Rome", "the evening") for subject in SUBJECTS]
AGAIN = EditRequest(SUBJECTS[1], "was built by", "Rome", "Paris")
FACTS = [("The market was", "busy"), ("In fact, the weather was", "mild")]


def fit(model, request, config=QUICK, edits=()):
    return finish(ROME.run(model, request, 1, config, edits=edits))


def key_of(model, request, edits=()):
    with model.applied(edits):
        return key(model, contexts(model, request.prompt, request.subject, QUICK.contexts_for_key), 1)


@pytest.fixture
def quick(monkeypatch):
    """The default preset with fewer steps, at layer 1 without a trace."""
    monkeypatch.setitem(ROME.presets, "default", QUICK)
    monkeypatch.setattr(sequence, "best_layer", lambda *args, **named: 1)


def session(edits):
    return Session("tiny", "", tuple(Entry(edit, ValidationReport(1, ())) for edit in edits))


@pytest.fixture(scope="module")
def chain(tiny):
    """Five edits at one layer, each with the earlier ones live and spared; the last is of the second's subject."""
    edits = ()
    for request in (*REQUESTS, AGAIN):
        edits += (fit(tiny, request, edits=edits),)
    return edits


# Protection


def test_every_key_is_recovered_whatever_was_spared(tiny, chain):
    found = earlier_keys(chain, 1, second_moment(tiny, 1))
    for request, k in zip((*REQUESTS, AGAIN), found, strict=True):
        assert float((k - key_of(tiny, request)).norm() / k.norm()) < 1e-2
    torch.testing.assert_close(found[1], found[4], rtol=1e-2, atol=1e-2)  # one subject, one key


def test_recovery_would_fail_without_the_spared_keys(tiny, chain):
    """Negative control: read as if nothing had been spared, a late edit gives another vector."""
    late = dataclasses.replace(chain[3], config={**chain[3].config, "protect_earlier": False})
    k, exact = key_of(tiny, REQUESTS[3]), earlier_keys(chain, 1, second_moment(tiny, 1))[3]
    wrong = earlier_keys((late,), 1, second_moment(tiny, 1))[0]
    assert float((wrong - k).norm()) > 10 * float((exact - k).norm())


def test_protection_spares_earlier_outputs(tiny, chain):
    """The output at an earlier key changes by |u.k'| |Lambda|: less with protection than without."""
    spared, unspared = chain[3], fit(tiny, REQUESTS[3], OPEN, chain[:3])
    keys = [key_of(tiny, request) for request in REQUESTS[:3]]

    def moved(edit):
        out = []
        for edits in (chain[:3], (*chain[:3], edit)):
            with tiny.applied(edits), torch.no_grad():
                out.append(torch.stack([tiny.linear_out(1)(k) for k in keys]))
        return (out[1] - out[0]).norm(dim=1)
    assert bool((moved(spared) < 0.1 * moved(unspared)).all())


def test_in_the_limit_nothing_is_left_and_orthogonal_keys_change_nothing(tiny):
    C = second_moment(tiny, 1)
    k, p = key_of(tiny, REQUESTS[0]), key_of(tiny, REQUESTS[1])
    leaks = []
    for weight in (0.0, 1.0, 10.0, 100.0):
        x = solve(C, k, protect=weight * p[None]).double()
        leaks.append(float((x @ p.double()).abs() / (x @ k.double())))
    assert leaks == sorted(leaks, reverse=True) and leaks[0] > 1e-2 and leaks[-1] < 1e-6
    x = solve(C, k)
    apart = p - k * (p @ x) / (k @ x)  # p with p^T C^-1 k = 0
    torch.testing.assert_close(solve(C, k, protect=apart[None]), x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))


def test_seed_preset_spares_nothing():
    assert not find_preset(ROME, "seed").protect_earlier and not find_preset(ROME, "seed").covariance
    assert not sequence.configured(ROME, "default", protect=False).protect_earlier
    assert sequence.configured(ROME, "default", protect=True) == find_preset(ROME, "default")


# Overlap, before editing


@pytest.mark.parametrize("config", [QUICK, OPEN, dataclasses.replace(QUICK, covariance=False)],
                         ids=["spared", "open", "C = I"])
def test_overlap_foretells_what_the_fit_does(tiny, config):
    first = tuple(fit(tiny, request, config) for request in REQUESTS[:2])
    rows = list(overlap_at(tiny, REQUESTS[2], 1, config, first))
    edit = fit(tiny, REQUESTS[2], config, first)
    assert max(row.share for row in rows) == pytest.approx(edit.notes["key_overlap"], rel=0.02)
    for row, request in zip(rows, REQUESTS):
        left = abs(float(edit.patches[0].left[:, 0] @ key_of(tiny, request)))
        assert row.left == pytest.approx(left, rel=0.05, abs=1e-3)
        assert row.claim == request.prompt and (row.left < row.share) == (config is QUICK)


def test_overlap_says_it_in_words(tiny, chain, quick):
    said = overlap(tiny, dataclasses.replace(AGAIN, relation="was found in"), session(chain[:3]))
    assert set(said.layers) == {1} and said.layers[1].same and "“The Colosseum is located in …”" in said.sentence
    assert overlap(tiny, AGAIN, session(())) == Overlap() and Overlap().sentence == ""
    row = OverlapRow(1, "a", "The Colosseum is in", 0.123, 0.121)
    assert Overlap((row,)).sentence == ("This change will disturb your earlier change “The Colosseum is in …” "
                                        "by about 12%.")
    assert "12%" in (spared := Overlap((dataclasses.replace(row, left=0.01),)).sentence) and "1%" in spared
    assert Overlap((dataclasses.replace(row, share=0.02, left=0.02),)).sentence == ""
    with pytest.raises(SessionRejected):
        overlap(tiny, AGAIN, session([dataclasses.replace(chain[0], fingerprint="other")]))


# The sequence


def run(model, requests=REQUESTS, **how):
    return list(run_sequence(model, requests, facts=FACTS, every=2, checkpoints=(1,), **how))


def plain(step: SequenceStep):
    return {**{f.name: getattr(step, f.name) for f in dataclasses.fields(step) if f.name not in ("edit", "seconds")},
            "id": step.edit.id, "notes": dict(step.edit.notes), "fitted_on": step.edit.fitted_on}


def test_matrix_is_lower_triangular_with_ones_on_the_diagonal(tiny, quick):
    steps = run(tiny)
    rows = matrix(steps)
    assert list(rows) == [1, 2, 4] and all(len(row) == step and row[-1] == 1 for step, row in rows.items())
    assert all(0 <= value <= 1 for row in rows.values() for value in row)
    assert [step.edit.fitted_on for step in steps] == [tuple(s.edit.id for s in steps[:i]) for i in range(4)]
    assert [step.entropy is not None for step in steps] == [True, False, False, True]
    assert all(step.perplexity_ratio > 0 and step.layer == 1 for step in steps)
    figures = summary(steps)
    assert figures["edits"] == 4 and figures["perplexity_ratio"] == steps[-1].perplexity_ratio
    json.dumps([plain(step) for step in steps]), json.dumps(figures)
    assert summary([]) == {"edits": 0}


def test_the_unedited_model_scores_one_and_a_wrecked_one_does_not(tiny):
    with tiny.applied():  # greedy text: what this model holds likeliest
        text = tiny.decode(torch.tensor([tiny.tokens("The market")]), 40)
    bench = _Bench(tiny, (), text)
    assert bench.perplexity_ratio(()) == 1.0 and bench.wide(())["entropy_ratio"] == 1.0
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=generator) for shape in ((tiny.d_mlp, 4), (4, tiny.d_model)))
    noise = WeightDelta(1, left, right)
    wrecked = Edit(REQUESTS[0], "rome", (noise,), tiny.fingerprint)
    assert bench.perplexity_ratio((wrecked,)) < 0.9


def test_facts_kept_counts_only_what_was_known(tiny, monkeypatch):
    facts = [("A", "kept"), ("B", "lost"), ("C", "unknown"), ("D", "kept")]
    monkeypatch.setattr(_Bench, "_answered", lambda self, facts, edits: [
        answer == "kept" or (answer == "lost" and not edits) for _, answer in facts])
    bench, edit = _Bench(tiny, facts, neutral_text(tiny, REQUESTS)), Edit(REQUESTS[0], "rome", (), tiny.fingerprint)
    assert [bench.wide(edits)["facts_kept"] for edits in ((), (edit,))] == [1.0, 2 / 3]
    assert bench.wide((edit,))["facts"] == 3


def test_neutral_text_names_no_edited_subject(tiny, tmp_path):
    (tmp_path / "sample_text.txt").write_text("\n\n".join(["The Colosseum is old.", "A bell rang."] * 30))

    class Folder:
        folder = tmp_path
        tokens = staticmethod(tiny.tokens)
    text = tiny.text(neutral_text(Folder(), [REQUESTS[1]]).flatten().tolist())
    assert "Colosseum" not in text and "A bell" in text
    assert "Colosseum" in tiny.text(neutral_text(Folder(), REQUESTS[:1]).flatten().tolist())  # negative control


# Stop, kill, go on


@pytest.fixture
def whole(tiny, quick, tmp_path):
    file = SequenceFile(tmp_path / "whole.jsonl", tiny, REQUESTS, FACTS, every=2)
    steps = run(tiny)
    file.write(steps)
    return file, steps


def stopped(model, path, after):
    """Run some steps, writing each; then close the generator, as Stop does."""
    file, steps, going = SequenceFile(path, model, REQUESTS, FACTS, every=2), [], None
    going = run_sequence(model, REQUESTS, facts=FACTS, every=2, checkpoints=(1,))
    for step in going:
        steps.append(step)
        file.write(steps)
        if len(steps) == after:
            going.close()
    return file


def test_a_stopped_and_killed_run_goes_on_as_if_it_had_not(tiny, quick, whole, tmp_path):
    _, expected = whole
    file = stopped(tiny, tmp_path / "run.jsonl", 3)
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-40])  # killed in the middle of the third line; its factors are there
    again = SequenceFile(file.path, tiny, REQUESTS, FACTS, every=2)
    steps = again.read()
    assert len(steps) == 2 and file.path.read_bytes().endswith(b"\n")
    for step in run(tiny, state=steps):
        steps.append(step)
        again.write(steps)
    assert [plain(step) for step in steps] == [plain(step) for step in expected]
    read = SequenceFile(file.path, tiny, REQUESTS, FACTS, every=2).read()
    assert [plain(step) for step in read] == [plain(step) for step in expected]
    assert all(torch.equal(a.edit.patches[0].left, b.edit.patches[0].left) for a, b in zip(read, expected))
    assert run(tiny, state=read) == [] and not list(tmp_path.glob("*.part"))


def test_another_run_or_damaged_files_are_refused(tiny, whole):
    file, _ = whole
    for how in ({"preset": "seed"}, {"protect": False}, {"every": 3}):
        with pytest.raises(SessionRejected, match="another run"):
            SequenceFile(file.path, tiny, REQUESTS, FACTS, **{"every": 2, **how}).read()
    with pytest.raises(SessionRejected, match="requests"):
        SequenceFile(file.path, tiny, [*REQUESTS[:3], AGAIN], FACTS, every=2).read()
    lines = file.path.read_text().splitlines(keepends=True)
    file.path.write_text("".join([*lines[:1], lines[1].replace("the evening", "the morning")]))
    with pytest.raises(SessionRejected, match="Edit 1"):
        SequenceFile(file.path, tiny, REQUESTS, FACTS, every=2).read()
    file.path.write_text("".join(lines))
    file.factors.write_bytes(file.factors.read_bytes()[:100])
    with pytest.raises(SessionRejected, match="damaged"):
        SequenceFile(file.path, tiny, REQUESTS, FACTS, every=2).read()
    assert SequenceFile(file.path.with_name("none.jsonl"), tiny, REQUESTS).read() == []


def test_command(tiny, quick, tmp_path, monkeypatch, capsys):
    facts = tuple(Fact(subject, "is located in", "Rome", "the evening") for subject in SUBJECTS)
    monkeypatch.setattr(sequence, "load", lambda name: tiny)
    monkeypatch.setattr(sequence, "known", lambda model, found: facts)
    out = tmp_path / "run.jsonl"
    for arguments in (["--edits", "2"], ["--edits", "2"], ["--edits", "2", "--no-resume"]):
        assert main([*arguments, "--no-protection", "--out", str(out)]) == out
        assert json.loads(capsys.readouterr().out)["edits"] == 2
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 3 and lines[0]["config"]["protect_earlier"] is False and lines[2]["retention"][-1] == 1
