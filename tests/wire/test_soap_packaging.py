"""The envelope of a SOAP 1.1 message, bare and in an MTOM package."""

from __future__ import annotations

import base64
import quopri
import re

import pytest

from gateway.errors import GatewayError
from gateway.wire import SOAP11, WSSE, WireLimits, is_soap11_type, parse_xml, unwrap_soap_envelope
from tests.kit.mtom import (
    CXF_TYPE,
    INCLUDE,
    PRODUCTS,
    Package,
    join_parts,
    make_part,
    make_root,
    make_token_part,
    pack_as_cxf,
    pack_as_wss4j,
    take_token,
)

TOKEN = base64.b64encode(b"a certificate " * 60).decode()
ENVELOPE = (
    f'<s:Envelope xmlns:s="{SOAP11}"><s:Header><w:Security xmlns:w="{WSSE}">'
    f'<w:BinarySecurityToken Id="X">{TOKEN}</w:BinarySecurityToken></w:Security></s:Header>'
    '<s:Body a="&#10;"><x>é&#13;</x></s:Body></s:Envelope>'
).encode()
WITHOUT_TOKEN, CERTIFICATE = take_token(ENVELOPE)


def unwrap(package: Package, limits: WireLimits | None = None) -> bytes:
    assert is_soap11_type(package.content_type)
    return unwrap_soap_envelope(package.content_type, package.body, limits or WireLimits())


