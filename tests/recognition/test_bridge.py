"""Bridges: cross-certificates with policy mapping, and the level a path ends up with."""

from __future__ import annotations

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509

from gateway.pki import Certificate, CertificateUse, read_certificate
from gateway.recognition import Admission, CrossCertificateBridge, RecognitionContext, admit_signer
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import Forgery
from tests.recognition.sample_lists import DAY, NOW, own_list, trust

OURS, OURS_LOW = "1.2.410.1", "1.2.410.2"
BRIDGE, BRIDGE_LOW = "1.3.6.1.4.1.99.1", "1.3.6.1.4.1.99.2"
THEIRS, THEIRS_LOW = "2.16.56.1", "2.16.56.2"


def policies(*oids: str) -> tuple[x509.ExtensionType, bool]:
    named = [x509.PolicyInformation(x509.ObjectIdentifier(each), None) for each in oids]
    return x509.CertificatePolicies(named), False


def mappings(pairs: dict[str, str]) -> tuple[x509.ExtensionType, bool]:
    value = asn1.PolicyMappings(
        [{"issuer_domain_policy": one, "subject_domain_policy": other} for one, other in pairs.items()]
    )
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), value.dump()), True


def cross(
    subject: CertificationAuthority, name: str, issuer: CertificationAuthority, pairs: dict[str, str]
) -> Certificate:
    """Certify the key of one authority by another, its policies mapped."""
    made = Forgery(name, ca=True, key=subject.key, extra=[policies(*pairs), mappings(pairs)])
    return read_certificate(made.der(issuer))


HOME = make_authority("CN=Home Root", NOW - 30 * DAY, path_length=None)
HUB = make_authority("CN=Bridge", NOW - 30 * DAY, path_length=None)
FOREIGN = make_authority("CN=Foreign", NOW - 30 * DAY, path_length=None)
TO_HUB = cross(HUB, "Bridge", HOME, {OURS: BRIDGE, OURS_LOW: BRIDGE_LOW})
TO_FOREIGN = cross(FOREIGN, "Foreign", HUB, {BRIDGE: THEIRS, BRIDGE_LOW: THEIRS_LOW})
LEVELS = ((OURS, "qualified"), (OURS_LOW, "basic"))


def party(*oids: str) -> Certificate:
    extra = [policies(*oids)] if oids else []
    return read_certificate(Forgery("Foreign Party", extra=extra).der(FOREIGN))


def judged(certificate: Certificate, *bridges: CrossCertificateBridge) -> Admission:
    _, root = own_list(bridges=bridges)
    return admit_signer(
        certificate, NOW, CertificateUse.SIGNING, RecognitionContext(trust(HOME.certificate), root)
    )


@pytest.mark.parametrize(
    ("named", "levels"),
    [
        ((THEIRS,), {"qualified"}),
        ((THEIRS_LOW,), {"basic"}),
        ((THEIRS, THEIRS_LOW), {"qualified", "basic"}),
        (("2.16.56.3",), set()),
        ((), set()),
        # a policy of ours in a certificate of theirs is not mapped: nobody there may speak for us
        ((OURS,), set()),
    ],
)
def test_levels_over_a_bridge(named: tuple[str, ...], levels: set[str]) -> None:
    admission = judged(
        party(*named), CrossCertificateBridge(TO_HUB, LEVELS), CrossCertificateBridge(TO_FOREIGN, LEVELS)
    )
    assert (admission.mode, admission.levels) == ("bridge" if levels else None, levels)
    if levels:
        assert admission.verdict.path == (party_of(admission), TO_FOREIGN, TO_HUB, HOME.certificate)
        assert admission.source == "CN=Foreign by CN=Bridge"


def party_of(admission: Admission) -> Certificate:
    return admission.verdict.path[0]


def test_half_a_bridge_leads_nowhere() -> None:
    assert judged(party(THEIRS), CrossCertificateBridge(TO_HUB, LEVELS)).mode is None
    assert judged(party(THEIRS), CrossCertificateBridge(TO_FOREIGN, LEVELS)).mode is None
    assert judged(party(THEIRS)).mode is None


def test_a_bridge_of_one_certificate() -> None:
    direct = cross(FOREIGN, "Foreign", HOME, {OURS: THEIRS})
    assert judged(party(THEIRS), CrossCertificateBridge(direct, LEVELS)).levels == {"qualified"}
    # the level counts that our list gives to the cross-certificate, not what the path would bear
    assert judged(party(THEIRS), CrossCertificateBridge(direct, ((OURS_LOW, "basic"),))).mode is None


def test_a_level_of_one_bridge_is_not_that_of_another() -> None:
    direct = cross(FOREIGN, "Foreign", HOME, {OURS: THEIRS})
    elsewhere = cross(HUB, "Bridge", HOME, {OURS: BRIDGE})
    low, high = (
        CrossCertificateBridge(direct, ((OURS_LOW, "basic"),)),
        CrossCertificateBridge(elsewhere, ((OURS, "qualified"),)),
    )
    assert judged(party(THEIRS), low, high).mode is None


def test_a_cross_certificate_that_maps_nothing() -> None:
    plain = read_certificate(Forgery("Foreign", ca=True, key=FOREIGN.key, extra=[policies(OURS)]).der(HOME))
    assert judged(party(THEIRS), CrossCertificateBridge(plain, LEVELS)).mode is None
    assert judged(party(OURS), CrossCertificateBridge(plain, LEVELS)).levels == {"qualified"}


def test_a_party_of_our_own_needs_no_bridge() -> None:
    own = read_certificate(Forgery("Own Party").der(HOME))
    assert judged(own, CrossCertificateBridge(TO_HUB, LEVELS)).mode == "anchor"
