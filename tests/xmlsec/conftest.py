"""Keys made once a session."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.pki import KeySigner
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
)

NOW = datetime(2026, 11, 20, 9, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def authority() -> CertificationAuthority:
    return make_authority("CN=Test CA", NOW)


@pytest.fixture(scope="session")
def signers(authority: CertificationAuthority) -> dict[str, KeySigner]:
    kinds = ("rsa-2048", "p-256", "p-384", "p-521", "ed25519")
    return {
        kind: issue_certificate(authority, f"CN=broker {kind}", NOW, CertificateOrder(key_kind=kind)).signer
        for kind in kinds
    }


@pytest.fixture(scope="session")
def signer(signers: dict[str, KeySigner]) -> KeySigner:
    return signers["p-256"]


@pytest.fixture(scope="session")
def other(authority: CertificationAuthority) -> KeySigner:
    """Someone else, with a certificate as good as the broker's."""
    return issue_certificate(authority, "CN=other", NOW, CertificateOrder(key_kind="p-256")).signer
