"""One key takes over from another, theirs and ours: nothing is refused in the overlap."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import Client

from gateway.hub import Hub
from gateway.hub.hub import HubResources
from gateway.hub.register.active_rules import (
    ActiveRules,
)
from gateway.hub.register.trusted_register import (
    TrustedRegister,
)
from gateway.hub.trust.configured_secrets import NextSigningKey
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import CertificateValidator, KeySigner
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext
from gateway.store import parties, write_transaction
from gateway.web.agency_service import build_soap_security
from gateway.web.wsgi_application import build_wsgi_application
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.kit.databases import BOTH
from tests.kit.house import START, House, Neighbour, authority, signer_named, trust
from tests.kit.story import Story

#: Each case is an attack of its own.

OPENS, CUT = START + timedelta(hours=1), START + timedelta(hours=3)
TICK = timedelta(seconds=1)


@cache
def renewed(name: str) -> KeySigner:
    """The next key of a party: the same name in another certificate."""
    return issue_certificate(
        authority(), f"CN={name}", START - timedelta(hours=1), CertificateOrder(days=3600)
    ).signer


class Renewing(Neighbour):
    """A partner that signs with the key it is told to, and accepts both keys of the hub, or one."""

    signs_with: KeySigner | None = None
    hub_keys: tuple[KeySigner, ...] = ()

    def context(self) -> ProtocolContext:
        made = super().context()
        known = {one.certificate.sha256: "hub" for one in self.hub_keys or (signer_named("hub"),)}
        changes: dict[str, Any] = {"find_certificate_party": known.get}
        if self.signs_with is not None:
            changes["signers"] = {self.name: self.signs_with}
        return replace(made, **changes)


def register(engine: Engine, signer: KeySigner, start: datetime | None, end: datetime | None) -> None:
    found = signer.certificate
    new = parties.NewCertificate(
        found.sha256, "signing", found.subject, found.issuer, str(found.serial),
        found.not_before, found.not_after, found.der, start, end,
    )  # fmt: skip
    with write_transaction(engine) as conn:
        parties.add_certificate(conn, "broker1", new, START)


def heard(house: House, broker: Renewing, signer: KeySigner) -> OpenedMessage:
    broker.signs_with = signer
    sent = broker.seal(broker.message())
    answer = house.post(sent)
    return broker.open(answer, sent) if b"Acknowledgment" in answer.body else broker.open(answer)


@BOTH
@pytest.mark.parametrize(
    ("at", "old", "new"),
    [
        (OPENS - TICK, None, "not yet"),
        (OPENS, None, None),
        (CUT - TICK, None, None),
        (CUT, "sign with its successor", None),
        (CUT + timedelta(days=30), "sign with its successor", None),
    ],
)
def test_a_partner_changes_its_key(engine: Engine, at: datetime, old: str | None, new: str | None) -> None:
    house = House(engine)
    broker = Renewing("broker1", house.clock)
    register(engine, renewed("broker1"), OPENS, None)
    register(engine, signer_named("broker1"), None, CUT)
    # The hub has judged both before, so that nothing of the outcome is a first look.
    house.clock.now = at
    for signer, refused in ((signer_named("broker1"), old), (renewed("broker1"), new)) * 2:
        unit = heard(house, broker, signer).unit
        if refused is None:
            assert isinstance(unit, Receipt)
            continue
        assert isinstance(unit, ErrorSignal)
        assert unit.errors[0].description.startswith("GW206")
        assert refused in unit.errors[0].description
        assert (
            CUT.isoformat() in unit.errors[0].description or OPENS.isoformat() in unit.errors[0].description
        )


def test_a_process_that_runs_learns_of_the_cut_at_its_next_message(engine: Engine) -> None:
    house = House(engine)
    broker = Renewing("broker1", house.clock)
    assert isinstance(heard(house, broker, signer_named("broker1")).unit, Receipt)
    with write_transaction(engine) as conn:
        assert parties.limit_certificate_use(conn, signer_named("broker1").certificate.sha256, house.clock())
    assert isinstance(heard(house, broker, signer_named("broker1")).unit, ErrorSignal)


def renewing_hub(house: House) -> Hub:
    """The hub as a process has it whose settings name the next key."""
    old = house.hub
    world = HubResources(old.engine, house.clock, old.new_uuid, old.host, old.composer)
    store, revocations = trust()
    later = NextSigningKey(renewed("hub"), CUT)
    register = TrustedRegister(
        old.engine, CertificateValidator(store, revocations), ActiveRules(old.rules), crls=old.register._crls
    )
    return Hub(world, "hub", signer_named("hub"), register, successor=later)


def test_our_own_key_changes_and_partners_who_know_both_verify_every_receipt(engine: Engine) -> None:
    house = House(engine)
    house.hub = renewing_hub(house)
    knows_both, knows_old = Renewing("broker1", house.clock), Renewing("broker1", house.clock)
    knows_both.hub_keys = tuple(house.hub.signers)  # type: ignore[assignment]
    assert knows_both.hub_keys == (signer_named("hub"), renewed("hub"))
    first: Parcel | None = None
    for at, signs in (
        (START, signer_named("hub")),
        (CUT - TICK, signer_named("hub")),
        (CUT, renewed("hub")),
        (CUT + TICK, renewed("hub")),
    ):
        house.clock.now = at
        sent = knows_both.seal(knows_both.message())
        first = first or sent
        opened = knows_both.open(house.post(sent), sent)
        assert isinstance(opened.unit, Receipt)
        assert opened.verified_signature is not None
        assert opened.verified_signature.certificate == signs.certificate
    # A repeat gets the receipt that was stored, by the old key: who knows both verifies it still.
    again = knows_both.open(house.post(first), first)  # type: ignore[arg-type]
    assert again.verified_signature is not None
    assert again.verified_signature.certificate == signer_named("hub").certificate
    sent = knows_old.seal(replace(knows_old.message(), message_id="late@broker1.example"))
    answer = house.post(sent)
    with pytest.raises(Exception, match="GW309 CN=hub does not sign"):
        knows_old.open(answer, sent)


def test_what_holds_the_hub_signs_by_the_key_of_the_moment(engine: Engine) -> None:
    house = House(engine)
    hub = renewing_hub(house)
    answers = build_soap_security(hub)
    house.clock.now = CUT - TICK
    assert answers.signer() is hub.signer is signer_named("hub")
    house.clock.now = CUT
    assert answers.signer() is hub.signer is renewed("hub")


def test_the_measures_know_both_keys_of_ours(engine: Engine) -> None:
    client = Client(build_wsgi_application(renewing_hub(House(engine)), 1024 * 1024))
    [line] = re.findall(r"^gateway_own_certificate_days (.*)$", client.get("/metrics").text, re.MULTILINE)
    last = renewed("hub").certificate.not_after
    assert float(line) == pytest.approx((last - datetime.now(UTC)) / timedelta(days=1), abs=1)


def test_what_came_before_the_cut_is_admitted_after_it(engine: Engine) -> None:
    story = Story(engine)
    register(engine, signer_named("broker1"), None, CUT)
    story.clock.now = CUT - TICK
    story.submit()
    story.clock.now = CUT + TICK
    story.tick()
    assert story.case().outcome is None
    assert len(story.soap.calls) > 0


def test_a_document_that_comes_after_the_cut_is_refused_whoever_sends_it(engine: Engine) -> None:
    story = Story(engine)
    register(engine, signer_named("broker1"), None, CUT)
    register(engine, renewed("broker1"), None, None)
    sender = Renewing("broker1", story.clock)
    sender.signs_with = renewed("broker1")
    story.broker = sender
    story.clock.now = CUT
    story.submit()
    story.tick()
    [(problem, _)] = story.problems()
    assert problem == "GW206"
