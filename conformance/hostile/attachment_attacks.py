"""Attacks on attachments: added, removed, swapped, re-encoded, renamed (SIG-14 to SIG-16).

Wrapping is included: two parts match one ``cid:``, and verifier and reader use different ones.
"""

from __future__ import annotations

import base64
import gzip
import quopri
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from gateway.message_model import Payload
from gateway.wire import MimePart
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    change_body,
    expect_refusal,
    make_sourced_cases,
    make_table_cases,
    sign_as_written,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    MARK,
    OctetMutation,
    append_element,
    append_epilogue,
    swap_octets,
)
from gateway_conformance.hostile.exchange import ACCEPTED, LAWFUL, HttpRequest
from gateway_conformance.hostile.signature_wrapping import WrappingAttack

_INJECTION: Final = "attachment injection; no published corpus for ebMS 2.0"
_SWAP: Final = "attachment swapping; no published corpus for ebMS 2.0"
_TYPE: Final = "WS-Security SwA profile 1.1: content against complete; ebMS 2.0 §4.1.3 signs contents"
_CODED: Final = "RFC 2045 §6: what a transfer encoding stands for"
_FIRST_TYPE: Final = "Content-Type: application/xml"
_FORGED_CONTENT: Final = "<forged>900 kg</forged>"
_INNER: Final = "=-inner"
_MULTIPART: Final = "RFC 2387, RFC 2392; attachment injection, no published corpus"


def _change_parts(change: Callable[[list[MimePart]], list[MimePart]]) -> RequestMaker:
    return lambda kit: kit.build_message(parts=change)


def _forge_part(content_id: str, content: bytes = b"<forged/>") -> MimePart:
    return MimePart({"content-type": "application/xml"}, content_id, "application/xml", content)


def _change_attachment(change: OctetMutation, fields: Mapping[str, str] | None = None) -> RequestMaker:
    """Return the step that changes the content of the first attachment and adds header fields."""

    def replace_first_part(parts: list[MimePart]) -> list[MimePart]:
        first, *others = parts
        headers = {**first.headers, **(fields or {})}
        return [replace(first, headers=headers, octets=change(first.content)), *others]

    return _change_parts(replace_first_part)


def _swap_between_parts(part_field: str) -> RequestMaker:
    """Return the step that swaps a header `part_field` of the two attachments."""

    def swap_field(parts: list[MimePart]) -> list[MimePart]:
        first_part, second_part = parts
        first, second = (
            {part_field: getattr(second_part, part_field)},
            {part_field: getattr(first_part, part_field)},
        )
        return [replace(first_part, **first), replace(second_part, **second)]

    return _change_parts(swap_field)


def _send_foreign_part(kit: AttackerKit) -> HttpRequest:
    """Return a message of A with the first attachment of another message of A."""
    second_unit = kit.make_unit(payloads=(Payload("p1.other@suite.example", "application/xml", b"<other/>"),))
    return kit.build_message(
        parts=lambda parts: [replace(parts[0], octets=second_unit.payloads[0].content), *parts[1:]]
    )


def _send_unnamed_part(kit: AttackerKit) -> HttpRequest:
    """Return a message with a part that is signed and that the Manifest does not name."""
    return kit.build_message(
        signing=lambda contents: {**contents, "further@suite.example": b"<further/>"},
        parts=lambda parts: [*parts, _forge_part("further@suite.example", b"<further/>")],
    )


