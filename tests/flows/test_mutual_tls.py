"""Whose connection brings a message: what settings, agreements and the register say of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli.registration import load_crls, make_certificate_row
from gateway.evidence import list_subject_leaves
from gateway.hub import EVERYBODY
from gateway.message_model import ErrorSignal, PartyId, Receipt
from gateway.pki import Certificate, CertificateUse, ListSuccession, Verdict
from gateway.store import parties, read_transaction, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_revocation_list
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, PARTY_TYPE, START, House, Neighbour, authority

#: Each case is an attack of its own.

AGREED = AGREEMENT.replace(b"    policy: strict", b"    mutual_tls: true\n    policy: strict", 1)
UNSIGNED = AGREED.replace(b"sign: true", b"sign: false").replace(b"ack_signed: always", b"ack_signed: never")
NUMBERS = itertools.count(1)
OWN, OTHER, UNKNOWN, NONE = "own", "other", "unknown", "none"


@cache
def client(name: str) -> Certificate:
    order = CertificateOrder("tls", days=300)
    return issue_certificate(authority(), f"CN={name} client", START - timedelta(hours=1), order).certificate


def shown(name: str) -> str | None:
    return None if name == NONE else client(name).sha256


def house_of(engine: Engine, agreement: bytes = AGREEMENT) -> House:
    """Return a house where broker1 and another party have a client certificate each."""
    house = House(engine, agreement=agreement)
    with write_transaction(engine) as conn:
        parties.register_party(
            conn, "broker2", "Broker 2", "applicant", START, [PartyId("broker2", PARTY_TYPE)]
        )
        for party, name in (("broker1", OWN), ("broker2", OTHER)):
            parties.add_certificate(conn, party, make_certificate_row(client(name), "tls"), START)
    return house


def said(house: House, name: str, agreement: bytes = AGREEMENT) -> str:
    """Send a message of broker1 over a connection that shows a certificate; return what is said of it."""
    broker = Neighbour("broker1", house.clock, agreement, NUMBERS)
    unit = broker.message()
    if agreement is UNSIGNED:
        unit = replace(unit, ack_requested=replace(unit.ack_requested, signed=False))
    answer = broker.open(house.post(replace(broker.seal(unit), client_sha256=shown(name)))).unit
    if isinstance(answer, ErrorSignal):
        return answer.errors[0].description[:5]
    assert isinstance(answer, Receipt)
    return "taken"


def evidence(engine: Engine) -> list[str]:
    with read_transaction(engine) as conn:
        rows = list_subject_leaves(conn, "party", "broker1")
    return [str(row.digest) for row in rows if row.kind == "connection_refused"]


@BOTH
@pytest.mark.parametrize(
    ("named", "agreement", "without"),
    [
        ((), AGREEMENT, "taken"),
        (("broker2",), AGREEMENT, "taken"),
        (("broker1",), AGREEMENT, "GW213"),
        ((EVERYBODY,), AGREEMENT, "GW213"),
        ((), AGREED, "GW213"),
        ((), UNSIGNED, "GW213"),
    ],
)
def test_who_must_show_a_certificate_and_that_it_is_his(
    engine: Engine, named: tuple[str, ...], agreement: bytes, without: str
) -> None:
    house = house_of(engine, agreement)
    house.hub.mutual_tls = frozenset(named)
    told = [said(house, name, agreement) for name in (NONE, OWN, OTHER, UNKNOWN)]
    assert told == [without, "taken", "GW213", "GW213"]
    refused = [NONE] if without != "taken" else []
    assert evidence(engine) == [str(shown(name)) for name in (*refused, OTHER, UNKNOWN)]


def test_a_certificate_that_cannot_be_judged_is_no_refusal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evidence may not say that the party was refused for what was our shortage."""
    house = house_of(engine)
    broker = Neighbour("broker1", house.clock, AGREEMENT, NUMBERS)
    sent = replace(broker.seal(broker.message()), client_sha256=shown(OWN))
    examine = house.hub.judge._examine

    def examine_signers(der: bytes, use: CertificateUse, at: datetime, *stores: Any) -> Verdict:
        return (
            examine(der, use, at, *stores)
            if use is CertificateUse.SIGNING
            else Verdict.make_transient("", at)
        )

    monkeypatch.setattr(house.hub.judge, "_examine", examine_signers)
    answer = house.post(sent)
    assert (answer.status, b"GW806" in answer.body, evidence(engine)) == (503, True, [])
    monkeypatch.undo()
    assert isinstance(broker.open(house.post(sent)).unit, Receipt)


def test_the_register_counts_with_each_message_of_a_connection(engine: Engine) -> None:
    house = house_of(engine)
    told = [said(house, OWN)]
    with write_transaction(engine) as conn:
        parties.limit_certificate_use(conn, client(OWN).sha256, house.clock() + timedelta(hours=1), "tls")
    told.append(said(house, OWN))
    house.clock.forward(hours=2)
    told.append(said(house, OWN))
    with write_transaction(engine) as conn:
        parties.retire_certificate(conn, client(OWN).sha256)
    told.append(said(house, OWN))
    with write_transaction(engine) as conn:
        parties.add_certificate(conn, "broker1", make_certificate_row(client(OWN), "tls"), START)
    told.append(said(house, OWN))
    with write_transaction(engine) as conn:
        listed = make_revocation_list(authority(), [client(OWN).serial], house.clock(), number=7)
        load_crls(conn, listed, ListSuccession((authority().certificate,), house.clock()))
    told.append(said(house, OWN))
    assert told == ["taken", "taken", "GW206", "GW213", "taken", "GW207"]


def test_a_certificate_to_sign_with_is_none_to_connect_with(engine: Engine) -> None:
    house = house_of(engine)
    with write_transaction(engine) as conn:
        parties.add_certificate(conn, "broker1", make_certificate_row(client("spare"), "signing"), START)
    assert said(house, "spare") == "GW213"


def test_refusals_leave_so_much_evidence_and_no_more(engine: Engine) -> None:
    house = house_of(engine)
    assert said(house, OTHER) == "GW213"
    while house.hub.refusals.acquire_slot("tls broker1", house.clock()):
        pass
    assert said(house, OTHER) == "GW213"
    assert len(evidence(engine)) == 1
    house.clock.forward(hours=2)
    assert said(house, OTHER) == "GW213"
    assert len(evidence(engine)) == 2
