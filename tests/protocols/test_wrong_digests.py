"""A digest that is wrong says so where the octets as they are, or as they were transferred, would fit."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.protocols import as4
from gateway.wire import DS, serialize_element
from gateway.xmlsec import STRICT, verify_any_document
from gateway_conformance.message_signing import sign_message, verify_message_signature
from tests.protocols import as4_samples, sample_parties
from tests.protocols.test_as4_encryption import SECRET, context, sealed
from tests.xmlsec.sample_messages import ATTACHMENTS, message, resign

RAW = "is wrong: it fits the octets as they are, but here their canonical form is digested"
TEXT = "is wrong: it fits the text in base64, but the decoded octets are digested"
XML_PART, BINARY_PART, TEXT_PART = (one.octets for one in as4_samples.message().payloads)


def digest_instead(uri: str, octets: bytes, signer: KeySigner) -> Callable[[etree._Element], None]:
    """Return the change of an envelope whose signer digested other octets of one part."""

    def change(root: etree._Element) -> None:
        (value,) = root.iterfind(f".//{{{DS}}}Reference[@URI='{uri}']/{{{DS}}}DigestValue")
        value.text = base64.b64encode(hashlib.sha256(octets).digest()).decode()
        resign(root, signer)

    return change


def sign_as_broker(number: int, octets: bytes) -> Callable[[etree._Element], None]:
    signer = sample_parties.issued("broker1").signer
    return digest_instead(f"cid:p{number}@broker.example", octets, signer)


def read_reason(action: Callable[[], object]) -> str:
    with pytest.raises(GatewayError) as caught:
        action()
    assert caught.value.problem.id == "GW202"
    return caught.value.detail


XML_AS_WRITTEN = b"<a b='1'><c/></a>"


@pytest.mark.parametrize(
    ("number", "octets", "reason"),
    [
        (1, b"<b/>", "is wrong"),
        (2, b"\x00", "is wrong"),
        (2, base64.b64encode(BINARY_PART), TEXT),
        (2, base64.encodebytes(BINARY_PART).replace(b"\n", b"\r\n"), TEXT),
        (2, base64.encodebytes(BINARY_PART).replace(b"\n", b"\r\n")[:-2], TEXT),
        (3, TEXT_PART, RAW),
        (3, b"one\ntwo\nthree", "is wrong"),
    ],
)
def test_a_wrong_digest_of_as4_says_what_it_fits(number: int, octets: bytes, reason: str) -> None:
    parcel = as4_samples.change_tree(as4_samples.seal(), sign_as_broker(number, octets))
    detail = read_reason(lambda: as4_samples.verify(parcel))
    assert detail == f"the digest of reference 'cid:p{number}@broker.example' {reason}"


def test_the_octets_of_xml_that_fit_are_told() -> None:
    parcel = sample_parties.replaced(as4_samples.seal(), XML_PART, XML_AS_WRITTEN)
    parcel = as4_samples.change_tree(parcel, sign_as_broker(1, XML_AS_WRITTEN))
    assert read_reason(lambda: as4_samples.verify(parcel)).endswith(RAW)


def test_the_octets_that_fit_are_told_of_an_encrypted_part() -> None:
    parcel = as4_samples.change_tree(sealed(), sign_as_broker(3, TEXT_PART))
    assert read_reason(lambda: as4.open_units(parcel, context(SECRET))).endswith(RAW)


def test_an_encrypted_part_of_other_octets_is_told_as_before() -> None:
    """Whether the key or the octets are others is not told: who has neither learns nothing."""
    parcel = as4_samples.change_tree(sealed(), sign_as_broker(3, b"other"))
    with pytest.raises(GatewayError, match="GW210 the payload cannot be decrypted"):
        as4.open_units(parcel, context(SECRET))


@pytest.mark.parametrize("octets", [b"other", None])
def test_a_wrong_digest_of_ebms2_says_that_the_text_in_base64_fits(octets: bytes | None) -> None:
    signer = sample_parties.issued("broker1").signer
    root, name = message(), "declaration@broker.example"
    sign_message(root, ATTACHMENTS, signer)
    digested = octets or base64.b64encode(ATTACHMENTS[name])
    digest_instead(f"cid:{name}", digested, signer)(root)
    reason = "is wrong" if octets else TEXT
    expected = f"the digest of reference 'cid:{name}' {reason}"
    assert read_reason(lambda: verify_message_signature(root, ATTACHMENTS, STRICT)) == expected
    parts = {f"cid:{content_id}": content for content_id, content in ATTACHMENTS.items()}
    report = verify_any_document(serialize_element(root), parts, STRICT)
    assert report.reason.startswith(expected)
