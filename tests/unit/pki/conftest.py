"""A small PKI for all tests of the room: a root, a sub-authority, a party."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.pki.issue import Authority, Issued, issue_certificate, make_authority, make_crl
from gateway.pki.revocation import Revocations
from gateway.pki.trust import TrustStore
from tests.unit.pki.forge import DAY, NOW


@dataclass(frozen=True)
class World:
    """Root and sub-authority with fresh lists, and two parties, one of them revoked."""

    root: Authority
    sub: Authority
    party: Issued
    outcast: Issued

    @property
    def trust(self) -> TrustStore:
        return TrustStore((self.root.certificate,), (self.sub.certificate,))

    @property
    def root_crl(self) -> bytes:
        return make_crl(self.root, [], NOW)

    @property
    def sub_crl(self) -> bytes:
        return make_crl(self.sub, [self.outcast.certificate.serial], NOW)

    @property
    def revocations(self) -> Revocations:
        return Revocations([self.root_crl, self.sub_crl])


@pytest.fixture(scope="session")
def world() -> World:
    root = make_authority("CN=Root,C=KR", NOW - 30 * DAY, path_length=1)
    sub = make_authority("CN=Sub,C=KR", NOW - 30 * DAY, issuer=root)
    return World(root, sub, issue_certificate(sub, "Party", NOW), issue_certificate(sub, "Outcast", NOW))
