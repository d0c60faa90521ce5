"""Signatures wrong in their structure: what they name, how often, what they leave out (SIG-10 to 13, 17)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    CID,
    ENVELOPE_REFERENCE,
    make_attack_case,
    make_sender_attack,
    make_transit_attack,
)
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.naive_verifier import detach_element
from gateway.conformance.hostile.tree_mutations import (
    ACTOR,
    NEXT,
    SIGNATURE,
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    get_element,
    get_elements,
    insert_element,
    parse_element,
    remove_element,
    set_attribute,
    set_text,
)
from gateway.pki import Signer
from gateway.wire import parse_xml
from gateway.xmlsec import sign_message

__all__ = ["CASES"]

_HEADER: Final = "/soap:Envelope/soap:Header"
_FORGED: Final = set_text("//eb:ConversationId", "forged-conversation")
_NAMED: Final = set_attribute("//eb:MessageHeader", "eb:id", "h")

_LOOK_UP: Final = "CVE-2011-1411 and other Id look-up flaws; signxml 5.2 takes ##id"
#: What a reference to the envelope may be called instead of "".
_NAMES: Final = {
    "absent": None,
    "id": "#h",
    "two-hashes": "##h",
    "trailing-space": "#h ",
    "no-hash": "h",
    "percent-hash": "%23h",
    "percent-id": "#%68",
    "xpointer-root": "#xpointer(/)",
    "xpointer-id": "#xpointer(id('h'))",
    "xpointer-name": "#xpointer(//*[local-name()='MessageHeader'])",
    "element-scheme": "#element(/1/1/1)",
    "space": " ",
    "hash": "#",
}
#: Where a payload may be said to be instead of in the message.
_PLACES: Final = {
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


def _set_reference_uri(uri: str | None) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        _NAMED(root)
        reference = get_element(root, ENVELOPE_REFERENCE)
        if uri is None:
            del reference.attrib["URI"]
        else:
            reference.set("URI", uri)

    return alter_tree


def _append_reference(uri: str) -> TreeMutation:
    """Return: one more reference, which whoever resolves it must fetch."""

    def alter_tree(root: etree._Element) -> None:
        reference = deepcopy(get_element(root, CID))
        reference.set("URI", uri)
        get_element(root, CID).addnext(reference)

    return alter_tree


def _make_reference_cases() -> list[AttackCase]:
    cases = [
        make_sender_attack(
            f"SIG-10.{name}",
            f"envelope referred to as {uri!r}",
            _set_reference_uri(uri),
            "GW202",
            _LOOK_UP,
            digests="written",
            naive=name in _FOOLING,
        )
        for name, uri in _NAMES.items()
    ]
    for name, uri in _PLACES.items():
        problem = "GW108" if name in _NOT_THERE else "GW202"
        cases += [
            make_sender_attack(
                f"SIG-11.{name}",
                f"payload referred to as {uri[:40]!r}",
                set_attribute(CID, "URI", uri),
                problem,
                "CWE-918; DSS audit 2019",
            ),
            make_sender_attack(
                f"SIG-11.{name}-beside",
                f"one more reference, {uri[:40]!r}",
                _append_reference(uri),
                problem,
                "CWE-918; DSS audit 2019",
            ),
        ]
    return cases


#: Spellings of a Content-ID that no part has.
_NOT_THERE: Final = frozenset({"cid-fragment", "cid-empty"})
#: Names by which the naive verifier finds something.
_FOOLING: Final = frozenset(
    {"absent", "id", "two-hashes", "trailing-space", "no-hash", "xpointer-id", "space"}
)


def _hide_signature_copy(root: etree._Element) -> None:
    """Add a copy of the signature where no digest sees it."""
    holder = parse_element("<x:Trace/>")
    holder.set(ACTOR, NEXT)
    holder.append(deepcopy(get_element(root, SIGNATURE)))
    get_element(root, _HEADER).append(holder)


def _insert_foreign_signature(bench: AttackerKit) -> TreeMutation:
    """Return: a signature of B added to the message of A, over an envelope of B's own."""
    other = parse_xml(bench.build_message(bench.make_unit("b", payloads=()), "b").body)
    foreign = get_element(other, SIGNATURE)

    def alter_tree(root: etree._Element) -> None:
        holder = parse_element("<x:Trace/>")
        holder.set(ACTOR, NEXT)
        holder.append(foreign)
        get_element(root, _HEADER).insert(0, holder)
        _FORGED(root)

    return alter_tree


