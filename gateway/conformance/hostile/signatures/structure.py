"""Signatures wrong in their structure: what they name, how often, what they leave out (SIG-10 to 13, 17)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    ACTOR,
    NEXT,
    SIGNATURE,
    Alteration,
    added,
    all_of,
    at,
    attribute_set,
    doubled,
    element,
    every,
    inserted,
    removed,
    text_set,
)
from gateway.conformance.hostile.case import Case, Post
from gateway.conformance.hostile.naive import remove
from gateway.conformance.hostile.tampered import CID, ENVELOPE_REFERENCE, attack, by_sender, on_the_way
from gateway.pki.keys import Signer
from gateway.wire.xml import parse_xml
from gateway.xmlsec.ebms2 import sign_message

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_HEADER: Final = "/soap:Envelope/soap:Header"
_FORGED: Final = text_set("//eb:ConversationId", "forged-conversation")
_NAMED: Final = attribute_set("//eb:MessageHeader", "eb:id", "h")

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


def _called(uri: str | None) -> Alteration:
    def change(root: etree._Element) -> None:
        _NAMED(root)
        reference = at(root, ENVELOPE_REFERENCE)
        if uri is None:
            del reference.attrib["URI"]
        else:
            reference.set("URI", uri)

    return change


def _another_reference(uri: str) -> Alteration:
    """Return: one more reference, which whoever resolves it must fetch."""

    def change(root: etree._Element) -> None:
        reference = deepcopy(at(root, CID))
        reference.set("URI", uri)
        at(root, CID).addnext(reference)

    return change


def _reference_cases() -> list[Case]:
    cases = [
        by_sender(
            f"SIG-10.{name}",
            f"envelope referred to as {uri!r}",
            _called(uri),
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
            by_sender(
                f"SIG-11.{name}",
                f"payload referred to as {uri[:40]!r}",
                attribute_set(CID, "URI", uri),
                problem,
                "CWE-918; DSS audit 2019",
            ),
            by_sender(
                f"SIG-11.{name}-beside",
                f"one more reference, {uri[:40]!r}",
                _another_reference(uri),
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


def _second_signature(root: etree._Element) -> None:
    """Add a copy of the signature where no digest sees it."""
    holder = element("<x:Trace/>")
    holder.set(ACTOR, NEXT)
    holder.append(deepcopy(at(root, SIGNATURE)))
    at(root, _HEADER).append(holder)


def _countersigned(bench: Bench) -> Alteration:
    """Return: a signature of B added to the message of A, over an envelope of B's own."""
    other = parse_xml(bench.message(bench.unit("b", payloads=()), "b").body)
    foreign = at(other, SIGNATURE)

    def change(root: etree._Element) -> None:
        holder = element("<x:Trace/>")
        holder.set(ACTOR, NEXT)
        holder.append(foreign)
        at(root, _HEADER).insert(0, holder)
        _FORGED(root)

    return change


def _signature_over_nothing(root: etree._Element) -> None:
    """Put the forged message's signature over the payloads alone: the envelope is not signed."""
    _FORGED(root)
    removed(ENVELOPE_REFERENCE)(root)


def _no_references(root: etree._Element) -> None:
    for reference in every(root, "//ds:SignedInfo/ds:Reference"):
        remove(reference)


def _moved(path: str, wrapper: str = "") -> Alteration:
    def change(root: etree._Element) -> None:
        home = at(root, path)
        if wrapper:
            home.append(element(f"<{wrapper}/>"))
            home = home[-1]
        home.append(at(root, SIGNATURE))

    return change


def _signed_info_again(position: int, *, forged: bool) -> Alteration:
    def change(root: etree._Element) -> None:
        again = deepcopy(at(root, "//ds:SignedInfo"))
        if forged:
            at(again, "ds:Reference[@URI='']/ds:DigestValue").text = "A" * 43 + "="
        at(root, SIGNATURE).insert(position, again)

    return change


def _unsigned(bench: Bench) -> Post:
    return bench.message(signed=False)


def _part_unsigned(bench: Bench, keep: int) -> Post:
    """Return a message whose sender signs `keep` of the payloads that the Manifest names."""
    return bench.message(signing=lambda contents: dict(list(contents.items())[:keep]))


def _signed_twice(bench: Bench) -> Post:
    """Return a message that A signed, and B again on top of it."""

    def both(root: etree._Element, contents: Mapping[str, bytes], _: Signer) -> None:
        sign_message(root, contents, bench.signer("a"))
        first = at(root, SIGNATURE)
        remove(first)
        sign_message(root, contents, bench.signer("b"))
        at(root, _HEADER).append(first)

    return bench.message(sign=both)


_EXCLUSION: Final = "signature exclusion; WS-Attacker"
_PARTIAL: Final = "WS-Security partial signing; ebMS 2.0 §4.1.3"
_TWO: Final = "CVE-2025-29774 (xml-crypto)"
_NOTHING: Final = "two signatures, the first over nothing useful"

