"""MTOM packages of SOAP 1.1, octet for octet as products write them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

_BOUNDARY = "uuid:320b7260-3f8b-4278-889e-0c31c13fb434"
_ROOT = "<root.message@cxf.apache.org>"
_TOKEN_ID = "8709b1ce-dd8d-4f1b-b9d4-86dbfd2bd01e"
_TOKEN = re.compile(rb"(<(?:\w+:)?BinarySecurityToken[^>]*>)([^<]+)(</)")
INCLUDE = f'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:{_TOKEN_ID}"/>'.encode()
CXF_TYPE = (
    f'multipart/related; type="application/xop+xml"; boundary="{_BOUNDARY}"; start="{_ROOT}"; '
    'start-info="text/xml"'
)


@dataclass(frozen=True)
class Package:
    """A Content-Type and a body."""

    content_type: str
    body: bytes

    def swap(self, old: str, new: str) -> Package:
        """Return the package with a text replaced in its Content-Type and in its body."""
        body = self.body.replace(old.encode(), new.encode())
        swapped = Package(self.content_type.replace(old, new), body)
        assert swapped != self, old
        return swapped


def make_part(fields: str, content: bytes) -> bytes:
    """Return a part, with its header fields as CXF writes a line."""
    return f"{fields}\r\n\r\n".encode() + content


def join_parts(*parts: bytes, content_type: str = CXF_TYPE) -> Package:
    """Return a package of parts, with the boundaries as CXF writes them."""
    marker = f"\r\n--{_BOUNDARY}".encode()
    return Package(content_type, b"".join(marker + b"\r\n" + part for part in parts) + marker + b"--")


def make_root(envelope: bytes, encoding: str = "binary") -> bytes:
    """Return the root part as CXF 3 and 4 write it."""
    kind = 'Content-Type: application/xop+xml; charset=UTF-8; type="text/xml"'
    fields = f"{kind}\r\nContent-Transfer-Encoding: {encoding}\r\nContent-ID: {_ROOT}"
    return make_part(fields, envelope)


def make_token_part(content: bytes, content_id: str = _TOKEN_ID) -> bytes:
    """Return the part of a certificate as WSS4J writes it."""
    kind = "Content-Type: application/ciphervalue\r\nContent-Transfer-Encoding: binary"
    return make_part(f"{kind}\r\nContent-ID: <{content_id}>", content)


def take_token(envelope: bytes) -> tuple[bytes, bytes]:
    """Return an envelope with an inclusion in place of its certificate, and the certificate."""
    token = _TOKEN.search(envelope)
    assert token is not None
    return _TOKEN.sub(rb"\1" + INCLUDE + rb"\3", envelope), base64.b64decode(token[2])


def pack_as_cxf(envelope: bytes) -> Package:
    """Return what CXF sends with MTOM on, where nothing is a part of its own."""
    return join_parts(make_root(envelope))


def pack_as_wss4j(envelope: bytes) -> Package:
    """Return what CXF with WSS4J sends with MTOM on: the certificate is a part of its own."""
    rest, certificate = take_token(envelope)
    return join_parts(make_root(rest), make_token_part(certificate))


def pack_as_wcf(envelope: bytes) -> Package:
    """Return what WCF sends with messageEncoding="Mtom"."""
    boundary, root = "uuid:0ca0e16e-feb1-426c-97d8-c4508ada5e82+id=1", "http://tempuri.org/0"
    content_type = (
        f'multipart/related; type="application/xop+xml";start="<{root}>";boundary="{boundary}";'
        'start-info="text/xml"'
    )
    head = (
        f"\r\n--{boundary}\r\nContent-ID: <{root}>\r\nContent-Transfer-Encoding: 8bit\r\n"
        'Content-Type: application/xop+xml;charset=utf-8;type="text/xml"\r\n\r\n'
    )
    return Package(content_type, head.encode() + envelope + f"\r\n--{boundary}--\r\n".encode())


def pack_as_axis2(envelope: bytes) -> Package:
    """Return what Axis2 sends with enableMTOM."""
    boundary, root = "MIMEBoundary_f1b1c2", "0.a1b2c3@apache.org"
    content_type = (
        f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; '
        f'start="<{root}>"; start-info="text/xml"'
    )
    head = (
        f'--{boundary}\r\nContent-Type: application/xop+xml; charset=UTF-8; type="text/xml"\r\n'
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{root}>\r\n\r\n"
    )
    return Package(content_type, head.encode() + envelope + f"\r\n--{boundary}--\r\n".encode())


PRODUCTS = {"CXF": pack_as_cxf, "CXF with WSS4J": pack_as_wss4j, "WCF": pack_as_wcf, "Axis2": pack_as_axis2}
