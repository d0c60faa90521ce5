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
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile import naive_reader
from gateway.conformance.hostile.alterations import (
    ACTOR,
    NEXT,
    NEXT_MSH,
    SIGNATURE,
    at,
    element,
    found,
    put_first,
)
from gateway.conformance.hostile.case import Post
from gateway.conformance.hostile.craft import BOUNDARY, swap
from gateway.conformance.hostile.naive import remove
from gateway.conformance.hostile.plays import refusal
from gateway.conformance.hostile.wrapping.variants import Wrapping
from gateway.model import Unit
from gateway.wire.namespaces import PREFIXES
from gateway.wire.xml import parse_xml, serialize

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["WRAPPINGS"]

_HEADER: Final = "/soap:Envelope/soap:Header"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is forged: an element, and in it the value that the forgery changes."""

    name: str
    path: str
    value: str
    forged: str
    change: Callable[[etree._Element], object]


def _text(path: str, new: str) -> Callable[[etree._Element], object]:
    return lambda found: setattr(at(found, path), "text", new)


def _swap_payloads(found: etree._Element) -> None:
    """Make the Manifest name its payloads in the other order."""
    first, second = found.iter("{*}Reference")
    first.addprevious(second)


def _without_first_payload(found: etree._Element) -> None:
    """Make the Body say that there is no first payload."""
    remove(next(found.iter("{*}Reference")))


_TARGETS: Final = (
    _Target(
        "MessageHeader",
        "soap:Header/eb:MessageHeader",
        "eb:ConversationId",
        "forged-conversation",
        _text("eb:ConversationId", "forged-conversation"),
    ),
    _Target("Manifest", "soap:Body/eb:Manifest", "eb:Reference/@xlink:href", "cid:p2.", _swap_payloads),
    _Target("Body", "soap:Body", "eb:Manifest/eb:Reference/@xlink:href", "cid:p2.", _without_first_payload),
    _Target(
        "Acknowledgment",
        "soap:Header/eb:Acknowledgment",
        "eb:RefToMessageId",
        "forged@suite.example",
        _text("eb:RefToMessageId", "forged@suite.example"),
    ),
    _Target(
        "AckRequested",
        "soap:Header/eb:AckRequested",
        "@eb:signed",
        "false",
        lambda found: found.set(f"{{{PREFIXES['eb']}}}signed", "false"),
    ),
)

#: Puts the forged element into a signed envelope; returns the root of what is sent.
_Wrap = Callable[[etree._Element, etree._Element, _Target], etree._Element]


def _forged(root: etree._Element, target: _Target) -> etree._Element:
    forged = deepcopy(at(root, target.path))
    target.change(forged)
    return forged


def _exchange(original: etree._Element, forged: etree._Element) -> None:
    original.addprevious(forged)
    remove(original)


def _in_signature(inside: str, place: str = "") -> _Wrap:
    """Return: forged inside the Signature, which the enveloped-signature transform leaves out.

    `inside` are the elements around it there; the Signature comes before what is forged,
    as the first child of `place`: a signature that is left out may stand anywhere.
    """

    def wrap(root: etree._Element, forged: etree._Element, _: _Target) -> etree._Element:
        signature = at(root, SIGNATURE)
        put_first(at(root, place or _HEADER), signature)
        home = signature
        for name in inside.split():
            known = found(home, name)
            home = _child(home, name) if known is None else known
        home.append(forged)
        return root

    return wrap


def _child(home: etree._Element, name: str) -> etree._Element:
    child = element(f"<{name}/>")
    home.append(child)
    return child


def _under_actor(inside: str, actor: str) -> _Wrap:
    """Return: forged first in the Header, itself or something around it for the next node."""

    def wrap(root: etree._Element, forged: etree._Element, _: _Target) -> etree._Element:
        outermost = forged
        if inside:
            # A block that is there already may be moved: it is left out of the digest too.
            known = found(root, f"soap:Header/{inside}[@soap:actor='{actor}']")
            outermost = element(f'<{inside} eb:version="2.0" eb:signed="false"/>') if known is None else known
            outermost.append(forged)
        outermost.set(ACTOR, actor)
        put_first(at(root, _HEADER), outermost)
        return root

    return wrap


def _signature_in_forged(root: etree._Element, forged: etree._Element, target: _Target) -> etree._Element:
    _under_actor("", NEXT)(root, forged, target)
    forged.append(at(root, SIGNATURE))
    return root


def _around(place: str, inside: str = "") -> _Wrap:
    """Return: a forged Envelope around the signed one, which stands whole at `place`."""

    def wrap(root: etree._Element, forged: etree._Element, target: _Target) -> etree._Element:
        outer = deepcopy(root)
        remove(at(outer, SIGNATURE))
        _exchange(at(outer, target.path), forged)
        home = at(outer, place)
        for name in inside.split():
            home = _child(home, name)
        home.append(root)
        return outer

    return wrap


@dataclass(frozen=True, slots=True)
class _Variant:
    attack: str
    name: str
    title: str
    wrap: _Wrap
    way: str
    problem: str
    known: str = "Somorovsky et al., On Breaking SAML, USENIX Security 2012"


_EXCLUDED: Final = "ebMS 2.0 §4.1.3: what its XPath transform leaves out; no published test"
_VARIANTS: Final = (
    _Variant(
        "SIG-01",
        "object-of-signature",
        "forged in the Object of the signature",
        _in_signature("ds:Object"),
        "name",
        "GW202",
    ),
    _Variant(
        "SIG-01",
        "child-of-signature",
        "forged as a bare child of the signature",
        _in_signature(""),
        "name",
        "GW202",
    ),
    _Variant(
        "SIG-02",
        "next-node",
        "forged for the next node, before the original",
        _under_actor("", NEXT),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-02",
        "next-handler",
        "forged for the next message handler, before the original",
        _under_actor("", NEXT_MSH),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-03",
        "envelope-in-header",
        "signed Envelope in the Header of a forged one",
        _around(_HEADER, "x:Wrapper"),
        "path",
        "GW202",
    ),
    _Variant(
        "SIG-03",
        "envelope-in-body",
        "signed Envelope in the Body of a forged one",
        _around("/soap:Envelope/soap:Body"),
        "name",
        "GW107",
    ),
    _Variant(
        "SIG-03",
        "envelope-after-body",
        "signed Envelope behind the Body of a forged one",
        _around("/soap:Envelope"),
        "name",
        "GW107",
    ),
    _Variant(
        "SIG-04",
        "signature-in-forged",
        "signature moved into the forged element, which is for the next node",
        _signature_in_forged,
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-04",
        "signature-before-header",
        "signature moved before the Header, forged in its Object",
        _in_signature("ds:Object", "/soap:Envelope"),
        "name",
        "GW107",
    ),
    _Variant(
        "SIG-05",
        "sync-reply",
        "forged inside SyncReply",
        _under_actor("eb:SyncReply", NEXT),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-05",
        "ack-requested-next",
        "forged inside an AckRequested for the next handler",
        _under_actor("eb:AckRequested", NEXT_MSH),
        "name",
        "GW107",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-05",
        "unknown-block",
        "forged inside an unknown block for the next node",
        _under_actor("x:Trace", NEXT),
        "name",
        "GW203",
        _EXCLUDED,
    ),
    _Variant(
        "SIG-05",
        "envelope-in-extension",
        "signed Envelope in the extension point of a forged MessageHeader",
        _around(f"{_HEADER}/eb:MessageHeader", "x:Extension"),
        "path",
        "GW311",
    ),
    _Variant(
        "SIG-06",
        "key-info",
        "forged inside the KeyInfo of the signature",
        _in_signature("ds:KeyInfo ds:X509Data"),
        "name",
        "GW202",
    ),
    _Variant(
        "SIG-06",
        "envelope-in-object",
        "signed Envelope in the Object of a second signature",
        _around(_HEADER, "ds:Signature ds:Object"),
        "path",
        "GW202",
    ),
)


#: A prefix for wrappers, so that what is inside them keeps its canonical form.
_DECLARED: Final = swap("<soap:Envelope ", '<soap:Envelope xmlns:x="urn:example:unknown" ')


#: What is wrong earlier: a forged AckRequested contradicts the agreement, and SyncReply knows no other names.
_INSTEAD: Final = {
    ("envelope-in-header", "AckRequested"): "GW304",
    ("envelope-in-object", "AckRequested"): "GW304",
    ("start-part", "AckRequested"): "GW304",
    ("sync-reply", "Body"): "GW311",
}


def _message(bench: Bench, target: _Target, change: Callable[[bytes], bytes] | None = None) -> Post:
    """Return a message of A; with an Acknowledgment on board where that is the target."""
    unit = bench.unit()
    riders: tuple[Unit, ...] = ()
    if target.name == "Acknowledgment":
        about = bench.receipt_unit(bench.new_id("hub"))
        same = {name: getattr(unit, name) for name in ("message_id", "conversation_id", "timestamp")}
        riders = (replace(about, **same),)
    return bench.message(unit, riders=riders, envelope=_DECLARED, tampered=change)


def _wrapped(bench: Bench, target: _Target, wrap: _Wrap) -> Post:
    def change(data: bytes) -> bytes:
        root = parse_xml(data)
        return serialize(wrap(root, _forged(root, target), target))

    return _message(bench, target, change)


def _two_roots(bench: Bench, target: _Target, *, forged_first: bool) -> Post:
    """Return a message of two envelopes: one is first, the other is named by the start parameter."""
    post = _message(bench, target)
    signed = naive_reader.parts_of(post)[0].content
    root = parse_xml(signed)
    _exchange(at(root, target.path), _forged(root, target))
    remove(at(root, SIGNATURE))
    marker = f"--{BOUNDARY}\r\nContent-Type: text/xml\r\nContent-ID: <forged@suite.example>\r\n\r\n".encode()
    body = marker + serialize(root) + b"\r\n" + post.body
    headers = dict(post.headers)
    if not forged_first:
        # The signed one must come first where the start parameter names the forged one.
        head, end, rest = post.body.partition(signed + b"\r\n")
        body = head + end + marker + serialize(root) + b"\r\n" + rest
        kind = headers["Content-Type"]
        headers["Content-Type"] = kind.replace("root@suite.example", "forged@suite.example")
    return replace(post, headers=headers, body=body)


def _of_variant(variant: _Variant, target: _Target) -> Wrapping:
    return Wrapping(
        attack=variant.attack,
        variant=variant.name,
        target=target.name,
        title=f"{variant.title}: {target.name}",
        source=variant.known,
        face="ebms2",
        control=partial(_message, target=target),
        make=partial(_wrapped, target=target, wrap=variant.wrap),
        takes=naive_reader.takes,
        reads=lambda post: naive_reader.value_read(post, target.path, target.value, variant.way),
        forged=target.forged,
        expected=refusal(_INSTEAD.get((variant.name, target.name), variant.problem)),
    )


def _of_roots(target: _Target, *, forged_first: bool) -> Wrapping:
    read, verified = ("first", "start") if forged_first else ("start", "first")
    name = f"{read}-part"
    return Wrapping(
        attack="SIG-02",
        variant=name,
        target=target.name,
        title=f"two envelopes, the forged one is the part read as {read}: {target.name}",
        source="RFC 2387 §3.2: the root is named by start, or is the first part; no published test",
        face="ebms2",
        control=partial(_message, target=target),
        make=partial(_two_roots, target=target, forged_first=forged_first),
        takes=partial(naive_reader.takes, root_by=verified),
        reads=lambda post: naive_reader.value_read(post, target.path, target.value, "path", read),
        forged=target.forged,
        expected=refusal(_INSTEAD.get((name, target.name), "GW203" if forged_first else "GW103")),
    )


#: Every variant on every element that an ebMS 2.0 envelope is read by.
WRAPPINGS: Final = tuple(
    wrapping
    for target in _TARGETS
    for wrapping in (
        *(_of_variant(variant, target) for variant in _VARIANTS),
        _of_roots(target, forged_first=True),
        _of_roots(target, forged_first=False),
    )
)
