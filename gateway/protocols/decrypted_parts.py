"""Decrypts encrypted parts of a message, and tells how each came, for every protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from gateway.encryption import DecryptedPayload, EncryptedPayload, decrypt_payload
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.protocols.core import EncryptionResources, UnwrappedPart
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import MimePart
from gateway.xmlsec import DigestCheck

__all__ = ["decrypt_part", "list_unwrapped_parts"]


def decrypt_part(
    name: str, payload: EncryptedPayload, own: EncryptionResources, is_genuine: DigestCheck
) -> DecryptedPayload:
    """Return a part (content id) in clear; each problem names the part. Without any key it is GW803."""
    where = format_cid_uri(name)
    if not own.keys:
        raise GatewayError(KEY_UNAVAILABLE, "no decryption key is configured", where)
    try:
        return decrypt_payload(payload, own.keys, is_genuine, own.draw_octets)
    except GatewayError as failed:
        raise GatewayError(failed.problem, failed.detail, where) from None


def list_unwrapped_parts(
    parts: Mapping[str, MimePart], opened: Mapping[str, DecryptedPayload]
) -> tuple[UnwrappedPart, ...]:
    """Return how each decrypted part came, for the evidence."""
    return tuple(
        UnwrappedPart(
            name,
            hashlib.sha256(parts[name].content).hexdigest(),
            hashlib.sha256(one.content).hexdigest(),
            one.cipher,
            one.transport,
            one.certificate,
        )
        for name, one in opened.items()
    )
