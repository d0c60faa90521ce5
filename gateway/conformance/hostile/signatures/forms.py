"""Canonical forms and transforms: what is digested is not what is read (SIG-18 to 21, SIG-34)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    at,
    attribute_set,
    comment_in,
    inserted,
    put_first,
    removed,
)
from gateway.conformance.hostile.case import LAWFUL, Case
from gateway.conformance.hostile.craft import before, swap
from gateway.conformance.hostile.tampered import (
    CID,
    ENVELOPE_REFERENCE,
    TRANSFORMS,
    attack,
    by_sender,
    on_the_way,
)
from gateway.wire.namespaces import C14N, C14N_EXCLUSIVE, DS

if TYPE_CHECKING:
    pass

__all__ = ["CASES"]

_VALUE: Final = "//ds:SignatureValue"
_CANONICAL: Final = "//ds:CanonicalizationMethod"


def _instruction_in(path: str) -> Alteration:
    return lambda root: at(root, path).append(etree.ProcessingInstruction("x", "y"))


def _transform(algorithm: str, content: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{content}</ds:Transform>'


_COMMENTS: Final = "CVE-2017-11427 and others; CVE-2025-29775; ruby-saml node_text_attack"
_CANON: Final = "CVE-2025-29775; XML Signature §6.5"
_VOID: Final = "The Fragile Lock, 2025: a canonical form that cannot be made"
_PLAIN: Final = "CVE-2022-34169; signxml 5.2 passes over what it does not know"
_CONTEXT: Final = "Canonical XML 1.0 §2.4: what a sub-tree inherits"

_COMMENT_CASES: Final = tuple(
    on_the_way(
        f"SIG-18.comment-in-{name}",
        f"a comment in the middle of {name}",
        comment_in(path),
        problem,
        _COMMENTS,
        naive=naive_takes,
    )
    for name, path, problem, naive_takes in (
        ("party-id", "//eb:From/eb:PartyId", "GW107", True),
        ("message-id", "//eb:MessageId", "GW107", True),
        ("agreement", "//eb:CPAId", "GW107", True),
        ("action", "//eb:MessageHeader/eb:Action", "GW107", True),
        ("digest-value", f"{ENVELOPE_REFERENCE}/ds:DigestValue", "GW202", True),
        ("signature-value", _VALUE, "GW202", True),
        ("certificate", "//ds:X509Certificate", "GW202", True),
        ("xpath", "//ds:XPath", "GW202", False),
    )
)

_TRANSFORM_CASES: Final = tuple(
    by_sender(f"SIG-21.{name}", title, change, "GW202", _PLAIN, digests="written", naive=naive_takes)
    for name, title, change, naive_takes in (
        (
            "unknown",
            "a transform of an unknown algorithm",
            inserted(TRANSFORMS, _transform("urn:example:transform")),
            True,
        ),
        (
            "xslt",
            "an XSLT transform",
            inserted(
                TRANSFORMS, _transform("http://www.w3.org/TR/1999/REC-xslt-19991116", "<x:stylesheet/>")
            ),
            True,
        ),
        ("base64", "a base64 transform", inserted(TRANSFORMS, _transform(f"{DS}base64")), True),
        (
            "filter-2",
            "an XPath Filter 2.0 transform",
            inserted(TRANSFORMS, _transform("http://www.w3.org/2002/06/xmldsig-filter2")),
            True,
        ),
        (
            "decryption",
            "a decryption transform",
            inserted(TRANSFORMS, _transform("http://www.w3.org/2002/07/decrypt#XML")),
            True,
        ),
        (
            "token-reference",
            "the STR-Transform of WS-Security",
            inserted(
                TRANSFORMS,
                _transform(
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
                ),
            ),
            True,
        ),
        (
            "enveloped-twice",
            "enveloped-signature stands twice",
            inserted(TRANSFORMS, _transform(f"{DS}enveloped-signature")),
            True,
        ),
        ("canonical-twice", "canonicalisation stands twice", added(TRANSFORMS, _transform(C14N)), True),
        (
            "order",
            "the transforms in another order",
            lambda root: put_first(at(root, TRANSFORMS), at(root, TRANSFORMS)[2]),
            True,
        ),
        ("none", "no transforms", removed(TRANSFORMS), False),
        ("empty", "an empty Transforms", lambda root: at(root, TRANSFORMS).clear(), False),
        ("no-xpath", "no XPath transform", removed(f"{TRANSFORMS}/ds:Transform[ds:XPath]"), True),
        ("no-enveloped", "no enveloped-signature transform", removed(f"{TRANSFORMS}/ds:Transform[1]"), False),
        (
            "exclusive",
            "exclusive C14N of the envelope",
            attribute_set(f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", C14N_EXCLUSIVE),
            True,
        ),
        (
            "version-1.1",
            "Canonical XML 1.1 of the envelope",
            attribute_set(
                f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", "http://www.w3.org/2006/12/xml-c14n11"
            ),
            True,
        ),
        (
            "parameter",
            "a parameter in enveloped-signature",
            added(f"{TRANSFORMS}/ds:Transform[1]", "<ds:XPath>true()</ds:XPath>"),
            True,
        ),
        (
            "no-algorithm",
            "a transform without algorithm",
            lambda root: at(root, f"{TRANSFORMS}/ds:Transform[3]").attrib.clear(),
            True,
        ),
        (
            "of-a-payload",
            "a transform of a payload",
            inserted(CID, f"<ds:Transforms>{_transform(C14N)}</ds:Transforms>"),
            True,
        ),
    )
)


_CANONICAL_CASES: Final = (
    *_COMMENT_CASES,
    by_sender(
        "SIG-18.instruction",
        "a processing instruction in Action",
        _instruction_in("//eb:MessageHeader/eb:Action"),
        "GW104",
        _COMMENTS,
        naive=True,
    ),
    attack(
        "SIG-18.cdata",
        "Action as a CDATA section, which is the same to every reader",
        lambda bench: bench.message(
            tampered=swap("<eb:Action>Store</eb:Action>", "<eb:Action><![CDATA[Store]]></eb:Action>")
        ),
        LAWFUL,
        "XML 1.0 §2.7",
        naive=True,
    ),
    by_sender(
        "SIG-19.signed-info",
        "SignedInfo canonicalised with comments",
        attribute_set(_CANONICAL, "Algorithm", f"{C14N}#WithComments"),
        "GW204",
        _CANON,
        naive=True,
    ),
    by_sender(
        "SIG-19.envelope",
        "the envelope canonicalised with comments",
        attribute_set(f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", f"{C14N}#WithComments"),
        "GW202",
        _CANON,
        digests="written",
        naive=True,
    ),
    by_sender(
        "SIG-19.exclusive",
        "SignedInfo in exclusive C14N",
        attribute_set(_CANONICAL, "Algorithm", C14N_EXCLUSIVE),
        "GW204",
        _CANON,
        naive=True,
    ),
    by_sender(
        "SIG-19.version-1.1",
        "SignedInfo in Canonical XML 1.1",
        attribute_set(_CANONICAL, "Algorithm", "http://www.w3.org/2006/12/xml-c14n11"),
        "GW204",
        _CANON,
        naive=True,
    ),
    by_sender(
        "SIG-19.enveloped",
        "SignedInfo canonicalised by a transform that is none",
        attribute_set(_CANONICAL, "Algorithm", f"{DS}enveloped-signature"),
        "GW202",
        _CANON,
        naive=True,
    ),
    by_sender(
        "SIG-19.unknown",
        "SignedInfo in an unknown canonical form",
        attribute_set(_CANONICAL, "Algorithm", "urn:example:c14n"),
        "GW202",
        _CANON,
        naive=True,
    ),
    attack(
        "SIG-20.signed",
        "a relative namespace name in the Manifest",
        lambda bench: bench.message(
            tampered=swap("</eb:Manifest>", '<a xmlns="relative/name"/></eb:Manifest>')
        ),
        "GW311",
        _VOID,
    ),
    attack(
        "SIG-20.unsigned",
        "a relative namespace name in an unknown block for the next node",
        lambda bench: bench.message(
            tampered=before(
                "<ds:Signature>",
                f'<x:a xmlns:x="urn:example:x" xmlns:b="relative/name" soap:actor="{"http://schemas.xmlsoap.org/soap/actor/next"}"/>',
            )
        ),
        "GW202 GW203",
        _VOID,
        naive=True,
    ),
    attack(
        "SIG-34.inherited",
        "xml:lang, xml:space and unused prefixes on the Envelope: SignedInfo inherits them",
        lambda bench: bench.message(
            envelope=swap(
                "<soap:Envelope ",
                '<soap:Envelope xml:lang="ko" xml:space="preserve" xmlns:unused="urn:example:unused" ',
            )
        ),
        LAWFUL,
        _CONTEXT,
        naive=True,
    ),
    attack(
        "SIG-34.default-namespace",
        "a default namespace on the Envelope that no element has",
        lambda bench: bench.message(
            envelope=swap("<soap:Envelope ", '<soap:Envelope xmlns="urn:example:unused" ')
        ),
        LAWFUL,
        _CONTEXT,
        naive=True,
    ),
    attack(
        "SIG-34.line-ends",
        "the envelope is sent with CRLF line ends between its blocks",
        lambda bench: bench.message(
            envelope=lambda data: data.replace(b"><eb:MessageHeader", b">\n<eb:MessageHeader"),
            tampered=lambda data: data.replace(b">\n<eb:MessageHeader", b">\r\n<eb:MessageHeader"),
        ),
        LAWFUL,
        "XML 1.0 §2.11",
        naive=True,
    ),
    attack(
        "SIG-34.wrapped-base64",
        "base64 values in lines of any length",
        lambda bench: bench.message(tampered=_wrapped_lines),
        LAWFUL,
        "RFC 2045 §6.8",
        naive=True,
    ),
)


def _wrapped_lines(data: bytes) -> bytes:
    start = data.index(b"<ds:SignatureValue>") + len(b"<ds:SignatureValue>")
    end = data.index(b"</ds:SignatureValue>")
    value = data[start:end]
    lines = b"\r\n\t".join(value[at : at + 7] for at in range(0, len(value), 7))
    return data[:start] + lines + data[end:]


CASES: Final[tuple[Case, ...]] = (*_CANONICAL_CASES, *_TRANSFORM_CASES)
