"""Attacks by XML: declarations, quantities, and encodings.

Each attack is XML text in a place of an envelope, or instead of it, after the envelope was
signed. It is sent as a message and as a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from gateway.wire import PREFIXES
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    BothFaceTable,
    PlainTable,
    RequestMaker,
    change_envelope,
    make_attack_case,
    make_both_face_table_cases,
    make_table_cases,
)
from gateway_conformance.hostile.content_mutations import (
    OctetMutation,
    add_root_attributes,
    build_attribute_element,
    build_declaration_element,
    build_reference,
    build_xpath_transform,
    insert_in_body,
    insert_in_header,
    insert_in_signature,
    nest_elements,
    prepend_prolog,
    repeat_piece,
    replace_envelope,
)
from gateway_conformance.hostile.exchange import LAWFUL

_XXE: Final = "CWE-611; defusedxml"
_LAUGHS: Final = "CWE-776; billion laughs"
_CONFUSION: Final = "encoding confusion; measured with libxml2 2.14, which accepts UTF-7"
_C14N: Final = "canonicalisation is quadratic; measured with libxml2 2.14"
_SIZE: Final = "measured with libxml2 2.14"
#: Nothing answers at this address; a gateway that connects to it can be observed.
_FILE: Final = b"file:///etc/hostname"
_URL: Final = b"http://127.0.0.1:9/hostile.dtd"
_XSI: Final = b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
_XI: Final = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="%s" parse="text"/>'
_TEXT_IN_HEADER: Final = re.compile(rb"(<(?:[\w.-]+:)?(?:ConversationId|MessageID)\b[^>]*>)([^<]*)<")
_EXCLUSIVE: Final = PREFIXES["ec"].encode()
_KILO: Final = 1000


def _prepend_doctype(internal_subset: bytes, entity_reference: bytes = b"") -> OctetMutation:
    """Return the change that declares `internal_subset`, and uses an entity in a value of the header."""

    def mutate_octets(data: bytes) -> bytes:
        if entity_reference:
            data = _TEXT_IN_HEADER.sub(lambda match: match[1] + entity_reference + b"<", data, count=1)
        return b"<!DOCTYPE soap [" + internal_subset + b"]>" + data

    return mutate_octets


def _build_nested_entities(levels: int, times: int) -> bytes:
    first = b'<!ENTITY l0 "ha ha ha ha ha ">'
    return first + b"".join(
        b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * times) for level in range(1, levels + 1)
    )


#: Six gigabytes, if a reader expands all of it.
_NESTED: Final = _build_nested_entities(12, 10)


def _prepend_external_entity(
    declaration: bytes, entity_reference: bytes = b"", *, url: bytes = _URL
) -> OctetMutation:
    """Return the change that declares an external entity; ``URL`` in `declaration` is its address."""
    return _prepend_doctype(declaration.replace(b"URL", b'"' + url + b'"'), entity_reference)


# fmt: off
_EXPANSIONS: Final[BothFaceTable] = (
    ("billion-laughs", "nested entities that expand to gigabytes", _prepend_doctype(_NESTED, b"&l12;")),
    ("quadratic", "one long entity used a thousand times",
     _prepend_doctype(b'<!ENTITY q "' + b"A" * 50_000 + b'">', b"&q;" * 1000)),
    ("recursion", "an entity that contains itself",
     _prepend_doctype(b'<!ENTITY r "&s;"><!ENTITY s "&r;">', b"&r;")),
    ("parameter", "parameter entities that expand in the declarations",
     _prepend_doctype(b"<!ENTITY % a '&#37;b;&#37;b;'><!ENTITY % b '&#37;a;'>%a;")),
    ("in-attribute", "entities that expand in an attribute",
     lambda data: _prepend_doctype(_NESTED)(add_root_attributes(lambda: b'x="&l12;"')(data))),
    ("defaults", "a document type that adds attributes by default",
     _prepend_doctype(b'<!ELEMENT soap ANY><!ATTLIST soap Id CDATA "1">')),
    ("empty", "a document type that says nothing", _prepend_doctype(b"")),
    ("unfinished", "a document type that does not end", prepend_prolog(lambda: b"<!DOCTYPE soap [" * 1000)),
    ("after-comment", "a document type after a long comment",
     lambda data: b"<!--" + b"x" * 100_000 + b"-->" + _prepend_doctype(_NESTED, b"&l12;")(data)),
)

_FETCHES: Final[BothFaceTable] = (
    ("file", "an external entity that is a file",
     _prepend_external_entity(b"<!ENTITY x SYSTEM URL>", b"&x;", url=_FILE)),
    ("url", "an external entity that is a URL", _prepend_external_entity(b"<!ENTITY x SYSTEM URL>", b"&x;")),
    ("public", "an external entity with a public identifier",
     _prepend_external_entity(b'<!ENTITY x PUBLIC "-//X//X" URL>', b"&x;")),
    ("dtd", "an external document type", prepend_prolog(lambda: b'<!DOCTYPE soap SYSTEM "' + _URL + b'">')),
    ("parameter", "an external parameter entity", _prepend_external_entity(b"<!ENTITY % x SYSTEM URL> %x;")),
    ("unparsed", "an unparsed entity with a notation",
     _prepend_doctype(b'<!NOTATION n SYSTEM "' + _URL + b'"><!ENTITY x SYSTEM "' + _FILE + b'" NDATA n>')),
    ("stylesheet", "a style sheet named by an instruction",
     prepend_prolog(lambda: b'<?xml-stylesheet type="text/xsl" href="' + _URL + b'"?>')),
    ("instruction", "a processing instruction in the header",
     insert_in_header(lambda: b"<?php system('id'); ?>")),
)
# fmt: on


def _recode_envelope(
    encoding: str, byte_order_mark: bytes = b"", declared_encoding: str = ""
) -> OctetMutation:
    """Return the change that writes the envelope in another encoding."""
    declaration = f'<?xml version="1.0" encoding="{declared_encoding}"?>' if declared_encoding else ""
    return lambda data: byte_order_mark + (declaration + data.decode()).encode(encoding)


def _declare_encoding(encoding: bytes, version: bytes = b"1.0") -> OctetMutation:
    return lambda data: b'<?xml version="%s" encoding="%s"?>' % (version, encoding) + data


def _insert_text(octets: bytes) -> OctetMutation:
    return insert_in_header(lambda: octets)


def _declare_on_root(octets: bytes) -> OctetMutation:
    return add_root_attributes(lambda: octets)


# fmt: off
_ENCODINGS: Final[BothFaceTable] = (
    ("utf-7", "UTF-7, in which no markup shows", _recode_envelope("utf-7", declared_encoding="UTF-7")),
    ("utf-7-declared", "plain octets declared as UTF-7", _declare_encoding(b"UTF-7")),
    ("utf-16", "UTF-16 with its mark", _recode_envelope("utf-16")),
    ("utf-16-le", "UTF-16 without a mark", _recode_envelope("utf-16-le")),
    ("utf-16-be", "UTF-16, the other order", _recode_envelope("utf-16-be", declared_encoding="UTF-16")),
    ("utf-32", "UTF-32 with its mark", _recode_envelope("utf-32")),
    ("utf-32-be", "UTF-32 without a mark", _recode_envelope("utf-32-be")),
    ("ebcdic", "EBCDIC", _recode_envelope("cp037", declared_encoding="cp037")),
    ("latin-1", "Latin-1, declared", _declare_encoding(b"ISO-8859-1")),
    ("unknown", "an encoding that nobody knows", _declare_encoding(b"x-bogus")),
    ("mark-against-declaration", "the mark of UTF-8, declared as UTF-16",
     lambda data: b"\xef\xbb\xbf" + _declare_encoding(b"UTF-16")(data)),
    ("mark-against-octets", "the mark of UTF-16 before UTF-8", lambda data: b"\xff\xfe" + data),
    ("two-marks", "two marks", lambda data: b"\xef\xbb\xbf\xef\xbb\xbf" + data),
    ("overlong", "overlong UTF-8: a smaller-than sign in two octets", _insert_text(b"\xc0\xbcx\xc0\xbe")),
    ("surrogates", "surrogates in UTF-8", _insert_text(b"\xed\xa0\x80\xed\xb0\x80")),
    ("beyond", "a code point beyond Unicode", _insert_text(b"\xf4\x90\x80\x80")),
    ("truncated", "a character cut in two", _insert_text(b"\xea\xb0")),
    ("nul", "the character NUL", _insert_text(b"a\x00b")),
    ("nul-reference", "NUL as a character reference", _insert_text(b"&#0;")),
    ("surrogate-reference", "a surrogate as a character reference", _insert_text(b"&#xD800;")),
    ("control", "a control character", _insert_text(b"\x1b[2J")),
    ("xml-1.1", "XML 1.1, where other characters end lines", _declare_encoding(b"UTF-8", b"1.1")),
    ("two-declarations", "two XML declarations",
     lambda data: _declare_encoding(b"UTF-8")(_declare_encoding(b"UTF-8")(data))),
    ("nothing", "no octet at all", replace_envelope(lambda: b"")),
    ("no-xml", "octets that are no XML", replace_envelope(lambda: bytes(range(256)) * 16)),
    ("two-roots", "two documents in one", lambda data: data + data),
    ("unbound", "a prefix that nobody declared", _insert_text(b"<unbound:x/>")),
    ("two-colons", "a name of two colons", _declare_on_root(b'a:b:c="1"')),
    ("first-colon", "a name that begins with a colon", _declare_on_root(b':a="1"')),
    ("attribute-twice", "an attribute twice, under two prefixes of one name",
     _declare_on_root(b'xmlns:p="urn:x" xmlns:q="urn:x" p:a="1" q:a="2"')),
    ("xml-rebound", "the prefix xml for another name", _declare_on_root(b'xmlns:xml="urn:x"')),
    ("xmlns-bound", "the prefix xmlns for a name", _declare_on_root(b'xmlns:xmlns="urn:x"')),
    ("other-xml", "another prefix for the name of xml",
     _declare_on_root(b'xmlns:p="http://www.w3.org/XML/1998/namespace"')),
    ("other-xmlns", "a prefix for the name of xmlns",
     _declare_on_root(b'xmlns:p="http://www.w3.org/2000/xmlns/"')),
    ("unbinding", "a prefix that is taken back, as in XML 1.1", _declare_on_root(b'xmlns:p=""')),
    ("unfinished", "an envelope that stops in the middle", lambda data: data[: len(data) // 2]),
)
# fmt: on


# fmt: off
_INCLUDES: Final[BothFaceTable] = (
    ("file", "an XInclude in the Body", insert_in_body(lambda: _XI % _FILE)),
    ("url", "an XInclude in the Body", insert_in_body(lambda: _XI % _URL)),
)
# fmt: on

_LOCATION: Final = add_root_attributes(
    lambda: _XSI + b'xsi:schemaLocation="urn:example:unknown ' + _URL + b'"'
)
_LOCATIONS: Final = (
    make_attack_case(
        "DOS-02.schema-location",
        "a schema location on the Envelope, which many write: not to be fetched",
        change_envelope(_LOCATION),
        LAWFUL,
        _XXE,
    ),
    make_attack_case(
        "DOS-02.schema-location-call",
        "a schema location on the Envelope of a call: not to be fetched",
        lambda kit: kit.build_call(envelope=_LOCATION),
        LAWFUL,
        _XXE,
        face="soap",
    ),
)


def _set_call_charset(charset: str) -> RequestMaker:
    return lambda kit: kit.build_call(content_type=f"text/xml; charset={charset}")


_CHARSETS: Final = tuple(
    (charset, f"a call whose Content-Type says charset={charset}", charset)
    for charset in ("bogus", "utf-16", "utf-7", "rot13")
)
_UNCAUGHT: Final = "measured: a SOAP library answers by an uncaught LookupError"


# fmt: off
_ATTRIBUTES: Final[BothFaceTable] = (
    ("200000", "one element with 200,000 attributes", insert_in_header(build_attribute_element(200 * _KILO))),
    ("50000", "one element with 50,000 attributes", insert_in_body(build_attribute_element(50 * _KILO))),
    ("one-too-many", "an element with 65 attributes", insert_in_header(build_attribute_element(65))),
    ("on-the-envelope", "70 attributes on the Envelope", add_root_attributes(repeat_piece(b'a%d="" ', 70))),
    ("everywhere", "thousands of elements with sixty attributes each",
     insert_in_header(lambda: build_attribute_element(60)() * 2000)),
)
# fmt: on


def _stack_declarations(element_count: int, declarations_each: int = 50) -> Callable[[], bytes]:
    """Return this number of nested elements, each with its own declarations, around two hundred elements."""

    def build_stack() -> bytes:
        nested = b"<x:a/>" * 200
        for level in range(element_count):
            names = b" ".join(
                b'xmlns:p%d-%d="urn:p"' % (level, number) for number in range(declarations_each)
            )
            nested = b"<x:d " + names + b">" + nested + b"</x:d>"
        return nested

    return build_stack


# fmt: off
_NAMESPACES: Final[BothFaceTable] = (
    ("44-kb", "1,200 namespaces over 200 elements", insert_in_header(_stack_declarations(24))),
    ("178-kb", "4,000 namespaces over 200 elements", insert_in_header(_stack_declarations(80))),
    ("467-kb", "15,000 namespaces on one element",
     insert_in_header(build_declaration_element(15_000, [b"<x:a/>" * 200]))),
    ("one-too-many", "66 namespaces on one path", insert_in_header(_stack_declarations(4, 16))),
    ("on-the-envelope", "70 namespaces on the Envelope",
     add_root_attributes(repeat_piece(b'xmlns:p%d="urn:p" ', 70))),
    ("within", "fifty namespaces over thousands of nested elements, each number within its limit",
     insert_in_header(build_declaration_element(50, [nest_elements(80)() * 60]))),
    ("flat", "fifty namespaces over thousands of elements beside each other",
     insert_in_header(build_declaration_element(50, [b"<x:a/>" * 9000]))),
)
# fmt: on


def _build_prefix_list(count: int) -> bytes:
    names = b" ".join(b"p%d" % number for number in range(count))
    return build_reference(
        b'<d:Transform Algorithm="%s"><e:InclusiveNamespaces xmlns:e="%s" PrefixList="%s"/></d:Transform>'
        % (_EXCLUSIVE, _EXCLUSIVE, names)
    )


_INCLUSIVE: Final = b'<d:Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>'


# fmt: off
_SIGNATURES: Final[BothFaceTable] = (
    ("prefixes-2000", "a PrefixList of 2,000", insert_in_signature(lambda: _build_prefix_list(2000)), _C14N),
    ("prefixes-33", "a PrefixList of 33", insert_in_signature(lambda: _build_prefix_list(33)), _C14N),
    ("references", "thousands of references",
     insert_in_signature(lambda: build_reference(build_xpath_transform(b"1")) * 3000),
     "XML Signature Best Practices 2.1"),
    ("transforms", "hundreds of transforms in one reference",
     insert_in_signature(lambda: build_reference(_INCLUSIVE * 500)), "XML Signature Best Practices 2.1.4"),
)

_XPATHS: Final[PlainTable[bytes]] = (
    ("count", "an XPath that counts at every node", b"//*[count(//*)>1]"),
    ("quadratic", "an XPath that compares all nodes with each other", b"//*[//*=//*]"),
    ("axes", "an XPath of many axes", b"ancestor-or-self::node()/descendant-or-self::node()" * 15),
    ("parentheses", "an XPath of nine hundred parentheses", b"(" * 450 + b"1" + b")" * 450),
    ("long", "an XPath of half a megabyte", b"1 | " * 125_000 + b"1"),
)

_SIZES: Final[BothFaceTable] = (
    ("depth-100000", "a hundred thousand nested elements", insert_in_header(nest_elements(100 * _KILO))),
    ("depth-101", "a hundred and one nested elements", insert_in_header(nest_elements(101))),
    ("siblings", "three million elements beside each other",
     insert_in_header(repeat_piece(b"<a/>", 3000 * _KILO))),
    ("siblings-in-body", "200,001 elements in the Body", insert_in_body(repeat_piece(b"<a/>", 200_001))),
    ("names", "a hundred thousand different names", insert_in_header(repeat_piece(b"<x:a%d/>", 100 * _KILO))),
    ("attribute-names", "a hundred thousand different attributes",
     insert_in_header(repeat_piece(b'<x:a b%d=""/>', 100 * _KILO))),
    ("comments", "a hundred thousand empty comments",
     insert_in_header(repeat_piece(b"<!---->", 100 * _KILO))),
    ("texts", "a hundred thousand texts of one character",
     insert_in_header(repeat_piece(b"<a/>x", 100 * _KILO))),
    ("name", "a name of twelve megabytes", insert_in_header(lambda: b"<" + b"n" * 12_000_000 + b"/>")),
    ("name-257", "a name of 257 characters", insert_in_header(lambda: b"<" + b"n" * 257 + b"/>")),
    ("value", "an attribute of a megabyte",
     insert_in_header(lambda: b'<x:a b="' + b"v" * 1_000_000 + b'"/>')),
    ("text", "a text of twelve megabytes", insert_in_header(lambda: b"t" * 12_000_000)),
    ("never-ends", "an element that is opened a million times",
     insert_in_body(repeat_piece(b"<a>", 1_000_000))),
)

_SEARCHES: Final[BothFaceTable] = (
    ("declarations", "the same fifty namespaces on a thousand elements beside each other",
     insert_in_header(lambda: build_declaration_element(50)() * 1000)),
    # The cost of a node-set when each node is searched among all previous ones.
    ("actors", "thousands of elements with an actor",
     insert_in_header(repeat_piece(b'<x:a xmlns:s="%s" s:actor="a"/>' % PREFIXES["soap"].encode(),
     12 * _KILO))),
    ("identifiers", "thousands of elements with one identifier of two kinds",
     insert_in_header(lambda: (repeat_piece(b'<x:a xml:id="i%d"/>          ', 6 * _KILO)()
     + repeat_piece(b'<e:a xmlns:e="%s" e:id="i%%d"/>' % PREFIXES["eb"].encode(), 6 * _KILO)()))),
    ("blocks", "thousands of header blocks",
     lambda data: data.replace(b"</soap:Header>",
     b'<x:b xmlns:x="urn:example:unknown"/>' * 9000 + b"</soap:Header>", 1)),
)
# fmt: on


def _make_xpath_cases() -> Iterator[AttackCase]:
    for variant, title, expression in _XPATHS:
        change = insert_in_signature(partial(build_reference, build_xpath_transform(expression)))
        yield from make_both_face_table_cases(
            "DOS-06.", ((variant, title, change),), "GW202 GW204", "XPath denial of service"
        )


CASES: Final[tuple[AttackCase, ...]] = (
    *make_both_face_table_cases("DOS-01.", _EXPANSIONS, "GW102 GW104", _LAUGHS),
    *make_both_face_table_cases("DOS-02.", _FETCHES, "GW104", _XXE),
    *make_both_face_table_cases("DOS-02.xinclude-", _INCLUDES, "GW107 GW202 GW311 GW402", _XXE),
    *_LOCATIONS,
    *make_both_face_table_cases("DOS-07.", _ENCODINGS, "GW104", _CONFUSION),
    *make_table_cases(
        "DOS-07.charset-", _CHARSETS, _set_call_charset, _UNCAUGHT, "GW101", face="soap", early=True
    ),
    *make_both_face_table_cases("DOS-03.", _ATTRIBUTES, "GW102", _C14N),
    *make_both_face_table_cases("DOS-04.", _NAMESPACES, "GW102", _C14N),
    *make_both_face_table_cases("DOS-05.", _SIZES, "GW102 GW104", _SIZE),
    *make_both_face_table_cases("DOS-05.", _SEARCHES, "GW102 GW107 GW202 GW203", _SIZE),
    *make_both_face_table_cases("DOS-04.", _SIGNATURES, "GW102 GW202 GW204", _C14N),
    *_make_xpath_cases(),
)
"""Attacks by XML: DOS-01 to DOS-07."""
