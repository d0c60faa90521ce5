"""Loads the hub's trust from the settings: anchors, intermediates, policies, signers of trusted lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gateway.config import Settings
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.trust.fetch_sources import list_source_certificates, read_fetch_sources
from gateway.hub.trust.signing_keys import (
    read_key_file,
)
from gateway.hub.trust.trusted_list_recognition import RecognitionPolicy
from gateway.pki import (
    Certificate,
    CertificateUse,
    TrustPolicy,
    TrustStore,
    load_shipped_policy,
    read_certificates,
    read_policy,
)

__all__ = ["load_certificates", "load_recognition_policy", "load_stamp_trust_store", "load_trust_store"]


def load_trust_store(settings: Settings) -> TrustStore:
    """Return the anchors, intermediates and policy by which certificates are validated."""
    anchors = load_certificates(settings.pki.anchors, "pki.anchors")
    below = (
        *load_certificates(settings.pki.intermediates, "pki.intermediates"),
        *list_source_certificates(read_fetch_sources(settings)),
    )
    return TrustStore(anchors, tuple(dict.fromkeys(below)), _load_trust_policy(settings))


def load_certificates(files: Sequence[Path], key: str) -> tuple[Certificate, ...]:
    """Return the certificates in the files of a setting `key`; raise GW801 or GW803 naming it."""
    return tuple(certificate for path in files for certificate in _read_certificate_file(path, key))


def _read_certificate_file(path: Path, key: str) -> tuple[Certificate, ...]:
    octets = read_key_file(path, key)
    try:
        return read_certificates(octets)
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", key) from None


def load_stamp_trust_store(settings: Settings) -> TrustStore | None:
    """Return the trust store of time-stamping authorities, None where they have no own anchors."""
    anchors = settings.time_stamps.anchors
    if not anchors:
        return None
    found = load_certificates(anchors, "time_stamps.anchors")
    return TrustStore(found, (), _load_trust_policy(settings))


def load_recognition_policy(settings: Settings) -> RecognitionPolicy:
    """Return who signs our trusted list, and which levels are accepted for which use."""
    signers = frozenset(load_certificates(settings.recognition.signers, "recognition.signers"))
    uses = {CertificateUse(name): frozenset(levels) for name, levels in settings.recognition.uses.items()}
    return RecognitionPolicy(signers, uses, settings.recognition.vouched)


def _load_trust_policy(settings: Settings) -> TrustPolicy:
    path = settings.pki.policy
    policy = read_policy(read_key_file(path, "pki.policy"), path.name) if path else load_shipped_policy()
    rule = settings.pki.revocation
    return replace(policy, revocation=rule) if rule else policy
