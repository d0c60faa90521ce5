"""Wrapping of signed SOAP calls, whose references name what they sign by wsu:Id.

The signed element goes somewhere else, where the verifier still finds it by its Id; a
forged one takes its place, where the service reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile import naive_reader
from gateway.conformance.hostile.alterations import at, element, found, name_of
from gateway.conformance.hostile.calls import HEADER, SECURITY, call_of
from gateway.conformance.hostile.case import Post
from gateway.conformance.hostile.naive import remove
from gateway.conformance.hostile.plays import refusal
from gateway.conformance.hostile.wrapping.variants import Wrapping
from gateway.wire.namespaces import WSU

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["WRAPPINGS"]

_ID: Final = f"{{{WSU}}}Id"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is forged: an element, and in it the value that the forgery changes."""

    name: str
    path: str
    value: str
    forged: str


_TARGETS: Final = (
    _Target("CallBody", "soap:Body", "*/*[local-name()='ReceiptNumber']", "FORGED"),
    _Target("Timestamp", "soap:Header/wsse:Security/wsu:Timestamp", "wsu:Expires", "2999-12-31T23:59:59Z"),
    _Target("MessageID", "soap:Header/wsa:MessageID", ".", "urn:uuid:forged"),
)

#: Takes the signed element to another place; the forged one has its place already.
_Move = Callable[[etree._Element, etree._Element, etree._Element], None]


