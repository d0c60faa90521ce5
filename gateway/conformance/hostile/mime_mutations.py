"""Parts of a multipart message, put together so that two readers see two messages, or one reads for ever."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.exchange import LAWFUL
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.message_mutation import BOUNDARY, OctetMutation
from gateway.conformance.hostile.xml_bombs import expect_early_refusal

__all__ = [
    "END",
    "MARK",
    "add_part_headers",
    "append_epilogue",
    "encode_part_content",
    "insert_parts",
    "make_body_case",
    "make_content_type_case",
    "replace_in_content_type",
]

MARK: Final = f"--{BOUNDARY}".encode()
END: Final = b"\r\n" + MARK + b"--"
_SECOND: Final = re.compile(rb"(Content-ID: <p2\.[^>]*>\r\n)\r\n(.*?)(?=\r\n--=-boundary)", re.DOTALL)


def make_body_case(name: str, title: str, change: OctetMutation, expected: str, source: str) -> AttackCase:
    """Return the case of a message whose body is changed; `expected` "" says that it must be taken."""
    must = expect_early_refusal(*expected.split()) if expected else LAWFUL
    return make_attack_case(name, title, lambda bench: bench.build_message(body=change), must, source)


def make_content_type_case(
    name: str, title: str, content_type: Callable[[str], str], expected: str, source: str
) -> AttackCase:
    """Return the case of a message whose Content-Type is changed."""
    must = expect_early_refusal(*expected.split()) if expected else LAWFUL
    return make_attack_case(
        name, title, lambda bench: bench.build_message(content_type=content_type), must, source
    )


def insert_parts(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts octets where the final boundary begins, their own boundaries included."""

    def mutate_octets(data: bytes) -> bytes:
        head, end, tail = data.rpartition(END)
        if not end:
            raise LookupError("the message has no final boundary")
        return head + content() + end + tail

    return mutate_octets


def append_epilogue(content: bytes) -> OctetMutation:
    """Return the change that puts octets behind the final boundary."""
    return lambda data: data + content


def _rewrite_second_part(build: Callable[[bytes, bytes], bytes]) -> OctetMutation:
    def mutate_octets(data: bytes) -> bytes:
        changed, count = _SECOND.subn(lambda found: build(found[1], found[2]), data)
        if count != 1:
            raise LookupError("the message has no second payload")
        return changed

    return mutate_octets


def add_part_headers(*lines: bytes) -> OctetMutation:
    """Return the change that gives the second payload further header fields."""
    return _rewrite_second_part(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + content
    )


def encode_part_content(encode: Callable[[bytes], bytes], *lines: bytes) -> OctetMutation:
    """Return the change that writes the second payload otherwise, under further header fields."""
    return _rewrite_second_part(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + encode(content)
    )


def replace_in_content_type(old: str, new: str) -> Callable[[str], str]:
    """Return the change of a Content-Type that must find what it exchanges."""

    def replace_text(value: str) -> str:
        if old not in value:
            raise LookupError(f"not in the Content-Type: {old}")
        return value.replace(old, new, 1)

    return replace_text
