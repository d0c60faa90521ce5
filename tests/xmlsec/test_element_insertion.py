"""Whatever is put into whichever element of a signature, by its own signer, is refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import DS
from gateway.xmlsec import STRICT, sign_document, sign_soap_envelope, verify_document, verify_soap_envelope
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.message_signing import sign_message, verify_message_signature
from tests.xmlsec.sample_messages import document, element, message, request, resign
from tests.xmlsec.test_ebms2_signature_attacks import key_value

Case = tuple[etree._Element, etree._Element, Callable[[etree._Element], object]]


def ebms2(signer: KeySigner, now: datetime) -> Case:
    root = message(next_blocks="")
    sign_message(root, {}, signer)
    signature = next(root.iter(f"{{{DS}}}Signature"))
    signature[2].append(element(key_value(signer)))
    return root, signature, lambda changed: verify_message_signature(changed, {}, STRICT)


def wss(signer: KeySigner, now: datetime) -> Case:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    security = next(root.iter("{*}Security"))
    return root, security, lambda changed: verify_soap_envelope(changed, STRICT, now=now)


def xades(signer: KeySigner, now: datetime) -> Case:
    root = document("d1")
    sign_document(root, signer, now=now)
    return root, root[-1], verify_document


def attribute(target: etree._Element) -> bool:
    target.set("{urn:evil}x", "1")
    return True


def child(target: etree._Element) -> bool:
    etree.SubElement(target, "{urn:evil}x")
    return True


def comment(target: etree._Element) -> bool:
    target.append(etree.Comment("x"))
    return True


def instruction(target: etree._Element) -> bool:
    target.insert(0, etree.ProcessingInstruction("x", "y"))
    return True


def text(target: etree._Element) -> bool:
    if not len(target):
        return False
    target[0].tail = "x"
    return True


def seal_again(root: etree._Element, signer: KeySigner) -> None:
    """Make all digests and the value right for what stands there now."""
    signature = next(root.iter(f"{{{DS}}}Signature"))
    for reference in signature[0].iterchildren(f"{{{DS}}}Reference"):
        value = hashlib.sha256(
            naive_verifier.dereference_octets(naive_verifier.find_signature(root), reference, {})
        ).digest()
        reference.find(f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()
    resign(root, signer, signature)


def reason_of(verify: Callable[[etree._Element], object], root: etree._Element) -> str:
    try:
        verify(root)
    except GatewayError as refusal:
        return refusal.detail
    return "taken"


@pytest.mark.long
@pytest.mark.parametrize("intrude", [attribute, child, comment, instruction, text])
@pytest.mark.parametrize("profile", [ebms2, wss, xades])
def test_every_element_of_a_signature_is_as_expected(
    signer: KeySigner,
    now: datetime,
    profile: Callable[[KeySigner, datetime], Case],
    intrude: Callable[[etree._Element], bool],
) -> None:
    _, signed, _ = profile(signer, now)
    places = len(list(signed.iter("*")))
    assert places > 15
    for place in range(places):
        root, signed, verify = profile(signer, now)
        verify(root)
        target = list(signed.iter("*"))[place]
        path = root.getroottree().getpath(target)
        if not intrude(target):
            continue
        seal_again(root, signer)
        reason = reason_of(verify, root)
        assert reason != "taken", path
        assert not reason.endswith("is wrong"), (path, reason)
