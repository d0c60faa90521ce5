"""The forgers' keys are what they are called, and their signatures are good: nothing else can be refused."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec

from gateway_conformance.hostile.forged_certificates import make_weak_signer
from gateway_conformance.hostile.naive_verifier import accepts_request
from tests.flows.hostile.shapes import NOW, bench

EXPECTED = {
    "rsa-1024": lambda key: (key.key_size, key.public_numbers().e) == (1024, 65537),
    "rsa-exponent-3": lambda key: (key.key_size, key.public_numbers().e) == (2048, 3),
    "p-192": lambda key: isinstance(key.curve, ec.SECP192R1),
    "p-224": lambda key: isinstance(key.curve, ec.SECP224R1),
    "secp256k1": lambda key: isinstance(key.curve, ec.SECP256K1),
    "dsa": lambda key: isinstance(key, dsa.DSAPublicKey) and key.key_size == 1024,
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_weak_key_is_as_weak_as_it_is_called(kind: str) -> None:
    world = bench()
    made: Any = make_weak_signer(
        kind, world.stranger_authority, world.get_signer("a").certificate.subject, NOW
    )
    read = x509.load_der_x509_certificate(made.certificate.der)
    assert EXPECTED[kind](read.public_key())
    assert read.subject == x509.load_der_x509_certificate(world.get_signer("a").certificate.der).subject
    read.verify_directly_issued_by(x509.load_der_x509_certificate(world.stranger_authority.certificate.der))
    assert accepts_request(world.build_message(signer=made))
