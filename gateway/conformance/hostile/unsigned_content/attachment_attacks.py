"""Attachments added, removed, exchanged, written in another way or called something else."""

from __future__ import annotations

import base64
import gzip
import quopri
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import RequestMaker, make_attack_case
from gateway.conformance.hostile.exchange import ACCEPTED, LAWFUL, HttpRequest
from gateway.conformance.hostile.octet_mutations import BOUNDARY, swap_octets
from gateway.conformance.hostile.tree_mutations import (
    combine_mutations,
    get_element,
    mutate_tree,
    parse_element,
    recompute_signature,
    recompute_written_digests,
)
from gateway.message_model import Payload
from gateway.wire import MimePart

__all__ = ["CASES"]

_INJECTION: Final = "attachment injection; no published corpus for ebMS 2.0"
_SWAP: Final = "attachment swapping; no published corpus for ebMS 2.0"
_TYPE: Final = "WS-Security SwA profile 1.1: content against complete; ebMS 2.0 §4.1.3 signs contents"
_CODED: Final = "RFC 2045 §6: what a transfer encoding stands for"
_MARKER: Final = f"--{BOUNDARY}".encode()
_FIRST_TYPE: Final = "Content-Type: application/xml"


def _make_parts_request(change: Callable[[list[MimePart]], list[MimePart]]) -> RequestMaker:
    return lambda bench: bench.build_message(parts=change)


def _make_extra_part(name: str, content: bytes = b"<forged/>") -> MimePart:
    return MimePart({"content-type": "application/xml"}, name, "application/xml", content)


def _make_content_request(
    change: Callable[[bytes], bytes], fields: Mapping[str, str] | None = None
) -> RequestMaker:
    """Return: the first attachment with another content, and further header fields."""

    def replace_first_part(parts: list[MimePart]) -> list[MimePart]:
        first, *others = parts
        headers = {**first.headers, **(fields or {})}
        return [replace(first, headers=headers, content=change(first.content)), *others]

    return _make_parts_request(replace_first_part)


def _swap_contents(parts: list[MimePart]) -> list[MimePart]:
    one, two = parts
    return [replace(one, content=two.content), replace(two, content=one.content)]


def _swap_content_ids(parts: list[MimePart]) -> list[MimePart]:
    one, two = parts
    return [replace(one, content_id=two.content_id), replace(two, content_id=one.content_id)]


def _make_foreign_part_request(bench: AttackerKit) -> HttpRequest:
    """Return a message of A with the first attachment of another one of A."""
    other = bench.make_unit(payloads=(Payload("p1.other@suite.example", "application/xml", b"<other/>"),))
    return bench.build_message(
        parts=lambda parts: [replace(parts[0], content=other.payloads[0].content), *parts[1:]]
    )


def _make_long_manifest_request(bench: AttackerKit) -> HttpRequest:
    """Return a message whose Manifest names a further part, which A has signed and did not send."""

    def alter_tree(root: etree._Element) -> None:
        named = parse_element('<eb:Reference xlink:href="cid:gone@suite.example" xlink:type="simple"/>')
        get_element(root, "//eb:Manifest").append(named)

    again = recompute_signature(bench.get_signer("a"))
    return bench.build_message(
        tampered=mutate_tree(combine_mutations(alter_tree, recompute_written_digests, again))
    )


def _make_unnamed_part_request(bench: AttackerKit) -> HttpRequest:
    """Return a message with a part that is signed and that the Manifest does not name."""
    return bench.build_message(
        signing=lambda contents: {**contents, "further@suite.example": b"<further/>"},
        parts=lambda parts: [*parts, _make_extra_part("further@suite.example", b"<further/>")],
    )


