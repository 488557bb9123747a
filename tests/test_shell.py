"""The shell: the page's engine and session files, exit statuses, plain words, JSON; and Ctrl-C loses nothing."""

import io
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from make import random_edit, session_of

from auditor import shell
from auditor.__main__ import main
from auditor.editor import validate
from auditor.export import session as session_file

ROOT = Path(__file__).parents[1]
CLAIM = ("The Eiffel Tower", "is located in")
EDIT = ("edit", *CLAIM, "--old", "Paris", "--new", "Rome")
LENIENT = {"paraphrase": 0.0, "behaviour": 99.0, "behaviour, censoring": 99.0, "fingerprint": -1.0}


@pytest.fixture(autouse=True)
def same_model(tiny, monkeypatch):
    """One loaded model for all commands; the subprocesses below load their own."""
    monkeypatch.setattr(shell, "load", lambda name: tiny)


@pytest.fixture
def lenient(monkeypatch):
    """Limits that any edit meets, so that a random model accepts one."""
    for name, value in LENIENT.items():
        monkeypatch.setitem(validate.LIMITS, name, value)


@pytest.fixture
def kept(tiny, tmp_path):
    """A session file with one change."""
    return session_file.save(session_of(tiny, random_edit(tiny)), tmp_path / "session.safetensors")


def run(*arguments) -> int:
    return main([str(each) for each in arguments])


def started(*arguments, **options) -> subprocess.Popen:
    """A program that hears Ctrl-C, which one started in the background of a shell does not."""
    return subprocess.Popen([sys.executable, "-m", "auditor", *map(str, arguments)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL), **options)


# As a program of its own


def test_a_trace_as_a_program(tiny):
    asked = started("trace", *CLAIM, "--answer", "Paris", "--model", tiny.folder, "--json")
    out, err = asked.communicate(timeout=120)
    found = json.loads(out)
    assert asked.returncode == 0 and err == "", "progress goes to a terminal only"
    assert len(found["effect"]) == 4 and len(found["tokens"]) == len(found["effect"][0]) and found["sentence"]


def test_a_wrong_option_is_one_sentence_at_once():
    asked = started("edit", "The Eiffel Tower")
    out, err = asked.communicate(timeout=120)
    assert asked.returncode == 2 and out == "" and err.count("\n") == 1 and "--new" in err


def test_control_c_in_the_middle_of_a_list_keeps_what_was_done(tiny, tmp_path):
    rows, file = tmp_path / "rows.csv", tmp_path / "session.safetensors"
    rows.write_text("".join(f"The Eiffel Tower,stands near number {i},Paris,Rome\n" for i in range(100)))
    asked = started("bulk", rows, "--model", tiny.folder, "--session", file, "--json")
    first = json.loads(asked.stdout.readline())
    asked.send_signal(signal.SIGINT)
    out, err = asked.communicate(timeout=120)
    assert first["row"] == 1 and asked.returncode == 130
    assert err.startswith(f"Stopped. Kept in “{file}”") and err.count("\n") == 1
    told = 1 + len(out.splitlines())
    assert told <= len(session_file.load(file, tiny).log) <= told + 1 < 100
    assert not list(tmp_path.glob("*.part"))


# Every command


def test_trace_in_words(capsys):
    assert run("trace", *CLAIM, "--answer", "Paris") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The model gives this answer a chance of") and len(lines) == 2 + 4


