"""Attacks on the references of signatures: targets, repetitions, omissions (SIG-08 to 13, SIG-17)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Final

from lxml import etree

from gateway.pki import Signer
from gateway.wire import parse_xml
from gateway_conformance.hostile.attack_cases import (
    BODY,
    CID,
    ENVELOPE_REFERENCE,
    FIRST_REFERENCE,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_call_on_the_way,
    change_on_the_way,
    change_with_kit,
    copy_element,
    make_attack_case,
    make_sourced_cases,
    make_table_cases,
    sign_again,
    sign_as_written,
    sign_call_again,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    ACTOR,
    NEXT,
    SIGNATURE,
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    get_elements,
    insert_element,
    move_element,
    parse_element,
    remove_element,
    rename_element,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import HttpRequest
from gateway_conformance.hostile.naive_verifier import detach_element
from gateway_conformance.message_signing import sign_message

_WSU_ID: Final = expand_name("wsu:Id")
_FORGED: Final = set_text("//eb:ConversationId", "forged-conversation")

_ID_FLAWS: Final = "CVE-2011-1411 and other Id look-up flaws; signxml 5.2 takes ##id"
_CALL_ID_FLAWS: Final = "CVE-2011-1411 and other Id look-up flaws"
_SSRF: Final = "CWE-918; DSS audit 2019"
_EXCLUSION: Final = "signature exclusion; WS-Attacker"
_PARTIAL: Final = "WS-Security partial signing; ebMS 2.0 §4.1.3"
_CALL_PARTIAL: Final = "WS-Security partial signing"
_TWO: Final = "CVE-2025-29774 (xml-crypto)"
_CALL_TWO: Final = "CVE-2025-29774"
_NOTHING: Final = "two signatures, the first over nothing useful"
_LIVE: Final = "ebms-core takes it (tried live)"
_POLLUTION: Final = "PortSwigger, The Fragile Lock, 2025 (attribute pollution); WS-Attacker"

# fmt: off
#: URIs of the reference to the envelope instead of ""; None: no URI.
_ENVELOPE_URIS: Final[AttackTable[str | None]] = (
    ("absent", "envelope referred to as None", None),
    ("id", "envelope referred to as '#h'", "#h"),
    ("two-hashes", "envelope referred to as '##h'", "##h"),
    ("trailing-space", "envelope referred to as '#h '", "#h "),
    ("no-hash", "envelope referred to as 'h'", "h"),
    ("percent-hash", "envelope referred to as '%23h'", "%23h", "GW202", False),
    ("percent-id", "envelope referred to as '#%68'", "#%68", "GW202", False),
    ("xpointer-root", "envelope referred to as '#xpointer(/)'", "#xpointer(/)", "GW202", False),
    ("xpointer-id", 'envelope referred to as "#xpointer(id(\'h\'))"', "#xpointer(id('h'))"),
    ("xpointer-name", 'envelope referred to as "#xpointer(//*[local-name()=\'MessageHeader\'])"',
     "#xpointer(//*[local-name()='MessageHeader'])", "GW202", False),
    ("element-scheme", "envelope referred to as '#element(/1/1/1)'", "#element(/1/1/1)", "GW202", False),
    ("space", "envelope referred to as ' '", " "),
    ("hash", "envelope referred to as '#'", "#", "GW202", False),
)

#: Locations of a payload outside the message.
_PAYLOAD_URIS: Final = {
    "file": "file:///etc/passwd",
    "file-relative": "../../etc/passwd",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "loopback": "http://127.0.0.1:9/",
    "https": "https://attacker.invalid/x",
    "ftp": "ftp://attacker.invalid/x",
    "network-path": "//attacker.invalid/x",
    "gopher": "gopher://127.0.0.1:25/x",
    "jar": "jar:http://attacker.invalid/x!/y",
    "data": "data:text/plain,x",
    "expect": "expect://id",
    "unc": "\\\\attacker.invalid\\share",
    "bare": "p1",
    "upper-cid": "CID:p1",
    "space-cid": " cid:p1",
    "cid-fragment": "cid:p1#x",
    "cid-invalid-utf8": "cid:%ff",
    "cid-empty": "cid:",
    "cid-long": "cid:" + "x" * 2000,
}
# fmt: on
#: Spellings of a Content-ID that no part has.
_NOT_THERE: Final = frozenset({"cid-fragment", "cid-empty"})


def _refer_to_envelope(uri: str | None) -> RequestMaker:
    def alter_tree(root: etree._Element) -> None:
        get_element(root, "//eb:MessageHeader").set(expand_name("eb:id"), "h")
        reference = get_element(root, ENVELOPE_REFERENCE)
        if uri is None:
            del reference.attrib["URI"]
        else:
            reference.set("URI", uri)

    return sign_as_written(alter_tree)


def _append_reference(uri: str) -> TreeMutation:
    """Return the change that adds a reference to an external resource."""

    def alter_tree(root: etree._Element) -> None:
        reference = deepcopy(get_element(root, CID))
        reference.set("URI", uri)
        get_element(root, CID).addnext(reference)

    return alter_tree


def _make_payload_uri_cases() -> Iterator[AttackCase]:
    """Yield two cases for each place: instead of a payload, and in addition to it."""
    for name, uri in _PAYLOAD_URIS.items():
        problem = "GW108" if name in _NOT_THERE else "GW202"
        for variant, title, change in (
            (name, f"payload referred to as {uri[:40]!r}", set_attribute(CID, "URI", uri)),
            (f"{name}-beside", f"one more reference, {uri[:40]!r}", _append_reference(uri)),
        ):
            yield make_attack_case(f"SIG-11.{variant}", title, sign_again(change), problem, _SSRF)


def _hide_signature_copy(root: etree._Element) -> None:
    """Add a copy of the signature at a place that no digest covers."""
    get_element(root, HEADER).append(_build_hidden_block(deepcopy(get_element(root, SIGNATURE))))


def _build_hidden_block(content: etree._Element) -> etree._Element:
    holder = parse_element("<x:Trace/>")
    holder.set(ACTOR, NEXT)
    holder.append(content)
    return holder


def _insert_foreign_signature(kit: AttackerKit) -> TreeMutation:
    """Return the change that adds a signature of B, over another envelope, to the message of A."""
    envelope = parse_xml(kit.build_message(kit.make_unit("b", payloads=()), "b").body)
    foreign = get_element(envelope, SIGNATURE)

    def alter_tree(root: etree._Element) -> None:
        get_element(root, HEADER).insert(0, _build_hidden_block(foreign))
        _FORGED(root)

    return alter_tree


def _remove_references(root: etree._Element) -> None:
    for reference in get_elements(root, "//ds:SignedInfo/ds:Reference"):
        detach_element(reference)


def _move_signature_to_wrapper(root: etree._Element) -> None:
    wrapper = parse_element("<x:Wrapper/>")
    get_element(root, HEADER).append(wrapper)
    wrapper.append(get_element(root, SIGNATURE))


def _duplicate_signed_info(position: int, *, forged: bool) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        signed_info_copy = deepcopy(get_element(root, "//ds:SignedInfo"))
        if forged:
            get_element(signed_info_copy, "ds:Reference[@URI='']/ds:DigestValue").text = "A" * 43 + "="
        get_element(root, SIGNATURE).insert(position, signed_info_copy)

    return alter_tree


def _sign_payloads(signed_count: int) -> RequestMaker:
    """Return the step that sends a message in which only the first `signed_count` payloads are signed."""
    return lambda kit: kit.build_message(signing=lambda contents: dict(list(contents.items())[:signed_count]))


def _sign_twice(kit: AttackerKit) -> HttpRequest:
    """Return a message that A signed, and B again on top of it."""

    def sign_both(root: etree._Element, contents: Mapping[str, bytes], _: Signer) -> None:
        sign_message(root, contents, kit.get_signer("a"))
        first = get_element(root, SIGNATURE)
        detach_element(first)
        sign_message(root, contents, kit.get_signer("b"))
        get_element(root, HEADER).append(first)

    return kit.build_message(sign=sign_both)


# fmt: off
#: Messages changed after they were signed.
_CHANGED: Final[SourcedTable[TreeMutation]] = (
    ("12.copy-hidden", "a copy of the signature in a block for the next node", _hide_signature_copy, "GW202",
     _NOTHING),
    ("12.copy-beside", "a copy of the signature beside it", duplicate_element(SIGNATURE), "GW107", _NOTHING,
     False),
    ("12.empty-first", "an empty ds:Signature before the signature",
     insert_element(HEADER, "<ds:Signature/>"), "GW107", _NOTHING, False),
    ("13.signature-in-body", "the signature stands in the Body", move_element(SIGNATURE, BODY), "GW107",
     _EXCLUSION),
    ("13.signature-in-manifest", "the signature stands in the Manifest",
     move_element(SIGNATURE, "//eb:Manifest"), "GW311", _EXCLUSION),
    ("13.signature-behind-body", "the signature stands behind the Body",
     move_element(SIGNATURE, "/soap:Envelope"), "GW107", _EXCLUSION),
    ("13.other-namespace", "the signature is in a namespace like that of XML Signature",
     rename_element(SIGNATURE, "{http://www.w3.org/2000/09/xmldsig}Signature"), "GW201", _EXCLUSION, False),
    ("13.no-value", "the signature value is empty", set_text("//ds:SignatureValue", ""), "GW202", _EXCLUSION,
     False),
    ("13.value-removed", "there is no signature value", remove_element("//ds:SignatureValue"), "GW202",
     _EXCLUSION, False),
    ("17.same-behind", "SignedInfo stands twice", _duplicate_signed_info(1, forged=False), "GW202", _TWO),
    ("17.forged-behind", "a second SignedInfo with another digest behind the first",
     _duplicate_signed_info(1, forged=True), "GW202", _TWO),
    ("17.forged-first", "a second SignedInfo with another digest before the first",
     combine_mutations(_duplicate_signed_info(0, forged=True), _FORGED), "GW202", _TWO, False),
)

#: Messages that their sender has changed and signed again.
_SIGNED: Final[SourcedTable[TreeMutation]] = (
    ("12.signed-signature", "an empty ds:Signature in the Body, signed with it",
     append_element(BODY, "<ds:Signature/>"), "GW107", _NOTHING),
    ("17.reference-twice", "one payload is referred to twice", duplicate_element(CID), "GW202", _TWO),
    ("17.envelope-twice", "the envelope is referred to twice", duplicate_element(ENVELOPE_REFERENCE), "GW202",
     _TWO),
    ("17.no-method", "SignedInfo without SignatureMethod", remove_element("//ds:SignatureMethod"), "GW202",
     _TWO, False),
    ("17.text", "text in SignedInfo", set_text("//ds:SignedInfo", "x"), "GW202", _TWO),
    ("17.manifest-type", "a reference says that it is a ds:Manifest",
     set_attribute(CID, "Type", "http://www.w3.org/2000/09/xmldsig#Manifest"), "GW202",
     "XML Signature §5.1: its references need not be checked"),
    ("17.foreign-attribute", "a reference with a second Id of another namespace",
     set_attribute(CID, "x:Id", "h"), "GW202", _TWO),
)

#: Messages that are signed partly, twice, or not at all.
_BUILT_MESSAGES: Final[SourcedTable[RequestMaker]] = (
    ("12.foreign-first", "B's signature over another message before A's over this one",
     change_with_kit(_insert_foreign_signature), "GW202", _NOTHING, False),
    ("12.both-sign", "A and B have both signed the whole message", _sign_twice, "GW107", _NOTHING, False),
    ("13.unsigned", "no signature where the agreement wants one", lambda kit: kit.build_message(signed=False),
     "GW201", _EXCLUSION, False),
    ("13.second-payload-unsigned", "the Manifest names a payload that no reference covers", _sign_payloads(1),
     "GW203", _LIVE),
    ("13.payloads-unsigned", "the envelope is signed, no payload is", _sign_payloads(0), "GW203", _LIVE),
    ("13.envelope-unsigned", "the payloads are signed, the envelope is not",
     sign_again(remove_element(ENVELOPE_REFERENCE), "none"), "GW203", _PARTIAL),
    ("13.envelope-forged", "the same, with another conversation",
     sign_again(combine_mutations(_FORGED, remove_element(ENVELOPE_REFERENCE)), "none"), "GW203", _PARTIAL),
    ("13.no-references", "SignedInfo without a reference", sign_again(_remove_references, "none"), "GW202",
     _PARTIAL),
    ("13.signature-in-wrapper", "the signature stands in an unknown header block",
     sign_as_written(_move_signature_to_wrapper), "GW202", _EXCLUSION),
)
# fmt: on


def _duplicate_body_id(attribute_name: str) -> RequestMaker:
    """Return the step in which attribute `attribute_name` of the Body's first child repeats the Body's Id."""
    return sign_call_again(
        lambda root: get_element(root, f"{BODY}/*").set(
            expand_name(attribute_name), get_element(root, BODY).get(_WSU_ID, "")
        )
    )


def _move_body_id(attribute_name: str) -> RequestMaker:
    """Return the step in which the Body has its Id in another attribute and is signed in this form."""

    def alter_tree(root: etree._Element) -> None:
        body = get_element(root, BODY)
        body.set(expand_name(attribute_name), body.attrib.pop(_WSU_ID))

    return sign_call_again(alter_tree)


def _refer_to_body(uri: str) -> RequestMaker:
    """Return the step in which the reference to the Body is `uri`; ``{}`` is replaced by its Id."""

    def alter_tree(root: etree._Element) -> None:
        value = get_element(root, BODY).get(_WSU_ID, "")
        get_element(root, FIRST_REFERENCE).set("URI", uri.replace("{}", value))

    return sign_call_again(alter_tree)


def _omit_reference_to(path: str) -> RequestMaker:
    """Return the step that omits the reference to the element at `path`."""
    return sign_call_again(
        lambda root: remove_element(f"//ds:Reference[@URI='#{get_element(root, path).get(_WSU_ID)}']")(root)
    )


# fmt: off
#: The Id of the Body in a second place, by the attribute it stands in.
_BODY_IDS: Final[AttackTable[str]] = (
    ("call-wsu-id", "the Id of the Body once more, as wsu:Id of what stands in it", "wsu:Id"),
    ("call-id", "the Id of the Body once more, as Id of what stands in it", "Id"),
    ("call-upper", "the Id of the Body once more, as ID of what stands in it", "ID"),
    ("call-lower", "the Id of the Body once more, as id of what stands in it", "id"),
    ("call-xml", "the Id of the Body once more, as xml:id of what stands in it", "xml:id"),
    ("call-foreign", "the Id of the Body once more, as x:Id of what stands in it", "x:Id"),
)

#: The Id of the Body in another attribute.
_BODY_NAMES: Final[AttackTable[str]] = (
    ("call-body-id", "the Body is named by Id alone", "Id"),
    ("call-body-xml", "the Body is named by xml:id alone", "xml:id"),
    ("call-body-lower", "the Body is named by id alone", "id"),
    ("call-body-foreign", "the Body is named by x:Id alone", "x:Id"),
)

#: URIs of the reference to the Body.
_BODY_URIS: Final[AttackTable[str]] = (
    ("call-empty", "the Body referred to as ''", "", "GW202", False),
    ("call-two-hashes", "the Body referred to as '##id'", "##{}"),
    ("call-trailing-space", "the Body referred to as '#id '", "#{} "),
    ("call-no-hash", "the Body referred to as 'id'", "{}"),
    ("call-xpointer", 'the Body referred to as "#xpointer(id(\'id\'))"', "#xpointer(id('{}'))"),
    ("call-hash", "the Body referred to as '#'", "#", "GW202", False),
    ("call-url", "the Body referred to as 'http://attacker.invalid/#id'", "http://attacker.invalid/#{}",
     "GW202", False),
    ("call-cid", "the Body referred to as 'cid:id'", "cid:{}", "GW202", False),
    ("call-file", "the Body referred to as 'file:///etc/passwd'", "file:///etc/passwd", "GW202", False),
)

#: Elements without a reference.
_OMITTED: Final[AttackTable[str]] = (
    ("call-body", "no reference to body", BODY),
    ("call-timestamp", "no reference to timestamp", TIMESTAMP),
    ("call-action", "no reference to action", f"{HEADER}/wsa:Action"),
    ("call-message-id", "no reference to message-id", f"{HEADER}/wsa:MessageID"),
    ("call-reply-to", "no reference to reply-to", f"{HEADER}/wsa:ReplyTo"),
)

#: Calls changed after they were signed.
_CALLS_CHANGED: Final[SourcedTable[TreeMutation]] = (
    ("08.call-two-bodies", "two Bodies with one wsu:Id", copy_element(BODY, keeps_id=True), "GW107",
     _POLLUTION),
    ("08.call-timestamp", "two Timestamps with one wsu:Id", copy_element(TIMESTAMP, keeps_id=True), "GW211",
     _POLLUTION),
    ("08.call-token", "two tokens with one wsu:Id", copy_element(TOKEN, keeps_id=True), "GW202", _POLLUTION),
    ("13.call-no-signature", "the Security header has no signature", remove_element(SIGNATURE), "GW201",
     _CALL_PARTIAL, False),
    ("13.call-signature-elsewhere", "the signature stands in the Header beside Security",
     move_element(SIGNATURE, HEADER), "GW107", _CALL_PARTIAL),
    ("13.call-username-only", "a UsernameToken instead of the signature",
     combine_mutations(remove_element(SIGNATURE),
     append_element(SECURITY,
     "<wsse:UsernameToken><wsse:Username>agency</wsse:Username></wsse:UsernameToken>")), "GW201",
     _CALL_PARTIAL, False),
    ("13.call-to-added", "wsa:To added after the call was signed",
     append_element(HEADER, "<wsa:To>http://localhost/soap/agency</wsa:To>"), "GW203 GW304", _CALL_PARTIAL),
    ("13.call-relates-to-added", "wsa:RelatesTo added after the call was signed",
     append_element(HEADER, "<wsa:RelatesTo>urn:uuid:another</wsa:RelatesTo>"), "GW203", _CALL_PARTIAL),
    ("13.call-from-added", "wsa:From added after the call was signed",
     append_element(HEADER, "<wsa:From><wsa:Address>urn:example:another-agency</wsa:Address></wsa:From>"),
     "GW203", _CALL_PARTIAL),
    ("12.call-two-signatures", "the signature stands twice", duplicate_element(SIGNATURE), "GW202",
     _EXCLUSION),
    ("12.call-two-securities", "the Security header stands twice", duplicate_element(SECURITY), "GW202 GW211",
     _EXCLUSION),
    ("12.call-empty-signature", "an empty ds:Signature before the signature",
     insert_element(SECURITY, "<ds:Signature/>"), "GW202", _EXCLUSION),
    ("12.call-username-beside", "a UsernameToken beside the token",
     append_element(SECURITY, "<wsse:UsernameToken><wsse:Username>hub</wsse:Username></wsse:UsernameToken>"),
     "GW202", _EXCLUSION),
    ("17.call-signed-info-twice", "SignedInfo stands twice", duplicate_element("//ds:SignedInfo"), "GW202",
     _CALL_TWO),
)

#: Calls that the agency has changed and signed again.
_CALLS_SIGNED: Final[SourcedTable[TreeMutation]] = (
    ("13.call-signature-in-body", "the signature stands in the Body", move_element(SIGNATURE, BODY),
     "GW201 GW311", _CALL_PARTIAL, False),
    ("17.call-reference-twice", "the Body is referred to twice", duplicate_element(FIRST_REFERENCE), "GW202",
     _CALL_TWO),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("SIG-10.", _ENVELOPE_URIS, _refer_to_envelope, _ID_FLAWS, "GW202", naive=True),
    *_make_payload_uri_cases(),
    *make_sourced_cases("SIG-", _CHANGED, change_on_the_way, naive=True),
    *make_sourced_cases("SIG-", _SIGNED, sign_again, naive=True),
    *make_sourced_cases("SIG-", _BUILT_MESSAGES, use_request_maker, naive=True),
    *make_table_cases("SIG-09.", _BODY_IDS, _duplicate_body_id, _POLLUTION, "GW202", face="soap", naive=True),
    *make_table_cases("SIG-09.", _BODY_NAMES, _move_body_id, _POLLUTION, "GW202", face="soap", naive=True),
    *make_table_cases("SIG-10.", _BODY_URIS, _refer_to_body, _CALL_ID_FLAWS, "GW202", face="soap",
     naive=True),
    *make_table_cases("SIG-13.", _OMITTED, _omit_reference_to, _CALL_PARTIAL, "GW203", face="soap",
     naive=True),
    *make_sourced_cases("SIG-", _CALLS_CHANGED, change_call_on_the_way, face="soap", naive=True),
    *make_sourced_cases("SIG-", _CALLS_SIGNED, sign_call_again, face="soap", naive=True),
    make_attack_case("SIG-13.call-unsigned", "no WS-Security at all",
     lambda kit: kit.build_call(signed=False), "GW201", _CALL_PARTIAL, face="soap"),
)
# fmt: on
"""Signatures wrong in what they name, and how often."""
