"""XML that says what is to be fetched, expanded or decoded: entities, instructions, locations, encodings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.exchange import LAWFUL
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.message_mutation import OctetMutation
from gateway.conformance.hostile.scenarios import RequestMaker
from gateway.conformance.hostile.xml_bombs import (
    add_root_attributes,
    expect_early_refusal,
    insert_in_body,
    insert_in_header,
    make_both_face_cases,
    prepend_prolog,
    replace_envelope,
)

__all__ = ["CASES"]

_XXE: Final = "CWE-611; defusedxml"
_LAUGHS: Final = "CWE-776; billion laughs"
_CONFUSION: Final = "encoding confusion; measured with libxml2 2.14, which accepts UTF-7"
#: Nobody answers there; a gateway that asks is seen by whoever watches it.
_FILE: Final = b"file:///etc/hostname"
_URL: Final = b"http://127.0.0.1:9/hostile.dtd"
_XSI: Final = b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
_XI: Final = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="%s" parse="text"/>'
_TEXT_IN_HEADER: Final = re.compile(rb"(<(?:[\w.-]+:)?(?:ConversationId|MessageID)\b[^>]*>)([^<]*)<")


def _prepend_doctype(subset: bytes, use: bytes = b"") -> OctetMutation:
    """Return the change that declares `subset`, and uses an entity in a value of the header."""

    def mutate_octets(data: bytes) -> bytes:
        if use:
            data = _TEXT_IN_HEADER.sub(lambda found: found[1] + use + b"<", data, count=1)
        return b"<!DOCTYPE soap [" + subset + b"]>" + data

    return mutate_octets


def _build_nested_entities(levels: int, times: int) -> bytes:
    first = b'<!ENTITY l0 "ha ha ha ha ha ">'
    return first + b"".join(
        b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * times) for level in range(1, levels + 1)
    )


_EXPANSIONS: Final[dict[str, tuple[str, OctetMutation]]] = {
    "billion-laughs": (
        "nested entities that expand to gigabytes",
        _prepend_doctype(_build_nested_entities(12, 10), b"&l12;"),
    ),
    "quadratic": (
        "one long entity used a thousand times",
        _prepend_doctype(b'<!ENTITY q "' + b"A" * 50_000 + b'">', b"&q;" * 1000),
    ),
    "recursion": (
        "an entity that contains itself",
        _prepend_doctype(b'<!ENTITY r "&s;"><!ENTITY s "&r;">', b"&r;"),
    ),
    "parameter": (
        "parameter entities that expand in the declarations",
        _prepend_doctype(b"<!ENTITY % a '&#37;b;&#37;b;'><!ENTITY % b '&#37;a;'>%a;"),
    ),
    "in-attribute": (
        "entities that expand in an attribute",
        lambda data: _prepend_doctype(_build_nested_entities(12, 10))(
            add_root_attributes(lambda: b'x="&l12;"')(data)
        ),
    ),
    "defaults": (
        "a document type that adds attributes by default",
        _prepend_doctype(b'<!ELEMENT soap ANY><!ATTLIST soap Id CDATA "1">'),
    ),
    "empty": ("a document type that says nothing", _prepend_doctype(b"")),
    "unfinished": ("a document type that does not end", prepend_prolog(lambda: b"<!DOCTYPE soap [" * 1000)),
    "after-comment": (
        "a document type after a long comment",
        lambda data: (
            b"<!--"
            + b"x" * 100_000
            + b"-->"
            + _prepend_doctype(_build_nested_entities(12, 10), b"&l12;")(data)
        ),
    ),
}

_FETCHES: Final[dict[str, tuple[str, OctetMutation]]] = {
    "file": (
        "an external entity that is a file",
        _prepend_doctype(b'<!ENTITY x SYSTEM "' + _FILE + b'">', b"&x;"),
    ),
    "url": (
        "an external entity that is a URL",
        _prepend_doctype(b'<!ENTITY x SYSTEM "' + _URL + b'">', b"&x;"),
    ),
    "public": (
        "an external entity with a public identifier",
        _prepend_doctype(b'<!ENTITY x PUBLIC "-//X//X" "' + _URL + b'">', b"&x;"),
    ),
    "dtd": ("an external document type", prepend_prolog(lambda: b'<!DOCTYPE soap SYSTEM "' + _URL + b'">')),
    "parameter": (
        "an external parameter entity",
        _prepend_doctype(b'<!ENTITY % x SYSTEM "' + _URL + b'"> %x;'),
    ),
    "unparsed": (
        "an unparsed entity with a notation",
        _prepend_doctype(b'<!NOTATION n SYSTEM "' + _URL + b'"><!ENTITY x SYSTEM "' + _FILE + b'" NDATA n>'),
    ),
    "stylesheet": (
        "a style sheet named by an instruction",
        prepend_prolog(lambda: b'<?xml-stylesheet type="text/xsl" href="' + _URL + b'"?>'),
    ),
    "instruction": (
        "a processing instruction in the header",
        insert_in_header(lambda: b"<?php system('id'); ?>"),
    ),
}


def _recode_envelope(encoding: str, mark: bytes = b"", declared: str = "") -> OctetMutation:
    """Return the change that writes the envelope in another encoding."""
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    return lambda data: mark + (declaration + data.decode()).encode(encoding)


def _declare_encoding(encoding: bytes, version: bytes = b"1.0") -> OctetMutation:
    return lambda data: b'<?xml version="%s" encoding="%s"?>' % (version, encoding) + data


_ENCODINGS: Final[dict[str, tuple[str, OctetMutation]]] = {
    "utf-7": ("UTF-7, in which no markup shows", _recode_envelope("utf-7", declared="UTF-7")),
    "utf-7-declared": ("plain octets declared as UTF-7", _declare_encoding(b"UTF-7")),
    "utf-16": ("UTF-16 with its mark", _recode_envelope("utf-16")),
    "utf-16-le": ("UTF-16 without a mark", _recode_envelope("utf-16-le")),
    "utf-16-be": ("UTF-16, the other order", _recode_envelope("utf-16-be", declared="UTF-16")),
    "utf-32": ("UTF-32 with its mark", _recode_envelope("utf-32")),
    "utf-32-be": ("UTF-32 without a mark", _recode_envelope("utf-32-be")),
    "ebcdic": ("EBCDIC", _recode_envelope("cp037", declared="cp037")),
    "latin-1": ("Latin-1, declared", _declare_encoding(b"ISO-8859-1")),
    "unknown": ("an encoding that nobody knows", _declare_encoding(b"x-bogus")),
    "mark-against-declaration": (
        "the mark of UTF-8, declared as UTF-16",
        lambda data: b"\xef\xbb\xbf" + _declare_encoding(b"UTF-16")(data),
    ),
    "mark-against-octets": ("the mark of UTF-16 before UTF-8", lambda data: b"\xff\xfe" + data),
    "two-marks": ("two marks", lambda data: b"\xef\xbb\xbf\xef\xbb\xbf" + data),
    "overlong": (
        "overlong UTF-8: a smaller-than sign in two octets",
        insert_in_header(lambda: b"\xc0\xbcx\xc0\xbe"),
    ),
    "surrogates": ("surrogates in UTF-8", insert_in_header(lambda: b"\xed\xa0\x80\xed\xb0\x80")),
    "beyond": ("a code point beyond Unicode", insert_in_header(lambda: b"\xf4\x90\x80\x80")),
    "truncated": ("a character cut in two", insert_in_header(lambda: b"\xea\xb0")),
    "nul": ("the character NUL", insert_in_header(lambda: b"a\x00b")),
    "nul-reference": ("NUL as a character reference", insert_in_header(lambda: b"&#0;")),
    "surrogate-reference": ("a surrogate as a character reference", insert_in_header(lambda: b"&#xD800;")),
    "control": ("a control character", insert_in_header(lambda: b"\x1b[2J")),
    "xml-1.1": ("XML 1.1, where other characters end lines", _declare_encoding(b"UTF-8", b"1.1")),
    "two-declarations": (
        "two XML declarations",
        lambda data: _declare_encoding(b"UTF-8")(_declare_encoding(b"UTF-8")(data)),
    ),
    "nothing": ("no octet at all", replace_envelope(lambda: b"")),
    "no-xml": ("octets that are no XML", replace_envelope(lambda: bytes(range(256)) * 16)),
    "two-roots": ("two documents in one", lambda data: data + data),
    "unbound": ("a prefix that nobody declared", insert_in_header(lambda: b"<unbound:x/>")),
    "two-colons": ("a name of two colons", add_root_attributes(lambda: b'a:b:c="1"')),
    "first-colon": ("a name that begins with a colon", add_root_attributes(lambda: b':a="1"')),
    "attribute-twice": (
        "an attribute twice, under two prefixes of one name",
        add_root_attributes(lambda: b'xmlns:p="urn:x" xmlns:q="urn:x" p:a="1" q:a="2"'),
    ),
    "xml-rebound": ("the prefix xml for another name", add_root_attributes(lambda: b'xmlns:xml="urn:x"')),
    "xmlns-bound": ("the prefix xmlns for a name", add_root_attributes(lambda: b'xmlns:xmlns="urn:x"')),
    "other-xml": (
        "another prefix for the name of xml",
        add_root_attributes(lambda: b'xmlns:p="http://www.w3.org/XML/1998/namespace"'),
    ),
    "other-xmlns": (
        "a prefix for the name of xmlns",
        add_root_attributes(lambda: b'xmlns:p="http://www.w3.org/2000/xmlns/"'),
    ),
    "unbinding": ("a prefix that is taken back, as in XML 1.1", add_root_attributes(lambda: b'xmlns:p=""')),
    "unfinished": ("an envelope that stops in the middle", lambda data: data[: len(data) // 2]),
}


def _make_xml_cases(
    attack_id: str, rows: dict[str, tuple[str, OctetMutation]], problems: str, source: str
) -> tuple[AttackCase, ...]:
    return tuple(
        case
        for name, (title, change) in rows.items()
        for case in make_both_face_cases(f"{attack_id}.{name}", title, change, problems, source)
    )


def _insert_include(where: Callable[[Callable[[], bytes]], OctetMutation], href: bytes) -> OctetMutation:
    return where(lambda: _XI % href)


_INCLUDES: Final = tuple(
    case
    for name, href in (("file", _FILE), ("url", _URL))
    for case in make_both_face_cases(
        f"DOS-02.xinclude-{name}",
        "an XInclude in the Body",
        _insert_include(insert_in_body, href),
        "GW107 GW202 GW311 GW402",
        _XXE,
    )
)

_LOCATION: Final = add_root_attributes(
    lambda: _XSI + b'xsi:schemaLocation="urn:example:unknown ' + _URL + b'"'
)
_LOCATIONS: Final = (
    make_attack_case(
        "DOS-02.schema-location",
        "a schema location on the Envelope, which many write: not to be fetched",
        lambda bench: bench.build_message(envelope=_LOCATION),
        LAWFUL,
        _XXE,
    ),
    make_attack_case(
        "DOS-02.schema-location-call",
        "a schema location on the Envelope of a call: not to be fetched",
        lambda bench: bench.build_call(envelope=_LOCATION),
        LAWFUL,
        _XXE,
        face="soap",
    ),
)


def _make_charset_call(charset: str) -> RequestMaker:
    return lambda bench: bench.build_call(content_type=f"text/xml; charset={charset}")


_CHARSETS: Final = tuple(
    make_attack_case(
        f"DOS-07.charset-{charset}",
        f"a call whose Content-Type says charset={charset}",
        _make_charset_call(charset),
        expect_early_refusal("GW101"),
        "measured: a SOAP library answers by an uncaught LookupError",
        face="soap",
    )
    for charset in ("bogus", "utf-16", "utf-7", "rot13")
)

CASES: Final[tuple[AttackCase, ...]] = (
    *_make_xml_cases("DOS-01", _EXPANSIONS, "GW102 GW104", _LAUGHS),
    *_make_xml_cases("DOS-02", _FETCHES, "GW104", _XXE),
    *_INCLUDES,
    *_LOCATIONS,
    *_make_xml_cases("DOS-07", _ENCODINGS, "GW104", _CONFUSION),
    *_CHARSETS,
)
"""Attacks by what XML declares: DOS-01, DOS-02 and DOS-07."""
