"""What is written as text is canonical: what was signed without a tree is what a reader's tree gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from lxml import etree

from gateway.errors import GatewayError
from gateway.model import Unit
from gateway.protocols.ebms2.compose import compose, write
from gateway.wire.namespaces import DS, SOAP11
from gateway.wire.xml import canonicalize_document, parse_xml
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N, SHA256
from gateway.xmlsec.ebms2 import ENVELOPE_TRANSFORMS, headers_for_next
from gateway.xmlsec.references import (
    DigestReference,
    Transform,
    canonical_text,
    reference_text,
    write_reference,
)
from tests.protocols import world
from tests.protocols.test_ebms2_round_trip import SIGNAL, USER, slow

REFERENCES = [
    DigestReference("#a", SHA256, b"\x00\x00\x00"),
    DigestReference('cid:a"&<b', SHA256, b"d" * 32),
    DigestReference("", SHA256, b"d" * 32, ENVELOPE_TRANSFORMS),
    DigestReference("#b", SHA256, b"d" * 32, (Transform(EXCLUSIVE_C14N, ("a", "#default")),), "urn:type"),
]


@slow
@given(USER | SIGNAL)
def test_what_is_signed_is_the_canonical_form_without_the_block_for_the_next_node(unit: Unit) -> None:
    written = write((unit,))
    root = parse_xml(written.with_signature())
    assert canonicalize_document(root, headers_for_next(root)) == written.signable


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_as_text_is_the_reference_as_tree(reference: DigestReference) -> None:
    root = etree.Element(f"{{{DS}}}SignedInfo", nsmap={"ds": DS, "soap": SOAP11})
    write_reference(root, reference)
    tree = etree.tostring(root, method="c14n").decode()
    declared = f'<ds:SignedInfo xmlns:ds="{DS}" xmlns:soap="{SOAP11}">'
    text = f"{declared}{reference_text(reference)}</ds:SignedInfo>"
    assert canonical_text(text) == tree
    assert etree.tostring(etree.fromstring(text), method="c14n").decode() == tree


def test_a_reference_carries_the_prefix_of_its_expression() -> None:
    """Whoever copies it into an envelope with other prefixes copies a whole reference."""
    assert f'<ds:XPath xmlns:soap="{SOAP11}">' in reference_text(REFERENCES[2])


def test_no_other_expression_is_written() -> None:
    strange = Transform("http://www.w3.org/TR/1999/REC-xpath-19991116", expression=("false", "(", ")"))
    with pytest.raises(GatewayError):
        reference_text(DigestReference("", SHA256, b"x", (strange,)))


def test_what_no_document_can_hold_is_our_mistake() -> None:
    with pytest.raises(GatewayError, match="GW901"):
        compose((world.message(conversation_id="a\x00b"),))
