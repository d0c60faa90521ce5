"""Signature wrapping: the signed element moved aside, a forged one in its place (SIG-01 to 09, 14, 23)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import Receipt
from gateway.protocols import ProtocolContext, ebms2
from gateway.wire import DS, EB, SOAP11, parse_xml, serialize_element
from tests.protocols import sample_parties
from tests.protocols.message_mutation import Craft

NAMES = {"soap": SOAP11, "eb": EB, "ds": DS}
ACTOR = f"{{{SOAP11}}}actor"
NEXT = "http://schemas.xmlsoap.org/soap/actor/next"
ACK = Craft(
    Receipt(
        "s-1@hub.example", "c-1", sample_parties.FROM_HUB, sample_parties.FROM_BROKER, "agreement-1",
        sample_parties.NOW,
        ref_to_message_id="m-1@broker.example", received_at=sample_parties.NOW,
    ),
    signer="hub",
)  # fmt: skip
TARGETS = {
    "MessageHeader": (Craft(), "soap:Header/eb:MessageHeader", ".//eb:ConversationId"),
    "From": (Craft(), "soap:Header/eb:MessageHeader/eb:From", ".//eb:PartyId"),
    "AckRequested": (Craft(), "soap:Header/eb:AckRequested", None),
    "Manifest": (Craft(), "soap:Body/eb:Manifest", None),
    "Reference": (Craft(), "soap:Body/eb:Manifest/eb:Reference", None),
    "Header": (Craft(), "soap:Header", ".//eb:ConversationId"),
    "Body": (Craft(), "soap:Body", None),
    "Acknowledgment": (ACK, "soap:Header/eb:Acknowledgment", "eb:RefToMessageId"),
}
Place = Callable[[etree._Element, etree._Element], None]


def at(root: etree._Element, path: str) -> etree._Element:
    found = root.find(path, NAMES)
    assert found is not None, path
    return found


def inside(path: str, *, wrapper: str | None = None, first: bool = False, actor: str | None = None) -> Place:
    """Return a place for the original: in an element of its own below `path`."""

    def put(root: etree._Element, original: etree._Element) -> None:
        home = at(root, path) if path else root
        if wrapper is not None:
            box = etree.Element(wrapper)
            if actor is not None:
                box.set(ACTOR, actor)
            home.insert(0 if first else len(home), box)
            home = box
        home.insert(0 if first else len(home), original)

    return put


PLACES: dict[str, Place] = {
    "object of the signature": inside("soap:Header/ds:Signature", wrapper=f"{{{DS}}}Object"),
    "signature itself": inside("soap:Header/ds:Signature"),
    "key info": inside("soap:Header/ds:Signature/ds:KeyInfo"),
    "beside, before": inside("soap:Header", first=True),
    "beside, after": inside("soap:Header"),
    "wrapper in the header": inside("soap:Header", wrapper="{urn:x}Wrapper"),
    "wrapper for the next node": inside("soap:Header", wrapper="{urn:x}Wrapper", actor=NEXT),
    "SyncReply for the next node": inside("soap:Header/eb:SyncReply"),
    "wrapper in the body": inside("soap:Body", wrapper="{urn:x}Wrapper"),
    "body": inside("soap:Body"),
    "after the body": inside("", wrapper="{urn:x}Wrapper"),
    "extension of the header": inside("soap:Header/eb:MessageHeader", wrapper="{urn:x}Extension"),
}


def forge(element: etree._Element, value: str | None) -> None:
    """Make the element say something else."""
    if value is None:
        element.set("{urn:x}forged", "1")
        return
    found = element.find(value, NAMES)
    assert found is not None
    found.text = "forged"


def cases() -> Iterator[tuple[str, str, bool]]:
    for target in TARGETS:
        for place in PLACES:
            for hide in (False, True):
                yield target, place, hide


@pytest.fixture(scope="module")
def context() -> ProtocolContext:
    return sample_parties.context()


@pytest.mark.parametrize(("target", "place", "hide"), list(cases()))
def test_a_wrapped_message_is_refused(target: str, place: str, hide: bool, context: ProtocolContext) -> None:
    craft, path, value = TARGETS[target]

    def wrap(data: bytes) -> bytes:
        root = parse_xml(data)
        original = at(root, path)
        forged = copy.deepcopy(original)
        forge(forged, value)
        original.getparent().replace(original, forged)  # type: ignore[union-attr]
        if hide:
            forged.set(ACTOR, NEXT)
        PLACES[place](root, original)
        return serialize_element(root)

    try:
        parcel = Craft(craft.unit, signer=craft.signer, tampered=wrap).parcel(context)
    except AssertionError as absent:
        assert "SyncReply" in str(absent)  # noqa: PT017
        assert target == "Acknowledgment"
        return
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, context)
    assert caught.value.problem.id in ("GW105", "GW107", "GW108", "GW202", "GW203", "GW302", "GW304", "GW311")
    assert caught.value.location


def test_there_are_many() -> None:
    assert len(list(cases())) >= 63