CASES: Final[tuple[Case, ...]] = (
    *_reference_cases(),
    on_the_way(
        "SIG-12.copy-hidden",
        "a copy of the signature in a block for the next node",
        _second_signature,
        "GW202",
        _NOTHING,
        naive=True,
    ),
    on_the_way(
        "SIG-12.copy-beside", "a copy of the signature beside it", doubled(SIGNATURE), "GW107", _NOTHING
    ),
    on_the_way(
        "SIG-12.empty-first",
        "an empty ds:Signature before the signature",
        inserted(_HEADER, "<ds:Signature/>"),
        "GW107",
        _NOTHING,
    ),
    on_the_way(
        "SIG-12.foreign-first",
        "B's signature over another message before A's over this one",
        _countersigned,
        "GW202",
        _NOTHING,
        of_bench=True,
    ),
    attack(
        "SIG-12.both-sign", "A and B have both signed the whole message", _signed_twice, "GW107", _NOTHING
    ),
    by_sender(
        "SIG-12.signed-signature",
        "an empty ds:Signature in the Body, signed with it",
        added("/soap:Envelope/soap:Body", "<ds:Signature/>"),
        "GW107",
        _NOTHING,
        naive=True,
    ),
    attack("SIG-13.unsigned", "no signature where the agreement wants one", _unsigned, "GW201", _EXCLUSION),
    by_sender(
        "SIG-13.envelope-unsigned",
        "the payloads are signed, the envelope is not",
        removed(ENVELOPE_REFERENCE),
        "GW203",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    by_sender(
        "SIG-13.envelope-forged",
        "the same, with another conversation",
        _signature_over_nothing,
        "GW203",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    attack(
        "SIG-13.second-payload-unsigned",
        "the Manifest names a payload that no reference covers",
        partial(_part_unsigned, keep=1),
        "GW203",
        "ebms-core takes it (tried live)",
        naive=True,
    ),
    attack(
        "SIG-13.payloads-unsigned",
        "the envelope is signed, no payload is",
        partial(_part_unsigned, keep=0),
        "GW203",
        "ebms-core takes it (tried live)",
        naive=True,
    ),
    by_sender(
        "SIG-13.no-references",
        "SignedInfo without a reference",
        _no_references,
        "GW202",
        _PARTIAL,
        digests="none",
        naive=True,
    ),
    on_the_way(
        "SIG-13.signature-in-body",
        "the signature stands in the Body",
        _moved("/soap:Envelope/soap:Body"),
        "GW107",
        _EXCLUSION,
        naive=True,
    ),
    on_the_way(
        "SIG-13.signature-in-manifest",
        "the signature stands in the Manifest",
        _moved("//eb:Manifest"),
        "GW311",
        _EXCLUSION,
        naive=True,
    ),
    on_the_way(
        "SIG-13.signature-behind-body",
        "the signature stands behind the Body",
        _moved("/soap:Envelope"),
        "GW107",
        _EXCLUSION,
        naive=True,
    ),
    by_sender(
        "SIG-13.signature-in-wrapper",
        "the signature stands in an unknown header block",
        _moved(_HEADER, "x:Wrapper"),
        "GW202",
        _EXCLUSION,
        digests="written",
        naive=True,
    ),
    on_the_way(
        "SIG-13.other-namespace",
        "the signature is in a namespace like that of XML Signature",
        lambda root: setattr(at(root, SIGNATURE), "tag", "{http://www.w3.org/2000/09/xmldsig}Signature"),
        "GW201",
        _EXCLUSION,
    ),
    on_the_way(
        "SIG-13.no-value",
        "the signature value is empty",
        text_set("//ds:SignatureValue", ""),
        "GW202",
        _EXCLUSION,
    ),
    on_the_way(
        "SIG-13.value-removed",
        "there is no signature value",
        removed("//ds:SignatureValue"),
        "GW202",
        _EXCLUSION,
    ),
    on_the_way(
        "SIG-17.same-behind",
        "SignedInfo stands twice",
        _signed_info_again(1, forged=False),
        "GW202",
        _TWO,
        naive=True,
    ),
    on_the_way(
        "SIG-17.forged-behind",
        "a second SignedInfo with another digest behind the first",
        _signed_info_again(1, forged=True),
        "GW202",
        _TWO,
        naive=True,
    ),
    on_the_way(
        "SIG-17.forged-first",
        "a second SignedInfo with another digest before the first",
        all_of(_signed_info_again(0, forged=True), _FORGED),
        "GW202",
        _TWO,
    ),
    by_sender(
        "SIG-17.reference-twice", "one payload is referred to twice", doubled(CID), "GW202", _TWO, naive=True
    ),
    by_sender(
        "SIG-17.envelope-twice",
        "the envelope is referred to twice",
        doubled(ENVELOPE_REFERENCE),
        "GW202",
        _TWO,
        naive=True,
    ),
    by_sender(
        "SIG-17.no-method",
        "SignedInfo without SignatureMethod",
        removed("//ds:SignatureMethod"),
        "GW202",
        _TWO,
    ),
    by_sender(
        "SIG-17.text",
        "text in SignedInfo",
        lambda root: setattr(at(root, "//ds:SignedInfo"), "text", "x"),
        "GW202",
        _TWO,
        naive=True,
    ),
    by_sender(
        "SIG-17.manifest-type",
        "a reference says that it is a ds:Manifest",
        attribute_set(CID, "Type", "http://www.w3.org/2000/09/xmldsig#Manifest"),
        "GW202",
        "XML Signature §5.1: its references need not be checked",
        naive=True,
    ),
    by_sender(
        "SIG-17.foreign-attribute",
        "a reference with a second Id of another namespace",
        attribute_set(CID, "x:Id", "h"),
        "GW202",
        _TWO,
        naive=True,
    ),
)
