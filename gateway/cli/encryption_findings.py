"""Warnings about encrypted payloads: agreed messages that could not be decrypted, or not be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from gateway.agreements import PMode
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, RegisterSnapshot
from gateway.pki import DecryptionKey, KeyPadding, TokenDecryptionKey, encrypt_key

__all__ = ["find_encryption_warnings"]

#: What partners write: RSA-OAEP with SHA-256.
_OAEP: Final = KeyPadding("sha256", "sha256")
_PROBE: Final = b"gateway check"
_SOON: Final = timedelta(days=30)


def find_encryption_warnings(settings: Settings, hub: Hub, known: RegisterSnapshot) -> Iterator[str]:
    """Yield warnings about keys that decrypt, and about partners without a certificate to encrypt for."""
    at = hub.clock()
    agreed = [one for one in known.book.pmodes if one.encryption is not None and one.is_in_force(at)]
    ours = [one for one in agreed if known.by_id.get(one.to_party[0]) == settings.hub.party]
    usable = [one for one in hub.decryption_keys if one.certificate.not_after > at]
    if ours and not usable:
        kind = "without a key" if not hub.decryption_keys else "and the certificate of each key has ended"
        yield f"P-Mode {ours[0].id[:80]} agrees encrypted payloads, {kind} under [decryption]"
    if usable:
        ends = max(one.certificate.not_after for one in usable)
        if ends - at < _SOON:
            days = (ends - at).days
            yield f"the last certificate under [decryption] ends in {days} days, at {ends:%Y-%m-%dT%H:%M:%SZ}"
    yield from _find_weak_tokens(usable)
    yield from _find_missing_receivers([one for one in agreed if one not in ours], known, at)


def _find_weak_tokens(keys: Iterable[DecryptionKey]) -> Iterator[str]:
    """Yield a warning for each token that does not decrypt what partners write today."""
    for key in keys:
        if isinstance(key, TokenDecryptionKey):
            try:
                key.decrypt_key(encrypt_key(key.certificate, _PROBE, _OAEP), _OAEP)
            except GatewayError as refused:
                told = f"the key of {key.certificate.subject[:80]} cannot be used for payloads"
                yield f"{told}: {refused.detail}"


def _find_missing_receivers(agreed: list[PMode], known: RegisterSnapshot, at: datetime) -> Iterator[str]:
    """Yield a warning for each partner to whom encrypted payloads are agreed and cannot be sent."""
    told: set[str] = set()
    for one in agreed:
        party, pin = known.by_id.get(one.to_party[0]), one.encryption.certificate if one.encryption else None
        if party is None or party in told:
            continue
        try:
            known.find_encryption_certificate(party, pin, at)
        except GatewayError as missing:
            told.add(party)
            yield f"P-Mode {one.id[:80]} agrees encrypted payloads: {missing.detail}"
