"""Wrapping of elements that a signature names by wsu:Id, in SOAP calls and AS4 messages (SIG-01 to SIG-09).

The signed element is moved to a place where the verifier still finds it by its Id. A forged element takes its
place, where the service reads it. Whole envelopes of AS4 are wrapped as those of ebMS 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, NamedTuple

from lxml import etree

from gateway_conformance.hostile.attack_cases import (
    BODY,
    HEADER,
    SECURITY,
    AttackCase,
    RequestMaker,
    build_tampered_call,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit, make_as4_kit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    expand_name,
    find_element,
    get_element,
    mutate_tree,
    parse_element,
)
from gateway_conformance.hostile.exchange import HttpRequest
from gateway_conformance.hostile.signature_wrapping import (
    ForgedElementInsertion,
    ForgeryTarget,
    WrappingAttack,
    make_element_wrapping,
    replace_element,
    surround_envelope,
)

_WSU_ID: Final = expand_name("wsu:Id")
# fmt: off
_TARGETS: Final = (
    ForgeryTarget("CallBody", "soap:Body", "*/*[local-name()='ReceiptNumber']", "FORGED"),
    ForgeryTarget("Timestamp", "soap:Header/wsse:Security/wsu:Timestamp", "wsu:Expires",
     "2999-12-31T23:59:59Z"),
    ForgeryTarget("MessageID", "soap:Header/wsa:MessageID", ".", "urn:uuid:forged"),
)
# fmt: on

#: Moves the signed element; the forged element is already in its place.
SignedElementMove = Callable[[etree._Element, etree._Element, etree._Element], None]


def move_into(path: str, *wrapper_names: str, inserts_first: bool = False) -> SignedElementMove:
    """Return the move of the signed element to below `path`, inside new elements named `wrapper_names`."""

    def move_signed(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
        parent = forged if path == "." else get_element(root, path)
        for name in wrapper_names:
            wrapper = find_element(parent, name)
            child = parse_element(f"<{name}/>") if wrapper is None else wrapper
            parent.insert(0 if inserts_first else len(parent), child)
            parent = child
        parent.insert(0 if inserts_first else len(parent), original)

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

    `naive_search` is how the naive gateway finds its target, `identifier` the Id of the forged element.
    `problems` refuse each of the three targets in a call, mostly for their structure, before the signature is
    checked.
    """

    attack: str
    name: str
    title: str
    move_signed: SignedElementMove
    naive_search: str = "path"
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
#: The ways of moving the signed element, for calls and for AS4.
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
     move_into(HEADER, inserts_first=True), "last"),
    WrappingVariant("SIG-08", "same-id-in-header",
     "two elements with one wsu:Id, the signed one in an unknown header block",
     move_into(HEADER, "x:Wrapper", inserts_first=True), identifier="same"),
    WrappingVariant("SIG-08", "same-id-before", "two elements with one wsu:Id, the signed one first",
     _move_before, "last", identifier="same", problems=_TIME_FIRST),
    WrappingVariant("SIG-09", "plain-id", "the forged element has the Id in an attribute without namespace",
     move_into(HEADER, "x:Wrapper", inserts_first=True), identifier="plain"),
    WrappingVariant("SIG-09", "xml-id", "the forged element has the Id as xml:id",
     move_into(HEADER, "x:Wrapper", inserts_first=True), identifier="xml"),
)
# fmt: on


