"""A hub that takes encrypted messages and sends encrypted results: what is stored, what is evidence."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import Connection, Engine, select

from gateway.cli.registration import make_certificate_row
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import Certificate, RsaDecryptionKey, load_decryption_key
from gateway.protocols import EncryptionResources, ProtocolContext
from gateway.store import messages, parties, read_transaction, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.kit import tables
from tests.kit.databases import in_turn
from tests.kit.house import AGREEMENT, AS4, START, House, Neighbour, authority

ENCRYPTED = AGREEMENT.replace(b"  sync_reply_mode:", b"  encryption: {protocol: XMLENC}\n  sync_reply_mode:")
TERMS = b"  encryption: {protocol: XMLENC, algorithms: [aes128-gcm]}\n"
ENCRYPTED_AS4 = AS4.replace(b"  compression: gzip ", TERMS + b"  compression: none ")
#: The agreements of both protocols, each with the one in which payloads are in clear.
CLEAR = {ENCRYPTED: AGREEMENT, ENCRYPTED_AS4: AS4}
CONTENT = b"<declaration>" + b"secret " * 40 + b"</declaration>"


def make_key(name: str) -> RsaDecryptionKey:
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=3600)
    issued = issue_certificate(authority(), f"CN={name} decrypts", START, order)
    return load_decryption_key(issued.key_pem, issued.certificate.der)


def register_receiver(conn: Connection, certificate: Certificate, at: datetime) -> None:
    """Register a certificate for which payloads of the broker are encrypted."""
    parties.add_certificate(conn, "broker1", make_certificate_row(certificate, "encryption"), at)


class Partner(Neighbour):
    """A partner that encrypts for the hub, and has a key of its own."""

    keys: dict[str, RsaDecryptionKey] = {}  # noqa: RUF012

    def context(self) -> ProtocolContext:
        found = EncryptionResources(
            (self.keys["broker1"],), os.urandom, lambda party, _: self.keys[party].certificate
        )
        return replace(super().context(), encryption=found)


@pytest.fixture(scope="module")
def keys() -> dict[str, RsaDecryptionKey]:
    return {name: make_key(name) for name in ("hub", "broker1", "next")}


@pytest.fixture(params=[ENCRYPTED, ENCRYPTED_AS4], ids=["ebms2", "as4"])
def house(engine: Engine, keys: dict[str, RsaDecryptionKey], request: pytest.FixtureRequest) -> House:
    house = House(engine, agreement=request.param)
    house.hub.decryption_keys = (keys["hub"],)
    return house


@pytest.fixture
def broker(house: House, keys: dict[str, RsaDecryptionKey]) -> Partner:
    partner = Partner("broker1", house.clock, house.agreement)
    partner.keys = keys
    return partner


@pytest.mark.long
@in_turn
def test_an_encrypted_message_is_stored_as_it_came_and_in_clear(house, broker, keys):
    parcel = broker.seal(broker.message(content=CONTENT))
    octets = parcel.body.content
    answer = house.post(parcel)
    assert isinstance(broker.open(answer, parcel).unit, Receipt)
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        stored = messages.load_parcel(conn, row.id)[1]
        (payload,) = messages.load_payloads(conn, row.id)
        leaf = conn.execute(select(tables.evidence)).all()
    assert CONTENT not in octets
    assert stored == octets
    assert payload.content == CONTENT
    (origin,) = [one for one in leaf if one.kind == "NRO"]
    text = json.dumps(origin._asdict(), default=str)
    assert hashlib.sha256(CONTENT).hexdigest() in text
    assert keys["hub"].certificate.sha256 in text


@pytest.mark.long
def test_a_repeat_gets_the_stored_receipt_even_when_the_key_is_gone(house, broker, keys):
    """A retry is the same octets; one encrypted anew is the same message."""
    unit = broker.message(content=CONTENT)
    parcel = broker.seal(unit)
    first = house.post(parcel)
    assert house.post(parcel).body == first.body
    again = broker.seal(unit)
    assert again.body.content != parcel.body.content
    assert house.post(again).body == first.body
    house.hub.decryption_keys = (keys["next"], keys["hub"])
    assert house.post(parcel).body == first.body


def test_a_message_in_clear_and_one_for_another_key_are_refused(house, broker, keys):
    clear = Neighbour("broker1", house.clock, CLEAR[house.agreement])
    for parcel, problem in (
        (clear.seal(clear.message(content=CONTENT)), "GW215"),
        (broker.seal(broker.message(content=CONTENT)), "GW210"),
    ):
        house.hub.decryption_keys = (keys["next"],)
        answer = broker.open(house.post(parcel), parcel).unit
        assert isinstance(answer, ErrorSignal)
        assert answer.errors[0].code in ("SecurityFailure", "EBMS:0102", "EBMS:0103")
        assert answer.errors[0].description.startswith(problem)
    with read_transaction(house.engine) as conn:
        assert messages.list_messages(conn) == []


def test_without_agreement_an_encrypted_message_is_refused(engine: Engine, keys):
    house = House(engine)
    house.hub.decryption_keys = (keys["hub"],)
    broker = Partner("broker1", house.clock, ENCRYPTED)
    broker.keys = keys
    answer = broker.open(house.post(broker.seal(broker.message(content=CONTENT)))).unit
    assert answer.errors[0].description.startswith("GW215")


@pytest.mark.long
def test_what_the_hub_sends_is_encrypted_for_the_registered_certificate(house, broker, keys):
    pmode = next(one for one in house.hub.refresh_snapshot().book.pmodes if one.action == "Result")
    unit = replace(
        broker.message(content=CONTENT), sender=pmode.sender, receiver=pmode.receiver, action="Result"
    )
    unit = replace(unit, service=pmode.service, service_type=pmode.service_type)
    context = house.hub.make_protocol_context(house.hub.get_snapshot())
    with pytest.raises(Exception, match="registered for encryption"):
        broker.core.seal((unit,), pmode, context)
    with write_transaction(house.engine) as conn:
        register_receiver(conn, keys["broker1"].certificate, house.clock())
    context = house.hub.make_protocol_context(house.hub.refresh_snapshot())
    sealed = broker.core.seal((unit,), pmode, context)
    opened = broker.core.open_units(sealed, broker.context())
    assert opened.unit.payloads[0].content == CONTENT
    assert opened.unwrapped_parts[0].key == keys["broker1"].certificate.sha256
    assert CONTENT not in sealed.body.content