def _declare_encoding(encoding: str, encoded: bytes) -> RequestMaker:
    """Return the step that sends encoded text as payload and then declares that transfer encoding."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        unit = kit.make_unit()
        first = replace(unit.payloads[0], media_type="text/plain", octets=encoded)
        head = f"Content-Transfer-Encoding: {encoding}\r\nContent-Type: text/plain"
        return kit.build_message(
            replace(unit, payloads=(first, *unit.payloads[1:])),
            body=swap_octets("Content-Type: text/plain", head),
        )

    return make_request


def _send_base64(kit: AttackerKit) -> HttpRequest:
    """Return an honest message whose first attachment travels as base64."""
    content = kit.make_unit().payloads[0].content
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()
    head = f"Content-Transfer-Encoding: base64\r\n{_FIRST_TYPE}".encode()
    return kit.build_message(
        body=lambda data: data.replace(content, encoded).replace(_FIRST_TYPE.encode(), head)
    )


def _change_media_type(media_type: str) -> RequestMaker:
    return change_body(swap_octets(_FIRST_TYPE, f"Content-Type: {media_type}"))


_BEFORE: Final = MARK + b"\r\nContent-Type: text/plain\r\nContent-ID: <before@suite.example>\r\n\r\nx\r\n"
_LATE: Final = MARK + b"\r\nContent-ID: <late@suite.example>\r\n\r\n<forged/>\r\n" + MARK + b"--\r\n"
#: An additional part that A signed and did not send.
_GONE: Final = '<eb:Reference xlink:href="cid:gone@suite.example" xlink:type="simple"/>'

# fmt: off
_ADDED: Final[SourcedTable[RequestMaker]] = (
    ("part-added", "a part that nobody signed and no Manifest names",
     _change_parts(lambda parts: [*parts, _forge_part("extra@suite.example")]), "GW203", _INJECTION),
    ("empty-part-added", "an empty part that nobody signed",
     _change_parts(lambda parts: [*parts, _forge_part("extra@suite.example", b"")]), "GW203", _INJECTION),
    ("part-before-root", "a part that nobody signed before the envelope",
     change_body(lambda data: _BEFORE + data), "GW203", _INJECTION),
    ("in-preamble", "a part in the preamble, before the first boundary",
     change_body(lambda data: b"Content-ID: <p1@suite.example>\r\n\r\n<forged/>\r\n" + data), ACCEPTED,
     "RFC 2046 §5.1.1: what stands there is ignored"),
    ("after-end", "a part behind the final boundary", change_body(append_epilogue(_LATE)), "GW103",
     _INJECTION),
    ("part-removed", "a signed part is missing", _change_parts(lambda parts: parts[1:]), "GW108", _INJECTION,
     False),
    ("all-removed", "every part is missing", _change_parts(lambda _: []), "GW108", _INJECTION, False),
    ("manifest-names-more", "the Manifest names a part that is not there",
     sign_as_written(append_element("//eb:Manifest", _GONE)), "GW108", _INJECTION),
    ("signed-not-named", "a part that is signed and that no Manifest names: it may be passed over",
     _send_unnamed_part, ACCEPTED, "ebMS 2.0 §3.2"),
    ("reordered", "the attachments in the other order, which means nothing",
     _change_parts(lambda parts: parts[::-1]), LAWFUL, "RFC 2387 §3: found by Content-ID"),
)

_EXCHANGED: Final[AttackTable[RequestMaker]] = (
    ("contents", "the contents of two attachments are exchanged", _swap_between_parts("octets")),
    ("identifiers", "the Content-IDs of two attachments are exchanged", _swap_between_parts("content_id")),
    ("other-message", "an attachment of another message of the same sender", _send_foreign_part),
)

#: The first attachment with another content.
_CONTENTS: Final[AttackTable[OctetMutation]] = (
    ("one-octet", "one octet of an attachment is another", lambda content: content.replace(b"1", b"9", 1)),
    ("emptied", "an attachment is empty", lambda _: b""),
    ("line-end", "a line end behind an attachment", lambda content: content + b"\r\n"),
    ("byte-order-mark", "a byte order mark before an attachment", lambda content: b"\xef\xbb\xbf" + content),
    ("utf-16", "an attachment in UTF-16 instead of UTF-8", lambda content: content.decode().encode("utf-16")),
    ("declaration", "an XML declaration before an attachment",
     lambda content: b'<?xml version="1.0"?>' + content),
    ("canonical", "an attachment in its canonical form", lambda content: content.replace(b"'", b'"')),
    ("base64-content", "an attachment in base64 that does not say so", base64.b64encode),
)

#: Content that the sender encoded without declaring it; the part now declares it.
_DECLARED_ENCODINGS: Final[AttackTable[RequestMaker]] = (
    ("claims-base64", "an attachment that is base64 by its sender, and now says so: a reader decodes it",
     _declare_encoding("base64", base64.b64encode(b"<forged/>")), "GW202"),
    ("claims-quoted-printable", "an attachment with quoted-printable text, which now says so",
     _declare_encoding("quoted-printable", quopri.encodestring("100 kg = 신고".encode())), "GW202"),
    ("unknown-encoding", "an unknown transfer encoding",
     _declare_encoding("x-uuencode", b"x"), "GW103"),
)

_CODINGS: Final[SourcedTable[RequestMaker]] = (
    ("claims-gzip",
     "a Content-Encoding that is not true, and no field of MIME: who undoes it reads what nobody signed",
     _change_attachment(lambda content: content, {"content-encoding": "gzip"}),
     replace(LAWFUL, ebms=("MimeProblem",), http=(400, 415)), _CODED),
    ("gzip", "an attachment compressed on its way, which says so",
     _change_attachment(gzip.compress, {"content-encoding": "gzip"}), "GW103 GW202", _CODED, False),
    ("claims-charset", "a charset in Content-Encoding, as some write it: it changes nothing",
     _change_attachment(lambda content: content, {"content-encoding": "UTF-8"}), LAWFUL, _CODED),
    ("transfer-base64", "an honest attachment that travels as base64: the digest is of what it stands for",
     _send_base64, LAWFUL, "RFC 2045 §6.8; RFC 3335 §3", False),
)

_TYPES: Final[AttackTable[str]] = (
    ("multipart", 'an attachment whose type is now multipart/mixed; boundary="x"',
     'multipart/mixed; boundary="x"', "GW103"),
    ("message", "an attachment whose type is now message/rfc822", "message/rfc822", "GW103"),
    ("malformed", "an attachment whose type is now application", "application", "GW103"),
    ("two-types", "an attachment whose type is now application/xml, text/html", "application/xml, text/html",
     "GW103"),
    ("html", "an attachment whose type is now text/html, which nothing in ebMS 2.0 signs: it decides nothing",
     "text/html", ACCEPTED),
)
# fmt: on

#: Returns the forged part with its header fields, for the Content-ID that it imitates.
_PartWriter = Callable[[str], str]


class _PartVariant(NamedTuple):
    """A forged part, the problems that refuse it, how the naive gateway finds the payload, and its name."""

    attack: str
    name: str
    title: str
    write_part: _PartWriter
    problem: str
    naive_search: str
    source: str = _MULTIPART
    identifier: str = "p1.{}"


def _write_with_fields(*lines: str) -> _PartWriter:
    """Return the builder of a part with these header fields; ``{}`` is replaced by the honest Content-ID."""

    def write_part(cid: str) -> str:
        head = "\r\n".join([_FIRST_TYPE, *(line.replace("{}", cid) for line in lines)])
        return f"{head}\r\n\r\n{_FORGED_CONTENT}"

    return write_part


def _write_changed_id(change: Callable[[str], str]) -> _PartWriter:
    """Return the builder of a part whose Content-ID is derived from the honest one."""
    return lambda cid: _write_with_fields("Content-ID: <{}>")(change(cid))


def _write_nested_part(cid: str) -> str:
    inner = f"--{_INNER}\r\n{_FIRST_TYPE}\r\nContent-ID: <{cid}>\r\n\r\n{_FORGED_CONTENT}\r\n--{_INNER}--"
    kind = f'Content-Type: multipart/mixed; boundary="{_INNER}"'
    return f"{kind}\r\nContent-ID: <box@suite.example>\r\n\r\n{inner}"


# fmt: off
_WRAPPING_VARIANTS: Final = (
    _PartVariant("SIG-15", "same-content-id", "forged part before the signed one, with its Content-ID",
     _write_with_fields("Content-ID: <{}>"), "GW103", "first"),
    _PartVariant("SIG-15", "bare-content-id", "the same, its Content-ID without angle brackets",
     _write_with_fields("Content-ID: {}"), "GW103", "first"),
    _PartVariant("SIG-14", "first-by-position", "forged part is the first attachment",
     _write_with_fields("Content-ID: <first@suite.example>"), "GW203", "position"),
    _PartVariant("SIG-14", "no-content-id", "forged part without Content-ID is the first attachment",
     _write_with_fields("Content-Description: first"), "GW103", "position"),
    _PartVariant("SIG-14", "other-case", "forged part whose Content-ID differs in case",
     _write_changed_id(str.upper), "GW103", "any case"),
    _PartVariant("SIG-14", "content-location", "forged part names itself by Content-Location",
     _write_with_fields("Content-ID: <location@suite.example>", "Content-Location: cid:{}"), "GW203",
     "location", "SOAP with Attachments, chapter 3"),
    _PartVariant("SIG-14", "percent-encoded",
     "forged part whose Content-ID is the encoded spelling of the URI",
     _write_changed_id(lambda cid: cid.replace("%", "%25")), "GW103", "literal", "RFC 2392 §2",
     identifier="p1%.{}"),
    _PartVariant("SIG-14", "plus-for-space", "forged part whose Content-ID has a space for a plus",
     _write_changed_id(lambda cid: cid.replace("+", " ")), "GW103", "plus", "RFC 2392 §2",
     identifier="p+1.{}"),
    _PartVariant("SIG-14", "two-content-ids",
     "forged part with two Content-ID fields, the second that of the signed one",
     _write_with_fields("Content-ID: <second@suite.example>", "Content-ID: <{}>"), "GW103", "any field",
     "RFC 5322 §3.6: at most once"),
    _PartVariant("SIG-14", "comment-in-content-id", "forged part with a comment in its Content-ID",
     _write_with_fields("Content-ID: (of the suite) <{}>"), "GW103", "comments",
     "RFC 2045 §7, RFC 822 comments"),
    _PartVariant("SIG-14", "longer-content-id",
     "forged part whose Content-ID begins with that of the signed one",
     _write_with_fields("Content-ID: <{}.2>"), "GW203", "prefix"),
    _PartVariant("SIG-14", "nested-multipart", "forged part inside a multipart part", _write_nested_part,
     "GW103", "first", "RFC 2046 §5.1; no published test"),
)
# fmt: on


def _send_with_content_id(kit: AttackerKit, content_id_template: str) -> HttpRequest:
    unit = kit.make_unit()
    first, *others = unit.payloads
    renamed = replace(first, content_id=content_id_template.replace("{}", unit.message_id))
    return kit.build_message(replace(unit, payloads=(renamed, *others)))


def _inject_part(kit: AttackerKit, variant: _PartVariant) -> HttpRequest:
    """Return a message with a forged part between its envelope and its attachments."""
    post = _send_with_content_id(kit, variant.identifier)
    cid = naive_verifier.split_parts(post)[1].content_id
    marker = MARK + b"\r\n"
    start, root, *rest = post.body.split(marker)
    return replace(post, body=marker.join([start, root, variant.write_part(cid).encode() + b"\r\n", *rest]))


def _read_part_text(post: HttpRequest, strategy: str) -> str | None:
    content = naive_verifier.read_content(post, strategy)
    return None if content is None else content.decode("utf-8", "replace")


def _make_wrapping_attack(variant: _PartVariant) -> WrappingAttack:
    return WrappingAttack(
        attack_id=variant.attack,
        variant=variant.name,
        target="cid",
        title=variant.title,
        source=variant.source,
        face="ebms2",
        make_control=partial(_send_with_content_id, content_id_template=variant.identifier),
        make_attack=partial(_inject_part, variant=variant),
        accepts_request=naive_verifier.accepts_request,
        read_target=partial(_read_part_text, strategy=variant.naive_search),
        forged=_FORGED_CONTENT,
        expected=expect_refusal(variant.problem),
    )


#: Every variant on the first attachment of a message.
WRAPPINGS: Final[tuple[WrappingAttack, ...]] = tuple(map(_make_wrapping_attack, _WRAPPING_VARIANTS))

# fmt: off
CASES: Final[tuple[AttackCase, ...]] = (
    *make_sourced_cases("SIG-14.", _ADDED, use_request_maker, naive=True),
    *make_table_cases("SIG-15.", _EXCHANGED, use_request_maker, _SWAP, "GW202"),
    *make_table_cases("SIG-15.", _CONTENTS, _change_attachment, _SWAP, "GW202"),
    *make_table_cases("SIG-15.", _DECLARED_ENCODINGS, use_request_maker, _CODED, naive=True),
    *make_sourced_cases("SIG-15.", _CODINGS, use_request_maker, naive=True),
    *make_table_cases("SIG-16.", _TYPES, _change_media_type, _TYPE, naive=True),
    *(wrapping.attack_case for wrapping in WRAPPINGS),
)
# fmt: on
"""Attacks by attachments: SIG-14 to SIG-16."""
