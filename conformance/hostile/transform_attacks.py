"""Attacks in which the digested content and the content that is read differ (SIG-18 to 21, 33, 34)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.wire import C14N, C14N_EXCLUSIVE, DS, XSI
from gateway_conformance.hostile.attack_cases import (
    BODY,
    CID,
    ENVELOPE_REFERENCE,
    FIRST_REFERENCE,
    HEADER,
    TIMESTAMP,
    TRANSFORMS,
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_before_signing,
    change_call_before_signing,
    change_call_on_the_way,
    change_envelope,
    change_on_the_way,
    make_sourced_cases,
    make_table_cases,
    sign_again,
    sign_as_written,
    sign_call_again,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    NEXT,
    OctetMutation,
    TreeMutation,
    append_element,
    duplicate_element,
    get_element,
    get_elements,
    insert_before,
    insert_comment,
    insert_element,
    make_first_child,
    remove_attribute,
    remove_element,
    replace_text,
    set_attribute,
    swap_octets,
)
from gateway_conformance.hostile.exchange import LAWFUL, HttpRequest

_COMMENTS: Final = "CVE-2017-11427 and others; CVE-2025-29775; ruby-saml node_text_attack"
_CALL_COMMENTS: Final = "CVE-2017-11427 and others"
_CANON: Final = "CVE-2025-29775; XML Signature §6.5"
_CALL_CANON: Final = "CVE-2025-29775"
_BSP: Final = "WS-I Basic Security Profile 1.1"
_VOID: Final = "The Fragile Lock, 2025: a canonical form that cannot be made"
_PLAIN: Final = "CVE-2022-34169; signxml 5.2 passes over what it does not know"
_CONTEXT: Final = "Canonical XML 1.0 §2.4: what a sub-tree inherits"
_CAUSE: Final = "the cause of all wrapping: two readings of one text; XML Signature Best Practices §2.2"

_C14N_11: Final = "http://www.w3.org/2006/12/xml-c14n11"
_XSLT: Final = "http://www.w3.org/TR/1999/REC-xslt-19991116"
_STR_TRANSFORM: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
)
_VALUE: Final = "//ds:SignatureValue"
_CANONICAL: Final = "//ds:CanonicalizationMethod"
_THIRD: Final = f"{TRANSFORMS}/ds:Transform[3]"
_FIRST_TRANSFORMS: Final = f"{FIRST_REFERENCE}/ds:Transforms"
_FIRST_TRANSFORM: Final = f"{_FIRST_TRANSFORMS}/ds:Transform"
_ACTION: Final = "//eb:MessageHeader/eb:Action"
_RECEIPT_NUMBER: Final = f"{BODY}/*/*[local-name()='ReceiptNumber']"
_PARTY: Final = "//eb:From/eb:PartyId"
_NUMBER: Final = f"{BODY}/*/*[local-name()='ApplicationNumber']"


def _build_transform(algorithm: str, content: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{content}</ds:Transform>'


def _insert_transform(algorithm: str) -> RequestMaker:
    return sign_as_written(insert_element(TRANSFORMS, _build_transform(algorithm)))


def _canonicalize_by(algorithm: str) -> TreeMutation:
    return set_attribute(_CANONICAL, "Algorithm", algorithm)


def _set_all_transforms(algorithm: str) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        for transform in get_elements(root, "//ds:Transform"):
            transform.set("Algorithm", algorithm)

    return alter_tree


def _move_third_transform_first(root: etree._Element) -> None:
    make_first_child(get_element(root, TRANSFORMS), get_element(root, TRANSFORMS)[2])


def _clear_transforms(root: etree._Element) -> None:
    get_element(root, TRANSFORMS).clear()


def _append_instruction(root: etree._Element) -> None:
    get_element(root, _ACTION).append(etree.ProcessingInstruction("x", "y"))


def _append_relative_namespace(root: etree._Element) -> None:
    get_element(root, BODY)[0].append(etree.fromstring('<a xmlns="relative/name"/>'))


def _wrap_signature_lines(data: bytes) -> bytes:
    start = data.index(b"<ds:SignatureValue>") + len(b"<ds:SignatureValue>")
    end = data.index(b"</ds:SignatureValue>")
    value = data[start:end]
    lines = b"\r\n\t".join(value[at : at + 7] for at in range(0, len(value), 7))
    return data[:start] + lines + data[end:]


def _change_octets_on_the_way(change: OctetMutation) -> RequestMaker:
    return lambda kit: kit.build_message(tampered=change)


def _declare_on_envelope(attributes: str) -> RequestMaker:
    return change_envelope(swap_octets("<soap:Envelope ", f"<soap:Envelope {attributes} "))


def _send_other_line_ends(kit: AttackerKit) -> HttpRequest:
    return kit.build_message(
        envelope=lambda data: data.replace(b"><eb:MessageHeader", b">\n<eb:MessageHeader"),
        tampered=lambda data: data.replace(b">\n<eb:MessageHeader", b">\r\n<eb:MessageHeader"),
    )


_RELATIVE: Final = f'<x:a xmlns:x="urn:example:x" xmlns:b="relative/name" soap:actor="{NEXT}"/>'
_FORTY_PREFIXES: Final = append_element(
    _FIRST_TRANSFORM, f'<ec:InclusiveNamespaces PrefixList="{"a " * 40}"/>'
)

# fmt: off
#: Where a comment is put after the message was signed.
_COMMENTED: Final[AttackTable[str]] = (
    ("comment-in-party-id", "a comment in the middle of party-id", "//eb:From/eb:PartyId", "GW107"),
    ("comment-in-message-id", "a comment in the middle of message-id", "//eb:MessageId", "GW107"),
    ("comment-in-agreement", "a comment in the middle of agreement", "//eb:CPAId", "GW107"),
    ("comment-in-action", "a comment in the middle of action", "//eb:MessageHeader/eb:Action", "GW107"),
    ("comment-in-digest-value", "a comment in the middle of digest-value",
     f"{ENVELOPE_REFERENCE}/ds:DigestValue", "GW202"),
    ("comment-in-signature-value", "a comment in the middle of signature-value", _VALUE, "GW202"),
    ("comment-in-certificate", "a comment in the middle of certificate", "//ds:X509Certificate", "GW202"),
    ("comment-in-xpath", "a comment in the middle of xpath", "//ds:XPath", "GW202", False),
)

#: The same in a call.
_CALLS_COMMENTED: Final[SourcedTable[str]] = (
    ("call-message-id", "a comment in the middle of MessageID", f"{HEADER}/wsa:MessageID", "GW107",
     _CALL_COMMENTS),
    ("call-action", "a comment in the middle of Action", f"{HEADER}/wsa:Action", "GW107", _CALL_COMMENTS),
    ("call-timestamp", "a comment in Expires", f"{TIMESTAMP}/wsu:Expires", "GW202", _CALL_COMMENTS),
    ("call-digest", "a comment in a digest value", f"{FIRST_REFERENCE}/ds:DigestValue", "GW202",
     _CALL_COMMENTS),
    ("call-body", "a comment in a value of the Body: it is the whole value that counts", _RECEIPT_NUMBER,
     LAWFUL, "CVE-2017-11427 and others: what is read must be what was signed"),
)

#: How SignedInfo is canonicalised.
_CANONICAL_FORMS: Final[AttackTable[str]] = (
    ("signed-info", "SignedInfo canonicalised with comments", f"{C14N}#WithComments", "GW204"),
    ("exclusive", "SignedInfo in exclusive C14N", C14N_EXCLUSIVE, "GW204"),
    ("version-1.1", "SignedInfo in Canonical XML 1.1", _C14N_11, "GW204"),
    ("enveloped", "SignedInfo canonicalised by a transform that is none", f"{DS}enveloped-signature",
     "GW202"),
    ("unknown", "SignedInfo in an unknown canonical form", "urn:example:c14n", "GW202"),
)

_CALL_CANONICAL_FORMS: Final[SourcedTable[TreeMutation]] = (
    ("call-with-comments", "SignedInfo canonicalised with comments",
     _canonicalize_by(f"{C14N_EXCLUSIVE}WithComments"), "GW204", _CALL_CANON),
    ("call-parts-with-comments", "the parts canonicalised with comments",
     _set_all_transforms(f"{C14N_EXCLUSIVE}WithComments"), "GW202", _CALL_CANON),
    ("call-inclusive", "SignedInfo in inclusive C14N", _canonicalize_by(C14N), "GW204", _BSP),
)

#: An additional transform.
_INSERTED: Final[AttackTable[str]] = (
    ("unknown", "a transform of an unknown algorithm", "urn:example:transform"),
    ("base64", "a base64 transform", f"{DS}base64"),
    ("filter-2", "an XPath Filter 2.0 transform", "http://www.w3.org/2002/06/xmldsig-filter2"),
    ("decryption", "a decryption transform", "http://www.w3.org/2002/07/decrypt#XML"),
    ("token-reference", "the STR-Transform of WS-Security", _STR_TRANSFORM),
    ("enveloped-twice", "enveloped-signature stands twice", f"{DS}enveloped-signature"),
)

#: Other transforms with matching digests.
_TRANSFORMED: Final[AttackTable[TreeMutation]] = (
    ("xslt", "an XSLT transform", insert_element(TRANSFORMS, _build_transform(_XSLT, "<x:stylesheet/>"))),
    ("canonical-twice", "canonicalisation stands twice", append_element(TRANSFORMS, _build_transform(C14N))),
    ("order", "the transforms in another order", _move_third_transform_first),
    ("none", "no transforms", remove_element(TRANSFORMS), "GW202", False),
    ("empty", "an empty Transforms", _clear_transforms, "GW202", False),
    ("no-xpath", "no XPath transform", remove_element(f"{TRANSFORMS}/ds:Transform[ds:XPath]")),
    ("no-enveloped", "no enveloped-signature transform", remove_element(f"{TRANSFORMS}/ds:Transform[1]"),
     "GW202", False),
    ("exclusive", "exclusive C14N of the envelope", set_attribute(_THIRD, "Algorithm", C14N_EXCLUSIVE)),
    ("version-1.1", "Canonical XML 1.1 of the envelope", set_attribute(_THIRD, "Algorithm", _C14N_11)),
    ("parameter", "a parameter in enveloped-signature",
     append_element(f"{TRANSFORMS}/ds:Transform[1]", "<ds:XPath>true()</ds:XPath>")),
    ("no-algorithm", "a transform without algorithm", remove_attribute(_THIRD, "Algorithm")),
    ("of-a-payload", "a transform of a payload",
     insert_element(CID, f"<ds:Transforms>{_build_transform(C14N)}</ds:Transforms>")),
)

#: The same in a call.
_CALLS_TRANSFORMED: Final[AttackTable[TreeMutation]] = (
    ("call-inclusive", "the parts in inclusive C14N", _set_all_transforms(C14N)),
    ("call-token-reference", "the STR-Transform for every part", _set_all_transforms(_STR_TRANSFORM)),
    ("call-enveloped", "enveloped-signature for every part", _set_all_transforms(f"{DS}enveloped-signature")),
    ("call-unknown", "a transform that there is not, before the canonical form",
     insert_element(_FIRST_TRANSFORMS, _build_transform("urn:example:transform"))),
    ("call-xslt", "an XSLT transform before the canonical form",
     insert_element(_FIRST_TRANSFORMS, _build_transform(_XSLT, "<x:stylesheet/>"))),
    ("call-twice", "the canonical form twice", duplicate_element(_FIRST_TRANSFORM)),
    ("call-none", "no transforms for the Body", remove_element(_FIRST_TRANSFORMS)),
    ("call-prefixes", "a list of forty prefixes", _FORTY_PREFIXES, "GW102"),
)

#: Other octets of the signed envelope.
_REWRITTEN: Final[SourcedTable[OctetMutation]] = (
    ("18.cdata", "Action as a CDATA section, which is the same to every reader",
     swap_octets("<eb:Action>Store</eb:Action>", "<eb:Action><![CDATA[Store]]></eb:Action>"), LAWFUL,
     "XML 1.0 §2.7"),
    ("20.signed", "a relative namespace name in the Manifest",
     swap_octets("</eb:Manifest>", '<a xmlns="relative/name"/></eb:Manifest>'), "GW311", _VOID, False),
    ("20.unsigned", "a relative namespace name in an unknown block for the next node",
     insert_before("<ds:Signature>", _RELATIVE), "GW202 GW203", _VOID),
    ("34.wrapped-base64", "base64 values in lines of any length", _wrap_signature_lines, LAWFUL,
     "RFC 2045 §6.8"),
)

#: Declarations and attributes that SignedInfo inherits from the Envelope.
_INHERITED: Final[AttackTable[str]] = (
    ("inherited", "xml:lang, xml:space and unused prefixes on the Envelope: SignedInfo inherits them",
     'xml:lang="ko" xml:space="preserve" xmlns:unused="urn:example:unused"'),
    ("default-namespace", "a default namespace on the Envelope that no element has",
     'xmlns="urn:example:unused"'),
)
# fmt: on


def _surround_text(path: str, text: str) -> TreeMutation:
    return replace_text(path, lambda value: f"{text}{value}{text}")


def _set_xsi_attribute(path: str, name: str, value: str) -> TreeMutation:
    return lambda root: get_element(root, path).set(f"{{{XSI}}}{name}", value)


def _make_full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


def _write_character_references(kit: AttackerKit) -> HttpRequest:
    """Return a message whose PartyId is written in character references after it was signed."""
    value = kit.make_unit().sender.ids[0].value
    written = "".join(f"&#x{ord(char):x};" for char in value)
    return kit.build_message(tampered=swap_octets(f">{value}<", f">{written}<"))


#: A schema at a URL, as an Envelope may name it.
_HINT: Final = swap_octets(
    "<soap:Envelope ",
    f'<soap:Envelope xmlns:xsi="{XSI}" xsi:schemaLocation="urn:x http://169.254.169.254/x.xsd" ',
)
# fmt: off
#: Signed values that a schema or trimming changes.
_READINGS: Final[AttackTable[TreeMutation]] = (
    ("no-break-space", "PartyId with no-break spaces around it", _surround_text(_PARTY, "\u00a0"), "GW107"),
    ("zero-width", "PartyId with a zero-width space in front", _surround_text(_PARTY, "\u200b"),
     "GW302 GW304"),
    ("full-width", "PartyId in full-width letters", replace_text(_PARTY, _make_full_width), "GW302 GW304"),
    ("case", "PartyId in capitals", replace_text(_PARTY, str.upper), "GW302 GW304"),
    ("element", "an element in PartyId, which some readers pass over",
     append_element(_PARTY, "<x:more>forged</x:more>"), "GW107"),
    ("default", "AckRequested without eb:signed, which no schema supplies",
     remove_attribute("//eb:AckRequested", "eb:signed"), "GW107"),
    ("type", "xsi:type on MessageHeader", _set_xsi_attribute("//eb:MessageHeader", "type", "x:Other"),
     LAWFUL),
)

#: The same in a call.
_CALL_READINGS: Final[AttackTable[TreeMutation]] = (
    ("call-spaces", "white space around a value, which its schema takes away", _surround_text(_NUMBER, "\n "),
     LAWFUL),
    ("call-no-break-space", "no-break spaces around a number", _surround_text(_NUMBER, "\u00a0"), "GW701"),
    ("call-nil", "xsi:nil on a number", _set_xsi_attribute(_NUMBER, "nil", "true"), "GW402"),
    ("call-type", "xsi:type on a number", _set_xsi_attribute(_NUMBER, "type", "x:Other"), "GW402"),
    ("call-element", "an element in a number", append_element(_NUMBER, "<x:more>forged</x:more>"), "GW402"),
    ("call-twice", "a number stands twice", duplicate_element(_NUMBER), "GW402"),
)

#: Messages that are built in another way.
_BUILT_MESSAGES: Final[SourcedTable[RequestMaker]] = (
    ("18.instruction", "a processing instruction in Action", sign_again(_append_instruction), "GW104",
     _COMMENTS),
    ("19.envelope", "the envelope canonicalised with comments",
     sign_as_written(set_attribute(_THIRD, "Algorithm", f"{C14N}#WithComments")), "GW202", _CANON),
    ("33.schema-hint", "a schema at a URL is named: nobody needs it", change_envelope(_HINT), LAWFUL, _CAUSE),
    ("33.references", "PartyId in character references: the same text", _write_character_references, LAWFUL,
     _CAUSE),
    ("34.line-ends", "the envelope is sent with CRLF line ends between its blocks", _send_other_line_ends,
     LAWFUL, "XML 1.0 §2.11"),
)

#: Calls that are built in another way.
_CALLS_MADE: Final[SourcedTable[RequestMaker]] = (
    ("20.call", "a relative namespace name in the Body", change_call_on_the_way(_append_relative_namespace),
     "GW202", "The Fragile Lock, 2025", False),
    ("33.call-schema-hint", "a schema at a URL is named: nobody needs it",
     lambda kit: kit.build_call(envelope=_HINT), LAWFUL, _CAUSE),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("SIG-18.", _COMMENTED, lambda path: change_on_the_way(insert_comment(path)), _COMMENTS,
     naive=True),
    *make_sourced_cases("SIG-18.", _CALLS_COMMENTED,
     lambda path: change_call_on_the_way(insert_comment(path)), face="soap", naive=True),
    *make_table_cases("SIG-19.", _CANONICAL_FORMS, lambda form: sign_again(_canonicalize_by(form)), _CANON,
     naive=True),
    *make_sourced_cases("SIG-19.", _CALL_CANONICAL_FORMS, sign_call_again, face="soap", naive=True),
    *make_table_cases("SIG-21.", _INSERTED, _insert_transform, _PLAIN, "GW202", naive=True),
    *make_table_cases("SIG-21.", _TRANSFORMED, sign_as_written, _PLAIN, "GW202", naive=True),
    *make_table_cases("SIG-21.", _CALLS_TRANSFORMED, sign_call_again, _PLAIN, "GW202", face="soap",
     naive=True),
    *make_sourced_cases("SIG-", _REWRITTEN, _change_octets_on_the_way, naive=True),
    *make_table_cases("SIG-34.", _INHERITED, _declare_on_envelope, _CONTEXT, naive=True),
    *make_sourced_cases("SIG-", _BUILT_MESSAGES, use_request_maker, naive=True),
    *make_sourced_cases("SIG-", _CALLS_MADE, use_request_maker, face="soap", naive=True),
    *make_table_cases("SIG-33.", _READINGS, change_before_signing, _CAUSE, naive=True),
    *make_table_cases("SIG-33.", _CALL_READINGS, change_call_before_signing, _CAUSE, face="soap", naive=True),
)
# fmt: on
"""Signatures over one thing where another is read."""
