"""What is signed and what is read: values that a schema or a trimming makes other ones (SIG-33)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import RequestMaker, make_attack_case
from gateway.conformance.hostile.exchange import LAWFUL, HttpRequest
from gateway.conformance.hostile.octet_mutations import swap_octets
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    expand_name,
    get_element,
    mutate_tree,
    replace_text,
)
from gateway.wire import XSI

__all__ = ["CASES"]

_CAUSE: Final = "the cause of all wrapping: two readings of one text; XML Signature Best Practices §2.2"
_PARTY: Final = "//eb:From/eb:PartyId"
_BODY: Final = "/soap:Envelope/soap:Body/*"
_NUMBER: Final = f"{_BODY}/*[local-name()='ApplicationNumber']"


def _make_message_request(*changes: TreeMutation) -> RequestMaker:
    """Return: a message that A signs after the change."""
    return lambda bench: bench.build_message(envelope=mutate_tree(*changes))


def _make_call_request(*changes: TreeMutation) -> RequestMaker:
    """Return: a call that the agency signs after the change."""
    return lambda bench: bench.build_call(envelope=mutate_tree(*changes))


def _surround_text(path: str, text: str) -> TreeMutation:
    return replace_text(path, lambda value: f"{text}{value}{text}")


def _set_xsi_attribute(path: str, name: str, value: str) -> TreeMutation:
    return lambda root: get_element(root, path).set(f"{{{XSI}}}{name}", value)


def _remove_signed_attribute(root: etree._Element) -> None:
    get_element(root, "//eb:AckRequested").attrib.pop(expand_name("eb:signed"))


def _convert_to_full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


def _make_character_reference_request(bench: AttackerKit) -> HttpRequest:
    """Return a message whose PartyId is written in character references after it was signed."""
    value = bench.make_unit().sender.ids[0].value
    written = "".join(f"&#x{ord(char):x};" for char in value)
    return bench.build_message(tampered=swap_octets(f">{value}<", f">{written}<"))


def _make_schema_hint_request(target: Callable[[AttackerKit, str], HttpRequest]) -> RequestMaker:
    """Return: an Envelope that names a schema at a URL, as it may."""
    hint = f'<soap:Envelope xmlns:xsi="{XSI}" xsi:schemaLocation="urn:x http://169.254.169.254/x.xsd" '
    return lambda bench: target(bench, hint)


_HINTED_MESSAGE: Final = _make_schema_hint_request(
    lambda bench, hint: bench.build_message(envelope=swap_octets("<soap:Envelope ", hint))
)
_HINTED_CALL: Final = _make_schema_hint_request(
    lambda bench, hint: bench.build_call(envelope=swap_octets("<soap:Envelope ", hint))
)

CASES: Final[tuple[AttackCase, ...]] = (
    *(
        make_attack_case(f"SIG-33.{name}", title, make, expected, _CAUSE, naive=True)
        for name, title, make, expected in (
            ("schema-hint", "a schema at a URL is named: nobody needs it", _HINTED_MESSAGE, LAWFUL),
            (
                "references",
                "PartyId in character references: the same text",
                _make_character_reference_request,
                LAWFUL,
            ),
            (
                "no-break-space",
                "PartyId with no-break spaces around it",
                _make_message_request(_surround_text(_PARTY, "\u00a0")),
                "GW107",
            ),
            (
                "zero-width",
                "PartyId with a zero-width space in front",
                _make_message_request(_surround_text(_PARTY, "\u200b")),
                "GW302 GW304",
            ),
            (
                "full-width",
                "PartyId in full-width letters",
                _make_message_request(replace_text(_PARTY, _convert_to_full_width)),
                "GW302 GW304",
            ),
            (
                "case",
                "PartyId in capitals",
                _make_message_request(replace_text(_PARTY, str.upper)),
                "GW302 GW304",
            ),
            (
                "element",
                "an element in PartyId, which some readers pass over",
                _make_message_request(append_element(_PARTY, "<x:more>forged</x:more>")),
                "GW107",
            ),
            (
                "default",
                "AckRequested without eb:signed, which no schema supplies",
                _make_message_request(_remove_signed_attribute),
                "GW107",
            ),
            (
                "type",
                "xsi:type on MessageHeader",
                _make_message_request(_set_xsi_attribute("//eb:MessageHeader", "type", "x:Other")),
                LAWFUL,
            ),
        )
    ),
    *(
        make_attack_case(f"SIG-33.call-{name}", title, make, expected, _CAUSE, face="soap", naive=True)
        for name, title, make, expected in (
            ("schema-hint", "a schema at a URL is named: nobody needs it", _HINTED_CALL, LAWFUL),
            (
                "spaces",
                "white space around a value, which its schema takes away",
                _make_call_request(_surround_text(_NUMBER, "\n ")),
                LAWFUL,
            ),
            (
                "no-break-space",
                "no-break spaces around a number",
                _make_call_request(_surround_text(_NUMBER, "\u00a0")),
                "GW701",
            ),
            (
                "nil",
                "xsi:nil on a number",
                _make_call_request(_set_xsi_attribute(_NUMBER, "nil", "true")),
                "GW402",
            ),
            (
                "type",
                "xsi:type on a number",
                _make_call_request(_set_xsi_attribute(_NUMBER, "type", "x:Other")),
                "GW402",
            ),
            (
                "element",
                "an element in a number",
                _make_call_request(append_element(_NUMBER, "<x:more>forged</x:more>")),
                "GW402",
            ),
            ("twice", "a number stands twice", _make_call_request(duplicate_element(_NUMBER)), "GW402"),
        )
    ),
)
