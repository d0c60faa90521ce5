"""Octets that cost their reader more than their writer, put where a gateway has to read them.

Nothing here needs a key: whoever reaches the gateway can send it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gateway.conformance.hostile.case import Case, Expected
from gateway.conformance.hostile.craft import Change
from gateway.conformance.hostile.plays import refusal
from gateway.conformance.hostile.tampered import attack

__all__ = [
    "NUMBERED",
    "attributes",
    "both_faces",
    "declarations",
    "in_body",
    "in_header",
    "in_signature",
    "instead",
    "nested",
    "refused_at_once",
    "repeated",
    "root_says",
    "starting_with",
]

_HEADER_END: Final = re.compile(rb"</[\w.-]+:Header>")
_BODY_START: Final = re.compile(rb"<[\w.-]+:Body\b[^>]*>")
_SIGNED_INFO_END: Final = re.compile(rb"</[\w.-]+:SignedInfo>")
_ROOT: Final = re.compile(rb"<[\w.-]+:Envelope\b")

#: A header block that no gateway knows and none must understand.
_UNKNOWN: Final = b'<x:unknown xmlns:x="urn:example:unknown">'
NUMBERED: Final = b"%d"
"""Where `repeated` puts a running number."""


def refused_at_once(*problems: str) -> Expected:
    """Return the expectation of a refusal by `problems`, by a message or by HTTP alone."""
    return refusal(*problems, http=(400, 413, 415, 422, 431))


def both_faces(
    name: str, title: str, change: Change, problems: str, source: str, *, signed: bool = True
) -> tuple[Case, Case]:
    """Return the case for messages and, as ``name-call``, for calls: `change` is made after signing."""
    must = refused_at_once(*problems.split())
    return (
        attack(name, title, lambda bench: bench.message(signed=signed, tampered=change), must, source),
        attack(
            f"{name}-call",
            title,
            lambda bench: bench.call(signed=signed, tampered=change),
            must,
            source,
            face="soap",
        ),
    )


def _at(place: re.Pattern[bytes], content: Callable[[], bytes], *, after: bool) -> Change:
    def change(data: bytes) -> bytes:
        found = place.search(data)
        if found is None:
            raise LookupError(f"not in the message: {place.pattern!r}")
        position = found.end() if after else found.start()
        return data[:position] + content() + data[position:]

    return change


def in_header(content: Callable[[], bytes]) -> Change:
    """Return the change that puts `content` into an unknown header block, the last one."""
    return _at(_HEADER_END, lambda: _UNKNOWN + content() + b"</x:unknown>", after=False)


def in_body(content: Callable[[], bytes]) -> Change:
    """Return the change that puts `content` first into the Body."""
    return _at(_BODY_START, content, after=True)


def in_signature(content: Callable[[], bytes]) -> Change:
    """Return the change that puts `content` last into SignedInfo."""
    return _at(_SIGNED_INFO_END, content, after=False)


def root_says(declared: Callable[[], bytes]) -> Change:
    """Return the change that puts attributes or declarations on the Envelope."""
    return _at(_ROOT, lambda: b" " + declared(), after=True)


def starting_with(prolog: Callable[[], bytes]) -> Change:
    """Return the change that puts `prolog` before the envelope."""
    return lambda data: prolog() + data


def instead(content: Callable[[], bytes]) -> Change:
    """Return the change that sends `content` in place of the envelope."""
    return lambda _: content()


def repeated(piece: bytes, count: int) -> Callable[[], bytes]:
    """Return what makes `piece` so many times, with a running number where it has one."""
    if NUMBERED not in piece:
        return lambda: piece * count
    return lambda: b"".join(piece.replace(NUMBERED, b"%d" % number) for number in range(count))


def nested(depth: int, name: bytes = b"x:n", inner: bytes = b"") -> Callable[[], bytes]:
    """Return what nests elements so deep."""
    return lambda: b"<%s>" % name * depth + inner + b"</%s>" % name * depth


def attributes(count: int, piece: bytes = b'a%d="" ') -> Callable[[], bytes]:
    """Return an element with so many attributes."""
    return lambda: b"<x:a " + repeated(piece, count)() + b"/>"


def declarations(count: int, inner: Iterable[bytes] = ()) -> Callable[[], bytes]:
    """Return an element that declares so many namespaces, with `inner` in it."""
    return lambda: b"<x:d " + repeated(b'xmlns:p%d="urn:p" ', count)() + b">" + b"".join(inner) + b"</x:d>"
