"""The register changes while the hub runs: its next message is judged by the change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from gateway.cli.registration import load_crls
from gateway.hub.register import effective_pmodes
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import ListSuccession
from gateway.store import parties, write_transaction
from gateway_conformance.pki import make_revocation_list
from tests.kit.databases import BOTH
from tests.kit.house import START, House, Neighbour, authority, pmodes, signer_named


@BOTH
def test_suspension_and_retirement_count_from_the_next_message_on(engine: Engine) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    sha256 = signer_named("broker1").certificate.sha256

    def said() -> str:
        unit = broker.open(house.post(broker.seal(broker.message()))).unit
        return unit.errors[0].description[:5] if isinstance(unit, ErrorSignal) else "taken"

    told = [said()]
    for change in (
        lambda conn: parties.set_party_status(conn, "broker1", "SUSPENDED"),
        lambda conn: parties.set_party_status(conn, "broker1", "ACTIVE"),
        lambda conn: parties.retire_certificate(conn, sha256),
    ):
        with write_transaction(engine) as conn:
            change(conn)
        told.append(said())
    assert told == ["taken", "GW302", "taken", "GW209"]


def test_agreements_are_read_when_they_are_used(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand agreements cost nothing at the start: none of them is parsed before its first message."""
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    read: list[object] = []
    real = effective_pmodes.pmode_from_json
    monkeypatch.setattr(effective_pmodes, "pmode_from_json", lambda data: (read.append(data), real(data))[1])
    house.hub.refresh_snapshot()
    assert read == []
    for _ in range(2):
        assert isinstance(broker.open(house.post(broker.seal(broker.message()))).unit, Receipt)
    assert len(read) == len(pmodes(house.agreement))


@BOTH
def test_a_revocation_list_ends_a_certificate_at_the_next_message(engine: Engine) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message())
    assert isinstance(broker.open(house.post(parcel), parcel).unit, Receipt)
    house.clock.forward(hours=1)
    revoked = [signer_named("broker1").certificate.serial]
    crl = make_revocation_list(authority(), revoked, START, START + timedelta(days=30), number=2)
    with write_transaction(engine) as conn:
        load_crls(conn, crl, ListSuccession((authority().certificate,), house.clock()))
    refused = broker.open(house.post(broker.seal(broker.message()))).unit
    assert isinstance(refused, ErrorSignal)
    assert refused.errors[0].description.startswith("GW207")
    assert house.post(parcel).body.count(b"GW207") == 1
