"""Fragments that are encrypted, each for itself: the hub decrypts, joins, and refuses what is in clear."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import EncryptionResources, Parcel, ProtocolContext, as4
from gateway.store import messages
from gateway.wire import DEFAULT_LIMITS
from tests.flows.test_as4_fragments import read_code
from tests.flows.test_encryption import TERMS, make_key
from tests.kit.databases import in_turn
from tests.kit.fragments import SPLIT, FragmentStory
from tests.kit.house import pmodes

SECRET = SPLIT.replace(b"  compression: gzip ", TERMS + b"  compression: none ")
MARK = b"nobody on the way reads this sentence; "


class SecretStory(FragmentStory):
    """A hub that has a key for encrypted payloads, and a broker that encrypts for it."""

    def __init__(self, engine: Engine) -> None:
        self.key = make_key("hub")
        super().__init__(engine, SECRET)
        self.hub.decryption_keys = (self.key,)

    def context(self) -> ProtocolContext:
        found = EncryptionResources((), os.urandom, lambda *_: self.key.certificate)
        return replace(self.broker.context(), encryption=found)

    def plan(self, unit: UserMessage | None = None, size: int = 2000, *, compressed: bool = False) -> Any:
        """Return how a message is split: the source is neither signed nor encrypted."""
        source = as4.seal_source(unit or self.marked(), self.pmode(unit))
        assert b"Security" not in source.read_octets()
        return as4.plan_split(source, as4.SplitTerms(size, (), compressed), DEFAULT_LIMITS)

    def marked(self) -> UserMessage:
        unit = self.large()
        return replace(unit, payloads=(replace(unit.payloads[0], octets=MARK * 200),))

    def pmode(self, unit: UserMessage | None) -> Any:
        action = "Store" if unit is None else unit.action
        return next(one for one in pmodes(SECRET) if one.action == action)

    def seal(self, plan: as4.SplitPlan, number: int, message_id: str = "", signer: str = "broker1") -> Parcel:
        """Return one fragment, signed and encrypted as agreed."""
        return as4.seal_agreed_fragment(plan, number, self.pmode(plan.unit), self.context())


@pytest.fixture
def story(engine: Engine) -> SecretStory:
    return SecretStory(engine)


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("compressed", [False, True])
def test_encrypted_fragments_are_joined(story: SecretStory, compressed: bool) -> None:
    plan = story.plan(compressed=compressed, size=2000 if not compressed else 100)
    parcels = [story.seal(plan, number) for number in range(plan.fragment_count, 0, -1)]
    assert len(parcels) > 2
    for parcel in parcels:
        octets = parcel.read_octets()
        assert b"nobody on the way" not in octets
        assert (octets.count(b"<xenc:EncryptedData"), octets.count(b"<mf:GroupId>")) == (1, 1)
        opened = story.broker.open(story.house.post(parcel), parcel)
        assert isinstance(opened.unit, Receipt)
        # What is signed is in clear: Messaging, Body, MessageFragment and the piece.
        assert len(opened.unit.references) == 4
    story.tick(seconds=1)
    (row,) = story.joined()
    (part,) = story.read(lambda conn: messages.load_payloads(conn, row.id))
    assert part.content == MARK * 200
    story.tick(seconds=1)
    assert [type(one.unit) for one in story.ears.heard] == [Receipt]


@pytest.mark.long
def test_an_encrypted_submission_in_fragments_becomes_a_case(story: SecretStory) -> None:
    story.send(story.plan(story.broker.message("Submit", payloads=story.sealed_payloads())))
    story.tick(seconds=1)
    (row,) = story.joined()
    assert (row.state, row.case_id is None) == ("PROCESSED", False)


@pytest.mark.long
def test_a_fragment_in_clear_is_refused_by_itself(story: SecretStory) -> None:
    """Nothing is taken in clear where encryption is agreed, and nothing of the group is lost."""
    plan = story.plan()
    clear = as4.seal_fragment(plan, 1, "clear@broker1.example", story.signer())
    assert read_code(story.house.post(clear)) == "EBMS:0103"
    story.send(plan)
    story.tick(seconds=1)
    assert len(story.joined()) == 1


@pytest.mark.long
def test_changed_or_foreign_ciphertext_is_refused_by_itself(story: SecretStory) -> None:
    plan = story.plan()
    good = story.seal(plan, 1)
    octets = good.read_octets()
    broken = Parcel(good.headers, MemoryBody(octets[:-300] + bytes(100) + octets[-200:]))
    assert read_code(story.house.post(broken)) in ("EBMS:0101", "EBMS:0102")
    story.hub.decryption_keys = (make_key("another"),)
    assert read_code(story.house.post(good)) == "EBMS:0102"
    assert not story.groups()
    story.hub.decryption_keys = (story.key,)
    assert not read_code(story.house.post(good))
    assert [row.state for row in story.groups()] == ["OPEN"]
