"""Who is asked: our profile, our general judge, python-xmlsec and signxml."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

import xmlsec
from cryptography import x509
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier

from gateway.errors import GatewayError
from gateway.wire import DS, WSSE, parse_xml
from gateway.xmlsec import STRICT, verify_any_document, verify_document, verify_soap_envelope
from gateway_conformance.message_signing import verify_message_signature
from tests.xmlsec.opinions.messages import NOW, Message

OURS: Final = ("profile", "any")
THEIRS: Final = ("xmlsec", "signxml")
_TREE: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False
)
_CERTIFICATE: Final = f"{{{DS}}}X509Certificate"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"


@dataclass(frozen=True)
class Opinion:
    """Whether a message is accepted, and in which words it is not."""

    accepted: bool
    reason: str = ""


def profile(message: Message) -> Opinion | None:
    """Ask the verifier of the message's own profile; None where it has none."""
    verify: dict[str, Callable[[etree._Element], Any]] = {
        "ebms2": lambda root: verify_message_signature(root, message.parts, STRICT),
        "wss": lambda root: verify_soap_envelope(root, STRICT, now=NOW),
        "xades": verify_document,
    }
    if message.profile not in verify:
        return None
    try:
        verify[message.profile](parse_xml(message.xml))
    except GatewayError as refusal:
        return Opinion(False, f"{refusal.problem.id} {refusal.detail}")
    return Opinion(True)


def judge(message: Message) -> Opinion:
    """Ask the judge of any signature."""
    judgement = verify_any_document(message.xml, message.uris, STRICT)
    if judgement.verdict == "valid":
        return Opinion(True)
    return Opinion(False, f"{judgement.problem.id if judgement.problem else ''} {judgement.reason}")


def ask_xmlsec(message: Message) -> Opinion:
    """Ask libxmlsec1, handed the key that the message brings; nothing but the parts can be fetched."""
    try:
        root = etree.fromstring(message.xml, _TREE)
        signature = xmlsec.tree.find_node(root, xmlsec.constants.NodeSignature)
        if signature is None:
            return Opinion(False, "no signature")
        xmlsec.tree.add_ids(root, ["Id", "id"])
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_memory(_certificate(root), xmlsec.constants.KeyDataFormatCertDer)
        _serve(message.parts)
        context.verify(signature)
    except (xmlsec.Error, etree.XMLSyntaxError, ValueError, TypeError) as refusal:
        return Opinion(False, f"{type(refusal).__name__}: {refusal}"[:200])
    return Opinion(True)


def ask_signxml(message: Message) -> Opinion:
    """Ask signxml, handed the certificate that the message brings."""
    config = SignatureConfiguration(expect_references=True, location=".//", verification_time=NOW)

    def resolve(uri: str, **_: Any) -> bytes:
        return message.parts[unquote(uri.removeprefix("cid:"))]

    try:
        certificate = x509.load_der_x509_certificate(_certificate(etree.fromstring(message.xml, _TREE)))
        XMLVerifier().verify(message.xml, x509_cert=certificate, uri_resolver=resolve, expect_config=config)
    except Exception as refusal:  # it passes on whatever lxml and cryptography raise
        return Opinion(False, f"{type(refusal).__name__}: {refusal}"[:200])
    return Opinion(True)


def _certificate(root: etree._Element) -> bytes:
    """Return the first certificate in the document, as a reader would who asks no further."""
    for tag in (_CERTIFICATE, _TOKEN):
        for element in root.iter(tag):
            return base64.b64decode(element.text or "")
    raise ValueError("no certificate")


@cache
def _callbacks() -> dict[bytes, bytes]:
    """Register, once, the only input that libxmlsec1 may open."""
    served: dict[bytes, bytes] = {}

    def read(held: io.BytesIO, room: memoryview) -> int:
        return held.readinto(room)

    def content(name: bytes) -> bytes | None:
        # it asks by the URI as it is, then by the decoded one
        return served.get(name, served.get(unquote_to_bytes(name)))

    xmlsec.cleanup_callbacks()
    xmlsec.register_callbacks(
        lambda name: content(name) is not None,
        lambda name: io.BytesIO(content(name) or b""),
        read,
        lambda held: held.close(),
    )
    return served


def _serve(parts: Mapping[str, bytes]) -> None:
    served = _callbacks()
    served.clear()
    served.update({f"cid:{name}".encode(): content for name, content in parts.items()})


VOICES: Final[dict[str, Callable[[Message], Opinion | None]]] = {
    "profile": profile,
    "any": judge,
    "xmlsec": ask_xmlsec,
    "signxml": ask_signxml,
}
