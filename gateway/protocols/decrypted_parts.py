"""Decrypts encrypted parts of a message, and tells how each came, for every protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from gateway.encryption import DecryptedPayload, EncryptedPayload, decrypt_payload
from gateway.errors import KEY_UNAVAILABLE, TOO_LARGE, GatewayError
from gateway.message_model import compute_body_digest, count_octets
from gateway.protocols.core import EncryptionResources, UnwrappedPart
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import MimePart, WireLimits
from gateway.xmlsec import DigestCheck

__all__ = ["SecretContents", "decrypt_part", "list_unwrapped_parts"]


class SecretContents(Mapping[str, bytes]):
    """The octets of parts that are encrypted, each in memory when it is asked for: decryption holds them.

    All of one message together have at most `limits.secret` octets: what goes beyond is GW102.
    """

    def __init__(self, parts: Mapping[str, MimePart], limits: WireLimits) -> None:
        self._parts = parts
        self._most = limits.secret
        self._held: dict[str, int] = {}

    def __getitem__(self, name: str) -> bytes:
        part = self._parts[name]
        self._held[name] = count_octets(part.octets)
        if sum(self._held.values()) > self._most:
            detail = f"the encrypted parts of a message have at most {self._most} octets together"
            raise GatewayError(TOO_LARGE, detail, format_cid_uri(name))
        return part.content

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


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
            compute_body_digest(parts[name].octets),
            hashlib.sha256(one.content).hexdigest(),
            one.cipher,
            one.transport,
            one.certificate,
        )
        for name, one in opened.items()
    )
