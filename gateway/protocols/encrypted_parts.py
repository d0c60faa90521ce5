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


def check_encrypted_size(parts: Iterable[MimePart], limits: WireLimits) -> None:
    """Raise GW102 for encrypted parts that do not fit into memory together: decryption holds them all."""
    octet_count = 0
    for part in parts:
        octet_count += count_octets(part.octets)
        if octet_count > limits.secret:
            detail = f"the encrypted parts of a message may have at most {limits.secret} octets together"
            raise GatewayError(TOO_LARGE, detail, format_cid_uri(part.content_id))


class EncryptedParts:
    """The encrypted parts of one message, by content id, and those that have been decrypted.

    `payload_readers` read the encrypted form of each part, at its decryption. `choose_media_type` returns
    the media type of a decrypted part.
    """

    def __init__(
        self,
        payload_readers: Mapping[str, Callable[[], EncryptedPayload]],
        resources: EncryptionResources,
        choose_media_type: Callable[[DecryptedPayload], str],
    ) -> None:
        self._payload_readers = payload_readers
        self._resources = resources
        self._choose_media_type = choose_media_type
        self._decrypted_payloads: dict[str, DecryptedPayload] = {}

    def __bool__(self) -> bool:
        return bool(self._payload_readers)

    def __contains__(self, content_id: str) -> bool:
        return content_id in self._payload_readers

    def list_decryptions(self) -> dict[str, PartDecryption]:
        """Return the decryption of each part, for the verification of the signature."""
        return {content_id: partial(self._decrypt_part, content_id) for content_id in self._payload_readers}

    def decrypt_unsigned_parts(self) -> None:
        """Decrypt the parts of a message without signature; raise GW216 where nothing authenticates them.

        Only a cipher with authentication (GCM) and the padding RSA-OAEP are accepted then. With others, an
        attacker who changes octets unnoticed could learn the contents from the answers.
        """
        payloads = {name: read_payload() for name, read_payload in self._payload_readers.items()}
        for content_id, payload in payloads.items():
            if not payload.is_authenticated:
                detail = "without a signature only GCM under RSA-OAEP is decrypted"
                raise GatewayError(ENCRYPTION_ALGORITHM_REFUSED, detail, format_cid_uri(content_id))
            self._decrypted_payloads[content_id] = self._decrypt_payload(content_id, payload, lambda _: True)

    def _decrypt_part(self, content_id: str, is_genuine: DigestCheck) -> None:
        self._decrypted_payloads[content_id] = self._decrypt_payload(
            content_id, self._payload_readers[content_id](), is_genuine
        )

    def _decrypt_payload(
        self, content_id: str, payload: EncryptedPayload, is_genuine: DigestCheck
    ) -> DecryptedPayload:
        """Return a decrypted part; raise GW803 without any key. Each error has the part as its location."""
        resources, location = self._resources, format_cid_uri(content_id)
        if not resources.decryption_keys:
            raise GatewayError(KEY_UNAVAILABLE, "no decryption key is configured", location)
        try:
            return decrypt_payload(
                payload, resources.decryption_keys, is_genuine, resources.make_random_octets
            )
        except GatewayError as failed:
            raise GatewayError(failed.problem, failed.detail, location) from None

    def replace_parts(self, parts: Mapping[str, MimePart]) -> dict[str, MimePart]:
        """Return the parts with the decrypted ones in clear."""
        clear_parts = dict(parts)
        for content_id, decrypted_payload in self._decrypted_payloads.items():
            media_type = self._choose_media_type(decrypted_payload).partition(";")[0].strip().lower()
            headers = {**parts[content_id].headers, "content-type": media_type}
            clear_parts[content_id] = replace(
                parts[content_id], headers=headers, media_type=media_type, octets=decrypted_payload.content
            )
        return clear_parts

    def list_unwrapped_parts(self, parts: Mapping[str, MimePart]) -> tuple[UnwrappedPart, ...]:
        """Return the digests, algorithms and certificate of each decrypted part, for the evidence."""
        return tuple(
            UnwrappedPart(
                content_id,
                compute_body_digest(parts[content_id].octets),
                hashlib.sha256(payload.content).hexdigest(),
                payload.cipher,
                payload.transport,
                payload.certificate,
            )
            for content_id, payload in self._decrypted_payloads.items()
        )