def problem_of(package: Package, limits: WireLimits | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        unwrap(package, limits)
    return caught.value


def test_a_bare_envelope_is_the_body() -> None:
    assert unwrap(Package("text/xml; charset=utf-8", ENVELOPE)) == ENVELOPE


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_envelope_of_a_package_is_what_was_packed(product: str) -> None:
    assert unwrap(PRODUCTS[product](ENVELOPE)) == ENVELOPE


SAME = {
    "nothing after the type": pack_as_cxf(ENVELOPE).swap('; start-info="text/xml"', ""),
    "no start": pack_as_cxf(ENVELOPE).swap('start="<root.message@cxf.apache.org>"; ', ""),
    "base64": join_parts(make_root(base64.encodebytes(ENVELOPE).replace(b"\n", b"\r\n"), "base64")),
    "quoted-printable": join_parts(
        make_root(quopri.encodestring(ENVELOPE).replace(b"\n", b"\r\n"), "quoted-printable")
    ),
    "the root is not the first": join_parts(make_token_part(CERTIFICATE), make_root(WITHOUT_TOKEN)),
    "a link in capital letters, with escapes": join_parts(
        make_root(re.sub(rb'href="cid:[^"]*"', b'href="CID:http%3A%2F%2Ftempuri.org%2F1"', WITHOUT_TOKEN)),
        make_token_part(CERTIFICATE, "http://tempuri.org/1"),
    ),
    "lines before the first boundary": Package(CXF_TYPE, b"MTOM" + pack_as_cxf(ENVELOPE).body + b"\r\nend"),
}


@pytest.mark.parametrize("package", SAME.values(), ids=SAME)
def test_the_form_of_a_package_changes_nothing(package: Package) -> None:
    assert unwrap(package) == ENVELOPE


PART = make_part("Content-Type: text/plain\r\nContent-ID: <x>", b"x")
NESTED = make_part('Content-Type: multipart/mixed; boundary="n"\r\nContent-ID: <x>', b"--n\r\n\r\nx\r\n--n--")
BODY_INCLUDE = ENVELOPE.replace("é&#13;".encode(), INCLUDE)
SECOND_TOKEN = b"<w:BinarySecurityToken>" + INCLUDE + b"</w:BinarySecurityToken></w:Security>"
REFUSED = {
    "a part that nobody includes": (join_parts(make_root(ENVELOPE), PART), "GW103", "does not include"),
    "a part beside the certificate": (
        join_parts(make_root(WITHOUT_TOKEN), make_token_part(CERTIFICATE), PART),
        "GW103",
        "does not include",
    ),
    "an inclusion without a part": (join_parts(make_root(WITHOUT_TOKEN)), "GW103", "without a part"),
    "an inclusion of another part": (
        join_parts(make_root(WITHOUT_TOKEN), make_token_part(CERTIFICATE, "other")),
        "GW103",
        "names no part",
    ),
    "an inclusion by another link": (
        pack_as_wss4j(ENVELOPE).swap('href="cid:', 'href="'),
        "GW103",
        "names no part",
    ),
    "an inclusion in the Body": (
        join_parts(make_root(BODY_INCLUDE), make_token_part(b"x")),
        "GW103",
        "a part of its own",
    ),
    "a certificate in both places": (
        join_parts(make_root(WITHOUT_TOKEN.replace(INCLUDE, INCLUDE + b"AAAA")), make_token_part(b"x")),
        "GW103",
        "in the envelope and",
    ),
    "text before the inclusion": (
        join_parts(make_root(WITHOUT_TOKEN.replace(INCLUDE, b"AAAA" + INCLUDE)), make_token_part(b"x")),
        "GW103",
        "in the envelope and",
    ),
    "a white space that XML does not know": (
        join_parts(make_root(WITHOUT_TOKEN.replace(INCLUDE, b"\xc2\xa0" + INCLUDE)), make_token_part(b"x")),
        "GW103",
        "in the envelope and",
    ),
    "another element beside the inclusion": (
        join_parts(make_root(WITHOUT_TOKEN.replace(INCLUDE, INCLUDE + b"<y/>")), make_token_part(b"x")),
        "GW103",
        "in the envelope and",
    ),
    "an inclusion with another attribute": (
        join_parts(make_root(WITHOUT_TOKEN.replace(b' href="', b' x="" href="')), make_token_part(b"x")),
        "GW103",
        "more than its link",
    ),
    "an inclusion with text": (
        join_parts(
            make_root(WITHOUT_TOKEN.replace(INCLUDE, INCLUDE[:-2] + b">x</xop:Include>")),
            make_token_part(b"x"),
        ),
        "GW103",
        "more than its link",
    ),
    "a part without a name": (
        join_parts(
            make_root(re.sub(rb'href="cid:[^"]*"', b'href="cid:"', WITHOUT_TOKEN)),
            make_part("Content-Type: application/ciphervalue", CERTIFICATE),
        ),
        "GW103",
        "names no part",
    ),
    "a part that is too large for a certificate": (
        join_parts(make_root(WITHOUT_TOKEN), make_token_part(b"x" * 24_577)),
        "GW103",
        "at most 24576 octets",
    ),
    "two inclusions of one part": (
        join_parts(
            make_root(WITHOUT_TOKEN.replace(b"</w:Security>", SECOND_TOKEN)),
            make_token_part(CERTIFICATE),
            PART,
        ),
        "GW103",
        "named before",
    ),
    "two parts of one name": (
        join_parts(make_root(WITHOUT_TOKEN), make_token_part(CERTIFICATE), make_token_part(b"x")),
        "GW103",
        "stands twice",
    ),
    "a start that names no part": (
        pack_as_cxf(ENVELOPE).swap('start="<root', 'start="<other'),
        "GW103",
        "start parameter",
    ),
    "another boundary": (
        pack_as_cxf(ENVELOPE).swap('boundary="uuid:3', 'boundary="uuid:4'),
        "GW103",
        "boundary",
    ),
    "no final boundary": (
        Package(CXF_TYPE, pack_as_cxf(ENVELOPE).body[:-2]),
        "GW103",
        "final boundary",
    ),
    "a multipart inside": (join_parts(make_root(ENVELOPE), NESTED), "GW103", "itself a multipart"),
    "UTF-16": (pack_as_cxf(ENVELOPE).swap("charset=UTF-8", "charset=UTF-16"), "GW101", "UTF-8"),
    "a root of SOAP 1.2": (
        SAME["nothing after the type"].swap('UTF-8; type="text/xml"', 'UTF-8; type="application/soap+xml"'),
        "GW101",
        "SOAP 1.1 must be sent",
    ),
    "a root of another type": (
        pack_as_cxf(ENVELOPE).swap("Content-Type: application/xop+xml", "Content-Type: text/html"),
        "GW101",
        "root part",
    ),
    "no XML": (pack_as_cxf(b"<s:Envelope"), "GW104", ""),
}


@pytest.mark.parametrize(("package", "expected", "detail"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_envelope_alone_is_refused_and_names_mtom(
    package: Package, expected: str, detail: str
) -> None:
    problem = problem_of(package)
    assert problem.problem.id == expected
    assert detail in problem.detail
    assert "MTOM can be switched off" in problem.detail


@pytest.mark.parametrize(
    "limits", [WireLimits(parts=1), WireLimits(envelope=300), WireLimits(body=900), WireLimits(padding=1)]
)
def test_a_package_keeps_the_limits(limits: WireLimits) -> None:
    assert problem_of(pack_as_wss4j(ENVELOPE), limits).problem.id == "GW102"


@pytest.mark.parametrize(
    "content_type",
    [
        CXF_TYPE.replace('start-info="text/xml"', 'start-info="application/soap+xml"'),
        CXF_TYPE.replace('start-info="text/xml"', 'start-info="text/xml; charset=utf-16"'),
        CXF_TYPE.replace("application/xop+xml", "text/xml"),
        CXF_TYPE.replace('type="application/xop+xml"; ', ""),
        CXF_TYPE.replace("multipart/related", "multipart/mixed"),
        "application/xop+xml",
        "application/soap+xml",
        "nothing",
    ],
)
def test_other_media_types_are_none_of_soap_1_1(content_type: str) -> None:
    assert not is_soap11_type(content_type)


def test_the_certificate_that_is_put_back_is_the_only_change() -> None:
    assert parse_xml(unwrap(pack_as_wss4j(ENVELOPE))).findtext(f".//{{{WSSE}}}BinarySecurityToken") == TOKEN
