"""Attacks on headers and parts of AS4 that the other faces have no counterpart for.

References, part properties, tokens, and payloads that are compressed: a part is expanded only when its
signature is verified.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from lxml import etree

from gateway.message_model import Payload
from gateway.wire import (
    DS,
    SWA_CONTENT,
    WSSE,
    X509_PKCS7_TOKEN,
    X509_PKI_PATH_TOKEN,
    X509_SUBJECT_KEY,
    X509_THUMBPRINT,
    MimePart,
)
from gateway_conformance.hostile.attack_cases import (
    BODY,
    CID,
    DECLARE_PREFIXES,
    HEADER,
    SECURITY,
    TOKEN,
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_on_the_way,
    make_sourced_cases,
    make_table_cases,
    sign_call_again,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit, make_as4_kit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    get_elements,
    insert_element,
    mutate_tree,
    remove_attribute,
    remove_element,
    set_attribute,
    set_text,
    swap_octets,
)
from gateway_conformance.hostile.exchange import HttpRequest

_COVERED: Final = "AS4 profile §5.1.4 and §5.1.8; no published test"
_PAYLOAD_CLAUSE: Final = "ebMS 3.0 core §5.2.2.13; no published test"
_TYPES: Final = "SwA profile 1.1 §5.2: the headers of a part are not signed"
_KEYS: Final = "X.509 token profile 1.1 §3.2"
_TERMS: Final = "ebMS 3.0 core §5.2.2; P-Mode of the agreement"
_BOMB: Final = "AS4 profile §3.1: compression"
_MESSAGING: Final = f"{HEADER}/eb:Messaging"
_USER: Final = f"{_MESSAGING}/eb:UserMessage"
_PART: Final = "(//eb:PartInfo)[1]"
_TYPE: Final = f"{_PART}//eb:Property[@name='MimeType']"
_GZIP: Final = "application/gzip"
_COMPRESSION: Final = f"{_PART}//eb:Property[@name='CompressionType']"
_WSU_ID: Final = expand_name("wsu:Id")
_COMPLETE: Final = SWA_CONTENT.replace("Attachment-Content-", "Attachment-Complete-")
_PART_ID: Final = "p1.as4@suite.invalid"


def use_as4_kit(make: RequestMaker) -> RequestMaker:
    """Return the step that calls `make` with the AS4 kit in place of the kit for ebMS 2.0."""
    return lambda kit: make(make_as4_kit(kit))


def _tamper(change: TreeMutation) -> RequestMaker:
    return use_as4_kit(change_on_the_way(change))


def _change_and_sign_again(change: TreeMutation) -> RequestMaker:
    """Return the step in which the sender makes the change and signs it."""
    return use_as4_kit(sign_call_again(change))


def _omit_reference_to(path: str) -> TreeMutation:
    return lambda root: remove_element(f"//ds:Reference[@URI='#{get_element(root, path).get(_WSU_ID)}']")(
        root
    )


def _sign_token_only(root: etree._Element) -> None:
    """Leave one reference, to the token alone."""
    first, *others = get_elements(root, "//ds:SignedInfo/ds:Reference")
    for reference in others:
        reference.getparent().remove(reference)  # type: ignore[union-attr]
    first.set("URI", f"#{get_element(root, TOKEN).get(_WSU_ID)}")


def _set_token_type(token_type: str) -> TreeMutation:
    """Return the change that sets the ValueType of the token and of the reference to it."""
    return combine_mutations(
        set_attribute(TOKEN, "ValueType", token_type),
        set_attribute(f"{SECURITY}/ds:Signature/ds:KeyInfo//wsse:Reference", "ValueType", token_type),
    )


def _describe_certificate(text: str) -> TreeMutation:
    """Return the change that names the certificate by a description instead of the token."""
    reference_path = f"{SECURITY}/ds:Signature/ds:KeyInfo/wsse:SecurityTokenReference"
    return combine_mutations(
        remove_element(f"{reference_path}/wsse:Reference"),
        remove_element(TOKEN),
        append_element(reference_path, text),
    )


def _write_key_identifier(identifier_type: str) -> str:
    return (
        f'<wsse:KeyIdentifier ValueType="{identifier_type}">AAAAAAAAAAAAAAAAAAAAAAAAAAA=</wsse:KeyIdentifier>'
    )


_TIMESTAMP: Final = "<wsu:Timestamp><wsu:Created>2026-01-01T00:00:00Z</wsu:Created></wsu:Timestamp>"
_USERNAME: Final = "<wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken>"
_EXTRA_PART: Final = '<eb3:PartInfo href="cid:nobody@suite.invalid"/>'
# fmt: off
#: Messages that their sender has changed and signed.
_SIGNED: Final[SourcedTable[TreeMutation]] = (
    ("SIG-13.as4-messaging", "no reference to eb:Messaging", _omit_reference_to(_MESSAGING), "GW203",
     _COVERED,
     True),
    ("SIG-13.as4-token-only", "the token is signed and nothing else", _sign_token_only, "GW203", _COVERED,
     True),
    ("SIG-14.as4-names-more", "PayloadInfo names a part that is not there",
     append_element("//eb:PayloadInfo", _EXTRA_PART), "GW108", _PAYLOAD_CLAUSE, True),
    ("SIG-14.as4-names-less", "a part is signed and PayloadInfo does not name it", remove_element(_PART),
     "GW103", _PAYLOAD_CLAUSE, True),
    ("SIG-14.as4-named-twice", "PayloadInfo names one part twice", duplicate_element(_PART), "GW304",
     _PAYLOAD_CLAUSE, True),
    ("SIG-11.as4-href-url", "PayloadInfo names a URL", set_attribute(_PART, "href", "http://attacker.invalid/x"),
     "GW108 GW110 GW311 GW107", "CWE-918; eDelivery AS4: EBMS:0011", True),
    ("SIG-11.as4-href-file", "PayloadInfo names a file", set_attribute(_PART, "href", "file:///etc/passwd"),
     "GW108 GW110 GW311 GW107", "CWE-918", True),
    ("SIG-11.as4-href-body", "PayloadInfo names the Body by #id", set_attribute(_PART, "href", "#body"),
     "GW108 GW110 GW311 GW107", _PAYLOAD_CLAUSE, True),
    ("SIG-21.as4-complete", "a part signed with its MIME headers", set_attribute(f"{CID}//ds:Transform",
     "Algorithm", _COMPLETE), "GW202", "AS4 profile §5.1.5 forbids Attachment-Complete", True),
    ("SIG-21.as4-content-only", "a part signed by the transform of encryption", set_attribute(
     f"{CID}//ds:Transform", "Algorithm", SWA_CONTENT.replace("-Signature-Transform", "-Only")), "GW202",
     "AS4 profile §5.1.5", True),
    ("SIG-21.as4-parameter", "a parameter in the transform of a part",
     append_element(f"{CID}//ds:Transform", "<x:Parameter/>"), "GW202", "XML Signature §4.4.3.4", True),
    ("SIG-07.as4-payload-in-body", "a payload in the Body, signed",
     append_element(BODY, "<x:Payload>forged</x:Payload>"), "GW311", "eDelivery AS4: the Body is empty",
     True),
    ("SIG-33.as4-two-units", "two UserMessages in one eb:Messaging", duplicate_element(_USER), "GW107 GW311",
     "AS4 profile §2.1.1", True),
    ("SIG-33.as4-type", "xsi:type on eb:UserMessage", set_attribute(_USER, "x:type", "other"), "GW107",
     _TERMS,
     True),
    ("SIG-05.as4-property", "a MessageProperty with an element in it", append_element(_PART, "<x:Any/>"),
     "GW107 GW311", _TERMS, True),
    ("REP-12.as4-mpc", "a message on a channel that was not agreed",
     set_attribute(_USER, "mpc", "urn:example:another"), "GW304 GW303", _TERMS, True),
    ("REP-12.as4-role", "the role of the other party", set_text("//eb:From/eb:Role", "Hub"), "GW304 GW303",
     _TERMS, True),
    ("REP-12.as4-service-type", "another type of the service",
     set_attribute("//eb:Service", "type", "other"), "GW304 GW303", _TERMS, True),
    ("REP-12.as4-pmode", "a P-Mode by another name than ours",
     set_attribute("//eb:AgreementRef", "pmode", "another"), "",
     "ebMS 3.0 core §5.2.2.7: the name is the sender's own; parties, service and action decide"),
    ("SIG-16.as4-two-types", "two MimeType properties", duplicate_element(_TYPE), "GW304", _TYPES, True),
    ("DOS-10.as4-two-compressions", "two CompressionType properties", duplicate_element(_COMPRESSION),
     "GW304", _BOMB, True),
    ("DOS-10.as4-other-compression", "a compression of nobody's", set_text(_COMPRESSION, "application/zip"),
     "GW304", _BOMB, True),
    ("DOS-10.as4-no-type", "a compressed part whose type before that is not said", remove_element(_TYPE),
     "GW304", _BOMB, True),
)

#: Messages that are changed on the way.
_CHANGED: Final[SourcedTable[TreeMutation]] = (
    ("SIG-28.as4-username", "a UsernameToken beside the token", append_element(SECURITY, _USERNAME), "GW311",
     _KEYS, True),
    ("SIG-28.as4-subject-key", "the certificate is described by a key identifier that nobody has",
     _describe_certificate(_write_key_identifier(X509_SUBJECT_KEY)), "GW205", _KEYS),
    ("SIG-28.as4-thumbprint", "the certificate is described by a thumbprint that nobody has",
     _describe_certificate(_write_key_identifier(X509_THUMBPRINT)), "GW205", _KEYS),
    ("SIG-28.as4-identifier", "a key identifier of an unknown type",
     _describe_certificate(_write_key_identifier("urn:example:unknown")), "GW202", _KEYS),
    ("SIG-28.as4-named-by-key-name", "a KeyName in the token reference",
     _describe_certificate("<ds:KeyName>hub</ds:KeyName>"), "GW202", _KEYS),
    ("PKI-11.as4-path", "a certificate that says it is a PKIPath", _set_token_type(X509_PKI_PATH_TOKEN),
     "GW202 GW205", _KEYS),
    ("PKI-11.as4-pkcs7", "a certificate that says it is a PKCS #7",
     _set_token_type(X509_PKCS7_TOKEN), "GW202 GW205", _KEYS),
    ("PKI-11.as4-type", "a token of an unknown type", _set_token_type("urn:example:unknown"), "GW202", _KEYS),
    ("PKI-11.as4-encoding", "a token that says it is in hexadecimal",
     set_attribute(TOKEN, "EncodingType", "urn:example:hex"), "GW202", _KEYS, True),
    ("REP-05.as4-two", "two Timestamps", combine_mutations(append_element(SECURITY, _TIMESTAMP),
     append_element(SECURITY, _TIMESTAMP)), "GW202", "WS-Security 1.1 §10: one Timestamp", True),
    ("SIG-12.as4-second-security", "a second Security header for another role",
     append_element(HEADER, '<wsse:Security soap12:role="urn:example:other"/>'), "GW202", _COVERED, True),
    ("SIG-12.as4-actor", "the Security header is for another role",
     set_attribute(SECURITY, "soap12:role", "urn:example:other"), "GW311", _COVERED, True),
    ("DOS-02.as4-demanding", "a block of nobody's that must be understood",
     append_element(HEADER, '<x:Demand soap12:mustUnderstand="true"/>'), "GW106", "SOAP 1.2 §5.2.3", True),
    ("SIG-23.as4-relayed", "a block of nobody's for the next node",
     append_element(HEADER, '<x:Trace soap12:role="http://www.w3.org/2003/05/soap-envelope/role/next"/>'), "",
     "SOAP 1.2 §2.7: intermediaries may add it; nothing is read of it"),
    ("SIG-23.as4-messaging-role", "eb:Messaging is for the next node",
     set_attribute(_MESSAGING, "soap12:role", "http://www.w3.org/2003/05/soap-envelope/role/next"),
     "GW107 GW202 GW311", _COVERED),
    ("SIG-13.as4-timestamp-only", "the signature is taken away and a Timestamp put in its place",
     combine_mutations(remove_element(f"{SECURITY}/ds:Signature"), append_element(SECURITY, _TIMESTAMP)),
     "GW201", _COVERED),
    ("SIG-17.as4-second", "a second signature in the Security header", insert_element(SECURITY,
     "<ds:Signature><ds:SignedInfo/></ds:Signature>"), "GW202", _COVERED),
    ("SIG-18.as4-instruction", "a processing instruction in the Header",
     lambda root: get_element(root, HEADER).append(etree.ProcessingInstruction("x", "y")),
     "GW202 GW104 GW107",
     "CVE-2025-29775", True),
    ("SIG-16.as4-property-removed", "the type of a part removed after signing", remove_element(_TYPE),
     "GW304",
     _TYPES),
    ("SIG-10.as4-href-case", "the href of a part in capitals", set_attribute(_PART, "href", "CID:p1"),
     "GW202 GW107 GW108 GW110 GW311", _PAYLOAD_CLAUSE),
    ("SIG-14.as4-no-href", "a part without href, which means the Body", remove_attribute(_PART, "href"),
     "GW202 GW107 GW108 GW110 GW311", _PAYLOAD_CLAUSE),
)
# fmt: on


def _send_part(
    content: Callable[[], bytes] | bytes,
    media_type: str = _GZIP,
    *,
    make_forged_octets: Callable[[], bytes] | None = None,
    action: str = "Store",
) -> RequestMaker:
    """Return the step that sends one payload whose octets are `content`, signed as they are.

    `make_forged_octets` are octets that are sent instead of the signed ones. The P-Mode of ``Store``
    compresses.
    """

    def make_request(kit: AttackerKit) -> HttpRequest:
        signed_octets = content if isinstance(content, bytes) else content()
        sent_octets = signed_octets if make_forged_octets is None else make_forged_octets()

        def exchange_part(parts: list[MimePart]) -> list[MimePart]:
            return [
                MimePart({"content-type": media_type}, part.content_id, media_type, sent_octets)
                for part in parts
            ]

        as4_kit = make_as4_kit(kit)
        unit = as4_kit.make_unit(action=action, payloads=(Payload(_PART_ID, "application/xml", b"<a/>"),))
        return as4_kit.build_message(
            unit, signing=lambda names: dict.fromkeys(names, signed_octets), parts=exchange_part
        )

    return make_request


def _send_clear(media_type: str, content: bytes, part_type: str | None = None) -> RequestMaker:
    """Return the step that sends one payload as it is; `part_type` is the type of its MIME part."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        def rename_part(parts: list[MimePart]) -> list[MimePart]:
            sent_type = part_type or media_type
            return [
                MimePart({"content-type": sent_type}, part.content_id, sent_type, part.content)
                for part in parts
            ]

        as4_kit = make_as4_kit(kit)
        unit = as4_kit.make_unit(action="StoreClear", payloads=(Payload(_PART_ID, media_type, content),))
        return as4_kit.build_message(unit, parts=rename_part)

    return make_request