def _forge_unsigned_envelope(root: etree._Element) -> None:
    """Put the forged message's signature over the payloads alone: the envelope is not signed."""
    _FORGED(root)
    remove_element(ENVELOPE_REFERENCE)(root)


def _remove_references(root: etree._Element) -> None:
    for reference in get_elements(root, "//ds:SignedInfo/ds:Reference"):
        detach_element(reference)


def _move_signature(path: str, wrapper: str = "") -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        home = get_element(root, path)
        if wrapper:
            home.append(parse_element(f"<{wrapper}/>"))
            home = home[-1]
        home.append(get_element(root, SIGNATURE))

    return alter_tree


def _duplicate_signed_info(position: int, *, forged: bool) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        again = deepcopy(get_element(root, "//ds:SignedInfo"))
        if forged:
            get_element(again, "ds:Reference[@URI='']/ds:DigestValue").text = "A" * 43 + "="
        get_element(root, SIGNATURE).insert(position, again)

    return alter_tree


def _make_unsigned_message(bench: AttackerKit) -> HttpRequest:
    return bench.build_message(signed=False)


def _make_partly_signed_message(bench: AttackerKit, keep: int) -> HttpRequest:
    """Return a message whose sender signs `keep` of the payloads that the Manifest names."""
    return bench.build_message(signing=lambda contents: dict(list(contents.items())[:keep]))


def _make_doubly_signed_message(bench: AttackerKit) -> HttpRequest:
    """Return a message that A signed, and B again on top of it."""

    def sign_twice(root: etree._Element, contents: Mapping[str, bytes], _: Signer) -> None:
        sign_message(root, contents, bench.get_signer("a"))
        first = get_element(root, SIGNATURE)
        detach_element(first)
        sign_message(root, contents, bench.get_signer("b"))
        get_element(root, _HEADER).append(first)

    return bench.build_message(sign=sign_twice)


_EXCLUSION: Final = "signature exclusion; WS-Attacker"
_PARTIAL: Final = "WS-Security partial signing; ebMS 2.0 §4.1.3"
_TWO: Final = "CVE-2025-29774 (xml-crypto)"
_NOTHING: Final = "two signatures, the first over nothing useful"

