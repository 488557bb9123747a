"""Forms: what is typed becomes a request, or one sentence per wrong field."""

from __future__ import annotations

import pytest

from auditor.audits import AUDITS, FACTUALITY, FIELDS
from auditor.errors import InvalidRequest
from auditor.types import CATEGORIES, MAX_FIELD
from auditor.ui import forms

GOOD = ("The Eiffel Tower", "is located in", "Paris", "Rome")


def test_every_category_has_its_audit_and_every_field_its_words():
    assert tuple(audit.key for audit in AUDITS) == CATEGORIES
    for audit in AUDITS:
        assert len(audit.fields) == len(FIELDS) and all(f.label and f.placeholder and f.hint for f in audit.fields)
        assert audit.examples and all(example.category == audit.key for example in audit.examples)


def test_the_four_case_studies_come_first():
    assert [audit.examples[0].prompt for audit in AUDITS] == [
        "The Great Wall of China is visible from", "A software engineer is typically",
        "Nuclear reactor safety design is a topic the model",
        "Detailed synthesis routes for controlled substances are something the model"]


def test_values_come_back_trimmed_and_with_the_audits_category():
    for audit in AUDITS:
        request = forms.parse(audit, "  The Eiffel\n Tower ", "is located in", None, " Rome ")
        assert (request.subject, request.target_old, request.target_new) == ("The Eiffel Tower", "", "Rome")
        assert request.category == audit.key


@pytest.mark.parametrize(("place", "value", "field"), [
    (0, "", "subject"), (0, "   ", "subject"), (1, "", "relation"), (3, "", "target_new"), (3, "paris", "target_new"),
    *((i, "x" * (MAX_FIELD + 1), name) for i, name in enumerate(FIELDS))])
def test_a_bad_field_is_named(place, value, field):
    values = [value if i == place else good for i, good in enumerate(GOOD)]
    assert set(forms.problems(FACTUALITY, *values)) == {field}


def test_good_values_have_no_problems_and_are_read_back():
    assert forms.problems(FACTUALITY, *GOOD) == {}
    assert "“Rome” instead of “Paris”" in forms.read_back(FACTUALITY, *GOOD)
    assert "What should it say?" in forms.read_back(FACTUALITY, *GOOD[:3], "")


@pytest.mark.parametrize("text", ["The Eiffel Tower\tis located in\tParis\tRome\n\nA nurse\tis typically\t\ta person",
                                  'subject,relation,old,new\nThe Eiffel Tower, is located in, Paris, Rome\n'
                                  '"A nurse",is typically,,"a person"'])
def test_rows_are_read_from_tabs_and_from_commas(text):
    assert [(r.subject, r.target_old, r.target_new) for r in forms.rows(FACTUALITY, text)] == [
        ("The Eiffel Tower", "Paris", "Rome"), ("A nurse", "", "a person")]


@pytest.mark.parametrize(("text", "said"), [
    ("", "at least one row"), ("a,b", "Row 1 has 2 columns"), ("a,b,c,d\n,b,c,d", "Row 2"), ("a,b,c,C", "Row 1"),
    ("\n".join(f"s{i},r,a,b" for i in range(forms.MAX_ROWS + 1)), "at most")])
def test_bad_rows_are_named(text, said):
    with pytest.raises(forms.RowsRejected, match=said):
        forms.rows(FACTUALITY, text)


def test_a_list_file_must_be_small_plain_text(tmp_path):
    good, big, binary = (tmp_path / name for name in ("good.csv", "big.csv", "binary.csv"))
    good.write_bytes("\ufeffThe Eiffel Tower,is located in,Paris,Rome".encode())
    big.write_bytes(b"x" * (forms.MAX_BYTES + 1))
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert forms.read_rows(str(good)).startswith("The Eiffel")
    for path in (big, binary):
        with pytest.raises(forms.RowsRejected):
            forms.read_rows(str(path))


def test_questions_are_lines_without_blanks_and_repeats():
    assert forms.questions(" a \n\n a\nb") == ("a", "b")
    assert forms.questions(None) == ()
    with pytest.raises(InvalidRequest):
        forms.questions("\n".join(map(str, range(forms.MAX_QUESTIONS + 1))))