@cache
def _make_gzip_bomb() -> bytes:
    """Return a gigabyte of zeros as gzip: one compressed megabyte, repeated 1024 times."""
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return head + block * 1024 + b"\x03\x00" + bytes(8)


def _make_gzip_members() -> bytes:
    return gzip.compress(b"<a/>", mtime=0) * 20_000


def _make_long_name() -> bytes:
    return b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + b"n" * 1_000_000


_SMALL: Final = gzip.compress(b"<Declaration/>", mtime=0)
# fmt: off
#: Compressed parts, signed as they are.
_COMPRESSED: Final[AttackTable[RequestMaker]] = (
    ("payload", "a payload that expands to a gigabyte", _send_part(_make_gzip_bomb), "GW319"),
    ("unsigned", "a payload that expands to a gigabyte in place of the signed one: it is not expanded",
     _send_part(_SMALL, make_forged_octets=_make_gzip_bomb), "GW202"),
    ("unsigned-garbage", "octets that are no gzip in place of the signed ones: nobody looks at them",
     _send_part(_SMALL, make_forged_octets=lambda: b"no gzip"), "GW202"),
    ("none", "a part that is said to be compressed and is not", _send_part(b"<Declaration/>"), "GW319"),
    ("empty", "a compressed part of no octets", _send_part(b""), "GW319"),
    ("cut", "a compressed part that ends early", _send_part(_SMALL[:-9]), "GW319"),
    ("checksum", "a compressed part with another checksum",
     _send_part(_SMALL[:-8] + bytes(4) + _SMALL[-4:]), "GW319"),
    ("length", "a compressed part with another length", _send_part(_SMALL[:-4] + b"\xff" * 4), "GW319"),
    ("behind", "octets behind the end of the compressed part", _send_part(_SMALL + b"<forged/>"), "GW319"),
    ("members", "twenty thousand gzip members one behind the other", _send_part(_make_gzip_members), "GW319"),
    ("zlib", "a deflate stream that says it is gzip", _send_part(zlib.compress(b"<a/>")), "GW319"),
    ("long-name", "a gzip header with a file name of a million octets", _send_part(_make_long_name), "GW319"),
    ("other-type", "a compressed part by another type of its MIME part",
     _send_part(_SMALL, "application/x-gzip"), "GW103"),
    ("clear-type", "a compressed part by the type of its content", _send_part(_SMALL, "application/xml"),
     "GW103 GW202"),
)