def _make_transfer_encoding_request(encoding: str, encoded: bytes) -> RequestMaker:
    """Return: a payload that is text in a transfer encoding; the part then says that it is one."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        unit = bench.make_unit()
        first = replace(unit.payloads[0], media_type="text/plain", content=encoded)
        head = f"Content-Transfer-Encoding: {encoding}\r\nContent-Type: text/plain"
        return bench.build_message(
            replace(unit, payloads=(first, *unit.payloads[1:])),
            body=swap_octets("Content-Type: text/plain", head),
        )

    return make_request


def _make_base64_request(bench: AttackerKit) -> HttpRequest:
    """Return an honest message whose first attachment travels as base64."""
    content = bench.make_unit().payloads[0].content
    return bench.build_message(
        body=lambda data: data.replace(
            content, base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()
        ).replace(_FIRST_TYPE.encode(), f"Content-Transfer-Encoding: base64\r\n{_FIRST_TYPE}".encode())
    )


def _make_media_type_request(kind: str) -> RequestMaker:
    return lambda bench: bench.build_message(body=swap_octets(_FIRST_TYPE, f"Content-Type: {kind}"))


def _make_reordered_request(bench: AttackerKit) -> HttpRequest:
    return bench.build_message(parts=lambda parts: parts[::-1])


_ADDED: Final = (
    make_attack_case(
        "SIG-14.part-added",
        "a part that nobody signed and no Manifest names",
        _make_parts_request(lambda parts: [*parts, _make_extra_part("extra@suite.example")]),
        "GW203",
        _INJECTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-14.empty-part-added",
        "an empty part that nobody signed",
        _make_parts_request(lambda parts: [*parts, _make_extra_part("extra@suite.example", b"")]),
        "GW203",
        _INJECTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-14.part-before-root",
        "a part that nobody signed before the envelope",
        lambda bench: bench.build_message(
            body=lambda data: (
                _MARKER
                + b"\r\nContent-Type: text/plain\r\nContent-ID: <before@suite.example>\r\n\r\nx\r\n"
                + data
            )
        ),
        "GW203",
        _INJECTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-14.in-preamble",
        "a part in the preamble, before the first boundary",
        lambda bench: bench.build_message(
            body=lambda data: b"Content-ID: <p1@suite.example>\r\n\r\n<forged/>\r\n" + data
        ),
        ACCEPTED,
        "RFC 2046 §5.1.1: what stands there is ignored",
        naive=True,
    ),
    make_attack_case(
        "SIG-14.after-end",
        "a part behind the final boundary",
        lambda bench: bench.build_message(
            body=lambda data: (
                data
                + _MARKER
                + b"\r\nContent-ID: <late@suite.example>\r\n\r\n<forged/>\r\n"
                + _MARKER
                + b"--\r\n"
            )
        ),
        "GW103",
        _INJECTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-14.part-removed",
        "a signed part is missing",
        _make_parts_request(lambda parts: parts[1:]),
        "GW108",
        _INJECTION,
    ),
    make_attack_case(
        "SIG-14.all-removed", "every part is missing", _make_parts_request(lambda _: []), "GW108", _INJECTION
    ),
    make_attack_case(
        "SIG-14.manifest-names-more",
        "the Manifest names a part that is not there",
        _make_long_manifest_request,
        "GW108",
        _INJECTION,
        naive=True,
    ),
    make_attack_case(
        "SIG-14.signed-not-named",
        "a part that is signed and that no Manifest names: it may be passed over",
        _make_unnamed_part_request,
        ACCEPTED,
        "ebMS 2.0 §3.2",
        naive=True,
    ),
    make_attack_case(
        "SIG-14.reordered",
        "the attachments in the other order, which means nothing",
        _make_reordered_request,
        LAWFUL,
        "RFC 2387 §3: found by Content-ID",
        naive=True,
    ),
)

_EXCHANGED: Final = tuple(
    make_attack_case(f"SIG-15.{name}", title, make, "GW202", _SWAP)
    for name, title, make in (
        ("contents", "the contents of two attachments are exchanged", _make_parts_request(_swap_contents)),
        (
            "identifiers",
            "the Content-IDs of two attachments are exchanged",
            _make_parts_request(_swap_content_ids),
        ),
        ("other-message", "an attachment of another message of the same sender", _make_foreign_part_request),
        (
            "one-octet",
            "one octet of an attachment is another",
            _make_content_request(lambda content: content.replace(b"1", b"9", 1)),
        ),
        ("emptied", "an attachment is empty", _make_content_request(lambda _: b"")),
        (
            "line-end",
            "a line end behind an attachment",
            _make_content_request(lambda content: content + b"\r\n"),
        ),
        (
            "byte-order-mark",
            "a byte order mark before an attachment",
            _make_content_request(lambda content: b"\xef\xbb\xbf" + content),
        ),
        (
            "utf-16",
            "an attachment in UTF-16 instead of UTF-8",
            _make_content_request(lambda content: content.decode().encode("utf-16")),
        ),
        (
            "declaration",
            "an XML declaration before an attachment",
            _make_content_request(lambda content: b'<?xml version="1.0"?>' + content),
        ),
        (
            "canonical",
            "an attachment in its canonical form",
            _make_content_request(lambda content: content.replace(b"'", b'"')),
        ),
        (
            "base64-content",
            "an attachment in base64 that does not say so",
            _make_content_request(base64.b64encode),
        ),
    )
)

_CODINGS: Final = (
    make_attack_case(
        "SIG-15.claims-base64",
        "an attachment that is base64 by its sender, and now says so: a reader decodes it",
        _make_transfer_encoding_request("base64", base64.b64encode(b"<forged/>")),
        "GW202",
        _CODED,
        naive=True,
    ),
    make_attack_case(
        "SIG-15.claims-quoted-printable",
        "an attachment with quoted-printable text, which now says so",
        _make_transfer_encoding_request("quoted-printable", quopri.encodestring("100 kg = 신고".encode())),
        "GW202",
        _CODED,
        naive=True,
    ),
    make_attack_case(
        "SIG-15.unknown-encoding",
        "an unknown transfer encoding",
        _make_transfer_encoding_request("x-uuencode", b"x"),
        "GW103",
        _CODED,
        naive=True,
    ),
    make_attack_case(
        "SIG-15.claims-gzip",
        "a Content-Encoding that is not true, and no field of MIME: who undoes it reads what nobody signed",
        _make_content_request(lambda content: content, {"content-encoding": "gzip"}),
        replace(LAWFUL, ebms=("MimeProblem",), http=(400, 415)),
        _CODED,
        naive=True,
    ),
    make_attack_case(
        "SIG-15.gzip",
        "an attachment compressed on its way, which says so",
        _make_content_request(gzip.compress, {"content-encoding": "gzip"}),
        "GW103 GW202",
        _CODED,
    ),
    make_attack_case(
        "SIG-15.claims-charset",
        "a charset in Content-Encoding, as some write it: it changes nothing",
        _make_content_request(lambda content: content, {"content-encoding": "UTF-8"}),
        LAWFUL,
        _CODED,
        naive=True,
    ),
    make_attack_case(
        "SIG-15.transfer-base64",
        "an honest attachment that travels as base64: the digest is of what it stands for",
        _make_base64_request,
        LAWFUL,
        "RFC 2045 §6.8; RFC 3335 §3",
    ),
)

_TYPES: Final = (
    *(
        make_attack_case(
            f"SIG-16.{name}",
            f"an attachment whose type is now {kind[:40]}",
            _make_media_type_request(kind),
            problem,
            _TYPE,
            naive=True,
        )
        for name, kind, problem in (
            ("multipart", 'multipart/mixed; boundary="x"', "GW103"),
            ("message", "message/rfc822", "GW103"),
            ("malformed", "application", "GW103"),
            ("two-types", "application/xml, text/html", "GW103"),
        )
    ),
    make_attack_case(
        "SIG-16.html",
        "an attachment whose type is now text/html, which nothing in ebMS 2.0 signs: it decides nothing",
        _make_media_type_request("text/html"),
        ACCEPTED,
        _TYPE,
        naive=True,
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *_ADDED,
    *_EXCHANGED,
    *_CODINGS,
    *_TYPES,
)
