"""Wrapping of signed SOAP calls, whose references name what they sign by wsu:Id (SIG-02 to SIG-09).

The signed element is moved to a place where the verifier still finds it by its Id. A
forged element takes its place, where the service reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import HEADER, SECURITY, build_tampered_call
from gateway.conformance.hostile.signature_wrapping import (
    ForgeryTarget,
    WrappingAttack,
    make_element_wrapping,
    replace_element,
)
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    expand_name,
    find_element,
    get_element,
    parse_element,
)

_ID: Final = expand_name("wsu:Id")
# fmt: off
_TARGETS: Final = (
    ForgeryTarget("CallBody", "soap:Body", "*/*[local-name()='ReceiptNumber']", "FORGED"),
    ForgeryTarget("Timestamp", "soap:Header/wsse:Security/wsu:Timestamp", "wsu:Expires",
     "2999-12-31T23:59:59Z"),
    ForgeryTarget("MessageID", "soap:Header/wsa:MessageID", ".", "urn:uuid:forged"),
)
# fmt: on

#: Moves the signed element; the forged element is already in its place.
SignedPlacement = Callable[[etree._Element, etree._Element, etree._Element], None]


def move_into(path: str, *inside: str, first: bool = False) -> SignedPlacement:
    """Return the move that puts the signed element below `path`, inside new elements named `inside`."""

    def move_signed(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
        home = forged if path == "." else get_element(root, path)
        for name in inside:
            known = find_element(home, name)
            child = parse_element(f"<{name}/>") if known is None else known
            home.insert(0 if first else len(home), child)
            home = child
        home.insert(0 if first else len(home), original)

    return move_signed


def _move_before(_: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    forged.addprevious(original)


def _move_after(_: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    forged.addnext(original)


def _move_to_second_security(root: etree._Element, original: etree._Element, _: etree._Element) -> None:
    block = parse_element('<wsse:Security soap:actor="urn:example:somebody"/>')
    block.append(original)
    get_element(root, SECURITY).addnext(block)


def _move_into_sender(root: etree._Element, original: etree._Element, _: etree._Element) -> None:
    block = parse_element("<wsa:From><wsa:Address>urn:example:agency</wsa:Address><wsa:Metadata/></wsa:From>")
    get_element(root, HEADER).append(block)
    block[1].append(original)


class WrappingVariant(NamedTuple):
    """How an element that is signed by its wsu:Id is wrapped.

    `way` is how the naive gateway finds its target, `identifier` the Id of the forged element. `problems`
    refuse each of the three targets in a call, mostly for their structure, before the signature is checked.
    """

    attack: str
    name: str
    title: str
    move: SignedPlacement
    way: str = "path"
    identifier: str = "other"
    problems: tuple[str, str, str] = ("GW107", "GW107", "GW107")


#: The Id of the forged element: its own, the same, none, or in another attribute.
_IDENTIFIERS: Final[dict[str, tuple[str, str]]] = {
    "other": ("wsu:Id", "{}-forged"),
    "same": ("wsu:Id", "{}"),
    "plain": ("Id", "{}"),
    "xml": ("xml:id", "{}"),
}
_TIME_FIRST: Final = ("GW107", "GW211", "GW107")
_SIGNATURE_FIRST: Final = ("GW202", "GW211", "GW202")
_KEY_INFO: Final = f"{SECURITY}/ds:Signature/ds:KeyInfo"
# fmt: off
#: The ways of moving what is signed, for calls and for AS4.
VARIANTS: Final = (
    WrappingVariant("SIG-02", "before", "signed element before the forged one", _move_before, "last",
     problems=_TIME_FIRST),
    WrappingVariant("SIG-02", "after", "signed element after the forged one", _move_after, identifier="none",
     problems=_TIME_FIRST),
    WrappingVariant("SIG-03", "in-security", "signed element in the Security header", move_into(SECURITY),
     problems=_SIGNATURE_FIRST),
    WrappingVariant("SIG-03", "inside-forged", "signed element inside the forged one",
     move_into(".", "x:Wrapper"), problems=("GW311", "GW211", "GW107")),
    WrappingVariant("SIG-03", "behind-body", "signed element at the end of the Envelope",
     move_into("/soap:Envelope", "x:Wrapper")),
    WrappingVariant("SIG-05", "in-addressing",
     "signed element in the extension point of a further addressing header", _move_into_sender,
     problems=_SIGNATURE_FIRST),
    WrappingVariant("SIG-05", "other-security", "signed element in a Security header for another actor",
     _move_to_second_security),
    WrappingVariant("SIG-06", "in-object", "signed element in the Object of its signature",
     move_into(f"{SECURITY}/ds:Signature", "ds:Object"), problems=_SIGNATURE_FIRST),
    WrappingVariant("SIG-06", "in-key-info", "signed element in the KeyInfo of its signature",
     move_into(_KEY_INFO), problems=_SIGNATURE_FIRST),
    WrappingVariant("SIG-06", "in-token-reference", "signed element embedded in the token reference",
     move_into(f"{_KEY_INFO}/wsse:SecurityTokenReference", "wsse:Embedded"), problems=_SIGNATURE_FIRST),
    WrappingVariant("SIG-07", "in-header", "signed element in an unknown header block",
     move_into(HEADER, "x:Wrapper")),
    WrappingVariant("SIG-07", "bare-in-header", "signed element as a header block of its own",
     move_into(HEADER, first=True), "last"),
    WrappingVariant("SIG-08", "same-id-in-header",
     "two elements with one wsu:Id, the signed one in an unknown header block",
     move_into(HEADER, "x:Wrapper", first=True), identifier="same"),
    WrappingVariant("SIG-08", "same-id-before", "two elements with one wsu:Id, the signed one first",
     _move_before, "last", identifier="same", problems=_TIME_FIRST),
    WrappingVariant("SIG-09", "plain-id", "the forged element has the Id in an attribute without namespace",
     move_into(HEADER, "x:Wrapper", first=True), identifier="plain"),
    WrappingVariant("SIG-09", "xml-id", "the forged element has the Id as xml:id",
     move_into(HEADER, "x:Wrapper", first=True), identifier="xml"),
)
# fmt: on


def wrap_element(variant: WrappingVariant, target: ForgeryTarget) -> TreeMutation:
    """Return the change that forges an element and moves the signed one."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, f"/soap:Envelope/{target.path}")
        forged = target.forge_copy(original)
        given = str(forged.attrib.pop(_ID))
        if variant.identifier in _IDENTIFIERS:
            name, template = _IDENTIFIERS[variant.identifier]
            forged.set(expand_name(name), template.format(given))
        replace_element(original, forged)
        variant.move(root, original, forged)

    return alter_tree


def _make_call_attack(target: ForgeryTarget, variant: WrappingVariant) -> WrappingAttack:
    return make_element_wrapping(
        variant[:3],
        target,
        build_tampered_call,
        lambda kit: build_tampered_call(kit, wrap_element(variant, target)),
        variant.problems[_TARGETS.index(target)],
        "McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; WS-Attacker",
        face="soap",
        way=variant.way,
    )


#: Every variant on each part of a call that the gateway reads.
WRAPPINGS: Final[tuple[WrappingAttack, ...]] = tuple(
    _make_call_attack(target, variant) for target in _TARGETS for variant in VARIANTS
)
CASES: Final[tuple[AttackCase, ...]] = tuple(wrapping.attack_case for wrapping in WRAPPINGS)
"""Calls whose signed element is moved."""
