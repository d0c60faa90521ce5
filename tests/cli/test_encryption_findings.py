"""What `gateway check` says of encrypted payloads that could not be decrypted or sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.agreements import PModeIndex
from gateway.cli.hub_findings import find_encryption_warnings
from gateway.config import Settings
from gateway.store import write_transaction
from tests.flows.test_encryption import ENCRYPTED, make_key, register_receiver
from tests.kit.databases import BOTH
from tests.kit.house import House


@pytest.mark.night
@BOTH
def test_missing_keys_and_receivers_are_told(engine):
    house, settings = House(engine, agreement=ENCRYPTED), Settings()
    known = house.hub.refresh_snapshot()
    without = list(find_encryption_warnings(settings, house.hub, known))
    assert len(without) == 2
    assert all(words.startswith("P-Mode broker1-") for words in without)
    assert "without a key under [decryption]" in without[0]
    assert "no certificate of broker1 is registered for encryption" in without[1]
    key = make_key("hub")
    house.hub.decryption_keys = (key,)
    with write_transaction(house.engine) as conn:
        register_receiver(conn, make_key("broker1").certificate, house.clock())
    known = house.hub.refresh_snapshot()
    assert list(find_encryption_warnings(settings, house.hub, known)) == []
    house.clock.now = key.certificate.not_after - timedelta(days=3)
    assert any("ends in 3 days" in words for words in find_encryption_warnings(settings, house.hub, known))
    book = [
        replace(one, valid_until=key.certificate.not_after + timedelta(days=9)) for one in known.book.pmodes
    ]
    house.clock.now = key.certificate.not_after
    told = list(find_encryption_warnings(settings, house.hub, replace(known, book=PModeIndex(book))))
    assert "the certificate of each key has ended" in told[0]
