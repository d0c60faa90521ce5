"""Payloads of the suite encrypted as agreed, or wrongly in one thing (ebMS 2.0 §4.1.4.5).

The signature is made before, over the payloads in clear. A row says how each payload is encrypted, by a
word or a list of words.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from gateway.agreements import Encryption
from gateway.conformance.hostile import encrypt_block_key, encrypt_cbc, write_old_document
from gateway.conformance.partners import PartnerIdentity
from gateway.encryption import (
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    select_agreed_algorithms,
)
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Payload
from gateway.pki import (
    Certificate,
    CertificateOrder,
    KeyPadding,
    encrypt_key,
    issue_certificate,
    make_authority,
)
from gateway.wire import XENC11

__all__ = ["Sealing", "seal_payloads"]

_OAEP: Final = f"{XENC11}rsa-oaep"
_OAEP_PARAMETERS: Final = (
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
    f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>'
)
_VALUES: Final = re.compile(rb"(<xenc:CipherValue>)([^<]*)<")


@dataclass(frozen=True)
class Sealing:
    """The agreed encryption, and the certificate for which payloads of the gateway are encrypted."""

    terms: Encryption
    receiver: Certificate

    def seal_honestly(self, payload: Payload, algorithms: Sequence[str] = ()) -> Payload:
        """Return a payload encrypted as agreed, by the first algorithm or a named one."""
        policy = get_encryption_policy(self.terms.policy)
        agreed = select_agreed_algorithms(algorithms or self.terms.algorithms, policy)
        if self.terms.is_cms:
            octets, kind = encrypt_as_cms(payload.content, self.receiver, agreed, os.urandom)
            return replace(payload, octets=octets, media_type=kind)
        octets = encrypt_as_xml(payload.content, payload.media_type, self.receiver, agreed, os.urandom)
        return replace(payload, octets=octets, media_type="application/xml")


def seal_payloads(
    payloads: Sequence[Payload], how: Any, terms: Encryption | None, identity: PartnerIdentity
) -> tuple[Payload, ...]:
    """Return payloads as they are sent; `how` is None for what is agreed, a word, or one for each payload.

    Raises LookupError where the folder has no certificate for which to encrypt.
    """
    words = how if isinstance(how, list) else [how] * len(payloads)
    if terms is None and how is None:
        return tuple(payloads)
    if identity.receiver is None:
        raise LookupError("the partner folder has no certificate for which payloads are encrypted")
    sealing = Sealing(terms or Encryption("XMLENC", ("aes256-gcm",)), identity.receiver)
    return tuple(_seal_one(sealing, one, word) for one, word in zip(payloads, words, strict=True))


def _seal_one(sealing: Sealing, payload: Payload, word: str | None) -> Payload:
    name = word or "agreed"
    if name not in _FORMS:
        raise GatewayError(OUR_MISTAKE, f"payloads are not encrypted {name!r}", "requirements")
    return _FORMS[name](sealing, payload)


@cache
def _make_stranger(year: int) -> Certificate:
    """Return a certificate for encryption whose key the gateway does not have."""
    at = datetime.fromisoformat(f"{year}-01-01T00:00:00Z")
    authority = make_authority("CN=Somebody else", at - timedelta(days=1))
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=730)
    return issue_certificate(authority, "CN=Somebody else decrypts", at, order).certificate


def _seal_for_stranger(sealing: Sealing, payload: Payload) -> Payload:
    stranger = _make_stranger(sealing.receiver.not_before.year)
    return replace(sealing, receiver=stranger).seal_honestly(payload)


def _seal_in_other_form(sealing: Sealing, payload: Payload) -> Payload:
    """Return a CMS envelope where XML Encryption is agreed, and the reverse."""
    other = "XMLENC" if sealing.terms.is_cms else "S/MIME"
    return replace(sealing, terms=replace(sealing.terms, protocol=other)).seal_honestly(payload)


def _seal_other_content(sealing: Sealing, payload: Payload) -> Payload:
    """Return other content than was signed, well encrypted."""
    return sealing.seal_honestly(replace(payload, octets=payload.content + b"\n"))


def _seal_by(algorithm: str) -> Callable[[Sealing, Payload], Payload]:
    return lambda sealing, payload: sealing.seal_honestly(payload, (algorithm,))


def _flip_last(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 1])


def _change_value(document: bytes, which: int) -> bytes:
    """Return a document with one bit of a CipherValue changed: 0 is the key, -1 the content."""
    found = list(_VALUES.finditer(document))[which]
    octets = base64.b64encode(_flip_last(base64.b64decode(found[2])))
    return document[: found.start(2)] + octets + document[found.end(2) :]


def _change_content(sealing: Sealing, payload: Payload) -> Payload:
    sealed = sealing.seal_honestly(payload)
    # The authentication tag is the last octets of the envelope too (RFC 5083).
    changed = _flip_last(sealed.content) if sealing.terms.is_cms else _change_value(sealed.content, -1)
    return replace(sealed, octets=changed)


def _change_key(sealing: Sealing, payload: Payload) -> Payload:
    sealed = sealing.seal_honestly(payload)
    if sealing.terms.is_cms:
        raise LookupError("only the key of XML Encryption is changed")
    return replace(sealed, octets=_change_value(sealed.content, 0))


def _seal_by_cbc(sealing: Sealing, payload: Payload) -> Payload:
    """Return XML Encryption by AES-CBC, which does not authenticate; the key goes by RSA-OAEP."""
    key = os.urandom(32)
    sent = encrypt_key(sealing.receiver, key, KeyPadding("sha256", "sha256"))
    document = write_old_document(
        key=sent, octets=encrypt_cbc(key, payload.content), transport=_OAEP, method=_OAEP_PARAMETERS
    )
    return replace(payload, octets=document, media_type="application/xml")


def _seal_by_rsa15(sealing: Sealing, payload: Payload) -> Payload:
    """Return XML Encryption by AES-GCM whose key goes by RSA 1.5."""
    honest = sealing.seal_honestly(payload).content
    key = base64.b64encode(encrypt_block_key(sealing.receiver, os.urandom(32)))
    found = next(_VALUES.finditer(honest))
    document = honest[: found.start(2)] + key + honest[found.end(2) :]
    start, end = document.index(b"<xenc:EncryptedKey>"), document.index(b"<ds:KeyInfo><ds:KeyName>")
    method = b'<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-1_5"/>'
    document = document[:start] + b"<xenc:EncryptedKey>" + method + document[end:]
    return replace(payload, octets=document, media_type="application/xml")


def _leave_out_value(sealing: Sealing, payload: Payload) -> Payload:
    """Return an EncryptedData without the CipherData of its content."""
    sealed = sealing.seal_honestly(payload).content
    start = sealed.rindex(b"<xenc:CipherData>")
    end = sealed.rindex(b"</xenc:CipherData>") + len(b"</xenc:CipherData>")
    return replace(payload, octets=sealed[:start] + sealed[end:], media_type="application/xml")


def _leave_hints_out(sealing: Sealing, payload: Payload) -> Payload:
    """Return an EncryptedData that does not say for which certificate it is."""
    sealed = sealing.seal_honestly(payload)
    start = sealed.content.index(b"<ds:KeyInfo><ds:KeyName>")
    end = sealed.content.index(b"</ds:KeyInfo>", start) + len(b"</ds:KeyInfo>")
    return replace(sealed, octets=sealed.content[:start] + sealed.content[end:])


_FORMS: Final[Mapping[str, Callable[[Sealing, Payload], Payload]]] = {
    "agreed": Sealing.seal_honestly,
    "clear": lambda _, payload: payload,
    "aes128-gcm": _seal_by("aes128-gcm"),
    "stranger": _seal_for_stranger,
    "other-form": _seal_in_other_form,
    "other-content": _seal_other_content,
    "changed-content": _change_content,
    "changed-key": _change_key,
    "cbc": _seal_by_cbc,
    "rsa15": _seal_by_rsa15,
    "no-value": _leave_out_value,
    "no-hints": _leave_hints_out,
}
