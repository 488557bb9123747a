"""The audit log: canonical bytes, the chain, and every way of tampering with it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from auditor.log import Record, broken, canonical, head, noted, plain
from auditor.types import Edit, EditRequest, Entry, Session, ValidationReport


def _log(n: int = 4):
    log = ()
    for i in range(n):
        log = noted(log, "looked", {"i": i, "words": "Ärger"})
    return log


def test_canonical_bytes_do_not_depend_on_order_or_type_of_container():
    written = canonical(plain({"a": 0.5, "b": [1, 2]}))
    assert written == canonical(plain({"b": (1, 2), "a": 0.5})) == b'{"a":0.5,"b":[1,2]}'


def test_no_figure_that_json_lacks_is_ever_written():
    assert plain(float("nan")) is None and plain([float("inf")]) == [None]
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_a_chain_survives_json():
    log = _log()
    again = tuple(Record(**row) for row in json.loads(json.dumps([dataclasses.asdict(r) for r in log])))
    assert broken(again) is None and head(again) == head(log) and head(()) == ""


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("field, value", [("action", "accepted"), ("facts", {"i": 9}), ("time", "2001-01-01T00:00:00"),
                                          ("previous", "0" * 64)])
def test_any_altered_field_breaks_the_chain_or_changes_the_head(place, field, value):
    whole = _log(3)
    log = list(whole)
    log[place] = dataclasses.replace(log[place], **{field: value})
    assert broken(log) is not None or head(log) != head(whole)
    if place < 2:
        assert broken(log) == place + (1 if field == "previous" else 2)


def test_dropped_and_reordered_lines_are_noticed():
    log = list(_log())
    assert broken(log[1:]) == 1
    assert broken([log[0], *log[2:]]) == 2
    assert broken([log[1], log[0], *log[2:]]) == 1
    assert broken(log[:-1]) is None and head(log[:-1]) != head(log)  # cut at the end: only the head tells


def test_a_session_notes_what_is_done_to_it():
    edit = Edit(EditRequest("A", "is", "b", "c"), "rome", (), "f")
    session = Session("m").with_entry(Entry(edit, ValidationReport(0, ())))
    session = session.with_scores(edit.id, (), {"rows": []})
    assert session.entries[0].cases == {"rows": []}
    gone = session.without(edit.id)
    assert [r.action for r in gone.log] == ["accepted", "scored", "undone"] and not gone.entries
    assert [r.action for r in session.emptied().log] == ["accepted", "scored", "restored"]
    assert broken(gone.log) is None and len(session.log) == 2
