"""Attachments added, removed, exchanged, written in another way or called something else."""

from __future__ import annotations

import base64
import gzip
import quopri
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    all_of,
    at,
    digest_as_written,
    element,
    on_tree,
    sign_again,
)
from gateway.conformance.hostile.case import ACCEPTED, LAWFUL, Case, Post
from gateway.conformance.hostile.craft import BOUNDARY, swap
from gateway.conformance.hostile.tampered import attack
from gateway.model import Payload
from gateway.wire.mime import Part

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.plays import Maker

__all__ = ["CASES"]

_INJECTION: Final = "attachment injection; no published corpus for ebMS 2.0"
_SWAP: Final = "attachment swapping; no published corpus for ebMS 2.0"
_TYPE: Final = "WS-Security SwA profile 1.1: content against complete; ebMS 2.0 §4.1.3 signs contents"
_CODED: Final = "RFC 2045 §6: what a transfer encoding stands for"
_MARKER: Final = f"--{BOUNDARY}".encode()
_FIRST_TYPE: Final = "Content-Type: application/xml"


def _parts(change: Callable[[list[Part]], list[Part]]) -> Maker:
    return lambda bench: bench.message(parts=change)


def _extra(name: str, content: bytes = b"<forged/>") -> Part:
    return Part({"content-type": "application/xml"}, name, "application/xml", content)


def _contents(change: Callable[[bytes], bytes], fields: Mapping[str, str] | None = None) -> Maker:
    """Return: the first attachment with another content, and further header fields."""

    def changed(parts: list[Part]) -> list[Part]:
        first, *others = parts
        headers = {**first.headers, **(fields or {})}
        return [replace(first, headers=headers, content=change(first.content)), *others]

    return _parts(changed)


def _exchanged(parts: list[Part]) -> list[Part]:
    one, two = parts
    return [replace(one, content=two.content), replace(two, content=one.content)]


def _renamed(parts: list[Part]) -> list[Part]:
    one, two = parts
    return [replace(one, content_id=two.content_id), replace(two, content_id=one.content_id)]


def _of_another_message(bench: Bench) -> Post:
    """Return a message of A with the first attachment of another one of A."""
    other = bench.unit(payloads=(Payload("p1.other@suite.example", "application/xml", b"<other/>"),))
    return bench.message(
        parts=lambda parts: [replace(parts[0], content=other.payloads[0].content), *parts[1:]]
    )


def _manifest_too_long(bench: Bench) -> Post:
    """Return a message whose Manifest names a further part, which A has signed and did not send."""

    def change(root: etree._Element) -> None:
        named = element('<eb:Reference xlink:href="cid:gone@suite.example" xlink:type="simple"/>')
        at(root, "//eb:Manifest").append(named)

    again = sign_again(bench.signer("a"))
    return bench.message(tampered=on_tree(all_of(change, digest_as_written, again)))


def _signed_not_named(bench: Bench) -> Post:
    """Return a message with a part that is signed and that the Manifest does not name."""
    return bench.message(
        signing=lambda contents: {**contents, "further@suite.example": b"<further/>"},
        parts=lambda parts: [*parts, _extra("further@suite.example", b"<further/>")],
    )


def _decodable(encoding: str, encoded: bytes) -> Maker:
    """Return: a payload that is text in a transfer encoding; the part then says that it is one."""

    def make(bench: Bench) -> Post:
        unit = bench.unit()
        first = replace(unit.payloads[0], media_type="text/plain", content=encoded)
        head = f"Content-Transfer-Encoding: {encoding}\r\nContent-Type: text/plain"
        return bench.message(
            replace(unit, payloads=(first, *unit.payloads[1:])), body=swap("Content-Type: text/plain", head)
        )

    return make


def _in_transfer_encoding(bench: Bench) -> Post:
    """Return an honest message whose first attachment travels as base64."""
    content = bench.unit().payloads[0].content
    return bench.message(
        body=lambda data: data.replace(
            content, base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()
        ).replace(_FIRST_TYPE.encode(), f"Content-Transfer-Encoding: base64\r\n{_FIRST_TYPE}".encode())
    )


def _typed(kind: str) -> Maker:
    return lambda bench: bench.message(body=swap(_FIRST_TYPE, f"Content-Type: {kind}"))


def _reordered(bench: Bench) -> Post:
    return bench.message(parts=lambda parts: parts[::-1])


