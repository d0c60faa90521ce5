"""Reads the client certificate that a proxy of our own names in the field Client-Cert (RFC 9440).

The field is a byte sequence of structured fields (RFC 8941 §3.3.5): base64 between colons, of the
certificate as DER. Only the named proxies are believed; from anybody else the field says nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from http import HTTPStatus
from typing import Final

from gateway.errors import REQUEST_MALFORMED
from gateway.web.server.request_head import RequestRejectedError

__all__ = ["FIELD", "read_client_certificate"]

FIELD: Final = "client-cert"
#: DER of a certificate: a sequence whose length has two octets.
_BEGIN: Final = b"\x30\x82"


def read_client_certificate(value: str | None) -> str | None:
    """Return the SHA-256 of the certificate in the field; None without the field.

    Raises `RequestRejectedError` for a field that is no byte sequence with a certificate.
    """
    if value is None:
        return None
    text = value.strip()
    if len(text) < 3 or text[0] != ":" or text[-1] != ":":
        raise _make_rejection("the field is no byte sequence (RFC 8941 §3.3.5)")
    try:
        content = base64.b64decode(text[1:-1], validate=True)
    except (binascii.Error, ValueError):
        raise _make_rejection("the field is not base64") from None
    if content[:2] != _BEGIN or len(content) != int.from_bytes(content[2:4]) + 4:
        raise _make_rejection("the field has no certificate as DER (RFC 9440 §2.1)")
    return hashlib.sha256(content).hexdigest()


def _make_rejection(words: str) -> RequestRejectedError:
    return RequestRejectedError(REQUEST_MALFORMED, words, FIELD, HTTPStatus.BAD_REQUEST)
