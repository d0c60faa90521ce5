"""Chooses the trust store by which the issuer of a list, or a new certificate, is validated."""

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
    """Return the first trust store with a path from an issuer to an anchor now, else our own.

    Lists of authorities that a bridge or a trusted list in force admits are validated by these
    stores.
    """
    own, at = hub.judge.trust, hub.clock()
    if issuer is None:
        return own
    # The other stores are tried only when ours has no path: national lists are long.
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
    """Raise the verdict on a certificate unless it is valid now and at the start of its use.

    `moments` are the current time and the start of its use. A use that starts later is validated as
    of then without revocation, which cannot be known yet; the first message is validated with
    revocation. `examine` validates as the validator does.
    """
    judge, trust = believed
    now, starts = moments
    if certificate.not_before <= now:
        judge(certificate.der, use, now).raise_unless_accepted(location)
    first = max(starts, certificate.not_before)
    if first > now:
        later = replace(trust, policy=replace(trust.policy, revocation="none"))
        examine(certificate.der, use, first, later, RevocationData()).raise_unless_accepted(location)
