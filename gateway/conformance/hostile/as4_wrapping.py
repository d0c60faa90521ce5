"""Wrapping of AS4 messages, whose references name eb:Messaging and the Body by wsu:Id (SIG-01 to SIG-09).

What is signed is moved as in a call (`call_wrapping`); whole envelopes are wrapped as those of ebMS 2.0.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Final

from lxml import etree

from gateway.conformance.hostile.as4_kit import make_as4_kit
from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.call_wrapping import VARIANTS, WrappingVariant, move_into, wrap_element
from gateway.conformance.hostile.case_builders import BODY, HEADER, SECURITY, RequestMaker
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.signature_wrapping import (
    ForgedPlacement,
    ForgeryTarget,
    WrappingAttack,
    make_element_wrapping,
    surround_envelope,
)
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    expand_name,
    get_element,
    mutate_tree,
)

__all__ = ["CASES", "WRAPPINGS"]

_SOURCE: Final = "McIntosh & Austel, XML Signature Element Wrapping Attacks, 2005; no published test of AS4"
_MESSAGING: Final = f"{HEADER}/eb:Messaging"
_ID: Final = expand_name("wsu:Id")


def _move_with_signature(root: etree._Element, original: etree._Element, forged: etree._Element) -> None:
    """Move the Security header into the forged element, and what is signed into the header."""
    security = get_element(root, SECURITY)
    forged.append(security)
    security.append(original)


# fmt: off
_TARGETS: Final = (
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

#: Whole envelopes: attack, variant, title, and where the signed one is put.
_ENVELOPES: Final[tuple[tuple[str, str, str, ForgedPlacement], ...]] = (
    ("SIG-01", "envelope-in-object", "signed Envelope in the Object of a signature of the forged one",
     surround_envelope(HEADER, "ds:Signature ds:Object")),
    ("SIG-03", "envelope-in-header", "signed Envelope in the Header of a forged one",
     surround_envelope(HEADER, "x:Wrapper")),
    ("SIG-03", "envelope-in-body", "signed Envelope in the Body of a forged one", surround_envelope(BODY)),
    ("SIG-03", "envelope-behind-body", "signed Envelope behind the Body of a forged one",
     surround_envelope("/soap:Envelope")),
    ("SIG-05", "envelope-in-messaging", "signed Envelope in the extension point of a forged eb:Messaging",
     surround_envelope(_MESSAGING, "x:Wrapper")),
)
# fmt: on
#: Variants whose structure is wrong whichever element they move; else a Body with content is what is refused.
_MALFORMED: Final = ("before", "after", "behind-body", "bare-in-header", "same-id-before")


def _find_problem(variant: str, target: ForgeryTarget) -> str:
    malformed = variant in _MALFORMED or variant.startswith("envelope-")
    return "GW107" if malformed or target.name == "Messaging" else "GW311"


def _build_message(kit: AttackerKit) -> HttpRequest:
    return make_as4_kit(kit).build_message()


def _build_changed_message(change: TreeMutation) -> RequestMaker:
    return lambda kit: make_as4_kit(kit).build_message(tampered=mutate_tree(change))


def _build_wrapped_message(place: ForgedPlacement, target: ForgeryTarget) -> RequestMaker:
    """Return the step that sends a forged envelope with the signed one in it."""

    def wrap_envelope(root: etree._Element) -> None:
        signed = deepcopy(root)
        outer = place(signed, target.forge_copy(get_element(signed, f"/soap:Envelope/{target.path}")), target)
        inside = set(signed.iter())
        for one in outer.iter():
            if one not in inside:
                one.attrib.pop(_ID, "")
        root[:] = list(outer)

    return _build_changed_message(wrap_envelope)


def _make_move(target: ForgeryTarget, variant: WrappingVariant) -> WrappingAttack:
    return make_element_wrapping(
        (variant.attack, f"as4-{variant.name}", variant.title),
        target,
        _build_message,
        _build_changed_message(wrap_element(variant, target)),
        _find_problem(variant.name, target),
        _SOURCE,
        face="as4",
        way=variant.way,
    )


def _make_envelope_attack(
    target: ForgeryTarget, row: tuple[str, str, str, ForgedPlacement]
) -> WrappingAttack:
    attack, name, title, place = row
    return make_element_wrapping(
        (attack, f"as4-{name}", title),
        target,
        _build_message,
        _build_wrapped_message(place, target),
        _find_problem(name, target),
        _SOURCE,
        face="as4",
    )


#: Every variant on eb:Messaging and on the Body.
WRAPPINGS: Final[tuple[WrappingAttack, ...]] = (
    *(_make_move(target, variant) for target in _TARGETS for variant in VARIANTS),
    *(_make_move(_TARGETS[0], variant) for variant in _OWN_VARIANTS),
    *(_make_envelope_attack(target, row) for target in _TARGETS for row in _ENVELOPES),
)
CASES: Final[tuple[AttackCase, ...]] = tuple(wrapping.attack_case for wrapping in WRAPPINGS)
"""Messages whose signed element, or envelope, is moved."""