_ADDED: Final = (
    attack(
        "SIG-14.part-added",
        "a part that nobody signed and no Manifest names",
        _parts(lambda parts: [*parts, _extra("extra@suite.example")]),
        "GW203",
        _INJECTION,
        naive=True,
    ),
    attack(
        "SIG-14.empty-part-added",
        "an empty part that nobody signed",
        _parts(lambda parts: [*parts, _extra("extra@suite.example", b"")]),
        "GW203",
        _INJECTION,
        naive=True,
    ),
    attack(
        "SIG-14.part-before-root",
        "a part that nobody signed before the envelope",
        lambda bench: bench.message(
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
    attack(
        "SIG-14.in-preamble",
        "a part in the preamble, before the first boundary",
        lambda bench: bench.message(
            body=lambda data: b"Content-ID: <p1@suite.example>\r\n\r\n<forged/>\r\n" + data
        ),
        ACCEPTED,
        "RFC 2046 §5.1.1: what stands there is ignored",
        naive=True,
    ),
    attack(
        "SIG-14.after-end",
        "a part behind the final boundary",
        lambda bench: bench.message(
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
    attack(
        "SIG-14.part-removed",
        "a signed part is missing",
        _parts(lambda parts: parts[1:]),
        "GW108",
        _INJECTION,
    ),
    attack("SIG-14.all-removed", "every part is missing", _parts(lambda _: []), "GW108", _INJECTION),
    attack(
        "SIG-14.manifest-names-more",
        "the Manifest names a part that is not there",
        _manifest_too_long,
        "GW108",
        _INJECTION,
        naive=True,
    ),
    attack(
        "SIG-14.signed-not-named",
        "a part that is signed and that no Manifest names: it may be passed over",
        _signed_not_named,
        ACCEPTED,
        "ebMS 2.0 §3.2",
        naive=True,
    ),
    attack(
        "SIG-14.reordered",
        "the attachments in the other order, which means nothing",
        _reordered,
        LAWFUL,
        "RFC 2387 §3: found by Content-ID",
        naive=True,
    ),
)

_EXCHANGED: Final = tuple(
    attack(f"SIG-15.{name}", title, make, "GW202", _SWAP)
    for name, title, make in (
        ("contents", "the contents of two attachments are exchanged", _parts(_exchanged)),
        ("identifiers", "the Content-IDs of two attachments are exchanged", _parts(_renamed)),
        ("other-message", "an attachment of another message of the same sender", _of_another_message),
        (
            "one-octet",
            "one octet of an attachment is another",
            _contents(lambda content: content.replace(b"1", b"9", 1)),
        ),
        ("emptied", "an attachment is empty", _contents(lambda _: b"")),
        ("line-end", "a line end behind an attachment", _contents(lambda content: content + b"\r\n")),
        (
            "byte-order-mark",
            "a byte order mark before an attachment",
            _contents(lambda content: b"\xef\xbb\xbf" + content),
        ),
        (
            "utf-16",
            "an attachment in UTF-16 instead of UTF-8",
            _contents(lambda content: content.decode().encode("utf-16")),
        ),
        (
            "declaration",
            "an XML declaration before an attachment",
            _contents(lambda content: b'<?xml version="1.0"?>' + content),
        ),
        (
            "canonical",
            "an attachment in its canonical form",
            _contents(lambda content: content.replace(b"'", b'"')),
        ),
        ("base64-content", "an attachment in base64 that does not say so", _contents(base64.b64encode)),
    )
)

_CODINGS: Final = (
    attack(
        "SIG-15.claims-base64",
        "an attachment that is base64 by its sender, and now says so: a reader decodes it",
        _decodable("base64", base64.b64encode(b"<forged/>")),
        "GW202",
        _CODED,
        naive=True,
    ),
    attack(
        "SIG-15.claims-quoted-printable",
        "an attachment with quoted-printable text, which now says so",
        _decodable("quoted-printable", quopri.encodestring("100 kg = 신고".encode())),
        "GW202",
        _CODED,
        naive=True,
    ),
    attack(
        "SIG-15.unknown-encoding",
        "an unknown transfer encoding",
        _decodable("x-uuencode", b"x"),
        "GW103",
        _CODED,
        naive=True,
    ),
    attack(
        "SIG-15.claims-gzip",
        "a Content-Encoding that is not true, and no field of MIME: who undoes it reads what nobody signed",
        _contents(lambda content: content, {"content-encoding": "gzip"}),
        replace(LAWFUL, ebms=("MimeProblem",), http=(400, 415)),
        _CODED,
        naive=True,
    ),
    attack(
        "SIG-15.gzip",
        "an attachment compressed on its way, which says so",
        _contents(gzip.compress, {"content-encoding": "gzip"}),
        "GW103 GW202",
        _CODED,
    ),
    attack(
        "SIG-15.claims-charset",
        "a charset in Content-Encoding, as some write it: it changes nothing",
        _contents(lambda content: content, {"content-encoding": "UTF-8"}),
        LAWFUL,
        _CODED,
        naive=True,
    ),
    attack(
        "SIG-15.transfer-base64",
        "an honest attachment that travels as base64: the digest is of what it stands for",
        _in_transfer_encoding,
        LAWFUL,
        "RFC 2045 §6.8; RFC 3335 §3",
    ),
)

_TYPES: Final = (
    *(
        attack(
            f"SIG-16.{name}",
            f"an attachment whose type is now {kind[:40]}",
            _typed(kind),
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
    attack(
        "SIG-16.html",
        "an attachment whose type is now text/html, which nothing in ebMS 2.0 signs: it decides nothing",
        _typed("text/html"),
        ACCEPTED,
        _TYPE,
        naive=True,
    ),
)

CASES: Final[tuple[Case, ...]] = (
    *_ADDED,
    *_EXCHANGED,
    *_CODINGS,
    *_TYPES,
)
