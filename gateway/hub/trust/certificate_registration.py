"""Whether a certificate that is about to be registered, or to be signed with, is a good one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gateway.pki.certificate_validation import CertificateValidator, Examine, validate_octets
from gateway.pki.certificates import Certificate
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustStore

__all__ = ["validate_new_certificate"]


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
