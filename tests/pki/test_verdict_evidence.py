"""What is kept of a verdict gives the verdict again, by whatever way the certificate was admitted."""

from __future__ import annotations

from dataclasses import replace

from gateway.pki import (
    CertificateUse,
    FreshVerdict,
    RevocationData,
    TrustStore,
    Verdict,
    VerdictEvidence,
    list_differences,
    load_material,
    make_verdict_evidence,
    repeat_validation,
    validate_path,
)
from gateway_conformance.pki import issue_certificate, make_authority, make_revocation_list
from tests.pki.certificate_forgery import DAY, NOW
from tests.pki.conftest import World


def kept(world: World, verdict: Verdict, leaf: bytes, lists: RevocationData) -> VerdictEvidence:
    return make_verdict_evidence(FreshVerdict(leaf, CertificateUse.SIGNING, verdict, world.trust, lists, 1))


def again(proof: VerdictEvidence) -> tuple[Verdict, tuple[str, ...]]:
    material = load_material(proof.digest, proof.octets.__getitem__)
    verdict = repeat_validation(material, NOW)
    return verdict, list_differences(material.document, verdict)


def test_a_verdict_comes_out_again_and_names_only_what_it_rests_on(world: World):
    unrelated = make_revocation_list(make_authority("CN=Else", NOW), [], NOW)
    lists = RevocationData([unrelated, world.root_crl, world.sub_crl])
    for issued, status in ((world.party, "valid"), (world.outcast, "invalid")):
        verdict = validate_path(issued.certificate, NOW, CertificateUse.SIGNING, world.trust, lists)
        proof = kept(world, verdict, issued.certificate.der, lists)
        repeat, differs = again(proof)
        assert (repeat.status, repeat.path, differs) == (status, verdict.path, ())
        assert unrelated not in proof.octets.values()
        assert set(verdict.evidence) <= set(proof.octets)


def test_the_same_things_have_one_document_and_others_another(world: World):
    lists = world.revocations
    der = world.party.certificate.der
    first = validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, world.trust, lists)
    later = validate_path(world.party.certificate, NOW + DAY, CertificateUse.SIGNING, world.trust, lists)
    assert kept(world, first, der, lists).digest == kept(world, later, der, lists).digest
    tolerated = replace(first, tolerated=True)
    assert kept(world, tolerated, der, lists).digest != kept(world, first, der, lists).digest


def test_one_that_others_admitted_is_judged_by_the_end_of_its_path(world: World):
    """The anchor of a trusted list is none of ours: it is kept as the end of the path that was admitted."""
    abroad = make_authority("CN=Abroad", NOW - DAY, path_length=1)
    between = make_authority("CN=Between", NOW - DAY, issuer=abroad)
    party = issue_certificate(between, "CN=Party abroad", NOW - DAY).certificate
    lists = RevocationData([make_revocation_list(one, [], NOW) for one in (abroad, between)])
    store = TrustStore((abroad.certificate,), (between.certificate,))
    verdict = replace(
        validate_path(party, NOW, CertificateUse.SIGNING, store, lists),
        mode="trust-list",
        source="NO 7: Abroad",
    )
    repeat, differs = again(kept(world, verdict, party.der, lists))
    assert (repeat.status, [each.subject for each in repeat.path], differs) == (
        "valid", [party.subject, "CN=Between", "CN=Abroad"], ()
    )  # fmt: skip
    # By our own anchors alone it is nobody's.
    assert validate_path(party, NOW, CertificateUse.SIGNING, world.trust, lists).status == "invalid"


def test_a_verdict_that_was_another_is_seen(world: World):
    lists = world.revocations
    good = validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, world.trust, lists)
    _, differs = again(kept(world, good, world.outcast.certificate.der, lists))
    assert set(differs) == {"status", "problem", "path"}
