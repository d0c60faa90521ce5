"""Reads the WSS UsernameToken by which a PullRequest may be authorised (core §7.10).

It is in a Security header of its own, for the role ``ebms``. The password comes as a digest only: a
password in clear could be repeated by everybody who reads it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.errors import HEADER_INVALID, PULL_REFUSED, GatewayError
from gateway.protocols.as4.request_times import check_request_time
from gateway.protocols.core import ProtocolContext
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    raise_header_error,
    read_instant,
    read_text,
)
from gateway.wire import BASE64_ENCODING, SOAP12, WSSE, WSU, build_xpath
from gateway.xmlsec import EBMS_ROLE

__all__ = ["PullLogin", "find_authorization", "read_pull_login"]

_SECURITY: Final = f"{{{WSSE}}}Security"
_ROLE: Final = f"{{{SOAP12}}}role"
_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ID: Final = f"{{{WSU}}}Id"
_DIGEST: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)


@dataclass(frozen=True, slots=True)
class PullLogin:
    """A login that was right: whose it is, and what identifies this use of it."""

    party: str
    digest: str


def find_authorization(root: etree._Element) -> etree._Element | None:
    """Return the Security header for the role ``ebms``, None without one; raise GW107 for several."""
    found = [one for one in root.iter(_SECURITY) if one.get(_ROLE) == EBMS_ROLE]
    if len(found) > 1 or any(one.getparent() is not root[0] for one in found):
        raise GatewayError(
            HEADER_INVALID, "the header for the role ebms must occur once", build_xpath(found[-1])
        )
    return found[0] if found else None


def read_pull_login(header: etree._Element, context: ProtocolContext) -> PullLogin:
    """Return the login of a header after its password is verified; raise GW340, GW341, GW107."""
    check_attributes(header, required=(_ROLE,), optional=(_MUST_UNDERSTAND, _ID))
    tokens = ElementSequence(header)
    token = tokens.take_required(f"{{{WSSE}}}UsernameToken")
    tokens.check_end()
    check_attributes(token, optional=(_ID,))
    fields = ElementSequence(token)
    name = fields.take_required(f"{{{WSSE}}}Username")
    password = fields.take_required(f"{{{WSSE}}}Password")
    nonce = fields.take_optional(f"{{{WSSE}}}Nonce")
    created = fields.take_required(f"{{{WSU}}}Created")
    fields.check_end()
    _check_created(created, context.now)
    known = context.find_pull_login(read_text(name))
    right = _compute_digest(nonce, created, known[1] if known is not None else b"")
    said = _read_digest(password)
    if not hmac.compare_digest(right, said) or known is None:
        raise GatewayError(PULL_REFUSED, "the name or the password is wrong", build_xpath(token))
    used = hashlib.sha256(b"login " + known[0].encode() + said).hexdigest()
    return PullLogin(known[0], used)


def _check_created(created: etree._Element, now: datetime) -> None:
    check_attributes(created)
    check_request_time(read_instant(created), now, build_xpath(created))


def _read_digest(password: etree._Element) -> bytes:
    check_attributes(password, optional=("Type",))
    if password.get("Type") != _DIGEST:
        raise GatewayError(PULL_REFUSED, "the password comes as PasswordDigest", build_xpath(password))
    return _decode_base64(password)


def _compute_digest(nonce: etree._Element | None, created: etree._Element, password: bytes) -> bytes:
    """Return the digest of the profile: nonce, time and password (UsernameToken Profile §3.1)."""
    octets = b""
    if nonce is not None:
        check_attributes(nonce, optional=("EncodingType", _ID))
        if nonce.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
            raise_header_error(nonce, "a Nonce is base64")
        octets = _decode_base64(nonce)
    # The profile names SHA-1. The time and the single use limit what a collision is good for.
    return hashlib.sha1(octets + read_text(created).encode() + password, usedforsecurity=False).digest()


def _decode_base64(element: etree._Element) -> bytes:
    try:
        return base64.b64decode(read_text(element), validate=True)
    except ValueError:
        raise_header_error(element, "this is not base64")
