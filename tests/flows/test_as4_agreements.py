"""Which P-Mode a message of AS4 belongs to when it names no agreement, and which certificates are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from gateway.operations import load_unchecked_agreement
from gateway.protocols import Parcel, as4
from gateway.store import messages, read_transaction, write_transaction
from tests.flows.test_as4 import refused
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AS4, House, Neighbour, signer_named
from tests.protocols.as4_samples import change_tree
from tests.protocols.test_as4_security import name_by

SECOND = AS4.replace(b"hub:as4:2026 ", b"hub:as4:second ").replace(b"id: broker1-", b"id: second-")


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine, agreement=AS4)


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock, AS4)


def seal_unnamed(broker: Neighbour, **changes: object) -> Parcel:
    """Return a signed message without AgreementRef."""
    unit = broker.message(agreement="", mpc="urn:example:channel:store")
    return as4.seal((replace(unit, **changes),), None, broker.context())  # type: ignore[arg-type]


def load(house: House, agreement: bytes) -> None:
    with write_transaction(house.engine) as conn:
        load_unchecked_agreement(conn, agreement, "second", house.clock())


@BOTH_AT_LANDING
def test_parties_service_action_and_channel_name_the_pmode(house: House, broker: Neighbour) -> None:
    answer = house.post(seal_unnamed(broker))
    assert b"<ebbp:NonRepudiationInformation" in answer.body
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
    assert (row.agreement_id, row.pmode_id) == ("urn:example:agreement:broker1-hub:as4:2026", "broker1-store")


def test_no_pmode_and_several_are_a_mismatch(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    stranger = replace(unit.sender, ids=(replace(unit.sender.ids[0], value="broker9"),))
    assert refused(house, seal_unnamed(broker, action="Restore")) == (200, "EBMS:0010", "GW303")
    assert refused(house, seal_unnamed(broker, mpc="urn:example:other")) == (200, "EBMS:0010", "GW303")
    role = replace(unit.sender, role="Other")
    assert refused(house, seal_unnamed(broker, sender=role)) == (200, "EBMS:0010", "GW303")
    broker9 = replace(unit, sender=stranger, agreement="", mpc="urn:example:channel:store")
    forger = replace(broker.context(), find_party_name=lambda _: "broker1")
    assert refused(house, as4.seal((broker9,), None, forger)) == (200, "EBMS:0001", "GW302")
    load(house, SECOND)
    assert refused(house, seal_unnamed(broker)) == (200, "EBMS:0010", "GW303")


def test_a_pmode_that_is_named_is_that_of_the_other_values(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    other = broker.seal(replace(unit, pmode_id="broker1-submit"))
    assert refused(house, other) == (200, "EBMS:0003", "GW304")
    # An id is unique in one handler alone (core D.3.1): what is none of this agreement says nothing.
    for number, name in enumerate(("broker1-store", "their-own-id")):
        sent = replace(unit, message_id=f"named{number}@broker1.example", pmode_id=name)
        parcel = broker.seal(sent)
        assert f'pmode="{name}"'.encode() in parcel.read_octets()
        assert b"<ebbp:NonRepudiationInformation" in house.post(parcel).body


def test_a_second_agreement_on_another_channel_or_not_in_force_makes_nothing_ambiguous(
    house: House, broker: Neighbour
) -> None:
    load(house, SECOND.replace(b"channel:store", b"channel:second"))
    ended = (
        SECOND.replace(b"as4:second", b"as4:ended")
        .replace(b"2031-", b"2026-02-")
        .replace(b"id: second-", b"id: ended-")
    )
    load(house, ended.replace(b"2026-02-01-01", b"2026-02-01"))
    assert b"NonRepudiationInformation" in house.post(seal_unnamed(broker)).body


@pytest.mark.parametrize("kind", ["key", "issuer"])
def test_a_message_may_name_a_registered_certificate_without_containing_it(
    house: House, broker: Neighbour, kind: str
) -> None:
    named = name_by(kind, signer_named("broker1").certificate)
    assert b"NonRepudiationInformation" in house.post(change_tree(broker.seal(broker.message()), named)).body
    other = name_by(kind, signer_named("hub").certificate)
    second = change_tree(broker.seal(broker.message()), other)
    answer = house.post(second)
    assert b"GW205 no known certificate fits this description" in answer.body
