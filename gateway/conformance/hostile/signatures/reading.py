"""What is signed and what is read: values that a schema or a trimming makes other ones (SIG-33)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    at,
    doubled,
    name_of,
    on_tree,
    replaced_text,
)
from gateway.conformance.hostile.case import LAWFUL, Case, Post
from gateway.conformance.hostile.craft import swap
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import XSI

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.plays import Maker

__all__ = ["CASES"]

_CAUSE: Final = "the cause of all wrapping: two readings of one text; XML Signature Best Practices §2.2"
_PARTY: Final = "//eb:From/eb:PartyId"
_BODY: Final = "/soap:Envelope/soap:Body/*"
_NUMBER: Final = f"{_BODY}/*[local-name()='ApplicationNumber']"


def _message(*changes: Alteration) -> Maker:
    """Return: a message that A signs after the change."""
    return lambda bench: bench.message(envelope=on_tree(*changes))


def _call(*changes: Alteration) -> Maker:
    """Return: a call that the agency signs after the change."""
    return lambda bench: bench.call(envelope=on_tree(*changes))


def _around(path: str, text: str) -> Alteration:
    return replaced_text(path, lambda value: f"{text}{value}{text}")


def _typed(path: str, name: str, value: str) -> Alteration:
    return lambda root: at(root, path).set(f"{{{XSI}}}{name}", value)


def _without_signed(root: etree._Element) -> None:
    at(root, "//eb:AckRequested").attrib.pop(name_of("eb:signed"))


def _full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


def _in_references(bench: Bench) -> Post:
    """Return a message whose PartyId is written in character references after it was signed."""
    value = bench.unit().sender.ids[0].value
    written = "".join(f"&#x{ord(char):x};" for char in value)
    return bench.message(tampered=swap(f">{value}<", f">{written}<"))


def _with_hint(target: Callable[[Bench, str], Post]) -> Maker:
    """Return: an Envelope that names a schema at a URL, as it may."""
    hint = f'<soap:Envelope xmlns:xsi="{XSI}" xsi:schemaLocation="urn:x http://169.254.169.254/x.xsd" '
    return lambda bench: target(bench, hint)


_HINTED_MESSAGE: Final = _with_hint(lambda bench, hint: bench.message(envelope=swap("<soap:Envelope ", hint)))
_HINTED_CALL: Final = _with_hint(lambda bench, hint: bench.call(envelope=swap("<soap:Envelope ", hint)))

CASES: Final[tuple[Case, ...]] = (
    *(
        attack(f"SIG-33.{name}", title, make, expected, _CAUSE, naive=True)
        for name, title, make, expected in (
            ("schema-hint", "a schema at a URL is named: nobody needs it", _HINTED_MESSAGE, LAWFUL),
            ("references", "PartyId in character references: the same text", _in_references, LAWFUL),
            (
                "no-break-space",
                "PartyId with no-break spaces around it",
                _message(_around(_PARTY, "\u00a0")),
                "GW107",
            ),
            (
                "zero-width",
                "PartyId with a zero-width space in front",
                _message(_around(_PARTY, "\u200b")),
                "GW302 GW304",
            ),
            (
                "full-width",
                "PartyId in full-width letters",
                _message(replaced_text(_PARTY, _full_width)),
                "GW302 GW304",
            ),
            ("case", "PartyId in capitals", _message(replaced_text(_PARTY, str.upper)), "GW302 GW304"),
            (
                "element",
                "an element in PartyId, which some readers pass over",
                _message(added(_PARTY, "<x:more>forged</x:more>")),
                "GW107",
            ),
            (
                "default",
                "AckRequested without eb:signed, which no schema supplies",
                _message(_without_signed),
                "GW107",
            ),
            (
                "type",
                "xsi:type on MessageHeader",
                _message(_typed("//eb:MessageHeader", "type", "x:Other")),
                LAWFUL,
            ),
        )
    ),
    *(
        attack(f"SIG-33.call-{name}", title, make, expected, _CAUSE, face="soap", naive=True)
        for name, title, make, expected in (
            ("schema-hint", "a schema at a URL is named: nobody needs it", _HINTED_CALL, LAWFUL),
            (
                "spaces",
                "white space around a value, which its schema takes away",
                _call(_around(_NUMBER, "\n ")),
                LAWFUL,
            ),
            ("no-break-space", "no-break spaces around a number", _call(_around(_NUMBER, "\u00a0")), "GW701"),
            ("nil", "xsi:nil on a number", _call(_typed(_NUMBER, "nil", "true")), "GW402"),
            ("type", "xsi:type on a number", _call(_typed(_NUMBER, "type", "x:Other")), "GW402"),
            ("element", "an element in a number", _call(added(_NUMBER, "<x:more>forged</x:more>")), "GW402"),
            ("twice", "a number stands twice", _call(doubled(_NUMBER)), "GW402"),
        )
    ),
)
