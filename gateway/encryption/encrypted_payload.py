"""An encrypted payload after reading, and its decryption: each failure has the same answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from gateway.encryption.content_ciphers import CIPHERS, CipherText, unwrap_seed_key
from gateway.encryption.encryption_policies import RSA_1_5
from gateway.encryption.key_agreement import KeyAgreement, derive_key, unwrap_key
from gateway.errors import DECRYPTION_FAILED, ENCRYPTION_MISMATCH, GatewayError
from gateway.pki import Certificate, DecryptionKey, KeyPadding

#: Encrypted keys in one payload. Each may have to be tried.
MAX_ENCRYPTED_KEYS: Final = 8
_MAX_ATTEMPTS: Final = 8
_WRAPPING_KEY_OCTETS: Final = 16
_SECRET_OCTETS: Final = 32


@dataclass(frozen=True, slots=True)
class RecipientHints:
    """The certificate to which an encrypted key points; without any hint every key fits.

    ``certificates`` are SHA-256 digests, ``serials`` serial numbers, ``key_ids`` subject key identifiers.
    They only choose the key: nothing is proven by them.
    """

    certificates: frozenset[str] = frozenset()
    serials: frozenset[int] = frozenset()
    key_ids: frozenset[bytes] = frozenset()

    def fits_certificate(self, certificate: Certificate) -> bool:
        """Return whether the key may be for this certificate."""
        if not (self.certificates or self.serials or self.key_ids):
            return True
        return (
            certificate.sha256 in self.certificates
            or certificate.serial in self.serials
            or certificate.subject_key_identifier in self.key_ids
        )


@dataclass(frozen=True, slots=True)
class TransportedKey:
    """A key encrypted with RSA, or (`agreement`) wrapped by an agreed key: no `encrypted_octets` then.

    With `wrapped_key` the key that is encrypted with RSA wraps the key of the content.
    """

    transport_uri: str
    padding: KeyPadding
    encrypted_octets: bytes = field(repr=False)
    hints: RecipientHints = RecipientHints()
    wrapped_key: bytes | None = field(default=None, repr=False)
    agreement: KeyAgreement | None = None


@dataclass(frozen=True, slots=True)
class EncryptedPayload:
    """An encrypted payload: its cipher, its octets, its keys, and the media type it states, if any."""

    cipher_uri: str
    ciphertext: CipherText = field(repr=False)
    transported_keys: tuple[TransportedKey, ...]
    media_type: str | None = None

    @property
    def is_authenticated(self) -> bool:
        """Return whether cipher and key transport notice every change by themselves."""
        return CIPHERS[self.cipher_uri].authenticates and all(
            key.transport_uri != RSA_1_5 for key in self.transported_keys
        )


@dataclass(frozen=True, slots=True)
class DecryptedPayload:
    """The content of a payload, how it was encrypted, and the certificate (SHA-256) of the key."""

    content: bytes = field(repr=False)
    media_type: str | None
    cipher: str
    transport: str
    certificate: str


def decrypt_payload(
    payload: EncryptedPayload,
    decryption_keys: Sequence[DecryptionKey],
    is_genuine: Callable[[bytes], bool],
    generate_octets: Callable[[int], bytes],
) -> DecryptedPayload:
    """Return the content of a payload; raise GW210, always in the same words.

    `is_genuine` compares content with the digest that its sender signed, and is called in every case.
    `generate_octets` returns random octets. If no key can be found, a random one is drawn and the content is
    decrypted with it: the steps and the words of the error are the same, so that an attacker cannot tell the
    cases apart.
    """
    cipher = CIPHERS[payload.cipher_uri]
    for decryption_key, transported_key in _list_attempts(payload, decryption_keys):
        content_key = _recover_key(decryption_key, transported_key, cipher.key_octets, generate_octets)
        decrypted_octets = cipher.decrypt(content_key, payload.ciphertext)
        if is_genuine(decrypted_octets.content) & decrypted_octets.is_sound:
            return DecryptedPayload(
                decrypted_octets.content,
                payload.media_type,
                payload.cipher_uri,
                transported_key.transport_uri,
                decryption_key.certificate.sha256,
            )
    raise make_decryption_error()


def make_decryption_error() -> GatewayError:
    """Return the one problem of everything that keeps a payload from being decrypted."""
    return GatewayError(DECRYPTION_FAILED, "the payload cannot be decrypted")


def _list_attempts(
    payload: EncryptedPayload, decryption_keys: Sequence[DecryptionKey]
) -> list[tuple[DecryptionKey, TransportedKey]]:
    """Return the pairs of private and encrypted key that fit by the hints, at most `_MAX_ATTEMPTS`."""
    attempts = [
        (decryption_key, transported_key)
        for transported_key in payload.transported_keys
        for decryption_key in decryption_keys
        if transported_key.hints.fits_certificate(decryption_key.certificate)
    ]
    return attempts[:_MAX_ATTEMPTS]


def _recover_key(
    decryption_key: DecryptionKey,
    transported_key: TransportedKey,
    key_octets: int,
    generate_octets: Callable[[int], bytes],
) -> bytes:
    """Return the key of the content; a random key, which decrypts nothing, if it cannot be recovered."""
    random_key = generate_octets(key_octets)
    if transported_key.agreement is not None:
        content_key = _unwrap_agreed_key(decryption_key, transported_key.agreement, generate_octets)
        return content_key if content_key is not None and len(content_key) == key_octets else random_key
    content_key = decryption_key.decrypt_key(transported_key.encrypted_octets, transported_key.padding)
    if transported_key.wrapped_key is not None:
        wrapping_key = (
            content_key
            if content_key and len(content_key) == _WRAPPING_KEY_OCTETS
            else generate_octets(_WRAPPING_KEY_OCTETS)
        )
        content_key = unwrap_seed_key(wrapping_key, transported_key.wrapped_key)
    return content_key if content_key is not None and len(content_key) == key_octets else random_key


def _unwrap_agreed_key(
    decryption_key: DecryptionKey, agreement: KeyAgreement, generate_octets: Callable[[int], bytes]
) -> bytes | None:
    """Return the key wrapped by an agreed key; None if it cannot be unwrapped.

    Without a shared secret a random one is used, so that the time is the same.
    """
    shared_secret = decryption_key.agree_secret(agreement.originator_key) or generate_octets(_SECRET_OCTETS)
    return unwrap_key(
        derive_key(shared_secret, agreement.derivation, agreement.wrap_uri), agreement.wrapped_key
    )


def raise_format_error(detail: str, location: str = "") -> NoReturn:
    """Raise GW215: the encrypted form is not the one of the profile. No key is needed to see that."""
    raise GatewayError(ENCRYPTION_MISMATCH, detail, location)