#: Parts that are not compressed.
_CLEAR: Final[SourcedTable[RequestMaker]] = (
    ("SIG-16.as4-type", "the MIME part says another type than the signed property",
     _send_clear("application/octet-stream", b"<a/>", "application/xml"), "GW103 GW202", _TYPES, True),
    ("SIG-16.as4-html", "the MIME part of a text says it is HTML",
     _send_clear("text/plain", b"a", "text/html"), "GW103", _TYPES, True),
    ("SIG-18.as4-part-comment", "a comment in an XML part, which its signature does not cover",
     _send_part(b"<a>1<!-- forged -->2</a>", "application/xml", action="StoreClear"), "GW203",
     "SwA profile 1.1 §5.4.2", True),
    ("DOS-01.as4-part", "an XML part with entities that grow without end", _send_part(
     b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>', "application/xml",
     action="StoreClear"), "GW104 GW202", "billion laughs; SwA profile 1.1 §5.4.2", True),
    ("SIG-34.as4-text-lines", "a text part with line ends of every kind",
     _send_clear("text/plain", b"a\nb\rc\r\nd"), "", "SwA profile 1.1 §5.4.2"),
)
# fmt: on


def _declare_on_envelope(kit: AttackerKit) -> HttpRequest:
    """Return a message with declarations and xml:lang on its Envelope, which exclusive C14N leaves out."""
    language = mutate_tree(set_attribute("/soap:Envelope", "xml:lang", "ko"))
    return make_as4_kit(kit).build_message(tampered=lambda data: language(DECLARE_PREFIXES(data)))


