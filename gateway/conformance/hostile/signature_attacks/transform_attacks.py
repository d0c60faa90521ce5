"""Canonical forms and transforms: what is digested is not what is read (SIG-18 to 21, SIG-34)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import (
    CID,
    ENVELOPE_REFERENCE,
    TRANSFORMS,
    make_attack_case,
    make_sender_attack,
    make_transit_attack,
)
from gateway.conformance.hostile.exchange import LAWFUL
from gateway.conformance.hostile.octet_mutations import insert_before, swap_octets
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    get_element,
    insert_comment,
    insert_element,
    make_first_child,
    remove_element,
    set_attribute,
)
from gateway.wire import C14N, C14N_EXCLUSIVE, DS

__all__ = ["CASES"]

_VALUE: Final = "//ds:SignatureValue"
_CANONICAL: Final = "//ds:CanonicalizationMethod"


def _append_instruction(path: str) -> TreeMutation:
    return lambda root: get_element(root, path).append(etree.ProcessingInstruction("x", "y"))


def _build_transform(algorithm: str, content: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{content}</ds:Transform>'


_COMMENTS: Final = "CVE-2017-11427 and others; CVE-2025-29775; ruby-saml node_text_attack"
_CANON: Final = "CVE-2025-29775; XML Signature §6.5"
_VOID: Final = "The Fragile Lock, 2025: a canonical form that cannot be made"
_PLAIN: Final = "CVE-2022-34169; signxml 5.2 passes over what it does not know"
_CONTEXT: Final = "Canonical XML 1.0 §2.4: what a sub-tree inherits"

_COMMENT_CASES: Final = tuple(
    make_transit_attack(
        f"SIG-18.comment-in-{name}",
        f"a comment in the middle of {name}",
        insert_comment(path),
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
    make_sender_attack(f"SIG-21.{name}", title, change, "GW202", _PLAIN, digests="written", naive=naive_takes)
    for name, title, change, naive_takes in (
        (
            "unknown",
            "a transform of an unknown algorithm",
            insert_element(TRANSFORMS, _build_transform("urn:example:transform")),
            True,
        ),
        (
            "xslt",
            "an XSLT transform",
            insert_element(
                TRANSFORMS, _build_transform("http://www.w3.org/TR/1999/REC-xslt-19991116", "<x:stylesheet/>")
            ),
            True,
        ),
        ("base64", "a base64 transform", insert_element(TRANSFORMS, _build_transform(f"{DS}base64")), True),
        (
            "filter-2",
            "an XPath Filter 2.0 transform",
            insert_element(TRANSFORMS, _build_transform("http://www.w3.org/2002/06/xmldsig-filter2")),
            True,
        ),
        (
            "decryption",
            "a decryption transform",
            insert_element(TRANSFORMS, _build_transform("http://www.w3.org/2002/07/decrypt#XML")),
            True,
        ),
        (
            "token-reference",
            "the STR-Transform of WS-Security",
            insert_element(
                TRANSFORMS,
                _build_transform(
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
                ),
            ),
            True,
        ),
        (
            "enveloped-twice",
            "enveloped-signature stands twice",
            insert_element(TRANSFORMS, _build_transform(f"{DS}enveloped-signature")),
            True,
        ),
        (
            "canonical-twice",
            "canonicalisation stands twice",
            append_element(TRANSFORMS, _build_transform(C14N)),
            True,
        ),
        (
            "order",
            "the transforms in another order",
            lambda root: make_first_child(get_element(root, TRANSFORMS), get_element(root, TRANSFORMS)[2]),
            True,
        ),
        ("none", "no transforms", remove_element(TRANSFORMS), False),
        ("empty", "an empty Transforms", lambda root: get_element(root, TRANSFORMS).clear(), False),
        ("no-xpath", "no XPath transform", remove_element(f"{TRANSFORMS}/ds:Transform[ds:XPath]"), True),
        (
            "no-enveloped",
            "no enveloped-signature transform",
            remove_element(f"{TRANSFORMS}/ds:Transform[1]"),
            False,
        ),
        (
            "exclusive",
            "exclusive C14N of the envelope",
            set_attribute(f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", C14N_EXCLUSIVE),
            True,
        ),
        (
            "version-1.1",
            "Canonical XML 1.1 of the envelope",
            set_attribute(
                f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", "http://www.w3.org/2006/12/xml-c14n11"
            ),
            True,
        ),
        (
            "parameter",
            "a parameter in enveloped-signature",
            append_element(f"{TRANSFORMS}/ds:Transform[1]", "<ds:XPath>true()</ds:XPath>"),
            True,
        ),
        (
            "no-algorithm",
            "a transform without algorithm",
            lambda root: get_element(root, f"{TRANSFORMS}/ds:Transform[3]").attrib.clear(),
            True,
        ),
        (
            "of-a-payload",
            "a transform of a payload",
            insert_element(CID, f"<ds:Transforms>{_build_transform(C14N)}</ds:Transforms>"),
            True,
        ),
    )
)


_CANONICAL_CASES: Final = (
    *_COMMENT_CASES,
    make_sender_attack(
        "SIG-18.instruction",
        "a processing instruction in Action",
        _append_instruction("//eb:MessageHeader/eb:Action"),
        "GW104",
        _COMMENTS,
        naive=True,
    ),
    make_attack_case(
        "SIG-18.cdata",
        "Action as a CDATA section, which is the same to every reader",
        lambda bench: bench.build_message(
            tampered=swap_octets("<eb:Action>Store</eb:Action>", "<eb:Action><![CDATA[Store]]></eb:Action>")
        ),
        LAWFUL,
        "XML 1.0 §2.7",
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.signed-info",
        "SignedInfo canonicalised with comments",
        set_attribute(_CANONICAL, "Algorithm", f"{C14N}#WithComments"),
        "GW204",
        _CANON,
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.envelope",
        "the envelope canonicalised with comments",
        set_attribute(f"{TRANSFORMS}/ds:Transform[3]", "Algorithm", f"{C14N}#WithComments"),
        "GW202",
        _CANON,
        digests="written",
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.exclusive",
        "SignedInfo in exclusive C14N",
        set_attribute(_CANONICAL, "Algorithm", C14N_EXCLUSIVE),
        "GW204",
        _CANON,
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.version-1.1",
        "SignedInfo in Canonical XML 1.1",
        set_attribute(_CANONICAL, "Algorithm", "http://www.w3.org/2006/12/xml-c14n11"),
        "GW204",
        _CANON,
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.enveloped",
        "SignedInfo canonicalised by a transform that is none",
        set_attribute(_CANONICAL, "Algorithm", f"{DS}enveloped-signature"),
        "GW202",
        _CANON,
        naive=True,
    ),
    make_sender_attack(
        "SIG-19.unknown",
        "SignedInfo in an unknown canonical form",
        set_attribute(_CANONICAL, "Algorithm", "urn:example:c14n"),
        "GW202",
        _CANON,
        naive=True,
    ),
    make_attack_case(
        "SIG-20.signed",
        "a relative namespace name in the Manifest",
        lambda bench: bench.build_message(
            tampered=swap_octets("</eb:Manifest>", '<a xmlns="relative/name"/></eb:Manifest>')
        ),
        "GW311",
        _VOID,
    ),
    make_attack_case(
        "SIG-20.unsigned",
        "a relative namespace name in an unknown block for the next node",
        lambda bench: bench.build_message(
            tampered=insert_before(
                "<ds:Signature>",
                f'<x:a xmlns:x="urn:example:x" xmlns:b="relative/name" soap:actor="{"http://schemas.xmlsoap.org/soap/actor/next"}"/>',
            )
        ),
        "GW202 GW203",
        _VOID,
        naive=True,
    ),
    make_attack_case(
        "SIG-34.inherited",
        "xml:lang, xml:space and unused prefixes on the Envelope: SignedInfo inherits them",
        lambda bench: bench.build_message(
            envelope=swap_octets(
                "<soap:Envelope ",
                '<soap:Envelope xml:lang="ko" xml:space="preserve" xmlns:unused="urn:example:unused" ',
            )
        ),
        LAWFUL,
        _CONTEXT,
        naive=True,
    ),
    make_attack_case(
        "SIG-34.default-namespace",
        "a default namespace on the Envelope that no element has",
        lambda bench: bench.build_message(
            envelope=swap_octets("<soap:Envelope ", '<soap:Envelope xmlns="urn:example:unused" ')
        ),
        LAWFUL,
        _CONTEXT,
        naive=True,
    ),
    make_attack_case(
        "SIG-34.line-ends",
        "the envelope is sent with CRLF line ends between its blocks",
        lambda bench: bench.build_message(
            envelope=lambda data: data.replace(b"><eb:MessageHeader", b">\n<eb:MessageHeader"),
            tampered=lambda data: data.replace(b">\n<eb:MessageHeader", b">\r\n<eb:MessageHeader"),
        ),
        LAWFUL,
        "XML 1.0 §2.11",
        naive=True,
    ),
    make_attack_case(
        "SIG-34.wrapped-base64",
        "base64 values in lines of any length",
        lambda bench: bench.build_message(tampered=_wrap_signature_lines),
        LAWFUL,
        "RFC 2045 §6.8",
        naive=True,
    ),
)


def _wrap_signature_lines(data: bytes) -> bytes:
    start = data.index(b"<ds:SignatureValue>") + len(b"<ds:SignatureValue>")
    end = data.index(b"</ds:SignatureValue>")
    value = data[start:end]
    lines = b"\r\n\t".join(value[at : at + 7] for at in range(0, len(value), 7))
    return data[:start] + lines + data[end:]


CASES: Final[tuple[AttackCase, ...]] = (*_CANONICAL_CASES, *_TRANSFORM_CASES)
