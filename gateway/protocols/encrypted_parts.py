"""Encrypted parts of a message in every protocol: signed first, then encrypted, and decrypted last of all.

Of the parts of a signed message no octet (in ebMS 2.0 only the first ones) is read before these checks: the
signer is the sender with a valid certificate, the algorithms are the agreed ones, and the signature value is
right. Only then a part is read and a key is used. A decrypted part is accepted if it has the signed digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from gateway.encryption import DecryptedPayload, EncryptedPayload, decrypt_payload
from gateway.errors import ENCRYPTION_ALGORITHM_REFUSED, KEY_UNAVAILABLE, TOO_LARGE, GatewayError
from gateway.message_model import compute_body_digest, count_octets
from gateway.protocols.core import EncryptionResources, UnwrappedPart
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import MimePart, WireLimits
from gateway.xmlsec import DigestCheck, PartDecryption


def check_secret_room(parts: Iterable[MimePart], limits: WireLimits) -> None:
    """Raise GW102 for encrypted parts that do not fit into memory together: decryption holds them all."""
    size = 0
    for part in parts:
        size += count_octets(part.octets)
        if size > limits.secret:
            detail = f"the encrypted parts of a message have at most {limits.secret} octets together"
            raise GatewayError(TOO_LARGE, detail, format_cid_uri(part.content_id))


class EncryptedParts:
    """The encrypted parts of one message, by content id, and those that have been decrypted.

    `readers` read the encrypted form of each part, at its decryption. `choose_media_type` returns the media
    type of a decrypted part.
    """

    def __init__(
        self,
        readers: Mapping[str, Callable[[], EncryptedPayload]],
        resources: EncryptionResources,
        choose_media_type: Callable[[DecryptedPayload], str],
    ) -> None:
        self._readers = readers
        self._resources = resources
        self._choose_media_type = choose_media_type
        self._opened: dict[str, DecryptedPayload] = {}

    def __bool__(self) -> bool:
        return bool(self._readers)

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    def list_decryptions(self) -> dict[str, PartDecryption]:
        """Return the decryption of each part, for the verification of the signature."""
        return {name: partial(self._decrypt_part, name) for name in self._readers}

    def decrypt_unsigned(self) -> None:
        """Decrypt the parts of a message without signature; raise GW216 where nothing authenticates them.

        Only a cipher with authentication (GCM) and the padding RSA-OAEP are accepted then. With others, an
        attacker who changes octets unnoticed could learn the contents from the answers.
        """
        payloads = {name: read() for name, read in self._readers.items()}
        for name, payload in payloads.items():
            if not payload.is_authenticated:
                detail = "without a signature only GCM under RSA-OAEP is decrypted"
                raise GatewayError(ENCRYPTION_ALGORITHM_REFUSED, detail, format_cid_uri(name))
            self._opened[name] = self._decrypt_payload(name, payload, lambda _: True)

    def _decrypt_part(self, name: str, is_genuine: DigestCheck) -> None:
        self._opened[name] = self._decrypt_payload(name, self._readers[name](), is_genuine)

    def _decrypt_payload(
        self, name: str, payload: EncryptedPayload, is_genuine: DigestCheck
    ) -> DecryptedPayload:
        """Return a part in clear; each problem names the part. Without any key it is GW803."""
        resources, location = self._resources, format_cid_uri(name)
        if not resources.keys:
            raise GatewayError(KEY_UNAVAILABLE, "no decryption key is configured", location)
        try:
            return decrypt_payload(payload, resources.keys, is_genuine, resources.draw_octets)
        except GatewayError as failed:
            raise GatewayError(failed.problem, failed.detail, location) from None

    def replace_parts(self, parts: Mapping[str, MimePart]) -> dict[str, MimePart]:
        """Return the parts with the decrypted ones in clear."""
        clear = dict(parts)
        for name, opened in self._opened.items():
            media_type = self._choose_media_type(opened).partition(";")[0].strip().lower()
            headers = {**parts[name].headers, "content-type": media_type}
            clear[name] = replace(parts[name], headers=headers, media_type=media_type, octets=opened.content)
        return clear

    def list_unwrapped(self, parts: Mapping[str, MimePart]) -> tuple[UnwrappedPart, ...]:
        """Return how each decrypted part came, for the evidence."""
        return tuple(
            UnwrappedPart(
                name,
                compute_body_digest(parts[name].octets),
                hashlib.sha256(payload.content).hexdigest(),
                payload.cipher,
                payload.transport,
                payload.certificate,
            )
            for name, payload in self._opened.items()
        )
