"""Wrapping of signed SOAP calls, whose references name what they sign by wsu:Id.

The signed element goes somewhere else, where the verifier still finds it by its Id; a
forged one takes its place, where the service reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Final

from lxml import etree

from gateway.conformance.hostile import naive_reader
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import HEADER, SECURITY, build_tampered_call, expect_refusal
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.naive_verifier import detach_element
from gateway.conformance.hostile.signature_wrapping.wrapping_attack import WrappingAttack
from gateway.conformance.hostile.tree_mutations import expand_name, find_element, get_element, parse_element
from gateway.wire import WSU

__all__ = ["WRAPPINGS"]

_ID: Final = f"{{{WSU}}}Id"


@dataclass(frozen=True, slots=True)
class _ForgeryTarget:
    """What is forged: an element, and in it the value that the forgery changes."""

    name: str
    path: str
    value: str
    forged: str


_TARGETS: Final = (
    _ForgeryTarget("CallBody", "soap:Body", "*/*[local-name()='ReceiptNumber']", "FORGED"),
    _ForgeryTarget(
        "Timestamp", "soap:Header/wsse:Security/wsu:Timestamp", "wsu:Expires", "2999-12-31T23:59:59Z"
    ),
    _ForgeryTarget("MessageID", "soap:Header/wsa:MessageID", ".", "urn:uuid:forged"),
)

#: Takes the signed element to another place; the forged one has its place already.
_SignedPlacement = Callable[[etree._Element, etree._Element, etree._Element], None]


def _move_into(path: str, *inside: str, first: bool = False) -> _SignedPlacement:
    """Return: the signed element below `path`, inside new elements named `inside`."""

    def move_signed_element(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
        home = forged if path == "." else get_element(root, path)
        for name in inside:
            known = find_element(home, name)
            child = parse_element(f"<{name}/>") if known is None else known
            home.insert(0 if first else len(home), child)
            home = child
        home.insert(0 if first else len(home), original)

    return move_signed_element


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


#: How the forged element is named: by an Id of its own, by the same one, by none, in another attribute.
_IDENTIFIERS: Final[dict[str, Callable[[etree._Element, str], object]]] = {
    "other": lambda forged, given: forged.set(_ID, f"{given}-forged"),
    "same": lambda forged, given: forged.set(_ID, given),
    "none": lambda *_: None,
    "plain": lambda forged, given: forged.set("Id", given),
    "xml": lambda forged, given: forged.set(expand_name("xml:id"), given),
}


@dataclass(frozen=True, slots=True)
class _WrappingVariant:
    attack: str
    name: str
    title: str
    move: _SignedPlacement
    way: str = "path"
    identifier: str = "other"
    problems: tuple[str, str, str] = ("GW107", "GW107", "GW107")
    """What each of the three targets is refused by: most in its structure, before any signature."""


_TIME_FIRST: Final = ("GW107", "GW211", "GW107")
_SIGNATURE_FIRST: Final = ("GW202", "GW211", "GW202")
_VARIANTS: Final = (
    _WrappingVariant(
        "SIG-02", "before", "signed element before the forged one", _move_before, "last", problems=_TIME_FIRST
    ),
    _WrappingVariant(
        "SIG-02",
        "after",
        "signed element after the forged one",
        _move_after,
        identifier="none",
        problems=_TIME_FIRST,
    ),
    _WrappingVariant(
        "SIG-03",
        "in-security",
        "signed element in the Security header",
        _move_into(SECURITY),
        problems=_SIGNATURE_FIRST,
    ),
    _WrappingVariant(
        "SIG-03",
        "inside-forged",
        "signed element inside the forged one",
        _move_into(".", "x:Wrapper"),
        problems=("GW311", "GW211", "GW107"),
    ),
    _WrappingVariant(
        "SIG-03",
        "behind-body",
        "signed element at the end of the Envelope",
        _move_into("/soap:Envelope", "x:Wrapper"),
        "path",
    ),
    _WrappingVariant(
        "SIG-05",
        "in-addressing",
        "signed element in the extension point of a further addressing header",
        _move_into_sender,
        problems=_SIGNATURE_FIRST,
    ),
    _WrappingVariant(
        "SIG-05",
        "other-security",
        "signed element in a Security header for another actor",
        _move_to_second_security,
    ),
    _WrappingVariant(
        "SIG-06",
        "in-object",
        "signed element in the Object of its signature",
        _move_into(f"{SECURITY}/ds:Signature", "ds:Object"),
        problems=_SIGNATURE_FIRST,
    ),
    _WrappingVariant(
        "SIG-06",
        "in-key-info",
        "signed element in the KeyInfo of its signature",
        _move_into(f"{SECURITY}/ds:Signature/ds:KeyInfo"),
        problems=_SIGNATURE_FIRST,
    ),
    _WrappingVariant(
        "SIG-06",
        "in-token-reference",
        "signed element embedded in the token reference",
        _move_into(f"{SECURITY}/ds:Signature/ds:KeyInfo/wsse:SecurityTokenReference", "wsse:Embedded"),
        problems=_SIGNATURE_FIRST,
    ),
    _WrappingVariant(
        "SIG-07", "in-header", "signed element in an unknown header block", _move_into(HEADER, "x:Wrapper")
    ),
    _WrappingVariant(
        "SIG-07",
        "bare-in-header",
        "signed element as a header block of its own",
        _move_into(HEADER, first=True),
        "last",
    ),
    _WrappingVariant(
        "SIG-08",
        "same-id-in-header",
        "two elements with one wsu:Id, the signed one in an unknown header block",
        _move_into(HEADER, "x:Wrapper", first=True),
        identifier="same",
    ),
    _WrappingVariant(
        "SIG-08",
        "same-id-before",
        "two elements with one wsu:Id, the signed one first",
        _move_before,
        "last",
        "same",
        problems=_TIME_FIRST,
    ),
    _WrappingVariant(
        "SIG-09",
        "plain-id",
        "the forged element has the Id in an attribute without namespace",
        _move_into(HEADER, "x:Wrapper", first=True),
        identifier="plain",
    ),
    _WrappingVariant(
        "SIG-09",
        "xml-id",
        "the forged element has the Id as xml:id",
        _move_into(HEADER, "x:Wrapper", first=True),
        identifier="xml",
    ),
)


def _wrap_element(variant: _WrappingVariant, target: _ForgeryTarget) -> Callable[[etree._Element], None]:
    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, f"/soap:Envelope/{target.path}")
        forged = deepcopy(original)
        get_element(forged, target.value).text = target.forged
        _IDENTIFIERS[variant.identifier](forged, str(forged.attrib.pop(_ID)))
        original.addprevious(forged)
        detach_element(original)
        variant.move(root, original, forged)

    return alter_tree


def _build_call(bench: AttackerKit, change: Callable[[etree._Element], None] | None = None) -> HttpRequest:
    return build_tampered_call(bench, *([change] if change else []))


def _make_wrapping_attack(variant: _WrappingVariant, target: _ForgeryTarget) -> WrappingAttack:
    return WrappingAttack(
        attack=variant.attack,
        variant=variant.name,
        target=target.name,
        title=f"{variant.title}: {target.name}",
        source="McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; WS-Attacker",
        face="soap",
        control=_build_call,
        make=partial(_build_call, change=_wrap_element(variant, target)),
        accepts_request=naive_reader.accepts_request,
        read_target=lambda post: naive_reader.read_value(post, target.path, target.value, variant.way),
        forged=target.forged,
        expected=expect_refusal(variant.problems[_TARGETS.index(target)]),
    )


#: Every variant on each part of a call that the gateway reads.
WRAPPINGS: Final = tuple(
    _make_wrapping_attack(variant, target) for target in _TARGETS for variant in _VARIANTS
)