def _use_relative_namespace(kit: AttackerKit) -> HttpRequest:
    change = swap_octets("<eb3:UserMessage", '<eb3:UserMessage xmlns:r="relative"')
    return make_as4_kit(kit).build_message(envelope=change)


_ADD_PREFIXES: Final = swap_octets("<wsse:Security ", f'<wsse:Security xmlns:w="{WSSE}" xmlns:d="{DS}" ')


def _send(**hooks: Any) -> RequestMaker:
    return lambda kit: make_as4_kit(kit).build_message(**hooks)


# fmt: off
_BUILT_MESSAGES: Final[SourcedTable[RequestMaker]] = (
    ("SIG-34.as4-inherited", "xml:lang and unused prefixes on the Envelope", _declare_on_envelope, "",
     "exclusive C14N §3"),
    ("SIG-34.as4-prefixes", "further prefixes on the Security header", _send(tampered=_ADD_PREFIXES), "",
     "exclusive C14N §3"),
    ("SIG-20.as4-relative", "a relative namespace name in eb:UserMessage", _use_relative_namespace,
     "GW202 GW107 GW104", "The Fragile Lock, 2025"),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_sourced_cases("", _SIGNED, _change_and_sign_again, face="as4"),
    *make_sourced_cases("", _CHANGED, _tamper, face="as4"),
    *make_sourced_cases("", _BUILT_MESSAGES, lambda make: make, face="as4"),
    *make_sourced_cases("", _CLEAR, lambda make: make, face="as4"),
    *make_table_cases("DOS-10.as4-", _COMPRESSED, lambda make: make, _BOMB, face="as4", early=True),
)
# fmt: on
"""Attacks on headers, tokens and parts of AS4."""