CASES: Final[tuple[AttackCase, ...]] = (
    *_make_reference_cases(),
    make_transit_attack(
        "SIG-12.copy-hidden",
        "a copy of the signature in a block for the next node",
        _hide_signature_copy,
        "GW202",
        _NOTHING,
        naive=True,
    ),
    make_transit_attack(
        "SIG-12.copy-beside",
        "a copy of the signature beside it",
        duplicate_element(SIGNATURE),
        "GW107",
        _NOTHING,
    ),
    make_transit_attack(
        "SIG-12.empty-first",
        "an empty ds:Signature before the signature",
        insert_element(_HEADER, "<ds:Signature/>"),
        "GW107",
        _NOTHING,
    ),
    make_transit_attack(
        "SIG-12.foreign-first",
        "B's signature over another message before A's over this one",
        _insert_foreign_signature,
        "GW202",
        _NOTHING,
        of_bench=True,
    ),
    make_attack_case(
        "SIG-12.both-sign",
        "A and B have both signed the whole message",
        _make_doubly_signed_message,
        "GW107",
        _NOTHING,
    ),
    make_sender_attack(
        "SIG-12.signed-signature",
        "an empty ds:Signature in the Body, signed with it",
        append_element("/soap:Envelope/soap:Body", "<ds:Signature/>"),
        "GW107",
        _NOTHING,
        naive=True,
    ),
    make_attack_case(
        "SIG-13.unsigned",
        "no signature where the agreement wants one",
        _make_unsigned_message,
        "GW201",
        _EXCLUSION,
    ),
    make_sender_attack(
        "SIG-13.envelope-unsigned",
        "the payloads are signed, the envelope is not",
        remove_element(ENVELOPE_REFERENCE),
        "GW203",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    make_sender_attack(
        "SIG-13.envelope-forged",
        "the same, with another conversation",
        _forge_unsigned_envelope,
        "GW203",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    make_attack_case(
        "SIG-13.second-payload-unsigned",
        "the Manifest names a payload that no reference covers",
        partial(_make_partly_signed_message, keep=1),
        "GW203",
        "ebms-core takes it (tried live)",
        naive=True,
    ),
    make_attack_case(
        "SIG-13.payloads-unsigned",
        "the envelope is signed, no payload is",
        partial(_make_partly_signed_message, keep=0),
        "GW203",
        "ebms-core takes it (tried live)",
        naive=True,
    ),
    make_sender_attack(
        "SIG-13.no-references",
        "SignedInfo without a reference",
        _remove_references,
        "GW202",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    make_transit_attack(
        "SIG-13.signature-in-body",
        "the signature stands in the Body",
        _move_signature("/soap:Envelope/soap:Body"),
        "GW107",
        _EXCLUSION,
        naive=True,
    ),
    make_transit_attack(
        "SIG-13.signature-in-manifest",
        "the signature stands in the Manifest",
        _move_signature("//eb:Manifest"),
        "GW311",
        _EXCLUSION,
        naive=True,
    ),
    make_transit_attack(
        "SIG-13.signature-behind-body",
        "the signature stands behind the Body",
        _move_signature("/soap:Envelope"),
        "GW107",
        _EXCLUSION,
        naive=True,
    ),
    make_sender_attack(
        "SIG-13.signature-in-wrapper",
        "the signature stands in an unknown header block",
        _move_signature(_HEADER, "x:Wrapper"),
        "GW202",
        _EXCLUSION,
        digests="written",
        naive=True,
    ),
    make_transit_attack(
        "SIG-13.other-namespace",
        "the signature is in a namespace like that of XML Signature",
        lambda root: setattr(
            get_element(root, SIGNATURE), "tag", "{http://www.w3.org/2000/09/xmldsig}Signature"
        ),
        "GW201",
        _EXCLUSION,
    ),
    make_transit_attack(
        "SIG-13.no-value",
        "the signature value is empty",
        set_text("//ds:SignatureValue", ""),
        "GW202",
        _EXCLUSION,
    ),
    make_transit_attack(
        "SIG-13.value-removed",
        "there is no signature value",
        remove_element("//ds:SignatureValue"),
        "GW202",
        _EXCLUSION,
    ),
    make_transit_attack(
        "SIG-17.same-behind",
        "SignedInfo stands twice",
        _duplicate_signed_info(1, forged=False),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_transit_attack(
        "SIG-17.forged-behind",
        "a second SignedInfo with another digest behind the first",
        _duplicate_signed_info(1, forged=True),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_transit_attack(
        "SIG-17.forged-first",
        "a second SignedInfo with another digest before the first",
        combine_mutations(_duplicate_signed_info(0, forged=True), _FORGED),
        "GW202",
        _TWO,
    ),
    make_sender_attack(
        "SIG-17.reference-twice",
        "one payload is referred to twice",
        duplicate_element(CID),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_sender_attack(
        "SIG-17.envelope-twice",
        "the envelope is referred to twice",
        duplicate_element(ENVELOPE_REFERENCE),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_sender_attack(
        "SIG-17.no-method",
        "SignedInfo without SignatureMethod",
        remove_element("//ds:SignatureMethod"),
        "GW202",
        _TWO,
    ),
    make_sender_attack(
        "SIG-17.text",
        "text in SignedInfo",
        lambda root: setattr(get_element(root, "//ds:SignedInfo"), "text", "x"),
        "GW202",
        _TWO,
        naive=True,
    ),
    make_sender_attack(
        "SIG-17.manifest-type",
        "a reference says that it is a ds:Manifest",
        set_attribute(CID, "Type", "http://www.w3.org/2000/09/xmldsig#Manifest"),
        "GW202",
        "XML Signature §5.1: its references need not be checked",
        naive=True,
    ),
    make_sender_attack(
        "SIG-17.foreign-attribute",
        "a reference with a second Id of another namespace",
        set_attribute(CID, "x:Id", "h"),
        "GW202",
        _TWO,
        naive=True,
    ),
)
