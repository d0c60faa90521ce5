"""Opening signed SOAP: what is refused before the signature is verified, and what is read after it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from lxml import etree

from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.pki import Certificate
from gateway.wire import (
    ANONYMOUS,
    DEFAULT_LIMITS,
    SOAP11,
    SOAP12,
    WSA,
    AddressingHeaders,
    WireLimits,
    parse_xml,
    serialize_element,
)
from gateway.xmlsec import (
    SignedSoapMessage,
    read_soap_message,
    verify_soap_message,
)
from tests.kit.soap import ENDPOINT, NOW, envelope, issued, signed

Change = Callable[[etree._Element], object]
ADDRESSING = AddressingHeaders("urn:act", "urn:uuid:1", ENDPOINT, "urn:uuid:0")


def trust_everybody(_certificate: Certificate) -> None:
    """Accept each certificate."""


def write_message(change: Change = lambda header: None) -> bytes:
    """Return a message of the agency, whose header is changed before it is signed."""
    root = envelope(etree.fromstring("<a>x<!-- not signed -->y</a>"), ADDRESSING)
    change(root[0])
    return signed(root)


def tamper(change: Change) -> bytes:
    """Return a message of the agency that was changed after it was signed."""
    root = parse_xml(write_message())
    change(root)
    return serialize_element(root)


def open_message(octets: bytes) -> SignedSoapMessage:
    return verify_soap_message(read_soap_message(octets), now=NOW, check_certificate=trust_everybody)


def find_problem(open_it: Callable[[], object]) -> str:
    with pytest.raises(GatewayError) as refusal:
        open_it()
    return refusal.value.problem.id


def test_what_is_signed_is_returned() -> None:
    message = open_message(write_message())
    assert message.addressing == ADDRESSING
    assert message.certificate == message.signature.certificate == issued("agency").certificate
    assert [(element.tag, element.text) for element in message.content] == [("a", "xy")]


def add_block(name: str, *, mandatory: bool = False) -> Change:
    def change(header: etree._Element) -> None:
        block = etree.SubElement(header, name)
        block.text = "urn:x"
        if mandatory:
            block.set(f"{{{SOAP11}}}mustUnderstand", "1")

    return change


def remove(name: str) -> Change:
    def change(root: etree._Element) -> None:
        element = root.find(f".//{name}")
        element.getparent().remove(element)

    return change


def set_text(name: str, text: str) -> Change:
    return lambda root: setattr(root.find(f".//{name}"), "text", text)


REFUSED_UNREAD = {
    "not XML": (b"<a", "GW104"),
    "a document type": (b"<!DOCTYPE a><a/>", "GW104"),
    "not SOAP": (b"<a/>", "GW105"),
    "SOAP 1.2": (write_message().replace(SOAP11.encode(), SOAP12.encode()), "GW105"),
    "two bodies": (tamper(lambda root: etree.SubElement(root, f"{{{SOAP11}}}Body")), "GW107"),
    "a mandatory block": (write_message(add_block("{urn:x}Trace", mandatory=True)), "GW106"),
    "mandatory addressing of another version": (
        write_message(add_block("{http://schemas.xmlsoap.org/ws/2004/08/addressing}To", mandatory=True)),
        "GW106",
    ),
}


@pytest.mark.parametrize(("octets", "problem"), REFUSED_UNREAD.values(), ids=REFUSED_UNREAD)
def test_other_than_soap_1_1_is_refused_before_its_signature(octets: bytes, problem: str) -> None:
    assert find_problem(lambda: read_soap_message(octets)) == problem


REFUSED_UNVERIFIED = {
    "no header": (b'<e:Envelope xmlns:e="%s"><e:Body/></e:Envelope>' % SOAP11.encode(), "GW201"),
    "no signature": (serialize_element(envelope(None, ADDRESSING)), "GW201"),
    "a changed Body": (tamper(set_text("a", "z")), "GW202"),
    "another MessageID": (tamper(set_text(f"{{{WSA}}}MessageID", "urn:uuid:2")), "GW202"),
    "another RelatesTo": (tamper(set_text(f"{{{WSA}}}RelatesTo", "urn:uuid:2")), "GW202"),
    "without RelatesTo": (tamper(remove(f"{{{WSA}}}RelatesTo")), "GW202"),
    "an unsigned header": (tamper(lambda root: add_block(f"{{{WSA}}}FaultTo")(root[0])), "GW203"),
    "signed, without MessageID": (write_message(remove(f"{{{WSA}}}MessageID")), "GW107"),
    "signed, two actions": (write_message(add_block(f"{{{WSA}}}Action")), "GW107"),
    "signed, without any addressing": (signed(envelope(None, None)), "GW107"),
}


@pytest.mark.parametrize(("octets", "problem"), REFUSED_UNVERIFIED.values(), ids=REFUSED_UNVERIFIED)
def test_nothing_is_returned_that_is_not_signed_and_well_formed(octets: bytes, problem: str) -> None:
    read_soap_message(octets)
    assert find_problem(lambda: open_message(octets)) == problem


def test_a_block_of_others_that_is_not_mandatory_is_passed_over() -> None:
    assert open_message(write_message(add_block("{urn:x}Trace"))).addressing == ADDRESSING


def test_the_certificate_is_checked_before_anything_is_computed_with_it() -> None:
    checked: list[Certificate] = []

    def refuse(certificate: Certificate) -> None:
        checked.append(certificate)
        raise GatewayError(SIGNER_MISMATCH)

    changed = read_soap_message(tamper(set_text("a", "z")))
    assert find_problem(lambda: verify_soap_message(changed, now=NOW, check_certificate=refuse)) == "GW209"
    assert checked == [issued("agency").certificate]


def test_limits_and_time_are_those_of_the_caller() -> None:
    octets = write_message()
    assert find_problem(lambda: read_soap_message(octets, WireLimits(envelope=len(octets) - 1))) == "GW102"
    assert find_problem(lambda: read_soap_message(octets, WireLimits(depth=3))) == "GW102"
    read = read_soap_message(octets)

    def verify(now: datetime = NOW, limits: WireLimits = DEFAULT_LIMITS) -> SignedSoapMessage:
        return verify_soap_message(read, now=now, check_certificate=trust_everybody, limits=limits)

    assert find_problem(lambda: verify(limits=WireLimits(references=2))) == "GW102"
    assert find_problem(lambda: verify(NOW + timedelta(minutes=6))) == "GW211"
    assert verify(NOW + timedelta(minutes=4)).addressing == ADDRESSING


def test_algorithms_are_strict() -> None:
    octets = signed(envelope(None, ADDRESSING), "hub").replace(
        b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#rsa-sha1"
    )
    assert find_problem(lambda: open_message(octets)) == "GW204"


@pytest.mark.parametrize("name", ["Action", "MessageID", "To", "From", "ReplyTo", "FaultTo", "RelatesTo"])
def test_each_header_of_addressing_may_be_mandatory(name: str) -> None:
    def demand(header: etree._Element) -> None:
        block = header.find(f"{{{WSA}}}{name}")
        if block is None:
            block = etree.SubElement(header, f"{{{WSA}}}{name}")
            etree.SubElement(block, f"{{{WSA}}}Address").text = ANONYMOUS
        block.set(f"{{{SOAP11}}}mustUnderstand", "1")

    assert open_message(write_message(demand)).addressing == ADDRESSING
