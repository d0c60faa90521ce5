"""Octets that cost their reader more than their writer, put where a gateway has to read them.

Nothing here needs a key: whoever reaches the gateway can send it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.exchange import Expectation
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.message_mutation import OctetMutation
from gateway.conformance.hostile.scenarios import expect_refusal

__all__ = [
    "NUMBERED",
    "add_root_attributes",
    "build_attribute_element",
    "build_declaration_element",
    "expect_early_refusal",
    "insert_in_body",
    "insert_in_header",
    "insert_in_signature",
    "make_both_face_cases",
    "nest_elements",
    "prepend_prolog",
    "repeat_piece",
    "replace_envelope",
]

_HEADER_END: Final = re.compile(rb"</[\w.-]+:Header>")
_BODY_START: Final = re.compile(rb"<[\w.-]+:Body\b[^>]*>")
_SIGNED_INFO_END: Final = re.compile(rb"</[\w.-]+:SignedInfo>")
_ROOT: Final = re.compile(rb"<[\w.-]+:Envelope\b")

#: A header block that no gateway knows and none must understand.
_UNKNOWN: Final = b'<x:unknown xmlns:x="urn:example:unknown">'
NUMBERED: Final = b"%d"
"""Where `repeat_piece` puts a running number."""


def expect_early_refusal(*problems: str) -> Expectation:
    """Return the expectation of a refusal by `problems`, by a message or by HTTP alone."""
    return expect_refusal(*problems, http=(400, 413, 415, 422, 431))


def make_both_face_cases(
    name: str, title: str, change: OctetMutation, problems: str, source: str, *, signed: bool = True
) -> tuple[AttackCase, AttackCase]:
    """Return the case for messages and, as ``name-call``, for calls: `change` is made after signing."""
    must = expect_early_refusal(*problems.split())
    return (
        make_attack_case(
            name, title, lambda bench: bench.build_message(signed=signed, tampered=change), must, source
        ),
        make_attack_case(
            f"{name}-call",
            title,
            lambda bench: bench.build_call(signed=signed, tampered=change),
            must,
            source,
            face="soap",
        ),
    )


def _insert_at_pattern(
    place: re.Pattern[bytes], content: Callable[[], bytes], *, after: bool
) -> OctetMutation:
    def insert_content(data: bytes) -> bytes:
        found = place.search(data)
        if found is None:
            raise LookupError(f"not in the message: {place.pattern!r}")
        position = found.end() if after else found.start()
        return data[:position] + content() + data[position:]

    return insert_content


def insert_in_header(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` into an unknown header block, the last one."""
    return _insert_at_pattern(_HEADER_END, lambda: _UNKNOWN + content() + b"</x:unknown>", after=False)


def insert_in_body(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` first into the Body."""
    return _insert_at_pattern(_BODY_START, content, after=True)


def insert_in_signature(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` last into SignedInfo."""
    return _insert_at_pattern(_SIGNED_INFO_END, content, after=False)


def add_root_attributes(declared: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts attributes or declarations on the Envelope."""
    return _insert_at_pattern(_ROOT, lambda: b" " + declared(), after=True)


def prepend_prolog(prolog: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `prolog` before the envelope."""
    return lambda data: prolog() + data


def replace_envelope(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that sends `content` in place of the envelope."""
    return lambda _: content()


def repeat_piece(piece: bytes, count: int) -> Callable[[], bytes]:
    """Return what makes `piece` so many times, with a running number where it has one."""
    if NUMBERED not in piece:
        return lambda: piece * count
    return lambda: b"".join(piece.replace(NUMBERED, b"%d" % number) for number in range(count))


def nest_elements(depth: int, name: bytes = b"x:n", inner: bytes = b"") -> Callable[[], bytes]:
    """Return what nests elements so deep."""
    return lambda: b"<%s>" % name * depth + inner + b"</%s>" % name * depth


def build_attribute_element(count: int, piece: bytes = b'a%d="" ') -> Callable[[], bytes]:
    """Return an element with so many attributes."""
    return lambda: b"<x:a " + repeat_piece(piece, count)() + b"/>"


def build_declaration_element(count: int, inner: Iterable[bytes] = ()) -> Callable[[], bytes]:
    """Return an element that declares so many namespaces, with `inner` in it."""
    return lambda: (
        b"<x:d " + repeat_piece(b'xmlns:p%d="urn:p" ', count)() + b">" + b"".join(inner) + b"</x:d>"
    )
