"""A small PKI for all tests of the room: a root, a sub-authority, a party."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.pki import RevocationData, TrustStore
from gateway_conformance.pki import (
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.pki.certificate_forgery import DAY, NOW


@dataclass(frozen=True)
class World:
    """Root and sub-authority with fresh lists, and two parties, one of them revoked."""

    root: CertificationAuthority
    sub: CertificationAuthority
    party: IssuedCertificate
    outcast: IssuedCertificate

    @property
    def trust(self) -> TrustStore:
        return TrustStore((self.root.certificate,), (self.sub.certificate,))

    @property
    def root_crl(self) -> bytes:
        return make_revocation_list(self.root, [], NOW)

    @property
    def sub_crl(self) -> bytes:
        return make_revocation_list(self.sub, [self.outcast.certificate.serial], NOW)

    @property
    def revocations(self) -> RevocationData:
        return RevocationData([self.root_crl, self.sub_crl])


@pytest.fixture(scope="session")
def world() -> World:
    root = make_authority("CN=Root,C=KR", NOW - 30 * DAY, path_length=1)
    sub = make_authority("CN=Sub,C=KR", NOW - 30 * DAY, issuer=root)
    return World(root, sub, issue_certificate(sub, "Party", NOW), issue_certificate(sub, "Outcast", NOW))
