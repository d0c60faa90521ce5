"""What is written as text is canonical: what was signed without a tree is what a reader's tree gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import Unit
from gateway.protocols import build_envelope_tree
from gateway.protocols.ebms2.message_sealing import write_envelope
from gateway.wire import DS, SOAP11, canonicalize_document, parse_xml
from gateway.xmlsec import SHA256, Transform, canonicalize_reference_text
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N
from gateway.xmlsec.ebms2_signature import ENVELOPE_TRANSFORMS, list_next_actor_headers
from gateway.xmlsec.xml_signature import DigestReference, write_reference_text
from gateway_conformance.message_signing import append_reference
from tests.protocols import sample_parties
from tests.protocols.test_ebms2_round_trip import SIGNAL, USER, slow

REFERENCES = [
    DigestReference("#a", SHA256, b"\x00\x00\x00"),
    DigestReference('cid:a"&<b', SHA256, b"d" * 32),
    DigestReference("", SHA256, b"d" * 32, ENVELOPE_TRANSFORMS),
    DigestReference("#b", SHA256, b"d" * 32, (Transform(EXCLUSIVE_C14N, ("a", "#default")),), "urn:type"),
]


@pytest.mark.long
@slow
@given(USER | SIGNAL)
def test_what_is_signed_is_the_canonical_form_without_the_block_for_the_next_node(unit: Unit) -> None:
    written = write_envelope((unit,))
    root = parse_xml(written.with_signature())
    assert canonicalize_document(root, list_next_actor_headers(root)) == written.signable_octets


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_as_text_is_the_reference_as_tree(reference: DigestReference) -> None:
    root = etree.Element(f"{{{DS}}}SignedInfo", nsmap={"ds": DS, "soap": SOAP11})
    append_reference(root, reference)
    tree = etree.tostring(root, method="c14n").decode()
    declared = f'<ds:SignedInfo xmlns:ds="{DS}" xmlns:soap="{SOAP11}">'
    text = f"{declared}{write_reference_text(reference)}</ds:SignedInfo>"
    assert canonicalize_reference_text(text) == tree
    assert etree.tostring(etree.fromstring(text), method="c14n").decode() == tree


def test_a_reference_carries_the_prefix_of_its_expression() -> None:
    """Whoever copies it into an envelope with other prefixes copies a whole reference."""
    assert f'<ds:XPath xmlns:soap="{SOAP11}">' in write_reference_text(REFERENCES[2])


def test_no_other_expression_is_written() -> None:
    strange = Transform("http://www.w3.org/TR/1999/REC-xpath-19991116", expression=("false", "(", ")"))
    with pytest.raises(GatewayError):
        write_reference_text(DigestReference("", SHA256, b"x", (strange,)))


def test_what_no_document_can_hold_is_our_mistake() -> None:
    with pytest.raises(GatewayError, match="GW901"):
        build_envelope_tree((sample_parties.message(conversation_id="a\x00b"),))
