"""Keys of two receivers, and what a partner agreed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from gateway.encryption import AgreedAlgorithms, get_encryption_policy, select_agreed_algorithms
from gateway.pki import Certificate, RsaDecryptionKey, load_decryption_key
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
draw = os.urandom


def agree(policy: str = "strict", *names: str) -> AgreedAlgorithms:
    return select_agreed_algorithms(names, get_encryption_policy(policy))


@dataclass(frozen=True)
class Receiver:
    """Somebody who can decrypt."""

    key: RsaDecryptionKey
    pem: bytes

    @property
    def certificate(self) -> Certificate:
        return self.key.certificate


def make_receiver(name: str) -> Receiver:
    authority = make_authority("CN=Test Root,O=Test,C=KR", NOW)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    issued = issue_certificate(authority, f"CN={name},O=Test,C=KR", NOW, order)
    return Receiver(load_decryption_key(issued.key_pem, issued.certificate.der), issued.key_pem)


@pytest.fixture(scope="session")
def receiver() -> Receiver:
    return make_receiver("Receiver")


@pytest.fixture(scope="session")
def other() -> Receiver:
    return make_receiver("Other")
