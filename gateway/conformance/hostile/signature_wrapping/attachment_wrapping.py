"""Wrapping of attachments: two parts answer to one ``cid:``, and verifier and reader take different ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from gateway.conformance.hostile import naive_reader
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import expect_refusal
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.octet_mutations import BOUNDARY
from gateway.conformance.hostile.signature_wrapping.wrapping_attack import WrappingAttack

__all__ = ["WRAPPINGS"]

_FORGED: Final = "<forged>900 kg</forged>"
_KIND: Final = "Content-Type: application/xml"
_INNER: Final = "=-inner"

#: Returns the header fields of the forged part, or the whole of it, by the Content-ID it stands for.
_PartWriter = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _WrappingVariant:
    attack: str
    name: str
    title: str
    source: str
    way: str
    write: _PartWriter
    problem: str
    identifier: str = "p1.{}"


def _write_with_fields(*lines: str) -> _PartWriter:
    """Return: a part with these header fields, ``{}`` in them being the Content-ID of the honest one."""

    def write_part(cid: str) -> str:
        head = "\r\n".join([_KIND, *(line.replace("{}", cid) for line in lines)])
        return f"{head}\r\n\r\n{_FORGED}"

    return write_part


def _write_nested_part(cid: str) -> str:
    inner = f"--{_INNER}\r\n{_KIND}\r\nContent-ID: <{cid}>\r\n\r\n{_FORGED}\r\n--{_INNER}--"
    kind = f'Content-Type: multipart/mixed; boundary="{_INNER}"'
    return f"{kind}\r\nContent-ID: <box@suite.example>\r\n\r\n{inner}"


def _write_encoded_id(cid: str) -> str:
    head = f"{_KIND}\r\nContent-ID: <{cid.replace('%', '%25')}>"
    return f"{head}\r\n\r\n{_FORGED}"


def _write_upper_case_id(cid: str) -> str:
    return f"{_KIND}\r\nContent-ID: <{cid.upper()}>\r\n\r\n{_FORGED}"


_MULTIPART: Final = "RFC 2387, RFC 2392; attachment injection, no published corpus"
_VARIANTS: Final = (
    _WrappingVariant(
        "SIG-15",
        "same-content-id",
        "forged part before the signed one, with its Content-ID",
        _MULTIPART,
        "first",
        _write_with_fields("Content-ID: <{}>"),
        "GW103",
    ),
    _WrappingVariant(
        "SIG-15",
        "bare-content-id",
        "the same, its Content-ID without angle brackets",
        _MULTIPART,
        "first",
        _write_with_fields("Content-ID: {}"),
        "GW103",
    ),
    _WrappingVariant(
        "SIG-14",
        "first-by-position",
        "forged part is the first attachment",
        _MULTIPART,
        "position",
        _write_with_fields("Content-ID: <first@suite.example>"),
        "GW203",
    ),
    _WrappingVariant(
        "SIG-14",
        "no-content-id",
        "forged part without Content-ID is the first attachment",
        _MULTIPART,
        "position",
        _write_with_fields("Content-Description: first"),
        "GW103",
    ),
    _WrappingVariant(
        "SIG-14",
        "other-case",
        "forged part whose Content-ID differs in case",
        _MULTIPART,
        "any case",
        _write_upper_case_id,
        "GW103",
    ),
    _WrappingVariant(
        "SIG-14",
        "content-location",
        "forged part names itself by Content-Location",
        "SOAP with Attachments, chapter 3",
        "location",
        _write_with_fields("Content-ID: <location@suite.example>", "Content-Location: cid:{}"),
        "GW203",
    ),
    _WrappingVariant(
        "SIG-14",
        "percent-encoded",
        "forged part whose Content-ID is the encoded spelling of the URI",
        "RFC 2392 §2",
        "literal",
        _write_encoded_id,
        "GW103",
        "p1%.{}",
    ),
    _WrappingVariant(
        "SIG-14",
        "plus-for-space",
        "forged part whose Content-ID has a space for a plus",
        "RFC 2392 §2",
        "plus",
        lambda cid: _write_with_fields("Content-ID: <{}>")(cid.replace("+", " ")),
        "GW103",
        "p+1.{}",
    ),
    _WrappingVariant(
        "SIG-14",
        "two-content-ids",
        "forged part with two Content-ID fields, the second that of the signed one",
        "RFC 5322 §3.6: at most once",
        "any field",
        _write_with_fields("Content-ID: <second@suite.example>", "Content-ID: <{}>"),
        "GW103",
    ),
    _WrappingVariant(
        "SIG-14",
        "comment-in-content-id",
        "forged part with a comment in its Content-ID",
        "RFC 2045 §7, RFC 822 comments",
        "comments",
        _write_with_fields("Content-ID: (of the suite) <{}>"),
        "GW103",
    ),
    _WrappingVariant(
        "SIG-14",
        "longer-content-id",
        "forged part whose Content-ID begins with that of the signed one",
        _MULTIPART,
        "prefix",
        _write_with_fields("Content-ID: <{}.2>"),
        "GW203",
    ),
    _WrappingVariant(
        "SIG-14",
        "nested-multipart",
        "forged part inside a multipart part",
        "RFC 2046 §5.1; no published test",
        "first",
        _write_nested_part,
        "GW103",
    ),
)


def _make_message(bench: AttackerKit, identifier: str) -> HttpRequest:
    unit = bench.make_unit()
    first, *others = unit.payloads
    named = replace(first, content_id=identifier.replace("{}", unit.message_id))
    return bench.build_message(replace(unit, payloads=(named, *others)))


def _make_injected_message(bench: AttackerKit, variant: _WrappingVariant) -> HttpRequest:
    """Return a message with a forged part between its envelope and its attachments."""
    post = _make_message(bench, variant.identifier)
    cid = naive_reader.split_parts(post)[1].content_id
    marker = f"--{BOUNDARY}\r\n".encode()
    start, root, *rest = post.body.split(marker)
    return replace(post, body=marker.join([start, root, variant.write(cid).encode() + b"\r\n", *rest]))


def _read_part_text(post: HttpRequest, way: str) -> str | None:
    found = naive_reader.read_content(post, way)
    return None if found is None else found.decode("utf-8", "replace")


def _make_wrapping_attack(variant: _WrappingVariant) -> WrappingAttack:
    return WrappingAttack(
        attack=variant.attack,
        variant=variant.name,
        target="cid",
        title=variant.title,
        source=variant.source,
        face="ebms2",
        control=partial(_make_message, identifier=variant.identifier),
        make=partial(_make_injected_message, variant=variant),
        accepts_request=naive_reader.accepts_request,
        read_target=partial(_read_part_text, way=variant.way),
        forged=_FORGED,
        expected=expect_refusal(variant.problem),
    )


#: Every variant on the first attachment of a message.
WRAPPINGS: Final = tuple(map(_make_wrapping_attack, _VARIANTS))