def _into(path: str, *inside: str, first: bool = False) -> _Move:
    """Return: the signed element below `path`, inside new elements named `inside`."""

    def move(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
        home = forged if path == "." else at(root, path)
        for name in inside:
            known = found(home, name)
            child = element(f"<{name}/>") if known is None else known
            home.insert(0 if first else len(home), child)
            home = child
        home.insert(0 if first else len(home), original)

    return move


def _before(_: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    forged.addprevious(original)


def _after(_: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    forged.addnext(original)


def _second_security(root: etree._Element, original: etree._Element, _: etree._Element) -> None:
    block = element('<wsse:Security soap:actor="urn:example:somebody"/>')
    block.append(original)
    at(root, SECURITY).addnext(block)


def _in_sender(root: etree._Element, original: etree._Element, _: etree._Element) -> None:
    block = element("<wsa:From><wsa:Address>urn:example:agency</wsa:Address><wsa:Metadata/></wsa:From>")
    at(root, HEADER).append(block)
    block[1].append(original)


#: How the forged element is named: by an Id of its own, by the same one, by none, in another attribute.
_IDENTIFIERS: Final[dict[str, Callable[[etree._Element, str], object]]] = {
    "other": lambda forged, given: forged.set(_ID, f"{given}-forged"),
    "same": lambda forged, given: forged.set(_ID, given),
    "none": lambda *_: None,
    "plain": lambda forged, given: forged.set("Id", given),
    "xml": lambda forged, given: forged.set(name_of("xml:id"), given),
}


@dataclass(frozen=True, slots=True)
class _Variant:
    attack: str
    name: str
    title: str
    move: _Move
    way: str = "path"
    identifier: str = "other"
    problems: tuple[str, str, str] = ("GW107", "GW107", "GW107")
    """What each of the three targets is refused by: most in its structure, before any signature."""


_TIME_FIRST: Final = ("GW107", "GW211", "GW107")
_SIGNATURE_FIRST: Final = ("GW202", "GW211", "GW202")
_VARIANTS: Final = (
    _Variant(
        "SIG-02", "before", "signed element before the forged one", _before, "last", problems=_TIME_FIRST
    ),
    _Variant(
        "SIG-02",
        "after",
        "signed element after the forged one",
        _after,
        identifier="none",
        problems=_TIME_FIRST,
    ),
    _Variant(
        "SIG-03",
        "in-security",
        "signed element in the Security header",
        _into(SECURITY),
        problems=_SIGNATURE_FIRST,
    ),
    _Variant(
        "SIG-03",
        "inside-forged",
        "signed element inside the forged one",
        _into(".", "x:Wrapper"),
        problems=("GW311", "GW211", "GW107"),
    ),
    _Variant(
        "SIG-03",
        "behind-body",
        "signed element at the end of the Envelope",
        _into("/soap:Envelope", "x:Wrapper"),
        "path",
    ),
    _Variant(
        "SIG-05",
        "in-addressing",
        "signed element in the extension point of a further addressing header",
        _in_sender,
        problems=_SIGNATURE_FIRST,
    ),
    _Variant(
        "SIG-05", "other-security", "signed element in a Security header for another actor", _second_security
    ),
    _Variant(
        "SIG-06",
        "in-object",
        "signed element in the Object of its signature",
        _into(f"{SECURITY}/ds:Signature", "ds:Object"),
        problems=_SIGNATURE_FIRST,
    ),
    _Variant(
        "SIG-06",
        "in-key-info",
        "signed element in the KeyInfo of its signature",
        _into(f"{SECURITY}/ds:Signature/ds:KeyInfo"),
        problems=_SIGNATURE_FIRST,
    ),
    _Variant(
        "SIG-06",
        "in-token-reference",
        "signed element embedded in the token reference",
        _into(f"{SECURITY}/ds:Signature/ds:KeyInfo/wsse:SecurityTokenReference", "wsse:Embedded"),
        problems=_SIGNATURE_FIRST,
    ),
    _Variant("SIG-07", "in-header", "signed element in an unknown header block", _into(HEADER, "x:Wrapper")),
    _Variant(
        "SIG-07",
        "bare-in-header",
        "signed element as a header block of its own",
        _into(HEADER, first=True),
        "last",
    ),
    _Variant(
        "SIG-08",
        "same-id-in-header",
        "two elements with one wsu:Id, the signed one in an unknown header block",
        _into(HEADER, "x:Wrapper", first=True),
        identifier="same",
    ),
    _Variant(
        "SIG-08",
        "same-id-before",
        "two elements with one wsu:Id, the signed one first",
        _before,
        "last",
        "same",
        problems=_TIME_FIRST,
    ),
    _Variant(
        "SIG-09",
        "plain-id",
        "the forged element has the Id in an attribute without namespace",
        _into(HEADER, "x:Wrapper", first=True),
        identifier="plain",
    ),
    _Variant(
        "SIG-09",
        "xml-id",
        "the forged element has the Id as xml:id",
        _into(HEADER, "x:Wrapper", first=True),
        identifier="xml",
    ),
)


def _wrap(variant: _Variant, target: _Target) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        original = at(root, f"/soap:Envelope/{target.path}")
        forged = deepcopy(original)
        at(forged, target.value).text = target.forged
        _IDENTIFIERS[variant.identifier](forged, str(forged.attrib.pop(_ID)))
        original.addprevious(forged)
        remove(original)
        variant.move(root, original, forged)

    return change


def _call(bench: Bench, change: Callable[[etree._Element], None] | None = None) -> Post:
    return call_of(bench, *([change] if change else []))


def _wrapping(variant: _Variant, target: _Target) -> Wrapping:
    return Wrapping(
        attack=variant.attack,
        variant=variant.name,
        target=target.name,
        title=f"{variant.title}: {target.name}",
        source="McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; WS-Attacker",
        face="soap",
        control=_call,
        make=partial(_call, change=_wrap(variant, target)),
        takes=naive_reader.takes,
        reads=lambda post: naive_reader.value_read(post, target.path, target.value, variant.way),
        forged=target.forged,
        expected=refusal(variant.problems[_TARGETS.index(target)]),
    )


#: Every variant on each part of a call that the gateway reads.
WRAPPINGS: Final = tuple(_wrapping(variant, target) for target in _TARGETS for variant in _VARIANTS)
