"""What is in hand and cannot be read by our rules proves nothing, and is not nothing: nobody passes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import (
    DEFAULT_POLICY,
    Certificate,
    CertificateExaminer,
    CertificateUse,
    RevocationData,
    TrustStore,
    ValidationInput,
    read_certificate,
    validate_path,
)
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, subject_of
from tests.pki.conftest import World
from tests.pki.test_ocsp import BAD, Answer

IF_PRESENT = replace(DEFAULT_POLICY, revocation="if_present")


def in_sha224(authority: CertificationAuthority) -> bytes:
    """Sign a list as our rules refuse it, and as others do."""
    builder = x509.CertificateRevocationListBuilder(subject_of(authority), NOW - HOUR, NOW + DAY)
    numbered = builder.add_extension(x509.CRLNumber(1), critical=False)
    return numbered.sign(authority.key, hashes.SHA224()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def other() -> CertificationAuthority:
    return make_authority("CN=Other", NOW - DAY)


@pytest.fixture(scope="module")
def leaves(world: World, other: CertificationAuthority) -> dict[str, Certificate]:
    authorities = {"root": world.root, "other": other}
    return {name: read_certificate(Forgery(serial=8).der(one)) for name, one in authorities.items()}


def words(world: World, leaves: dict[str, Certificate], kind: str) -> RevocationData:
    if kind == "answer":
        leaf = read_certificate(Forgery(serial=9).der(world.root))
        made = Answer(leaf, world.root.certificate, BAD)
        return RevocationData.from_unreadable(
            made.der(world.root.certificate, world.root.key), is_response=True
        )
    return RevocationData.from_unreadable(in_sha224(world.root) if kind == "list" else b"sold")


EXPECTED = {
    "list": {"root": "GW208", "other": "valid"},
    "answer": {"root": "valid", "other": "valid"},
    "garbage": {"root": "GW208", "other": "GW208"},
}


@pytest.mark.long
@pytest.mark.parametrize("kind", EXPECTED)
def test_whose_certificates_it_may_be_about_are_unknown(
    world: World, other: CertificationAuthority, leaves: dict[str, Certificate], kind: str
) -> None:
    trust = TrustStore((world.root.certificate, other.certificate), (), IF_PRESENT)
    in_hand = words(world, leaves, kind)
    examiner = CertificateExaminer(budget_seconds=5)
    for name, leaf in leaves.items():
        verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, in_hand)
        assert (verdict.problem.id if verdict.problem else verdict.status) == EXPECTED[kind][name], name
        # The process that judges is told too.
        assert examiner(leaf.der, CertificateUse.SIGNING, NOW, trust, in_hand).status == verdict.status
    examiner.close()


def test_an_answer_is_about_its_certificate(world: World) -> None:
    leaf = read_certificate(Forgery(serial=9).der(world.root))
    octets = Answer(leaf, world.root.certificate, BAD).der(world.root.certificate, world.root.key)
    trust = TrustStore((world.root.certificate,), (), IF_PRESENT)
    unread = RevocationData.from_unreadable(octets, is_response=True)
    assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, unread).status == "indeterminate"


def test_it_is_kept_as_octets_beside_the_others(world: World) -> None:
    refused = in_sha224(world.root)
    register = ValidationInput.from_stores(
        world.trust, RevocationData.merge_parts([world.revocations, RevocationData([])])
    )
    assert len(register.read_input().revocations.unread) == 0
    whole = RevocationData.merge_parts([world.revocations, RevocationData.from_unreadable(refused)])
    opened = ValidationInput.from_stores(world.trust, whole).read_input()
    assert [each.octets for each in opened.revocations.unread] == [refused]
    assert len(opened.revocations) == len(whole) == 3
