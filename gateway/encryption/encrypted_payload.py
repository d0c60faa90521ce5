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
_MOST_ATTEMPTS: Final = 8
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

    def fit_certificate(self, certificate: Certificate) -> bool:
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
    """A key encrypted with RSA, or wrapped by a key that is agreed (`agreement`; `octets` are then empty).

    With `wrapped` the key that is encrypted with RSA wraps the key of the content.
    """

    transport: str
    padding: KeyPadding
    octets: bytes = field(repr=False)
    hints: RecipientHints = RecipientHints()
    wrapped: bytes | None = field(default=None, repr=False)
    agreement: KeyAgreement | None = None


@dataclass(frozen=True, slots=True)
class EncryptedPayload:
    """An encrypted payload: its cipher, its octets, its keys, and the media type it states, if any."""

    cipher: str
    text: CipherText = field(repr=False)
    keys: tuple[TransportedKey, ...]
    media_type: str | None = None

    @property
    def is_authenticated(self) -> bool:
        """Return whether cipher and key transport notice every change by themselves."""
        return CIPHERS[self.cipher].authenticates and all(key.transport != RSA_1_5 for key in self.keys)


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
    keys: Sequence[DecryptionKey],
    is_genuine: Callable[[bytes], bool],
    draw: Callable[[int], bytes],
) -> DecryptedPayload:
    """Return the content of a payload; raise GW210, always in the same words.

    `is_genuine` compares content with the digest that its sender signed, and is called in every case. `draw`
    returns random octets. If no key can be found, a random one is drawn and the content is decrypted with it:
    the steps and the words of the error are the same, so that an attacker cannot tell the cases apart.
    """
    cipher = CIPHERS[payload.cipher]
    for key, transported in _list_attempts(payload, keys):
        content_key = _recover_key(key, transported, cipher.key_octets, draw)
        opened = cipher.decrypt(content_key, payload.text)
        if is_genuine(opened.content) & opened.sound:
            return DecryptedPayload(
                opened.content,
                payload.media_type,
                payload.cipher,
                transported.transport,
                key.certificate.sha256,
            )
    raise make_decryption_error()


def make_decryption_error() -> GatewayError:
    """Return the one problem of everything that keeps a payload from being decrypted."""
    return GatewayError(DECRYPTION_FAILED, "the payload cannot be decrypted")


def _list_attempts(
    payload: EncryptedPayload, keys: Sequence[DecryptionKey]
) -> list[tuple[DecryptionKey, TransportedKey]]:
    attempts = [
        (key, transported)
        for transported in payload.keys
        for key in keys
        if transported.hints.fit_certificate(key.certificate)
    ]
    return attempts[:_MOST_ATTEMPTS]


def _recover_key(
    key: DecryptionKey, transported: TransportedKey, octets: int, draw: Callable[[int], bytes]
) -> bytes:
    """Return the key of the content, or a drawn one that opens nothing."""
    substitute = draw(octets)
    if transported.agreement is not None:
        recovered = _unwrap_agreed_key(key, transported.agreement, draw)
        return recovered if recovered is not None and len(recovered) == octets else substitute
    recovered = key.decrypt_key(transported.octets, transported.padding)
    if transported.wrapped is not None:
        wrapping = (
            recovered if recovered and len(recovered) == _WRAPPING_KEY_OCTETS else draw(_WRAPPING_KEY_OCTETS)
        )
        recovered = unwrap_seed_key(wrapping, transported.wrapped)
    return recovered if recovered is not None and len(recovered) == octets else substitute


def _unwrap_agreed_key(
    key: DecryptionKey, agreement: KeyAgreement, draw: Callable[[int], bytes]
) -> bytes | None:
    """Return the key that an agreed key wraps; a drawn secret, where none is shared, unwraps nothing."""
    secret = key.agree_secret(agreement.originator) or draw(_SECRET_OCTETS)
    return unwrap_key(derive_key(secret, agreement.derivation, agreement.wrap), agreement.wrapped)


def raise_format_error(detail: str, location: str = "") -> NoReturn:
    """Raise GW215: the encrypted form is not the one of the profile. No key is needed to see that."""
    raise GatewayError(ENCRYPTION_MISMATCH, detail, location)
