"""Tables of attacks: what a row says, what the table says for all, and what a value is shown as."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway_conformance.hostile import TreeMutation, set_attribute, swap_octets
from gateway_conformance.hostile.attack_cases import (
    RequestMaker,
    ValueTable,
    change_call_on_the_way,
    change_on_the_way,
    make_both_face_table_cases,
    make_sourced_cases,
    make_table_cases,
    make_value_cases,
    read_expectation,
    sign_again,
    sign_as_written,
    sign_call_again,
)
from gateway_conformance.hostile.content_mutations import replace_text_of
from gateway_conformance.hostile.exchange import LAWFUL, Expectation
from gateway_conformance.hostile.naive_verifier import accepts_request
from tests.flows.hostile.shapes import bench


def place(value: str) -> RequestMaker:
    return lambda kit: kit.build_message(kit.make_unit(conversation_id=value))


def expected_of(case: object) -> Expectation:
    scenario = case.scenario(bench())  # type: ignore[attr-defined]
    found: Expectation = next(scenario).expected
    return found


def test_a_row_without_problems_takes_those_of_its_table() -> None:
    (case,) = make_table_cases("X-01.", (("a", "title", "c"),), place, "source", "GW202")
    assert (case.id, case.title, case.source, case.naive) == ("X-01.a", "title", "source", False)
    assert expected_of(case).problems == ("GW202",)


def test_what_a_row_says_comes_before_what_its_table_says() -> None:
    rows = (("a", "t", "c", "GW304", False), ("b", "t", "c", "", True))
    first, second = make_table_cases("X-01.", rows, place, "s", "GW202", naive=True)
    assert (first.naive, expected_of(first).problems) == (False, ("GW304",))
    assert (second.naive, expected_of(second)) == (True, LAWFUL)


def test_a_row_may_name_where_it_is_known_from() -> None:
    (case,) = make_sourced_cases("", (("X-01.a", "t", "c", "GW202", "RFC 1"),), place, feature="f")
    assert (case.source, case.feature) == ("RFC 1", "f")


def test_a_row_that_names_its_source_says_at_last_whom_it_fools() -> None:
    rows = (("a", "t", "c", LAWFUL, "RFC 1"), ("b", "t", "c", "GW202", "RFC 2", False))
    first, second = make_sourced_cases("X-01.", rows, place, face="soap", naive=True)
    assert (first.source, first.face, first.naive, expected_of(first)) == ("RFC 1", "soap", True, LAWFUL)
    assert (second.source, second.naive, expected_of(second).problems) == ("RFC 2", False, ("GW202",))


@pytest.mark.parametrize("make", [sign_again, sign_as_written, sign_call_again])
def test_what_is_signed_again_is_signed_rightly(make: Callable[[TreeMutation], RequestMaker]) -> None:
    """Who has the key makes all right again; who only stands on the way does not."""
    assert accepts_request(make(set_attribute("//ds:SignedInfo", "Id", "other"))(bench()))


@pytest.mark.parametrize("make", [change_on_the_way, change_call_on_the_way])
def test_what_is_changed_on_the_way_is_no_longer_signed(make: Callable[[TreeMutation], RequestMaker]) -> None:
    assert not accepts_request(make(set_attribute("//ds:SignedInfo", "Id", "other"))(bench()))


def test_a_row_for_both_faces_makes_two_cases() -> None:
    rows = (("a", "t", swap_octets("<soap:Body", '<soap:Body x="1"')),)
    cases = list(make_both_face_table_cases("X-01.", rows, "GW202", "s"))
    assert [(case.id, case.face) for case in cases] == [("X-01.a", "ebms2"), ("X-01.a-call", "soap")]


def test_http_may_refuse_early_what_it_need_not_read() -> None:
    assert 413 in read_expectation("GW102", early=True).http
    assert read_expectation("GW102").http == ()


@pytest.mark.parametrize(
    ("value", "title"), [("short", "it is short"), ("y" * 50, f"it is {'y' * 12}… of 50 characters")]
)
def test_a_long_value_is_shown_by_its_beginning(value: str, title: str) -> None:
    (case,) = make_value_cases(
        ValueTable("X-01.", "it is {}", (("v", value),), place, LAWFUL, "s", suffix="-end")
    )
    assert (case.id, case.title) == ("X-01.v-end", title)


def test_a_text_that_is_not_there_is_no_attack() -> None:
    with pytest.raises(LookupError):
        replace_text_of("eb:Nothing", "x")(b"<eb:CPAId>a</eb:CPAId>")
    assert (
        replace_text_of("eb:CPAId", "x")(b"<eb:CPAId a='1'>a</eb:CPAId>") == b"<eb:CPAId a='1'>x</eb:CPAId>"
    )
