"""CAA by the whole decision table, and what may not come of broken look-ups."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.caa import (
    METHOD_LABELS,
    Code,
    Decision,
    LookUp,
    Question,
    climb,
    decide,
    parse_record,
    record_to_add,
)
from certdesk.domain.validation.evidence import Method
from certdesk.domain.validation.issue_value import IssueValue, NotAnIssueValue, parse_issue_value
from tests.vectors.caa_table import ISSUER, TABLE, Row


def _climbed(row: Row) -> list[LookUp]:
    looked = []
    for name in climb(row.name):
        there = row.records.get(name, ())
        look = (
            LookUp(name=name, failure=there) if isinstance(there, str) else LookUp(name=name, records=there)
        )
        looked.append(look)
        if look.records or look.failure:
            break
    return looked


def _decide(row: Row) -> Decision:
    question = Question(name=row.name, issuers=row.issuers, account_uri=row.account_uri, method=row.method)
    return decide(question, _climbed(row))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_the_table(row: Row) -> None:
    decision = _decide(row)
    assert decision.code is row.code, decision.detail
    assert decision.allowed == row.allowed
    assert decision.where == row.where
    assert decision.to_add == row.to_add
    assert decision.detail.endswith(".")


@pytest.mark.parametrize("row", [row for row in TABLE if row.to_add], ids=lambda row: row.title)
def test_the_record_to_add_helps(row: Row) -> None:
    owner, record = row.to_add.split(". CAA ")
    there = row.records.get(owner, ())
    assert isinstance(there, tuple)
    after = _decide(replace(row, records={**row.records, owner: (*there, record)}))
    assert after.code is Code.AUTHORISED


def test_every_code_stands_in_the_table() -> None:
    assert {row.code for row in TABLE} == set(Code) - {Code.NOT_CORROBORATED}


def test_every_method_has_labels() -> None:
    assert set(METHOD_LABELS) == set(Method)


def test_the_climb_goes_up_to_the_top_level_domain() -> None:
    assert climb("*.a.example.ac.uk") == ("a.example.ac.uk", "example.ac.uk", "ac.uk", "uk")


def test_an_alias_gets_no_record_of_its_own() -> None:
    look = LookUp(
        name="www.example.ac.uk", records=('0 issue ";"',), chain=("web.example.net", "farm.example.net")
    )
    assert record_to_add(look, Question(name="www.example.ac.uk", issuers=(ISSUER,))).startswith(
        "farm.example.net. CAA"
    )


@pytest.mark.parametrize(
    "looked",
    [
        [],
        [LookUp(name="example.ac.uk")],
        [LookUp(name="www.example.ac.uk"), LookUp(name="ac.uk"), LookUp(name="uk")],
        [LookUp(name="www.example.ac.uk"), LookUp(name="example.ac.uk")],
    ],
)
def test_a_climb_that_is_none_is_our_own_bug(looked: list[LookUp]) -> None:
    with pytest.raises(InvariantViolated):
        decide(Question(name="www.example.ac.uk", issuers=(ISSUER,)), looked)


def test_an_issuer_without_a_name_is_our_own_bug() -> None:
    with pytest.raises(InvariantViolated):
        decide(Question(name="uk", issuers=()), [LookUp(name="uk")])


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_none_and_what_is_printed_is_read_back(text: str) -> None:
    value = parse_issue_value(text)
    if isinstance(value, NotAnIssueValue):
        return
    printed = "; ".join([value.issuer, *(f"{tag}={content}" for tag, content in value.parameters)])
    assert parse_issue_value(printed) == value


def test_a_value_without_end_is_none() -> None:
    assert isinstance(parse_issue_value("a" * 5000), NotAnIssueValue)
    assert parse_issue_value("") == IssueValue(issuer="")


@given(st.binary(max_size=30))
def test_every_octet_survives_the_presentation_form(value: bytes) -> None:
    shown = "".join(chr(o) if chr(o).isalnum() and o < 128 else f"\\{o:03}" for o in value)
    assert parse_record(f'0 issue "{shown}"') == (False, "issue", value.decode("latin-1"))


@pytest.mark.parametrize("text", ["0 issue x", '0  issue "x"', '0 ISSUE "x"'])
def test_the_same_record_in_other_spellings(text: str) -> None:
    assert parse_record(text) == (False, "issue", "x")


@pytest.mark.parametrize("text", ["", '256 issue "x"', '-1 issue "x"', '0 is-sue "x"', '0 issue "x" y'])
def test_what_is_no_record(text: str) -> None:
    assert parse_record(text) is None
