"""Signature wrapping: the signed element and the element that is read are different (SIG-01 to SIG-06).

The signature of an ebMS 2.0 envelope covers "the document": its reference to "" is digested
without the ds:Signature and without elements that are addressed to the next node. So a forged
element has two places: inside the signature, and under such an actor. Gateways also differ in
which of two Envelopes, or of two parts, is the document.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from lxml import etree

from gateway.message_model import Unit
from gateway.wire import parse_xml, serialize_element
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.hostile.attack_cases import (
    BODY,
    HEADER,
    AttackCase,
    RequestMaker,
    expect_refusal,
    make_control_scenario,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    ACTOR,
    BOUNDARY,
    NEXT,
    NEXT_MSH,
    SIGNATURE,
    OctetMutation,
    TreeMutation,
    expand_name,
    find_element,
    get_element,
    make_first_child,
    parse_element,
    swap_octets,
)
from gateway_conformance.hostile.exchange import ACCEPTED, Expectation, HttpRequest
from gateway_conformance.hostile.naive_verifier import detach_element


@dataclass(frozen=True, slots=True)
class WrappingAttack:
    """One variant on one target: a request that the naive verifier accepts and the naive gateway misreads.

    `accepts_request` is the naive verifier for this attack. `read_target` is the reader of the naive
    gateway: it returns the value that this gateway reads as the target. The value contains `forged` in the
    attack, and does not contain it in the honest message.
    """

    attack_id: str
    variant: str
    target: str
    title: str
    source: str
    face: str
    make_control: RequestMaker
    make_attack: RequestMaker
    accepts_request: Callable[[HttpRequest], bool]
    read_target: Callable[[HttpRequest], str | None]
    forged: str
    expected: Expectation

    @property
    def attack_case(self) -> AttackCase:
        """Return the attack as a case of the corpus."""
        return AttackCase(
            f"{self.attack_id}.{self.variant}.{self.target.lower()}",
            self.title,
            self.face,
            self.source,
            make_control_scenario(self.make_control, self.make_attack, self.expected),
            naive=True,
        )


class ForgeryTarget(NamedTuple):
    """The forged element, and the value in it that a `forge_value` forges."""

    name: str
    element_path: str
    value_path: str
    forged: str
    forge_value: TreeMutation | None = None

    def forge_copy(self, original: etree._Element) -> etree._Element:
        """Return a forged copy of the element."""
        forged = deepcopy(original)
        if self.forge_value is None:
            get_element(forged, self.value_path).text = self.forged
        else:
            self.forge_value(forged)
        return forged


def make_element_wrapping(
    attack: str,
    variant: str,
    title: str,
    target: ForgeryTarget,
    make_control: RequestMaker,
    make_attack: RequestMaker,
    problem: str,
    source: str,
    *,
    face: str = "ebms2",
    naive_search: str = "path",
    read_by: str = "start",
    verified_by: str = "start",
) -> WrappingAttack:
    """Return the wrapping of an element, as the variant `variant` of an attack.

    `naive_search` is how the naive gateway finds the element, `read_by` how it finds the envelope, and
    `verified_by` how the naive verifier does.
    """
    return WrappingAttack(
        attack_id=attack,
        variant=variant,
        target=target.name,
        title=f"{title}: {target.name}",
        source=source,
        face=face,
        make_control=make_control,
        make_attack=make_attack,
        accepts_request=partial(naive_verifier.accepts_request, root_choice=verified_by),
        read_target=lambda post: naive_verifier.read_value(
            post, target.element_path, target.value_path, naive_search, read_by
        ),
        forged=target.forged,
        expected=expect_refusal(problem),
    )


def _swap_references(manifest: etree._Element) -> None:
    """Make the Manifest name its payloads in the other order."""
    first, second = manifest.iter("{*}Reference")
    first.addprevious(second)


def _remove_first_reference(manifest: etree._Element) -> None:
    """Remove the first payload from the Manifest in the Body."""
    detach_element(next(manifest.iter("{*}Reference")))


def _set_unsigned(element: etree._Element) -> None:
    element.set(expand_name("eb:signed"), "false")


# fmt: off
_TARGETS: Final = (
    ForgeryTarget("MessageHeader", "soap:Header/eb:MessageHeader", "eb:ConversationId",
     "forged-conversation"),
    ForgeryTarget("Manifest", "soap:Body/eb:Manifest", "eb:Reference/@xlink:href", "cid:p2.",
     _swap_references),
    ForgeryTarget("Body", "soap:Body", "eb:Manifest/eb:Reference/@xlink:href", "cid:p2.",
     _remove_first_reference),
    ForgeryTarget("Acknowledgment", "soap:Header/eb:Acknowledgment", "eb:RefToMessageId",
     "forged@suite.example"),
    ForgeryTarget("AckRequested", "soap:Header/eb:AckRequested", "@eb:signed", "false", _set_unsigned),
)
# fmt: on

#: Puts the forged element into a signed envelope; returns the root of the envelope that is sent.
ForgedElementInsertion = Callable[[etree._Element, etree._Element, ForgeryTarget], etree._Element]


def replace_element(original: etree._Element, forged: etree._Element) -> None:
    """Put the forged element in the place of the original."""
    original.addprevious(forged)
    detach_element(original)


def _append_child(parent: etree._Element, element_name: str) -> etree._Element:
    child = parse_element(f"<{element_name}/>")
    parent.append(child)
    return child


def _insert_in_signature(wrapper_names: str, path: str = HEADER) -> ForgedElementInsertion:
    """Return the insertion inside the Signature, which the enveloped-signature transform omits.

    `wrapper_names` are the elements around the forged element in the Signature. The Signature becomes the
    first child of `path`, before the original element: a Signature that the transform leaves out may stand
    anywhere.
    """

    def insert_forged(root: etree._Element, forged: etree._Element, _: ForgeryTarget) -> etree._Element:
        parent = get_element(root, SIGNATURE)
        make_first_child(get_element(root, path), parent)
        for name in wrapper_names.split():
            wrapper = find_element(parent, name)
            parent = _append_child(parent, name) if wrapper is None else wrapper
        parent.append(forged)
        return root

    return insert_forged


def _insert_under_actor(wrapper: str, actor: str) -> ForgedElementInsertion:
    """Return the insertion at the start of the Header: the forged element or a wrapper for the next node."""

    def insert_forged(root: etree._Element, forged: etree._Element, _: ForgeryTarget) -> etree._Element:
        outermost = forged
        if wrapper:
            # An existing block may be moved: the digest omits it, too.
            block = find_element(root, f"soap:Header/{wrapper}[@soap:actor='{actor}']")
            outermost = (
                parse_element(f'<{wrapper} eb:version="2.0" eb:signed="false"/>') if block is None else block
            )
            outermost.append(forged)
        outermost.set(ACTOR, actor)
        make_first_child(get_element(root, HEADER), outermost)
        return root

    return insert_forged


def _move_signature_into_forged(
    root: etree._Element, forged: etree._Element, target: ForgeryTarget
) -> etree._Element:
    _insert_under_actor("", NEXT)(root, forged, target)
    forged.append(get_element(root, SIGNATURE))
    return root


def surround_envelope(path: str, wrapper_names: str = "") -> ForgedElementInsertion:
    """Return the insertion of a forged Envelope around the signed one, which is complete at `path`."""

    def insert_forged(root: etree._Element, forged: etree._Element, target: ForgeryTarget) -> etree._Element:
        outer = deepcopy(root)
        detach_element(get_element(outer, SIGNATURE))
        replace_element(get_element(outer, target.element_path), forged)
        parent = get_element(outer, path)
        for name in wrapper_names.split():
            parent = _append_child(parent, name)
        parent.append(root)
        return outer

    return insert_forged


class _EnvelopeVariant(NamedTuple):
    """How an envelope is wrapped, the problems that refuse it, and how the naive gateway finds its target."""

    attack: str
    name: str
    title: str
    insert_forged: ForgedElementInsertion
    problem: str
    naive_search: str = "name"
    source: str = "Somorovsky et al., On Breaking SAML, USENIX Security 2012"


_EXCLUDED: Final = "ebMS 2.0 §4.1.3: what its XPath transform leaves out; no published test"
_ROOT_PART: Final = "RFC 2387 §3.2: the root is named by start, or is the first part; no published test"
# fmt: off
_VARIANTS: Final = (
    _EnvelopeVariant("SIG-01", "object-of-signature", "forged in the Object of the signature",
     _insert_in_signature("ds:Object"), "GW202"),
    _EnvelopeVariant("SIG-01", "child-of-signature", "forged as a bare child of the signature",
     _insert_in_signature(""), "GW202"),
    _EnvelopeVariant("SIG-02", "next-node", "forged for the next node, before the original",
     _insert_under_actor("", NEXT), "GW107", source=_EXCLUDED),
    _EnvelopeVariant("SIG-02", "next-handler", "forged for the next message handler, before the original",
     _insert_under_actor("", NEXT_MSH), "GW107", source=_EXCLUDED),
    _EnvelopeVariant("SIG-03", "envelope-in-header", "signed Envelope in the Header of a forged one",
     surround_envelope(HEADER, "x:Wrapper"), "GW202", "path"),
    _EnvelopeVariant("SIG-03", "envelope-in-body", "signed Envelope in the Body of a forged one",
     surround_envelope(BODY), "GW107"),
    _EnvelopeVariant("SIG-03", "envelope-after-body", "signed Envelope behind the Body of a forged one",
     surround_envelope("/soap:Envelope"), "GW107"),
    _EnvelopeVariant("SIG-04", "signature-in-forged",
     "signature moved into the forged element, which is for the next node", _move_signature_into_forged,
     "GW107", source=_EXCLUDED),
    _EnvelopeVariant("SIG-04", "signature-before-header",
     "signature moved before the Header, forged in its Object",
     _insert_in_signature("ds:Object", "/soap:Envelope"), "GW107"),
    _EnvelopeVariant("SIG-05", "sync-reply", "forged inside SyncReply",
     _insert_under_actor("eb:SyncReply", NEXT), "GW107", source=_EXCLUDED),
    _EnvelopeVariant("SIG-05", "ack-requested-next", "forged inside an AckRequested for the next handler",
     _insert_under_actor("eb:AckRequested", NEXT_MSH), "GW107", source=_EXCLUDED),
    _EnvelopeVariant("SIG-05", "unknown-block", "forged inside an unknown block for the next node",
     _insert_under_actor("x:Trace", NEXT), "GW203", source=_EXCLUDED),
    _EnvelopeVariant("SIG-05", "envelope-in-extension",
     "signed Envelope in the extension point of a forged MessageHeader",
     surround_envelope(f"{HEADER}/eb:MessageHeader", "x:Extension"), "GW311", "path"),
    _EnvelopeVariant("SIG-06", "key-info", "forged inside the KeyInfo of the signature",
     _insert_in_signature("ds:KeyInfo ds:X509Data"), "GW202"),
    _EnvelopeVariant("SIG-06", "envelope-in-object", "signed Envelope in the Object of a second signature",
     surround_envelope(HEADER, "ds:Signature ds:Object"), "GW202", "path"),
)
# fmt: on
#: Faults that are found earlier: a forged AckRequested contradicts the agreement, and SyncReply allows no
#: other names.
_INSTEAD: Final = {
    ("envelope-in-header", "AckRequested"): "GW304",
    ("envelope-in-object", "AckRequested"): "GW304",
    ("start-part", "AckRequested"): "GW304",
    ("sync-reply", "Body"): "GW311",
    ("next-handler", "Acknowledgment"): "GW311",
}
#: Everyone on the way may ask the next handler for an acknowledgment (ebMS 2.0 §6.3.1); the request to the
#: To party stays as it was.
_HARMLESS: Final = {("next-handler", "AckRequested")}
#: A prefix for wrappers, so that the elements inside them keep their canonical form.
_DECLARE_WRAPPER_PREFIX: Final = swap_octets(
    "<soap:Envelope ", '<soap:Envelope xmlns:x="urn:example:unknown" '
)


def _make_message_with_target(
    kit: AttackerKit, target: ForgeryTarget, change: OctetMutation | None = None
) -> HttpRequest:
    """Return a message of A, with an Acknowledgment if that is the target."""
    unit = kit.make_unit()
    riders: tuple[Unit, ...] = ()
    if target.name == "Acknowledgment":
        receipt = kit.make_receipt(kit.make_message_id("hub"))
        same = {name: getattr(unit, name) for name in ("message_id", "conversation_id", "timestamp")}
        riders = (replace(receipt, **same),)
    return kit.build_message(unit, riders=riders, envelope=_DECLARE_WRAPPER_PREFIX, tampered=change)


def _make_wrapped_message(
    kit: AttackerKit, target: ForgeryTarget, insert_forged: ForgedElementInsertion
) -> HttpRequest:
    def mutate_octets(data: bytes) -> bytes:
        root = parse_xml(data)
        return serialize_element(
            insert_forged(root, target.forge_copy(get_element(root, target.element_path)), target)
        )

    return _make_message_with_target(kit, target, mutate_octets)


def _make_two_root_message(
    kit: AttackerKit, target: ForgeryTarget, *, puts_forged_first: bool
) -> HttpRequest:
    """Return a message with two envelopes: the first part, and the part that the start parameter names."""
    post = _make_message_with_target(kit, target)
    signed = naive_verifier.split_parts(post)[0].content
    root = parse_xml(signed)
    original = get_element(root, target.element_path)
    replace_element(original, target.forge_copy(original))
    detach_element(get_element(root, SIGNATURE))
    marker = f"--{BOUNDARY}\r\nContent-Type: text/xml\r\nContent-ID: <forged@suite.example>\r\n\r\n".encode()
    forged = marker + serialize_element(root) + b"\r\n"
    if puts_forged_first:
        return replace(post, body=forged + post.body)
    # The signed one must come first where the start parameter names the forged one.
    head, end, rest = post.body.partition(signed + b"\r\n")
    content_type = post.headers["Content-Type"].replace("root@suite.example", "forged@suite.example")
    return replace(
        post, headers={**post.headers, "Content-Type": content_type}, body=head + end + forged + rest
    )


def _make_envelope_attack(target: ForgeryTarget, variant: _EnvelopeVariant) -> WrappingAttack:
    wrapping = make_element_wrapping(
        variant.attack,
        variant.name,
        variant.title,
        target,
        partial(_make_message_with_target, target=target),
        partial(_make_wrapped_message, target=target, insert_forged=variant.insert_forged),
        _INSTEAD.get((variant.name, target.name), variant.problem),
        variant.source,
        naive_search=variant.naive_search,
    )
    return replace(wrapping, expected=ACCEPTED) if (variant.name, target.name) in _HARMLESS else wrapping


def _make_root_part_attack(target: ForgeryTarget, *, puts_forged_first: bool) -> WrappingAttack:
    read, verified = ("first", "start") if puts_forged_first else ("start", "first")
    name = f"{read}-part"
    return make_element_wrapping(
        "SIG-02",
        name,
        f"two envelopes, the forged one is the part read as {read}",
        target,
        partial(_make_message_with_target, target=target),
        partial(_make_two_root_message, target=target, puts_forged_first=puts_forged_first),
        _INSTEAD.get((name, target.name), "GW203" if puts_forged_first else "GW103"),
        _ROOT_PART,
        read_by=read,
        verified_by=verified,
    )


#: Every variant on every element that an ebMS 2.0 envelope is read by.
WRAPPINGS: Final[tuple[WrappingAttack, ...]] = (
    *(_make_envelope_attack(target, variant) for target in _TARGETS for variant in _VARIANTS),
    *(
        _make_root_part_attack(target, puts_forged_first=first)
        for target in _TARGETS
        for first in (True, False)
    ),
)
CASES: Final[tuple[AttackCase, ...]] = tuple(wrapping.attack_case for wrapping in WRAPPINGS)
"""Envelopes with a forged element that no digest sees."""