def wrap_element(variant: WrappingVariant, target: ForgeryTarget) -> TreeMutation:
    """Return the change that forges an element and moves the signed one."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, f"/soap:Envelope/{target.element_path}")
        forged = target.forge_copy(original)
        identifier = str(forged.attrib.pop(_WSU_ID))
        if variant.identifier in _IDENTIFIERS:
            attribute_name, value_template = _IDENTIFIERS[variant.identifier]
            forged.set(expand_name(attribute_name), value_template.format(identifier))
        replace_element(original, forged)
        variant.move_signed(root, original, forged)

    return alter_tree


def _make_call_attack(target: ForgeryTarget, variant: WrappingVariant) -> WrappingAttack:
    return make_element_wrapping(
        variant.attack,
        variant.name,
        variant.title,
        target,
        build_tampered_call,
        lambda kit: build_tampered_call(kit, wrap_element(variant, target)),
        variant.problems[_TARGETS.index(target)],
        "McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; WS-Attacker",
        face="soap",
        naive_search=variant.naive_search,
    )


_AS4_SOURCE: Final = (
    "McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; no published test of AS4"
)
_MESSAGING: Final = f"{HEADER}/eb:Messaging"


def _move_with_signature(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    """Move the Security header into the forged element, and the signed element into the Security header."""
    security = get_element(root, SECURITY)
    forged.append(security)
    security.append(original)


@dataclass(frozen=True, slots=True)
class _EnvelopeVariant:
    """How a whole envelope is wrapped: where the signed one is put in the forged one."""

    attack: str
    name: str
    title: str
    insert_forged: ForgedElementInsertion


# fmt: off
_AS4_TARGETS: Final = (
    ForgeryTarget("Messaging", "soap12:Header/eb3:Messaging",
     "eb3:UserMessage/eb3:CollaborationInfo/eb3:ConversationId", "forged-conversation"),
    ForgeryTarget("As4Body", "soap12:Body", "*", "forged", append_element(".",
    "<x:Forged>forged</x:Forged>")),
)

#: Moves that only eb:Messaging has a place for.
_OWN_VARIANTS: Final = (
    WrappingVariant("SIG-04", "signature-in-forged",
     "Security header moved into the forged eb:Messaging, signed element inside it", _move_with_signature),
    WrappingVariant("SIG-05", "in-user-message", "signed element at the end of a forged eb:UserMessage",
     move_into(f"{_MESSAGING}/eb:UserMessage", "x:Wrapper")),
    WrappingVariant("SIG-05", "in-token", "signed element inside the token",
     move_into(f"{SECURITY}/wsse:BinarySecurityToken", "x:Wrapper")),
)

#: Whole envelopes.
_ENVELOPES: Final = (
    _EnvelopeVariant("SIG-01", "envelope-in-object",
     "signed Envelope in the Object of a signature of the forged one",
     surround_envelope(HEADER, "ds:Signature ds:Object")),
    _EnvelopeVariant("SIG-03", "envelope-in-header", "signed Envelope in the Header of a forged one",
     surround_envelope(HEADER, "x:Wrapper")),
    _EnvelopeVariant("SIG-03", "envelope-in-body", "signed Envelope in the Body of a forged one",
     surround_envelope(BODY)),
    _EnvelopeVariant("SIG-03", "envelope-behind-body", "signed Envelope behind the Body of a forged one",
     surround_envelope("/soap:Envelope")),
    _EnvelopeVariant("SIG-05", "envelope-in-messaging",
     "signed Envelope in the extension point of a forged eb:Messaging",
     surround_envelope(_MESSAGING, "x:Wrapper")),
)
# fmt: on
#: Variants whose structure is wrong whichever element they move; others are refused for content of the Body.
_MALFORMED_VARIANTS: Final = ("before", "after", "behind-body", "bare-in-header", "same-id-before")


def _find_problem(variant: str, target: ForgeryTarget) -> str:
    malformed = variant in _MALFORMED_VARIANTS or variant.startswith("envelope-")
    return "GW107" if malformed or target.name == "Messaging" else "GW311"


def _build_as4_message(kit: AttackerKit) -> HttpRequest:
    return make_as4_kit(kit).build_message()


def _build_changed_as4_message(change: TreeMutation) -> RequestMaker:
    return lambda kit: make_as4_kit(kit).build_message(tampered=mutate_tree(change))


def _build_wrapped_message(insert_forged: ForgedElementInsertion, target: ForgeryTarget) -> RequestMaker:
    """Return the step that sends a forged envelope with the signed one in it."""

    def wrap_envelope(root: etree._Element) -> None:
        signed = deepcopy(root)
        outer = insert_forged(
            signed, target.forge_copy(get_element(signed, f"/soap:Envelope/{target.element_path}")), target
        )
        signed_elements = set(signed.iter())
        for element in outer.iter():
            if element not in signed_elements:
                element.attrib.pop(_WSU_ID, "")
        root[:] = list(outer)

    return _build_changed_as4_message(wrap_envelope)


def _make_move_attack(target: ForgeryTarget, variant: WrappingVariant) -> WrappingAttack:
    make_forged = _build_changed_as4_message(wrap_element(variant, target))
    return _make_message_attack(target, variant, make_forged, variant.naive_search)


def _make_envelope_attack(target: ForgeryTarget, variant: _EnvelopeVariant) -> WrappingAttack:
    return _make_message_attack(target, variant, _build_wrapped_message(variant.insert_forged, target))


def _make_message_attack(
    target: ForgeryTarget,
    variant: WrappingVariant | _EnvelopeVariant,
    make_forged: RequestMaker,
    naive_search: str = "path",
) -> WrappingAttack:
    """Return the wrapping of a part of an AS4 message, whose request `make_forged` makes.

    `naive_search` is how the naive gateway finds its target.
    """
    return make_element_wrapping(
        variant.attack,
        f"as4-{variant.name}",
        variant.title,
        target,
        _build_as4_message,
        make_forged,
        _find_problem(variant.name, target),
        _AS4_SOURCE,
        face="as4",
        naive_search=naive_search,
    )


#: Every variant on each part of a call that the gateway reads, on eb:Messaging, and on the Body of AS4.
WRAPPINGS: Final[tuple[WrappingAttack, ...]] = (
    *(_make_call_attack(target, variant) for target in _TARGETS for variant in VARIANTS),
    *(_make_move_attack(target, variant) for target in _AS4_TARGETS for variant in VARIANTS),
    *(_make_move_attack(_AS4_TARGETS[0], variant) for variant in _OWN_VARIANTS),
    *(_make_envelope_attack(target, variant) for target in _AS4_TARGETS for variant in _ENVELOPES),
)
CASES: Final[tuple[AttackCase, ...]] = tuple(wrapping.attack_case for wrapping in WRAPPINGS)
"""Calls and messages whose signed element, or envelope, is moved."""