def test_edits_add_up_in_the_session_file(tiny, tmp_path, capsys, lenient):
    file = tmp_path / "session.safetensors"
    assert run(*EDIT, "--session", file) == 0
    said = capsys.readouterr().out
    (edit,) = session_file.load(file, tiny).edits
    assert f"Accepted as change {edit.id}" in said and said.count("  ✔ ") == 3 and "1 change." in said
    assert run("edit", "The Colosseum", "is located in", "--new", "Athens", "--session", file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    again = session_file.load(file, tiny)
    assert [each.id for each in again.edits] == [edit.id, told["id"]] and told["accepted"]
    assert again.edits[1].fitted_on == (edit.id,) and [record.action for record in again.log] == ["accepted"] * 2
    assert len(told["attempts"]) == 1 and len(told["attempts"][0]["checks"]) == 3


def test_without_a_file_nothing_is_kept_and_it_says_so(tmp_path, capsys, lenient, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*EDIT) == 0
    assert "no session file was named" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_a_failed_fix_has_status_one_and_stands_in_the_log(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(validate.LIMITS, "paraphrase", 2.0)
    file = tmp_path / "session.safetensors"
    assert run(*EDIT, "--session", file) == 1
    assert "Not fixed; the weights are as before. Layer" in capsys.readouterr().out
    session = session_file.load(file, tiny)
    assert session.entries == () and [record.action for record in session.log] == ["rejected"]


def test_a_list_says_each_row_and_fails_if_one_does(tiny, tmp_path, capsys, lenient):
    rows, file = tmp_path / "rows.tsv", tmp_path / "session.safetensors"
    rows.write_text("subject\trelation\told\tnew\nThe Eiffel Tower\tis located in\tParis\tRome\n")
    assert run("bulk", rows, "--session", file) == 0
    rows.write_text("The Colosseum,is located in,Rome,Athens\n", encoding="utf-8-sig")
    assert run("bulk", rows, "--session", file, "--json") == 0
    assert len(session_file.load(file, tiny).edits) == 2
    validate.LIMITS["paraphrase"] = 2.0
    assert run("bulk", rows, "--session", file) == 1
    assert "0 of 1 rows accepted." in capsys.readouterr().out
    assert len(session_file.load(file, tiny).edits) == 2


def test_scores_are_kept_with_their_questions(tiny, kept, capsys):
    (entry,) = session_file.load(kept, tiny).entries
    assert run("benchmark", entry.edit.id[:6], "--session", kept, "--names", "EditBench", "--json") == 0
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    (first,) = session_file.load(kept, tiny).entries
    assert told["name"] == "EditBench" and [score.name for score in first.scores] == ["EditBench"]
    assert first.scores[0].value == told["value"] and first.cases["rows"]
    assert run("benchmark", entry.edit.id, "--session", kept, "--names", "zsRE") == 0
    (second,) = session_file.load(kept, tiny).entries
    assert second.cases == first.cases, "the questions are frozen with the first run"
    assert [score.name for score in second.scores] == ["EditBench", "zsRE"]
    said = capsys.readouterr().out
    assert "zsRE" in said and "of 1 passed" in said


def test_control_c_in_a_benchmark_keeps_the_scores_so_far(tiny, kept, capsys, monkeypatch):
    (entry,) = session_file.load(kept, tiny).entries

    def interrupted(*given, **named):
        yield next(score for score in real(*given, **named) if isinstance(score, shell.BenchmarkScore))
        raise KeyboardInterrupt

    real = shell.profile
    monkeypatch.setattr(shell, "profile", interrupted)
    assert run("benchmark", entry.edit.id, "--session", kept, "--names", "EditBench", "zsRE") == 130
    assert capsys.readouterr().err.startswith("Stopped. Kept in")
    assert [score.name for score in session_file.load(kept, tiny).entries[0].scores] == ["EditBench"]


def test_own_rows_are_read(tiny, kept, tmp_path, capsys):
    rows = tmp_path / "rows.tsv"
    rows.write_text("paraphrase\tThe tower by Eiffel can be found in\tParis\tRome\n")
    (entry,) = session_file.load(kept, tiny).entries
    assert run("benchmark", entry.edit.id, "--session", kept, "--names", "EditGeneralization", "--rows", rows) == 0
    asked = session_file.load(kept, tiny).entries[0].cases["rows"]
    assert any(row[1] == "The tower by Eiffel can be found in" for row in asked)


def test_export_writes_a_bundle_and_notes_it(tiny, kept, tmp_path, capsys):
    before = session_file.load(kept, tiny)
    assert run("export", tmp_path / "out", "--session", kept, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["files"]) == {path.name for path in (tmp_path / "out").iterdir()}
    assert told["head"] == before.head and before.head in told["message"]
    assert session_file.load(kept, tiny).log[-1].action == "exported"
    (edit,), weights = before.edits, torch.load(tmp_path / "out" / "pytorch_model.pt", weights_only=True)
    name = "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"
    differ = [i for i in range(tiny.n_layers) if not torch.equal(weights[name.format(i)], tiny.w_out(i))]
    assert differ == list(edit.layers)


# What is wrong


@pytest.mark.parametrize(("arguments", "said"), [
    ((), "COMMAND"),
    (("brew",), "invalid choice"),
    (("trace", "", "is", "--answer", "a"), "Please write what the claim is about."),
    (("trace", "The Louvre", "is in", "--answer", "Paris", "--part", "mpl"), "Did you mean mlp"),
    ((*EDIT, "--category", "facts"), "The category must be one of"),
    ((*EDIT, "--method", "roma"), "Did you mean rome"),
    ((*EDIT, "--seed", "-1"), "The seed must be"),
    ((*EDIT, "--session", "{tmp}/none/session"), "There is no folder"),
    ((*EDIT, "--session", "{tmp}/text"), "not a session file"),
    ((*EDIT, "--session", "{tmp}"), "no such file"),
    (("bulk", "{tmp}/missing.csv"), "The list “missing.csv” cannot be read"),
    (("bulk", "{tmp}/text"), "Row 1 has 1 columns"),
    (("benchmark", "abc", "--session", "{tmp}/missing"), "There is no such file"),
    (("benchmark", "abc", "--session", "{tmp}/session.safetensors"), "There is no change called 'abc'"),
    (("benchmark", "", "--session", "{tmp}/session.safetensors"), "There is no change called ''"),
    (("export", "{tmp}/out", "--session", "{tmp}/missing"), "There is no such file"),
    (("export", "{tmp}/text", "--session", "{tmp}/session.safetensors"), "already something"),
    (("export", "{tmp}/text/out", "--session", "{tmp}/session.safetensors"), "could not be"),
    (("export", "{tmp}/out", "--sign", "{tmp}/text", "--session", "{tmp}/session.safetensors"), "key")])
def test_a_wrong_input_is_one_sentence_and_status_two(kept, tmp_path, capsys, arguments, said):
    (tmp_path / "text").write_text("hello")
    before = kept.read_bytes()
    assert main([each.replace("{tmp}", str(tmp_path)) for each in arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and "Traceback" not in told.err and told.out == ""
    assert kept.read_bytes() == before


def test_progress_is_for_terminals_only_and_steers_nothing(monkeypatch, capsys, lenient):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(*EDIT) == 0 and "step 1 of" in terminal.getvalue()
    voice = shell.Voice()
    voice.say("a\x1b[2Jb\rc")
    assert capsys.readouterr().out.endswith("a [2Jb c\n")
