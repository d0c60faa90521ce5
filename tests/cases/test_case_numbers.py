"""Numbers of the hub: no signs that look alike, a check sign, and the older form beside them."""

from __future__ import annotations

from itertools import combinations

import pytest

from gateway.cases import (
    check_hub_number,
    make_application_number,
    make_case_number,
    make_refused_reference,
    normalize_hub_number,
)
from gateway.errors import GatewayError
from tests.kit.long_texts import make_long_text, make_text_of_octets

SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXY"
NUMBERS = [
    *(make_case_number(message, 2026) for message in (1, 9, 18, 30, 31, 123_456_789, 31**7 - 1)),
    *(make_application_number(message, 2026, place) for message in (1, 31**6 - 1) for place in (1, 999)),
]


def is_refused(number: str) -> bool:
    try:
        check_hub_number(number, "here")
    except GatewayError as problem:
        return (problem.problem.id, problem.location) == ("GW513", "here")
    return False


def test_numbers_have_the_form_of_the_manual() -> None:
    assert make_case_number(1, 2026) == "SW260000001X"
    assert make_application_number(1, 2026, 1) == "A26000001001N"
    for number in NUMBERS:
        assert not set(number) & set("ILOUZ")
        assert not is_refused(number)
    assert {len(number) for number in NUMBERS if number[0] == "A"} == {13}


def test_numbers_of_neighbours_differ_in_two_places() -> None:
    made = [make_case_number(message, 2026) for message in range(1, 400)]
    assert len(set(made)) == len(made)
    for one, other in combinations(made, 2):
        assert sum(a != b for a, b in zip(one, other, strict=True)) > 1


@pytest.mark.parametrize("number", NUMBERS)
def test_one_wrong_sign_and_two_exchanged_ones_are_found(number: str) -> None:
    for place, sign in enumerate(number):
        for other in SIGNS + "ILOUZ":
            wrong = number[:place] + other + number[place + 1 :]
            # The manual names the exception: an application number of the older form begins with S.
            assert other == sign or is_refused(wrong) or (place, other, len(number)) == (0, "S", 13)
    for one, other in combinations(range(len(number)), 2):
        if number[one] != number[other]:
            signs = list(number)
            signs[one], signs[other] = signs[other], signs[one]
            assert is_refused("".join(signs))


@pytest.mark.parametrize("number", ["SW26000000I", "SW260000001", "S260000001002", "S26000000O001"])
def test_the_older_form_stays_valid(number: str) -> None:
    assert not is_refused(number)
    assert normalize_hub_number(number) == number


def test_a_number_is_read_as_it_was_meant() -> None:
    assert normalize_hub_number(" sw26-oooo-ooix ") == "SW260000001X"
    assert normalize_hub_number("sw26 0000 001x") == "SW260000001X"


@pytest.mark.parametrize("number", ["", "SW", "7", "SW26000000", "XX260000001X", "SW2600000001X1"])
def test_what_is_no_number_is_refused(number: str) -> None:
    assert is_refused(number)


@pytest.mark.parametrize(("message", "position"), [(31**6, 1), (1, 0), (1, 1000)])
def test_numbers_end(message: int, position: int) -> None:
    with pytest.raises(GatewayError) as caught:
        make_application_number(message, 2026, position)
    assert caught.value.problem.id == "GW806"


def test_the_id_of_a_message_is_the_reference_of_its_case_and_shortened_if_long() -> None:
    longest = make_text_of_octets(512)
    assert make_refused_reference(longest) == longest
    assert make_refused_reference(longest + "x").startswith(make_long_text(100))
    assert len(make_refused_reference(longest + "x").encode()) <= 512
