"""Attacks by MIME: too many parts, and parts that two readers split differently."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestMaker,
    change_body,
    change_content_type,
    expect_early_refusal,
    make_attack_case,
    make_table_cases,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    BOUNDARY,
    END,
    MARK,
    OctetMutation,
    add_part_headers,
    append_epilogue,
    encode_part_content,
    insert_parts,
    replace_in_content_type,
    swap_octets,
)
from gateway_conformance.hostile.exchange import HttpRequest

_COST: Final = "measured with the standard library: 100,000 parts cost 6 seconds"
_CONFUSION: Final = "MIME confusion; RFC 2046 §5.1, RFC 2387"
_INFLATE: Final = "decompression bombs; measured 94 KB to 100 MB"
_PART: Final = b"\r\n" + MARK + b"\r\nContent-ID: <n%d@suite.example>\r\n\r\nx"


def _make_parts_builder(count: int) -> Callable[[], bytes]:
    return lambda: b"".join(_PART % number for number in range(count))


# fmt: off
_COSTS: Final[AttackTable[OctetMutation]] = (
    ("parts-100000", "a hundred thousand parts", insert_parts(_make_parts_builder(100_000)), "GW102"),
    ("parts-101", "a hundred and one parts", insert_parts(_make_parts_builder(98)), "GW102"),
    ("empty-parts", "a hundred thousand parts that hold nothing",
     insert_parts(lambda: (b"\r\n" + MARK + b"\r\n") * 100_000), "GW102 GW103"),
    ("fields", "a part with ten thousand header fields",
     add_part_headers(*(b"X-%d: y" % number for number in range(10_000))), "GW102"),
    ("fields-33", "a part with 33 header fields", add_part_headers(*(b"X-%d: y" % n for n in range(33))),
     "GW102"),
    ("field", "a header field of a megabyte", add_part_headers(b"X-Long: " + b"y" * 1_000_000), "GW102"),
    ("folded", "a header field in ten thousand lines", add_part_headers(b"X: y", *[b" y"] * 10_000), "GW102"),
    ("parameters", "a part whose media type has thirty-three parameters",
     add_part_headers(b"X: y", b"Content-Type: text/plain" + b"".join(b"; a%d=b" % n for n in range(33))),
     "GW103"),
    ("near-boundaries", "a payload of a hundred thousand lines that are nearly a boundary",
     encode_part_content(lambda _: (b"\r\n" + MARK[:-1] + b"_") * 100_000), "GW202"),
    ("preamble", "a megabyte before the first boundary", lambda data: b"x\r\n" * 350_000 + data, "GW102"),
    ("epilogue", "a megabyte after the final boundary", append_epilogue(b"x\r\n" * 350_000), "GW102"),
)

_CONTENT_TYPES: Final[AttackTable[Callable[[str], str]]] = (
    ("boundary-absent", "no boundary parameter", replace_in_content_type(f'; boundary="{BOUNDARY}"', ""),
     "GW103"),
    ("boundary-empty", "an empty boundary", replace_in_content_type(BOUNDARY, ""), "GW103"),
    ("boundary-71", "a boundary of 71 characters", replace_in_content_type(BOUNDARY, "b" * 71), "GW103"),
    ("boundary-pattern", "a boundary that is a costly pattern", replace_in_content_type(BOUNDARY, "(.*)*$"),
     "GW103"),
    ("boundary-space", "a boundary that ends with a space", replace_in_content_type(BOUNDARY, BOUNDARY + " "),
     "GW103"),
    ("boundary-other", "a boundary that does not occur", replace_in_content_type(BOUNDARY, "other"), "GW103"),
    ("boundary-twice", "two boundary parameters", lambda value: value + f'; boundary="{BOUNDARY}"', "GW103"),
    ("boundary-continued", "a boundary in pieces (RFC 2231)",
     replace_in_content_type(f'boundary="{BOUNDARY}"', 'boundary*0="=-bou"; boundary*1="ndary"'), "GW103"),
    ("boundary-charset", "a boundary with a charset (RFC 2231)",
     replace_in_content_type(f'boundary="{BOUNDARY}"', "boundary*=utf-8''%3D-boundary"), "GW103"),
    ("start-extended", "a start parameter that only readers of RFC 2231 see",
     replace_in_content_type("start=", "start*="), "GW103"),
    ("start-twice", "two start parameters, the second in the form of RFC 2231",
     lambda value: value + "; start*=utf-8''%3Cother@suite.example%3E", "GW103"),
    ("type-extended", "a type that only readers of RFC 2231 see",
     replace_in_content_type('type="text/xml"', "type*=utf-8''text%2Fhtml"), "GW101 GW103"),
    ("type-charset", "a type that names a charset, too",
     replace_in_content_type('type="text/xml"', 'type="text/xml; charset=utf-16"'), "GW101"),
    ("comment", "a comment among the parameters", replace_in_content_type("start=", "start=(here)"), "GW103"),
    ("parameter-bomb", "a parameter in four thousand pieces (RFC 2231)",
     lambda value: value + "".join(f"; x*{number}=y" for number in range(4000)), "GW103"),
    ("parameters-escaped", "a parameter of thousands of escaped characters, never closed",
     lambda value: value + '; x="' + "\\y" * 2000, "GW103"),
    ("semicolons", "a Content-Type of four thousand semicolons", lambda value: value + ";" * 4096, "GW103"),
    ("mixed", "multipart/mixed", replace_in_content_type("multipart/related", "multipart/mixed"), "GW101"),
    ("form", "multipart/form-data", replace_in_content_type("multipart/related", "multipart/form-data"),
     "GW101"),
    ("type-other", "a root that is said to be no XML",
     replace_in_content_type('type="text/xml"', 'type="text/html"'), "GW101"),
    ("no-type", "no media type", lambda _: "", "GW101 GW103"),
    ("no-slash", "a media type without a slash", lambda _: "multipart", "GW101 GW103"),
    ("bare", "a multipart that is said to be bare XML", lambda _: "text/xml", "GW104"),
    ("right-no-start", "no start parameter: the first part is the root",
     replace_in_content_type("start=", "x-start="), ""),
)
# fmt: on


def _insert_part(*lines: bytes) -> OctetMutation:
    head = b"".join(line + b"\r\n" for line in lines)
    return insert_parts(lambda: b"\r\n" + MARK + b"\r\n" + head + b"\r\nx")


def _insert_two_parts(first: bytes, second: bytes) -> OctetMutation:
    pieces = (b"\r\n" + MARK + b"\r\nContent-ID: <" + name + b">\r\n\r\nx" for name in (first, second))
    octets = b"".join(pieces)
    return insert_parts(lambda: octets)


def _declare_transfer_encoding(name: str) -> OctetMutation:
    """Return the change that declares a transfer encoding of the second payload without encoding it."""
    return add_part_headers(b"Content-Transfer-Encoding: " + name.encode())


def _encode_and_declare(name: str, encode: OctetMutation) -> OctetMutation:
    """Return the change that encodes the second payload and declares the encoding."""
    return encode_part_content(encode, b"Content-Transfer-Encoding: " + name.encode())


def _swap_root_type(new: str) -> OctetMutation:
    return swap_octets(_ROOT_TYPE, new)


_ROOT_TYPE: Final = "Content-Type: text/xml; charset=UTF-8"
# fmt: off
_FRAMES: Final[AttackTable[OctetMutation]] = (
    ("final-missing", "no final boundary", lambda data: data[: data.rindex(END)] + b"\r\n", "GW103"),
    ("cut", "a body that stops in a part", lambda data: data[: len(data) * 2 // 3], "GW103"),
    ("empty", "an empty body", lambda _: b"", "GW103"),
    ("only-final", "a final boundary and nothing before it", lambda _: MARK + b"--\r\n", "GW103"),
    ("boundary-in-data", "a payload with a boundary in it",
     encode_part_content(lambda content: content + b"\r\n" + MARK + b"\r\n\r\nforged"), "GW103"),
    ("final-in-data", "a payload with the final boundary in it",
     encode_part_content(lambda content: content + END + b"\r\n"), "GW103"),
    ("boundary-and-more", "a boundary with other characters behind it",
     encode_part_content(lambda content: content + b"\r\n" + MARK + b"x\r\n"), "GW103"),
    ("line-feed-boundary", "a boundary after a bare line feed, in a message of CRLF lines",
     encode_part_content(lambda content: content + b"\n" + MARK + b"\r\n\r\nforged"), "GW103"),
    ("line-feeds", "one boundary line that ends with a bare line feed",
     lambda data: data.replace(MARK + b"\r\n", MARK + b"\n", 1), "GW103"),
    ("preamble-part", "a part before the first boundary, under another one",
     lambda data: b"--other\r\nContent-ID: <x@y>\r\n\r\n" + b"forged" * 200 + b"\r\n--other--\r\n" + data,
     "GW102 GW103"),
    ("epilogue-part", "a part after the final boundary",
     append_epilogue(MARK + b"\r\nContent-ID: <x@y>\r\n\r\nforged" + END + b"\r\n"), "GW103"),
    ("nested", "a multipart in the multipart",
     _insert_part(b"Content-Type: multipart/mixed; boundary=inner", b"Content-ID: <n@suite.example>"),
     "GW103"),
    ("message", "a whole message as a part",
     _insert_part(b"Content-Type: message/rfc822", b"Content-ID: <n@suite.example>"), "GW103"),
    ("id-twice", "two parts of one Content-ID", _insert_two_parts(b"n@suite.example", b"n@suite.example"),
     "GW103"),
    ("id-case", "two Content-IDs that differ in case",
     _insert_two_parts(b"n@suite.example", b"N@suite.example"), "GW103"),
    ("id-percent", "two Content-IDs that differ in percent signs",
     _insert_two_parts(b"n@suite.example", b"%6e@suite.example"), "GW103"),
    ("id-of-root", "a part with the Content-ID of the envelope",
     _insert_part(b"Content-ID: <root@suite.example>"), "GW103"),
    ("id-field-twice", "two Content-ID fields on one part",
     add_part_headers(b"Content-ID: <other@suite.example>"), "GW103"),
    ("id-angles", "a Content-ID in two pairs of brackets", _insert_part(b"Content-ID: <<n@x>>"), "GW103"),
    ("id-spaces", "a Content-ID with a space", _insert_part(b"Content-ID: <n @x>"), "GW103"),
    ("id-comment", "a Content-ID with a comment", _insert_part(b"Content-ID: <n@x> (note)"), "GW103"),
    ("id-absent", "a part without Content-ID", _insert_part(b"Content-Type: text/plain"), "GW103"),
    ("unnamed", "a part that nothing names", _insert_part(b"Content-ID: <n@suite.example>"), "GW103 GW203"),
    ("type-twice", "two Content-Type fields on one part", add_part_headers(b"Content-Type: text/html"),
     "GW103"),
    ("no-colon", "a header line without a colon", add_part_headers(b"no header field"), "GW103"),
    ("space-before-colon", "a space before the colon", add_part_headers(b"X-Odd : y"), "GW103"),
    ("nul", "NUL in a header field", add_part_headers(b"X-Odd: a\x00b"), "GW103"),
    ("bare-return", "a bare carriage return in a header field", add_part_headers(b"X-Odd: a\rX-Other: b"),
     "GW103"),
    ("not-utf8", "a header field that is not UTF-8", add_part_headers(b"X-Odd: \xff\xfe"), "GW103"),
    ("no-empty-line", "a part without the empty line",
     insert_parts(lambda: b"\r\n" + MARK + b"\r\nContent-ID: <n@suite.example>"), "GW103"),
    ("encoding-unknown", "a transfer encoding that nobody knows", _declare_transfer_encoding("x-bogus"),
     "GW103"),
    ("encoding-gzip", "a transfer encoding that inflates", _declare_transfer_encoding("gzip"), "GW103"),
    ("encoding-twice", "two transfer encodings",
     add_part_headers(b"Content-Transfer-Encoding: binary", b"Content-Transfer-Encoding: base64"), "GW103"),
    ("seven-bit", "octets above 127 declared as 7bit", _declare_transfer_encoding("7bit"), "GW103"),
    ("encoding-list", "two transfer encodings in one field", _declare_transfer_encoding("base64, binary"),
     "GW103"),
    ("encoding-parameter", "a transfer encoding with a parameter",
     _declare_transfer_encoding("binary; x=base64"), "GW103"),
    ("part-coded", "a payload that says it is gzip, as HTTP would: who undoes it reads what nobody signed",
     encode_part_content(lambda content: gzip.compress(content, mtime=0), b"Content-Encoding: gzip"),
     "GW103 GW202"),
    ("part-in-chunks", "a payload that says it comes in chunks",
     add_part_headers(b"Transfer-Encoding: chunked"), "GW103"),
    ("base64-garbage", "base64 with other characters in it",
     _encode_and_declare("base64", lambda content: b"!" + base64.b64encode(content)), "GW103"),
    ("base64-raw", "raw octets declared as base64", _declare_transfer_encoding("base64"), "GW103"),
    ("base64-padding", "base64 that goes on after its end",
     _encode_and_declare("base64", lambda content: base64.b64encode(content[:-1]) + b"AAAA="), "GW103"),
    ("base64-bits", "base64 whose unused bits are set",
     _encode_and_declare("base64", lambda content: base64.b64encode(content)[:-3] + b"x=="), "GW103 GW202"),
    ("printable-raw", "raw octets declared as quoted-printable",
     _declare_transfer_encoding("quoted-printable"), "GW103"),
    ("printable-broken", "quoted-printable with half an octet",
     _encode_and_declare("quoted-printable", lambda _: b"=4"), "GW103"),
    ("root-charset", "a root whose charset nobody knows",
     _swap_root_type("Content-Type: text/xml; charset=x-bogus"), "GW101"),
    ("root-utf-16", "a root that is said to be UTF-16",
     _swap_root_type("Content-Type: text/xml; charset=UTF-16"), "GW101"),
    ("root-charset-extended", "a root whose charset only readers of RFC 2231 see",
     _swap_root_type("Content-Type: text/xml; charset*=utf-8''utf-16"), "GW101 GW103"),
    ("root-html", "a root that is said to be HTML", _swap_root_type("Content-Type: text/html"), "GW101"),
    ("root-untyped", "a root without media type", _swap_root_type("X-Nothing: here"), "GW101"),
    # Unusual and valid: a gateway that refuses these refuses honest senders.
    ("right-base64", "a payload in base64, which the signature does not see",
     _encode_and_declare("base64", base64.encodebytes), ""),
    ("right-printable", "a payload in quoted-printable",
     _encode_and_declare("quoted-printable", lambda content: binascii.b2a_qp(content, istext=False)), ""),
    ("right-folded", "a header field in two lines", add_part_headers(b"X-Long: a", b"\tb"), ""),
    ("right-preamble", "a short preamble", lambda data: b"This is MIME.\r\n" + data, ""),
    ("right-epilogue", "a short epilogue", append_epilogue(b"The end.\r\n"), ""),
    ("right-near-boundary", "a boundary in the middle of a line of a header field",
     add_part_headers(b"X-Odd: " + MARK), ""),
)
# fmt: on


@cache
def _compress_zeros(octets: int) -> bytes:
    """Return this number of zeros in gzip, compressed piece by piece."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as stream:
        for _ in range(octets >> 20):
            stream.write(bytes(1 << 20))
    return buffer.getvalue()


