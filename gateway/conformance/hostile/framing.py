"""Parts of a multipart message, put together so that two readers see two messages, or one reads for ever."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gateway.conformance.hostile.bombs import refused_at_once
from gateway.conformance.hostile.case import LAWFUL, Case
from gateway.conformance.hostile.craft import BOUNDARY, Change
from gateway.conformance.hostile.tampered import attack

__all__ = [
    "END",
    "MARK",
    "appended",
    "body_case",
    "parts_between",
    "saying",
    "typed_case",
    "with_content",
    "with_header",
]

MARK: Final = f"--{BOUNDARY}".encode()
END: Final = b"\r\n" + MARK + b"--"
_SECOND: Final = re.compile(rb"(Content-ID: <p2\.[^>]*>\r\n)\r\n(.*?)(?=\r\n--=-boundary)", re.DOTALL)


def body_case(name: str, title: str, change: Change, expected: str, source: str) -> Case:
    """Return the case of a message whose body is changed; `expected` "" says that it must be taken."""
    must = refused_at_once(*expected.split()) if expected else LAWFUL
    return attack(name, title, lambda bench: bench.message(body=change), must, source)


def typed_case(name: str, title: str, content_type: Callable[[str], str], expected: str, source: str) -> Case:
    """Return the case of a message whose Content-Type is changed."""
    must = refused_at_once(*expected.split()) if expected else LAWFUL
    return attack(name, title, lambda bench: bench.message(content_type=content_type), must, source)


def parts_between(content: Callable[[], bytes]) -> Change:
    """Return the change that puts octets where the final boundary begins, their own boundaries included."""

    def change(data: bytes) -> bytes:
        head, end, tail = data.rpartition(END)
        if not end:
            raise LookupError("the message has no final boundary")
        return head + content() + end + tail

    return change


def appended(content: bytes) -> Change:
    """Return the change that puts octets behind the final boundary."""
    return lambda data: data + content


def _second(build: Callable[[bytes, bytes], bytes]) -> Change:
    def change(data: bytes) -> bytes:
        changed, count = _SECOND.subn(lambda found: build(found[1], found[2]), data)
        if count != 1:
            raise LookupError("the message has no second payload")
        return changed

    return change


def with_header(*lines: bytes) -> Change:
    """Return the change that gives the second payload further header fields."""
    return _second(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + content
    )


def with_content(encode: Callable[[bytes], bytes], *lines: bytes) -> Change:
    """Return the change that writes the second payload otherwise, under further header fields."""
    return _second(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + encode(content)
    )


def saying(old: str, new: str) -> Callable[[str], str]:
    """Return the change of a Content-Type that must find what it exchanges."""

    def change(value: str) -> str:
        if old not in value:
            raise LookupError(f"not in the Content-Type: {old}")
        return value.replace(old, new, 1)

    return change
