"""By which trust a certificate is validated: that of the issuer of a list, and that of a new certificate."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain

from gateway.errors import GatewayError
from gateway.hub.hub import Hub
from gateway.pki import (
    AcceptanceTerms,
    Certificate,
    CertificateUse,
    CertificateValidator,
    Examine,
    RevocationData,
    TrustStore,
    check_issuer_path,
    validate_octets,
)

__all__ = ["find_issuer_trust_store", "validate_new_certificate"]


def find_issuer_trust_store(hub: Hub, issuer: Certificate | None) -> TrustStore:
    """Return the first trust by which a path leads from an issuer to an anchor now, else our own.

    Those whom a bridge or a trusted list in force admits are judged by lists of their own authorities.
    """
    own, at = hub.judge.trust, hub.clock()
    if issuer is None:
        return own
    # The others only where it is none of ours: national lists are long.
    for store in chain((own,), hub.recognizer.list_trust_stores(own, at)):
        with suppress(GatewayError):
            check_issuer_path(AcceptanceTerms(issuer, store, at))
            return store
    return own


def validate_new_certificate(
    certificate: Certificate,
    use: CertificateUse,
    believed: tuple[CertificateValidator, TrustStore],
    moments: tuple[datetime, datetime],
    location: str,
    examine: Examine = validate_octets,
) -> None:
    """Raise the verdict on a certificate unless it is good now, and when it is to be used first.

    `moments` are now and the start of its use.  What begins later is judged as of then without
    revocation, which nobody can know yet: its first message is judged with it.  `examine` judges
    as the judge does.
    """
    judge, trust = believed
    now, starts = moments
    if certificate.not_before <= now:
        judge(certificate.der, use, now).raise_unless_accepted(location)
    first = max(starts, certificate.not_before)
    if first > now:
        later = replace(trust, policy=replace(trust.policy, revocation="none"))
        examine(certificate.der, use, first, later, RevocationData()).raise_unless_accepted(location)
