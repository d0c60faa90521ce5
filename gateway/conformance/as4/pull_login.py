"""The UsernameToken with which the suite pulls: a name and the digest of a password."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

from gateway.message_model import MemoryBody
from gateway.protocols import Parcel
from gateway.wire import BASE64_ENCODING, SOAP12, WSSE, WSU
from gateway.xmlsec import EBMS_ROLE

__all__ = ["LOGIN_WAYS", "PullToken", "add_token", "make_token"]

#: The ways in which a row of a table has the suite log in; ``none`` is without a token.
LOGIN_WAYS: Final = ("right", "wrong", "unknown", "none", "stale")
_DIGEST: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)
_STALE: Final = timedelta(hours=1)
_NONCE_OCTETS: Final = 16
_HEADER: Final = b"<soap12:Header>"


@dataclass(frozen=True, slots=True)
class PullToken:
    """A UsernameToken as it is written (UsernameToken Profile 1.1 §3.1)."""

    name: str
    digest: str
    nonce: str
    created: str

    def write_header(self) -> bytes:
        """Return the Security header of its own in which it goes (core §7.10)."""
        text = (
            f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" xmlns:s12="{SOAP12}" '
            f's12:role="{EBMS_ROLE}" s12:mustUnderstand="true"><wsse:UsernameToken>'
            f"<wsse:Username>{escape(self.name)}</wsse:Username>"
            f'<wsse:Password Type="{_DIGEST}">{self.digest}</wsse:Password>'
            f'<wsse:Nonce EncodingType="{BASE64_ENCODING}">{self.nonce}</wsse:Nonce>'
            f"<wsu:Created>{self.created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
        )
        return text.encode()


def make_token(name: str, password: bytes, way: str, now: datetime) -> PullToken | None:
    """Return a new token, right or wrong as `way` of `LOGIN_WAYS` says; None for ``none``."""
    if way == "none":
        return None
    at = now - _STALE if way == "stale" else now
    created = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    nonce = secrets.token_bytes(_NONCE_OCTETS)
    known = secrets.token_hex().encode() if way == "wrong" else password
    # The profile names SHA-1.
    digest = hashlib.sha1(nonce + created.encode() + known, usedforsecurity=False).digest()
    shown = f"{name}-{secrets.token_hex(4)}" if way == "unknown" else name
    return PullToken(shown, base64.b64encode(digest).decode(), base64.b64encode(nonce).decode(), created)


def add_token(parcel: Parcel, token: PullToken | None) -> Parcel:
    """Return an unsigned signal with a token in its header; as it is without one."""
    if token is None:
        return parcel
    octets = parcel.read_octets().replace(_HEADER, _HEADER + token.write_header(), 1)
    return Parcel(dict(parcel.headers), MemoryBody(octets))
