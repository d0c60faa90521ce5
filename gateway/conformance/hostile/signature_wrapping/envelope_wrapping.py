"""Wrapping of ebMS 2.0 envelopes, whose signature covers "the document" but not all that stands in it.

The reference to "" is digested without the ds:Signature and without whatever is addressed
to the next node.  So there are two holes for a forged element, inside the signature and
under such an actor; and one question on which gateways differ: which Envelope of two, or
which part of two, is the document.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from lxml import etree

from gateway.conformance.hostile import naive_reader
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import expect_refusal
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.naive_verifier import detach_element
from gateway.conformance.hostile.octet_mutations import BOUNDARY, swap_octets
from gateway.conformance.hostile.signature_wrapping.wrapping_attack import WrappingAttack
from gateway.conformance.hostile.tree_mutations import (
    ACTOR,
    NEXT,
    NEXT_MSH,
    SIGNATURE,
    find_element,
    get_element,
    make_first_child,
    parse_element,
)
from gateway.message_model import Unit
from gateway.wire import PREFIXES, parse_xml, serialize_element

__all__ = ["WRAPPINGS"]

_HEADER: Final = "/soap:Envelope/soap:Header"


@dataclass(frozen=True, slots=True)
class _ForgeryTarget:
    """What is forged: an element, and in it the value that the forgery changes."""

    name: str
    path: str
    value: str
    forged: str
    change: Callable[[etree._Element], object]


def _set_element_text(path: str, new: str) -> Callable[[etree._Element], object]:
    return lambda found: setattr(get_element(found, path), "text", new)


def _swap_references(found: etree._Element) -> None:
    """Make the Manifest name its payloads in the other order."""
    first, second = found.iter("{*}Reference")
    first.addprevious(second)


def _remove_first_reference(found: etree._Element) -> None:
    """Make the Body say that there is no first payload."""
    detach_element(next(found.iter("{*}Reference")))


_TARGETS: Final = (
    _ForgeryTarget(
        "MessageHeader",
        "soap:Header/eb:MessageHeader",
        "eb:ConversationId",
        "forged-conversation",
        _set_element_text("eb:ConversationId", "forged-conversation"),
    ),
    _ForgeryTarget(
        "Manifest", "soap:Body/eb:Manifest", "eb:Reference/@xlink:href", "cid:p2.", _swap_references
    ),
    _ForgeryTarget(
        "Body", "soap:Body", "eb:Manifest/eb:Reference/@xlink:href", "cid:p2.", _remove_first_reference
    ),
    _ForgeryTarget(
        "Acknowledgment",
        "soap:Header/eb:Acknowledgment",
        "eb:RefToMessageId",
        "forged@suite.example",
        _set_element_text("eb:RefToMessageId", "forged@suite.example"),
    ),
    _ForgeryTarget(
        "AckRequested",
        "soap:Header/eb:AckRequested",
        "@eb:signed",
        "false",
        lambda found: found.set(f"{{{PREFIXES['eb']}}}signed", "false"),
    ),
)

#: Puts the forged element into a signed envelope; returns the root of what is sent.
_ForgedPlacement = Callable[[etree._Element, etree._Element, _ForgeryTarget], etree._Element]


def _forge_element(root: etree._Element, target: _ForgeryTarget) -> etree._Element:
    forged = deepcopy(get_element(root, target.path))
    target.change(forged)
    return forged


def _replace_element(original: etree._Element, forged: etree._Element) -> None:
    original.addprevious(forged)
    detach_element(original)


def _insert_in_signature(inside: str, place: str = "") -> _ForgedPlacement:
    """Return: forged inside the Signature, which the enveloped-signature transform leaves out.

    `inside` are the elements around it there; the Signature comes before what is forged,
    as the first child of `place`: a signature that is left out may stand anywhere.
    """

    def place_forged_element(
        root: etree._Element, forged: etree._Element, _: _ForgeryTarget
    ) -> etree._Element:
        signature = get_element(root, SIGNATURE)
        make_first_child(get_element(root, place or _HEADER), signature)
        home = signature
        for name in inside.split():
            known = find_element(home, name)
            home = _append_child(home, name) if known is None else known
        home.append(forged)
        return root

    return place_forged_element


def _append_child(home: etree._Element, name: str) -> etree._Element:
    child = parse_element(f"<{name}/>")
    home.append(child)
    return child


def _insert_under_actor(inside: str, actor: str) -> _ForgedPlacement:
    """Return: forged first in the Header, itself or something around it for the next node."""

    def place_forged_element(
        root: etree._Element, forged: etree._Element, _: _ForgeryTarget
    ) -> etree._Element:
        outermost = forged
        if inside:
            # A block that is there already may be moved: it is left out of the digest too.
            known = find_element(root, f"soap:Header/{inside}[@soap:actor='{actor}']")
            outermost = (
                parse_element(f'<{inside} eb:version="2.0" eb:signed="false"/>') if known is None else known
            )
            outermost.append(forged)
        outermost.set(ACTOR, actor)
        make_first_child(get_element(root, _HEADER), outermost)
        return root

    return place_forged_element


def _move_signature_into_forged(
    root: etree._Element, forged: etree._Element, target: _ForgeryTarget
) -> etree._Element:
    _insert_under_actor("", NEXT)(root, forged, target)
    forged.append(get_element(root, SIGNATURE))
    return root


def _surround_signed_envelope(place: str, inside: str = "") -> _ForgedPlacement:
    """Return: a forged Envelope around the signed one, which stands whole at `place`."""

    def place_forged_element(
        root: etree._Element, forged: etree._Element, target: _ForgeryTarget
    ) -> etree._Element:
        outer = deepcopy(root)
        detach_element(get_element(outer, SIGNATURE))
        _replace_element(get_element(outer, target.path), forged)
        home = get_element(outer, place)
        for name in inside.split():
            home = _append_child(home, name)
        home.append(root)
        return outer

    return place_forged_element


@dataclass(frozen=True, slots=True)
class _WrappingVariant:
    attack: str
    name: str
    title: str
    wrap: _ForgedPlacement
    way: str
    problem: str
    known: str = "Somorovsky et al., On Breaking SAML, USENIX Security 2012"


_EXCLUDED: Final = "ebMS 2.0 §4.1.3: what its XPath transform leaves out; no published test"
_VARIANTS: Final = (
    _WrappingVariant(
        "SIG-01",
        "object-of-signature",
        "forged in the Object of the signature",
        _insert_in_signature("ds:Object"),
        "name",
        "GW202",
    ),
    _WrappingVariant(
        "SIG-01",
        "child-of-signature",
        "forged as a bare child of the signature",
        _insert_in_signature(""),
        "name",
        "GW202",
    ),
    _WrappingVariant(
        "SIG-02",
        "next-node",
        "forged for the next node, before the original",
        _insert_under_actor("", NEXT),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-02",
        "next-handler",
        "forged for the next message handler, before the original",
        _insert_under_actor("", NEXT_MSH),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-03",
        "envelope-in-header",
        "signed Envelope in the Header of a forged one",
        _surround_signed_envelope(_HEADER, "x:Wrapper"),
        "path",
        "GW202",
    ),
    _WrappingVariant(
        "SIG-03",
        "envelope-in-body",
        "signed Envelope in the Body of a forged one",
        _surround_signed_envelope("/soap:Envelope/soap:Body"),
        "name",
        "GW107",
    ),
    _WrappingVariant(
        "SIG-03",
        "envelope-after-body",
        "signed Envelope behind the Body of a forged one",
        _surround_signed_envelope("/soap:Envelope"),
        "name",
        "GW107",
    ),
    _WrappingVariant(
        "SIG-04",
        "signature-in-forged",
        "signature moved into the forged element, which is for the next node",
        _move_signature_into_forged,
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-04",
        "signature-before-header",
        "signature moved before the Header, forged in its Object",
        _insert_in_signature("ds:Object", "/soap:Envelope"),
        "name",
        "GW107",
    ),
    _WrappingVariant(
        "SIG-05",
        "sync-reply",
        "forged inside SyncReply",
        _insert_under_actor("eb:SyncReply", NEXT),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-05",
        "ack-requested-next",
        "forged inside an AckRequested for the next handler",
        _insert_under_actor("eb:AckRequested", NEXT_MSH),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-05",
        "unknown-block",
        "forged inside an unknown block for the next node",
        _insert_under_actor("x:Trace", NEXT),
        "name",
        "GW203",
        _EXCLUDED,
    ),
    _WrappingVariant(
        "SIG-05",
        "envelope-in-extension",
        "signed Envelope in the extension point of a forged MessageHeader",
        _surround_signed_envelope(f"{_HEADER}/eb:MessageHeader", "x:Extension"),
        "path",
        "GW311",
    ),
    _WrappingVariant(
        "SIG-06",
        "key-info",
        "forged inside the KeyInfo of the signature",
        _insert_in_signature("ds:KeyInfo ds:X509Data"),
        "name",
        "GW202",
    ),
    _WrappingVariant(
        "SIG-06",
        "envelope-in-object",
        "signed Envelope in the Object of a second signature",
        _surround_signed_envelope(_HEADER, "ds:Signature ds:Object"),
        "path",
        "GW202",
    ),
)


#: A prefix for wrappers, so that what is inside them keeps its canonical form.
_DECLARED: Final = swap_octets("<soap:Envelope ", '<soap:Envelope xmlns:x="urn:example:unknown" ')


#: What is wrong earlier: a forged AckRequested contradicts the agreement, and SyncReply knows no other names.
_INSTEAD: Final = {
    ("envelope-in-header", "AckRequested"): "GW304",
    ("envelope-in-object", "AckRequested"): "GW304",
    ("start-part", "AckRequested"): "GW304",
    ("sync-reply", "Body"): "GW311",
}


def _make_message(
    bench: AttackerKit, target: _ForgeryTarget, change: Callable[[bytes], bytes] | None = None
) -> HttpRequest:
    """Return a message of A; with an Acknowledgment on board where that is the target."""
    unit = bench.make_unit()
    riders: tuple[Unit, ...] = ()
    if target.name == "Acknowledgment":
        about = bench.make_receipt(bench.make_message_id("hub"))
        same = {name: getattr(unit, name) for name in ("message_id", "conversation_id", "timestamp")}
        riders = (replace(about, **same),)
    return bench.build_message(unit, riders=riders, envelope=_DECLARED, tampered=change)


def _make_wrapped_message(bench: AttackerKit, target: _ForgeryTarget, wrap: _ForgedPlacement) -> HttpRequest:
    def mutate_octets(data: bytes) -> bytes:
        root = parse_xml(data)
        return serialize_element(wrap(root, _forge_element(root, target), target))

    return _make_message(bench, target, mutate_octets)


def _make_two_root_message(bench: AttackerKit, target: _ForgeryTarget, *, forged_first: bool) -> HttpRequest:
    """Return a message of two envelopes: one is first, the other is named by the start parameter."""
    post = _make_message(bench, target)
    signed = naive_reader.split_parts(post)[0].content
    root = parse_xml(signed)
    _replace_element(get_element(root, target.path), _forge_element(root, target))
    detach_element(get_element(root, SIGNATURE))
    marker = f"--{BOUNDARY}\r\nContent-Type: text/xml\r\nContent-ID: <forged@suite.example>\r\n\r\n".encode()
    body = marker + serialize_element(root) + b"\r\n" + post.body
    headers = dict(post.headers)
    if not forged_first:
        # The signed one must come first where the start parameter names the forged one.
        head, end, rest = post.body.partition(signed + b"\r\n")
        body = head + end + marker + serialize_element(root) + b"\r\n" + rest
        kind = headers["Content-Type"]
        headers["Content-Type"] = kind.replace("root@suite.example", "forged@suite.example")
    return replace(post, headers=headers, body=body)


def _make_variant_attack(variant: _WrappingVariant, target: _ForgeryTarget) -> WrappingAttack:
    return WrappingAttack(
        attack=variant.attack,
        variant=variant.name,
        target=target.name,
        title=f"{variant.title}: {target.name}",
        source=variant.known,
        face="ebms2",
        control=partial(_make_message, target=target),
        make=partial(_make_wrapped_message, target=target, wrap=variant.wrap),
        accepts_request=naive_reader.accepts_request,
        read_target=lambda post: naive_reader.read_value(post, target.path, target.value, variant.way),
        forged=target.forged,
        expected=expect_refusal(_INSTEAD.get((variant.name, target.name), variant.problem)),
    )


def _make_root_part_attack(target: _ForgeryTarget, *, forged_first: bool) -> WrappingAttack:
    read, verified = ("first", "start") if forged_first else ("start", "first")
    name = f"{read}-part"
    return WrappingAttack(
        attack="SIG-02",
        variant=name,
        target=target.name,
        title=f"two envelopes, the forged one is the part read as {read}: {target.name}",
        source="RFC 2387 §3.2: the root is named by start, or is the first part; no published test",
        face="ebms2",
        control=partial(_make_message, target=target),
        make=partial(_make_two_root_message, target=target, forged_first=forged_first),
        accepts_request=partial(naive_reader.accepts_request, root_by=verified),
        read_target=lambda post: naive_reader.read_value(post, target.path, target.value, "path", read),
        forged=target.forged,
        expected=expect_refusal(_INSTEAD.get((name, target.name), "GW203" if forged_first else "GW103")),
    )


#: Every variant on every element that an ebMS 2.0 envelope is read by.
WRAPPINGS: Final = tuple(
    wrapping
    for target in _TARGETS
    for wrapping in (
        *(_make_variant_attack(variant, target) for variant in _VARIANTS),
        _make_root_part_attack(target, forged_first=True),
        _make_root_part_attack(target, forged_first=False),
    )
)
