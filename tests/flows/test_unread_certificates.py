"""A registered certificate that this version refuses takes no other one with it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cli.registration import register_certificate
from gateway.errors import NO_ROOM, GatewayError
from gateway.hub.register import trusted_register
from gateway.message_model import Party, PartyId
from gateway.operations import find_unread_certificates
from gateway.pki import Certificate, read_certificate
from gateway.protocols import as4
from gateway.store import HttpResponse, write_transaction
from tests.flows.test_as4_pull import PULLED, ask, code, pull
from tests.flows.test_encryption import make_key, register_receiver
from tests.flows.test_unread_agreements import load_other
from tests.kit.databases import BOTH
from tests.kit.house import PARTY_TYPE, Neighbour, signer_named
from tests.kit.odd_rows import spoil_certificate
from tests.kit.story import Story
from tests.protocols.as4_samples import change_tree
from tests.protocols.test_as4_security import name_by

NOTHING_WAITS = ("EBMS:0006", "warning")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False, agreement=PULLED)


def get_certificate(name: str) -> Certificate:
    return signer_named(name).certificate


def add_odd_certificate(story: Story, party: str) -> str:
    """Register one more certificate of a party, which this version refuses; return its digest."""
    certificate = get_certificate(f"{party}-odd")
    with write_transaction(story.house.engine) as conn:
        register_certificate(conn, party, certificate.der, story.clock())
    spoil_certificate(story.house.engine, certificate.sha256)
    return certificate.sha256


def pull_by_name(story: Story, name: str = "broker1") -> HttpResponse:
    """Pull by a request that names its certificate, and does not contain it."""
    broker = Neighbour(name, story.clock, PULLED.replace(b"broker1", name.encode()))
    party = Party((PartyId(name, PARTY_TYPE),), "Applicant")
    parcel = as4.seal((ask(broker, sender=party),), None, broker.context())
    return story.house.post(change_tree(parcel, name_by("thumb", get_certificate(name))))


def store_by_name(story: Story) -> HttpResponse:
    """Send a message that names its certificate, and does not contain it."""
    parcel = story.broker.seal(story.broker.message("Store"))
    return story.house.post(change_tree(parcel, name_by("thumb", get_certificate("broker1"))))


@BOTH
def test_the_refused_certificate_of_another_party_is_nothing_to_who_pulls(story: Story) -> None:
    story.register("broker9")
    load_other(story, PULLED)
    spoil_certificate(story.house.engine, get_certificate("broker9").sha256)
    assert code(pull(story.house, story.broker)) == NOTHING_WAITS
    assert code(pull_by_name(story)) == NOTHING_WAITS
    assert b"GW205 no known certificate" in pull_by_name(story, "broker9").body


@BOTH
def test_a_party_signs_with_another_certificate_than_the_refused_one(story: Story) -> None:
    sha256 = add_odd_certificate(story, "broker1")
    assert code(pull_by_name(story)) == NOTHING_WAITS
    assert b"Receipt" in store_by_name(story).body
    (problem,) = find_unread_certificates(story.house.hub.refresh_snapshot())
    assert (problem.problem.id, problem.location) == ("GW205", "party broker1")
    assert problem.detail.startswith(
        f"this version refuses certificate {sha256[:16]} of broker1, which is registered for signing, and "
        "leaves it out: malformed"
    )


def test_the_answer_says_that_no_certificate_is_left(story: Story) -> None:
    spoil_certificate(story.house.engine, get_certificate("broker1").sha256)
    words = b"GW205 no certificate that this version accepts is registered for signing by broker1: malformed"
    assert words in store_by_name(story).body
    assert words in pull_by_name(story).body
    # A certificate that comes with the message is judged as it is.
    assert b"Receipt" in story.house.post(story.broker.seal(story.broker.message("Store"))).body


def test_payloads_are_encrypted_for_the_certificate_that_is_not_refused(story: Story) -> None:
    key, later = make_key("broker1"), make_key("broker1")
    with write_transaction(story.house.engine) as conn:
        for one in (key, later):
            register_receiver(conn, one.certificate, story.clock())
    register = story.house.hub.refresh_snapshot()
    newest = register.find_encryption_certificate("broker1", None, story.clock())
    other = key.certificate if newest == later.certificate else later.certificate
    spoil_certificate(story.house.engine, newest.sha256)
    register = story.house.hub.refresh_snapshot()
    assert register.find_encryption_certificate("broker1", None, story.clock()) == other
    assert len(list(find_unread_certificates(register))) == 1
    words = (
        "GW205 no certificate that this version accepts is registered for encryption for broker1: malformed"
    )
    with pytest.raises(GatewayError, match=words):
        register.find_encryption_certificate("broker1", newest.sha256, story.clock())


def test_no_certificate_counts_as_refused_for_a_lack_of_memory(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = get_certificate("broker1").der

    def lack(der: bytes) -> Certificate:
        if der == good:
            return read_certificate(der)
        raise GatewayError(NO_ROOM, "memory is used up")

    add_odd_certificate(story, "broker1")
    monkeypatch.setattr(trusted_register, "read_certificate", lack)
    register = story.house.hub.refresh_snapshot()
    for _ in range(2):
        with pytest.raises(GatewayError, match="GW806"):
            register.list_party_certificates("broker1")
    assert b"GW806" in pull_by_name(story).body
    monkeypatch.undo()
    assert register.list_party_certificates("broker1") == (get_certificate("broker1"),)