_BOMB: Final = 100 * 1024 * 1024
# fmt: off
_CODINGS: Final[tuple[tuple[str, str, str, OctetMutation], ...]] = (
    ("gzip-bomb", "a hundred megabytes in a hundred kilobytes", "gzip", lambda _: _compress_zeros(_BOMB)),
    ("gzip-nested", "gzip in gzip", "gzip", lambda _: gzip.compress(_compress_zeros(_BOMB), mtime=0)),
    ("gzip-chain", "two codings", "gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    ("gzip-members", "gzip in a thousand members", "gzip", lambda data: gzip.compress(data[:1000]) * 1000),
    ("gzip-tail", "gzip with a tail", "gzip", lambda data: gzip.compress(data) + b"tail" * 1000),
    ("gzip-checksum", "gzip with a wrong checksum", "gzip", lambda data: gzip.compress(data)[:-8] + bytes(8)),
    ("gzip-honest", "gzip of an honest message, where none was agreed", "gzip", gzip.compress),
    ("deflate", "deflate", "deflate", zlib.compress),
    ("unknown", "a coding that nobody knows", "x-bogus", bytes),
    ("identity-and-gzip", "no coding and one", "identity, gzip", gzip.compress),
)
# fmt: on


def _make_coded_request(face: str, coding: str, encode: OctetMutation) -> RequestMaker:
    """Return the step that sends an honest request in a content coding."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        honest = kit.build_call() if face == "soap" else kit.build_message()
        return HttpRequest(face, {**honest.headers, "Content-Encoding": coding}, encode(honest.body))

    return make_request


def _make_coding_cases() -> Iterator[AttackCase]:
    must = expect_early_refusal("GW101", "GW109", "GW102")
    for variant, title, coding, encode in _CODINGS:
        for face, suffix in (("ebms2", ""), ("soap", "-call")):
            request = _make_coded_request(face, coding, encode)
            name, full_title = f"DOS-10.{variant}{suffix}", f"{title}, as Content-Encoding"
            yield make_attack_case(name, full_title, request, must, _INFLATE, face=face)


def _set_call_type(content_type: str) -> RequestMaker:
    return lambda kit: kit.build_call(content_type=content_type)


# fmt: off
_CALL_TYPES: Final = (
    ("multipart", 'a call as multipart/related; type="text/xml"; boundary="b"',
     'multipart/related; type="text/xml"; boundary="b"'),
    ("soap-1.2", "a call as application/soap+xml", "application/soap+xml"),
    ("none", "a call as nothing", ""),
    ("html", "a call as text/html", "text/html"),
    ("no-slash", "a call as xml", "xml"),
)
# fmt: on

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("DOS-08.", _COSTS, change_body, _COST, early=True),
    *make_table_cases("DOS-09.", _FRAMES, change_body, _CONFUSION, early=True),
    *make_table_cases("DOS-09.", _CONTENT_TYPES, change_content_type, _CONFUSION, early=True),
    *make_table_cases(
        "DOS-09.call-", _CALL_TYPES, _set_call_type, _CONFUSION, "GW101 GW103", face="soap", early=True
    ),
    *_make_coding_cases(),
)
"""Attacks by MIME and by content codings: DOS-08 to DOS-10."""
