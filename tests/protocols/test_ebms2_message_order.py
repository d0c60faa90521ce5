"""eb:MessageOrder is read and written by chapter 9 of ebMS 2.0, and agrees with the rest of the header."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.agreements import PModeIndex
from gateway.errors import GatewayError
from gateway.message_model import MAX_SEQUENCE_NUMBER, SequenceNumber, UserMessage
from gateway.protocols import PROTOCOLS, Parcel, find_sequence_position, make_sequence_number
from tests.protocols import sample_parties

EBMS2 = PROTOCOLS["ebms2"]
FLEXIBLE = replace(sample_parties.FLEXIBLE, message_order=True)
ORDERED = sample_parties.pmode(reliability=FLEXIBLE)
PLAIN = replace(ORDERED, reliability=sample_parties.FLEXIBLE)
BOOK = PModeIndex((ORDERED,), epoch=1)
HEADER = "/soap:Envelope/soap:Header/eb:MessageOrder"


def numbered(place: SequenceNumber | None, **changes: Any) -> UserMessage:
    return sample_parties.message(**{"sync_reply": False, "sequence": place, **changes})


def sealed(place: SequenceNumber | None, **changes: Any) -> Parcel:
    return EBMS2.seal((numbered(place, **changes),), PLAIN, sample_parties.context())


def refused(parcel: Parcel, **changes: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        EBMS2.open_units(parcel, sample_parties.context(agreements=BOOK, **changes))
    return caught.value


@pytest.mark.parametrize(
    "place",
    [
        SequenceNumber(0, "Reset"),
        SequenceNumber(1, "Continue"),
        SequenceNumber(0, "Continue"),
        SequenceNumber(MAX_SEQUENCE_NUMBER),
    ],
)
def test_what_is_written_is_read(place: SequenceNumber) -> None:
    opened = EBMS2.open_units(sealed(place), sample_parties.context(agreements=BOOK))
    assert opened.units == (numbered(place),)


@pytest.mark.parametrize(
    ("text", "number"), [("+7", 7), ("007", 7), (" 7 ", 7), ("-0", 0), ("00000000000099999999", 99_999_999)]
)
def test_a_number_is_read_as_the_schema_writes_it(text: str, number: int) -> None:
    unsigned = replace(ORDERED, security=replace(ORDERED.security, sign=False))
    parcel = EBMS2.seal(
        (numbered(SequenceNumber(5)),), replace(PLAIN, security=unsigned.security), sample_parties.context()
    )
    changed = sample_parties.replaced(parcel, b">5</eb:Seq", f">{text}</eb:Seq".encode())
    opened = EBMS2.open_units(changed, sample_parties.context(agreements=PModeIndex((unsigned,), epoch=1)))
    assert opened.unit.sequence == SequenceNumber(number)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "problem", "place"),
    [
        (b">5<", b">100000000<", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b">5<", b">five<", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b">5<", b">-1<", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b">5<", b"><", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b">5<", b">" + b"9" * 900 + b"<", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b">5<", b">5<!-- -->1<", "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b'"Continue"', b'"Reset"', "GW304", f"{HEADER}/eb:SequenceNumber"),
        (b'"Continue"', b'"Perhaps"', "GW107", f"{HEADER}/eb:SequenceNumber/@eb:status"),
        (b'eb:status="Continue"', b'eb:state="Continue"', "GW107", f"{HEADER}/eb:SequenceNumber"),
        (b"<eb:SequenceNumber", b"<eb:Sequence/><eb:SequenceNumber", "GW107", HEADER),
        (b"</eb:MessageOrder>", b'<x:a xmlns:x="urn:x"/></eb:MessageOrder>', "GW311", f"{HEADER}/x:a"),
    ],
)
def test_what_is_no_number_is_refused_with_its_place(
    old: bytes, new: bytes, problem: str, place: str
) -> None:
    found = refused(sample_parties.replaced(sealed(SequenceNumber(5)), old, new))
    assert (found.problem.id, found.location) == (problem, place)


@pytest.mark.parametrize(
    ("words", "place", "changes"),
    [
        ("the agreement guarantees the order of messages", None, {}),
        ("needs DuplicateElimination", SequenceNumber(5), {"duplicate_elimination": False}),
        ("needs AckRequested of the To party", SequenceNumber(5), {"ack_requested": None}),
        ("must not stand beside SyncReply", SequenceNumber(5), {"sync_reply": True}),
    ],
)
def test_what_contradicts_the_agreement_or_the_header_is_inconsistent(
    words: str, place: SequenceNumber | None, changes: dict[str, Any]
) -> None:
    found = refused(sealed(place, **changes))
    assert (found.problem.codes.ebms2, found.location) == ("Inconsistent", HEADER)
    assert words in found.detail


def test_an_order_that_was_not_agreed_is_inconsistent() -> None:
    with pytest.raises(GatewayError) as caught:
        EBMS2.open_units(sealed(SequenceNumber(5)), sample_parties.context())
    assert (caught.value.problem.id, caught.value.location) == ("GW304", HEADER)
    assert caught.value.detail == "no order of messages was agreed"


def test_a_message_without_its_number_is_not_sent() -> None:
    with pytest.raises(GatewayError) as caught:
        EBMS2.seal((numbered(None),), ORDERED, sample_parties.context())
    assert "has no number" in caught.value.detail


def test_a_number_is_the_position_nearest_to_the_next() -> None:
    numbers = MAX_SEQUENCE_NUMBER + 1
    for position in (1, 7, numbers - 1, numbers, numbers + 1, 3 * numbers + 5):
        for released in (position, position - 1, position - 900):
            if released > 0:
                assert find_sequence_position(make_sequence_number(position), released) == position
    assert make_sequence_number(0) == SequenceNumber(0, "Reset")
    assert make_sequence_number(numbers) == SequenceNumber(0, "Continue")
    for earlier in (1, 899):
        with pytest.raises(GatewayError):
            find_sequence_position(SequenceNumber(earlier), 900)
