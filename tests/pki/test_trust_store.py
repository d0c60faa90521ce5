"""Verdicts: whom we trust, for what use, at which moment, along which path."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.pki import (
    DEFAULT_POLICY,
    DEFAULT_RULES,
    MAX_PEER_CERTIFICATES,
    PATH_RULES,
    Certificate,
    CertificateUse,
    PolicyInputs,
    RevocationData,
    TrustPolicy,
    TrustStore,
    Verdict,
    read_certificate,
    validate_path,
)
from gateway.pki.certificate_lint import KeyUsageRule
from gateway.pki.trust_store import MAX_STORE_CERTIFICATES
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.pki.certificate_forgery import DAY, NOW, Forgery, name, usage
from tests.pki.conftest import World

IF_PRESENT = replace(DEFAULT_POLICY, revocation="if_present")
SECOND = timedelta(seconds=1)


def judge(
    world: World, octets: bytes, use: CertificateUse = CertificateUse.SIGNING, at: datetime = NOW
) -> Verdict:
    return validate_path(read_certificate(octets), at, use, world.trust, world.revocations)


def assert_refused(verdict: Verdict, problem: Problem, words: str = "") -> None:
    assert verdict.status == ("indeterminate" if problem is errors.REVOCATION_UNKNOWN else "invalid")
    assert verdict.problem is problem
    assert words in verdict.reason
    assert verdict.path == ()
    with pytest.raises(GatewayError) as caught:
        verdict.raise_unless_accepted("here")
    assert (caught.value.problem, caught.value.location) == (problem, "here")


def test_a_good_certificate(world: World):
    verdict = judge(world, world.party.certificate.der)
    assert verdict.status == "valid"
    assert verdict.problem is None
    assert verdict.path == (world.party.certificate, world.sub.certificate, world.root.certificate)
    verdict.raise_unless_accepted()


def test_a_verdict_ends_with_the_first_thing_that_ends(world: World):
    assert judge(world, world.party.certificate.der).valid_until == NOW + 7 * DAY  # the lists
    soon = Forgery(ends=NOW + DAY).der(world.sub)
    assert judge(world, soon).valid_until == NOW + DAY
    short = RevocationData(
        [make_revocation_list(world.root, [], NOW, NOW + timedelta(hours=2)), world.sub_crl]
    )
    verdict = validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, world.trust, short)
    assert verdict.valid_until == NOW + timedelta(hours=2)


def test_the_edges_of_validity_are_exact(world: World):
    lists = [
        make_revocation_list(each, [], NOW - 2 * DAY, NOW + 90 * DAY) for each in (world.root, world.sub)
    ]
    made = make_authority("Old", NOW - 90 * DAY)
    lists.append(make_revocation_list(made, [], NOW - 2 * DAY, NOW + 90 * DAY))
    trust = TrustStore((made.certificate,))
    certificate = read_certificate(Forgery(starts=NOW - DAY, ends=NOW + DAY).der(made))

    def status(at: datetime) -> str:
        return validate_path(certificate, at, CertificateUse.SIGNING, trust, RevocationData(lists)).status

    assert status(NOW - DAY) == "valid"
    assert status(NOW - DAY - SECOND) == "invalid"
    assert status(NOW + DAY) == "valid"
    assert status(NOW + DAY + timedelta(milliseconds=999)) == "valid"
    assert status(NOW + DAY + SECOND) == "invalid"
    late = validate_path(
        certificate, NOW + DAY + SECOND, CertificateUse.SIGNING, trust, RevocationData(lists)
    )
    assert_refused(late, errors.CERTIFICATE_EXPIRED)
    early = validate_path(
        certificate, NOW - DAY - SECOND, CertificateUse.SIGNING, trust, RevocationData(lists)
    )
    assert_refused(early, errors.CERTIFICATE_EXPIRED)


def test_a_moment_in_another_zone_is_the_same_moment(world: World):
    seoul = NOW.astimezone(timezone(timedelta(hours=9)))
    assert judge(world, world.party.certificate.der, at=seoul).status == "valid"
    with pytest.raises(GatewayError) as caught:
        judge(world, world.party.certificate.der, at=NOW.replace(tzinfo=None))
    assert caught.value.problem is errors.OUR_MISTAKE


def test_an_expired_anchor_ends_its_paths(world: World):
    root = make_authority("Gone", NOW - 3700 * DAY)
    party = issue_certificate(root, "Party", NOW)
    lists = RevocationData([make_revocation_list(root, [], NOW)])
    verdict = validate_path(
        party.certificate, NOW, CertificateUse.SIGNING, TrustStore((root.certificate,)), lists
    )
    assert_refused(verdict, errors.CERTIFICATE_EXPIRED)


def test_nobody_vouches(world: World):
    other = make_authority("CN=Root,C=KR", NOW)
    stranger = issue_certificate(other, "Party", NOW).certificate
    assert_refused(judge(world, stranger.der), errors.CERTIFICATE_UNTRUSTED, "no path")
    assert_refused(judge(world, Forgery().der()), errors.CERTIFICATE_UNTRUSTED, "no path")
    nobody = validate_path(
        world.party.certificate, NOW, CertificateUse.SIGNING, TrustStore(()), world.revocations
    )
    assert_refused(nobody, errors.CERTIFICATE_UNTRUSTED, "no path")


def test_an_impostor_with_the_name_of_an_issuer(world: World):
    impostor = CertificationAuthority(ec.generate_private_key(ec.SECP256R1()), world.sub.certificate)
    assert_refused(judge(world, Forgery().der(impostor)), errors.CERTIFICATE_UNTRUSTED, "signature")


def test_a_party_cannot_issue(world: World):
    party = CertificationAuthority(world.party.key, world.party.certificate)
    forged = Forgery().der(party)
    trust = world.trust.with_peers((world.party.certificate,))
    verdict = validate_path(read_certificate(forged), NOW, CertificateUse.SIGNING, trust, world.revocations)
    assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, "not a CA")


def test_the_length_of_a_path_is_kept(world: World):
    below = make_authority("Below", NOW, issuer=world.sub, path_length=0)
    party = issue_certificate(below, "Party", NOW).certificate
    trust = world.trust.with_peers((below.certificate,))
    lists = RevocationData([world.root_crl, world.sub_crl, make_revocation_list(below, [], NOW)])
    verdict = validate_path(party, NOW, CertificateUse.SIGNING, trust, lists)
    assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, "path length")


def test_the_length_said_by_an_anchor_is_kept(world: World):
    root = make_authority("Short", NOW, path_length=0)
    sub = make_authority("Sub", NOW, issuer=root)
    party = issue_certificate(sub, "Party", NOW).certificate
    trust = TrustStore((root.certificate,), (sub.certificate,), IF_PRESENT)
    assert_refused(
        validate_path(party, NOW, CertificateUse.SIGNING, trust, RevocationData()),
        errors.CERTIFICATE_UNTRUSTED,
        "length",
    )


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        (
            Forgery(ca=True, extra=[(usage("digital_signature", "crl_sign"), True)]),
            "may not sign certificates",
        ),
        (Forgery(ca=True, extra=[(x509.BasicConstraints(ca=True, path_length=None), False)]), "not critical"),
        (Forgery(ca=True, without=(x509.SubjectKeyIdentifier,)), "subject key identifier"),
        (Forgery(ca=True, without=(x509.BasicConstraints,)), "not a CA"),
        (Forgery(ca=True, subject=""), "without a name"),
        (Forgery(ca=True, without=(x509.AuthorityKeyIdentifier,)), "authority key identifier"),
        (
            Forgery(ca=True, extra=[(x509.NameConstraints([x509.DNSName("a.example")], None), False)]),
            "not critical that must be",
        ),
        (Forgery(ca=True, extra=[(x509.PolicyConstraints(0, None), False)]), "not critical that must be"),
    ],
)
def test_issuers_that_do_not_fit(world: World, issuer: Forgery, words: str):
    middle = read_certificate(issuer.der(world.root))
    party = (
        Forgery().der(CertificationAuthority(issuer.key, middle)) if middle.subject_key_identifier else None
    )
    if party is None:
        issuing = CertificationAuthority(issuer.key, middle)
        party = Forgery(without=(x509.AuthorityKeyIdentifier,), extra=[_aki(issuer.key)]).der(issuing)
    trust = TrustStore((world.root.certificate,), (middle,), IF_PRESENT)
    verdict = validate_path(
        read_certificate(party), NOW, CertificateUse.SIGNING, trust, RevocationData([world.root_crl])
    )
    assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, words)


def _aki(key: Any) -> tuple[x509.ExtensionType, bool]:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False


CLIENT = (x509.ExtendedKeyUsage([Purpose.CLIENT_AUTH]), False)
SERVER = (x509.ExtendedKeyUsage([Purpose.SERVER_AUTH]), False)
STAMPS = (x509.ExtendedKeyUsage([Purpose.TIME_STAMPING]), True)
STAMPS_QUIETLY = (x509.ExtendedKeyUsage([Purpose.TIME_STAMPING]), False)
STAMPS_AND_SERVES = (x509.ExtendedKeyUsage([Purpose.TIME_STAMPING, Purpose.SERVER_AUTH]), True)
ANYTHING = (x509.ExtendedKeyUsage([Purpose.ANY_EXTENDED_KEY_USAGE]), False)
SIGNS = (usage("digital_signature"), True)
COMMITS = (usage("content_commitment"), True)
ENCRYPTS = (usage("key_encipherment"), True)
AGREES = (usage("key_agreement"), True)
NOTHING = (usage("data_encipherment"), True)


@pytest.mark.parametrize(
    ("use", "extra", "good"),
    [
        (CertificateUse.SIGNING, [SIGNS], True),
        (CertificateUse.SIGNING, [COMMITS], True),
        (CertificateUse.SIGNING, [ENCRYPTS], False),
        (CertificateUse.SIGNING, [AGREES], False),
        (CertificateUse.SIGNING, [SIGNS, CLIENT], True),
        (CertificateUse.SIGNING, [SIGNS, ANYTHING], True),
        (CertificateUse.SIGNING, [SIGNS, SERVER], False),
        (CertificateUse.SIGNING, [SIGNS, STAMPS], False),
        (CertificateUse.ENCRYPTION, [ENCRYPTS], True),
        (CertificateUse.ENCRYPTION, [AGREES], True),
        (CertificateUse.ENCRYPTION, [SIGNS], False),
        (CertificateUse.ENCRYPTION, [NOTHING], False),
        (CertificateUse.TLS, [SIGNS, SERVER], True),
        (CertificateUse.TLS, [SIGNS, CLIENT], True),
        (CertificateUse.TLS, [SIGNS], False),
        (CertificateUse.TLS_SERVER, [SIGNS, SERVER], True),
        (CertificateUse.TLS_SERVER, [SIGNS, CLIENT], False),
        (CertificateUse.TLS_CLIENT, [SIGNS, CLIENT], True),
        (CertificateUse.TLS_CLIENT, [ENCRYPTS, CLIENT], False),
        (CertificateUse.TIME_STAMPING, [SIGNS, STAMPS], True),
        (CertificateUse.TIME_STAMPING, [SIGNS, STAMPS_QUIETLY], False),
        (CertificateUse.TIME_STAMPING, [SIGNS, STAMPS_AND_SERVES], False),
        (CertificateUse.TIME_STAMPING, [SIGNS], False),
    ],
)
def test_each_use_asks_for_its_key_usage(world: World, use: CertificateUse, extra: Any, good: bool):
    verdict = judge(world, Forgery(extra=extra).der(world.sub), use)
    if good:
        assert verdict.status == "valid"
    else:
        assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, "usage")


def test_every_use_has_a_rule():
    assert set(DEFAULT_POLICY.uses) == set(CertificateUse)


def test_no_key_usage_is_not_every_key_usage(world: World):
    bare = Forgery(without=(x509.KeyUsage,)).der(world.sub)
    assert_refused(judge(world, bare), errors.CERTIFICATE_UNTRUSTED, "no key usage")
    lax = replace(
        DEFAULT_POLICY, uses={CertificateUse.SIGNING: KeyUsageRule(frozenset(), frozenset(), frozenset())}
    )
    trust = replace(world.trust, policy=lax)
    assert (
        validate_path(read_certificate(bare), NOW, CertificateUse.SIGNING, trust, world.revocations).status
        == "valid"
    )


@pytest.mark.parametrize(
    ("forgery", "words"),
    [
        (Forgery(ca=True, extra=[(usage("digital_signature", "key_cert_sign"), True)]), "of a CA"),
        (Forgery(extra=[(usage("digital_signature", "key_cert_sign"), True)]), "holder is not a CA"),
        (
            Forgery(extra=[(x509.NameConstraints([x509.DNSName("a.example")], None), True)]),
            "name constraints",
        ),
        (Forgery(subject=""), "neither a subject"),
        (Forgery(without=(x509.AuthorityKeyIdentifier,)), "authority key identifier"),
        (Forgery(issuer_name=""), "issuer without a name"),
        (Forgery(extra=[(x509.SubjectAlternativeName([x509.DNSName("a_b.example")]), False)]), "host name"),
        (Forgery(extra=[(x509.SubjectAlternativeName([x509.DNSName("192.0.2.1")]), False)]), "host name"),
        (Forgery(extra=[(x509.SubjectAlternativeName([x509.DNSName("-a.example")]), False)]), "host name"),
        (Forgery(extra=[(x509.SubjectAlternativeName([x509.DNSName("a.*.example")]), False)]), "host name"),
        (Forgery(extra=[(x509.SubjectAlternativeName([x509.RFC822Name("a b@example")]), False)]), "mailbox"),
        (
            Forgery(extra=[(x509.AuthorityKeyIdentifier(b"1" * 20, None, None), True)]),
            "critical that may not be",
        ),
    ],
)
def test_parties_that_do_not_fit(world: World, forgery: Forgery, words: str):
    assert_refused(judge(world, forgery.der(world.sub)), errors.CERTIFICATE_UNTRUSTED, words)


def test_names_that_fit(world: World):
    names = [
        x509.DNSName("*.broker.example"),
        x509.DNSName("xn--9t4b11yi5a.kr"),
        x509.RFC822Name("a.b+c@example.kr"),
    ]
    extra = [(x509.SubjectAlternativeName(names), False)]
    assert judge(world, Forgery(extra=extra).der(world.sub)).status == "valid"


def test_an_issuer_that_signs_with_sha1(world: World):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    old = Forgery(subject="Old", ca=True, key=key)
    anchor = read_certificate(old.der())
    # No library here makes SHA-1 signatures any more; the name of the algorithm is exchanged, and
    # must be seen before anyone looks at the signature.
    signed = Forgery().der(CertificationAuthority(key, anchor))
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    assert signed.count(sha256) == 2
    forged = read_certificate(signed.replace(sha256, sha1))
    trust = TrustStore((anchor,), (), IF_PRESENT)
    assert (
        validate_path(read_certificate(signed), NOW, CertificateUse.SIGNING, trust, RevocationData()).status
        == "valid"
    )
    verdict = validate_path(forged, NOW, CertificateUse.SIGNING, trust, RevocationData())
    assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, "1.2.840.113549.1.1.5")


def test_constraints_of_an_anchor_hold(world: World):
    permitted = x509.NameConstraints([x509.DirectoryName(name("Party"))], None)
    forged = Forgery(subject="Narrow", ca=True, extra=[(permitted, True)])
    anchor = CertificationAuthority(forged.key, read_certificate(forged.der()))
    anchor = CertificationAuthority(forged.key, anchor.certificate)
    trust = TrustStore((anchor.certificate,), (), IF_PRESENT)

    def status(subject: str) -> str:
        leaf = read_certificate(Forgery(subject=subject).der(anchor))
        return validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status

    assert status("Party") == "valid"
    assert status("Other") == "invalid"


@pytest.mark.parametrize(
    ("excluded", "base", "host", "good"),
    [
        # Every name is one to which labels were added, where there were none (RFC 5280 §4.2.1.10).
        (False, "", "broker.example", "valid"),
        (True, "", "broker.example", "invalid"),
        # No base begins with a point: nobody knows what was meant, and neither way is free.
        (False, ".example", "broker.example", "invalid"),
        (True, ".example", "broker.example", "invalid"),
        (True, ".example", "broker.other", "invalid"),
        (True, ".example", None, "valid"),
        (True, "example", "broker.example", "invalid"),
        (True, "example", "brokerexample", "valid"),
    ],
)
def test_odd_bases_of_host_names(excluded: bool, base: str, host: str | None, good: str):
    bases = [x509.DNSName(base)]
    made = x509.NameConstraints(None if excluded else bases, bases if excluded else None)
    forged = Forgery(subject="Hosts", ca=True, extra=[(made, True)])
    anchor = read_certificate(forged.der())
    extra = [(x509.SubjectAlternativeName([x509.DNSName(host)]), False)] if host else []
    leaf = read_certificate(Forgery(extra=extra).der(CertificationAuthority(forged.key, anchor)))
    trust = TrustStore((anchor,), (), IF_PRESENT)
    assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status == good


@pytest.mark.parametrize(
    ("ca", "extra", "words"),
    [
        (False, (), "not a CA"),
        (True, ((usage("crl_sign"), True),), "may not sign certificates"),
        (True, ((usage("key_cert_sign"), True),), ""),
    ],
)
def test_an_anchor_whose_key_may_verify_nothing(ca: bool, extra: Any, words: str):
    """Its own certificate says so; path validation alone asks it too (RFC 5280 §4.2.1.3, §4.2.1.9)."""
    forged = Forgery(subject="Anchor", ca=ca, extra=extra)
    anchor = read_certificate(forged.der(), PATH_RULES)
    leaf = read_certificate(Forgery().der(CertificationAuthority(forged.key, anchor)), PATH_RULES)
    trust = TrustStore((anchor,), (), replace(IF_PRESENT, certificates=PATH_RULES))
    verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData())
    assert words in verdict.reason
    assert (verdict.status == "valid") == (not words)
    # As a party it needs no right to issue.
    assert validate_path(anchor, NOW, CertificateUse.SIGNING, trust, RevocationData()).status == "valid"


def test_constraints_of_one_kind_leave_other_kinds_free(world: World):
    for constraints in (
        x509.NameConstraints([x509.DNSName("broker.example")], None),
        x509.NameConstraints(None, [x509.DNSName("evil.example")]),
    ):
        forged = Forgery(subject="Hosts", ca=True, extra=[(constraints, True)])
        anchor = CertificationAuthority(forged.key, read_certificate(forged.der()))
        anchor = CertificationAuthority(forged.key, anchor.certificate)
        trust = TrustStore((anchor.certificate,), (), IF_PRESENT)
        for host, good in [("broker.example", "valid"), ("evil.example", "invalid")]:
            extra = [(x509.SubjectAlternativeName([x509.DNSName(host)]), False)]
            leaf = read_certificate(Forgery(extra=extra).der(anchor))
            assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status == good


ONE, OTHER, ANY = (x509.ObjectIdentifier(each) for each in ("1.2.3.4", "1.2.3.5", "2.5.29.32.0"))


def policies(*wanted: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    return x509.CertificatePolicies(x509.PolicyInformation(each, None) for each in wanted), False


def below_anchor(
    anchored: list[tuple[x509.ExtensionType, bool]],
    between: list[tuple[x509.ExtensionType, bool]] | None,
    leaf: list[tuple[x509.ExtensionType, bool]],
    policy: TrustPolicy = IF_PRESENT,
) -> Verdict:
    """Judge a leaf below an anchor with these extensions, straight or by way of one more authority."""
    forged = Forgery(subject="Anchor", ca=True, extra=anchored)
    certificate = read_certificate(forged.der())
    issuer = anchor = CertificationAuthority(forged.key, certificate)
    others: tuple[Certificate, ...] = ()
    if between is not None:
        middle = Forgery(subject="Middle", ca=True, extra=between)
        certificate = read_certificate(middle.der(anchor))
        issuer, others = CertificationAuthority(middle.key, certificate), (certificate,)
    trust = TrustStore((anchor.certificate,), others, policy)
    party = read_certificate(Forgery(extra=leaf).der(issuer))
    return validate_path(party, NOW, CertificateUse.SIGNING, trust, RevocationData())


@pytest.mark.parametrize(
    ("skip", "between", "leaf", "good"),
    [
        (0, None, [], False),
        (0, None, [policies(ONE)], True),
        (1, None, [], False),
        (2, None, [], True),
        (2, [], [], False),
        (3, [], [], True),
        (0, [policies(ONE)], [policies(ONE)], True),
        (0, [policies(OTHER)], [policies(ONE)], False),
    ],
)
def test_an_anchor_that_demands_a_policy(skip: int, between: Any, leaf: Any, good: bool):
    """As often as it says the demand is not made yet (RFC 5280 §4.2.1.11); the end of the path counts too."""
    verdict = below_anchor([(x509.PolicyConstraints(skip, None), True)], between, leaf)
    assert (verdict.status == "valid") == good, verdict.reason


@pytest.mark.parametrize(("skip", "good"), [(None, True), (0, False), (1, True)])
def test_an_anchor_for_which_any_policy_is_none(skip: int | None, good: bool):
    said: list[tuple[x509.ExtensionType, bool]] = [(x509.PolicyConstraints(0, None), True)]
    if skip is not None:
        said.append((x509.InhibitAnyPolicy(skip), True))
    assert (below_anchor(said, None, [policies(ANY)]).status == "valid") == good


@pytest.mark.parametrize(("skip", "good"), [(None, True), (0, False), (1, True)])
def test_an_anchor_that_forbids_to_map_policies(skip: int | None, good: bool):
    said: list[tuple[x509.ExtensionType, bool]] = []
    if skip is not None:
        said.append((x509.PolicyConstraints(None, skip), True))
    mapped = asn1_x509.PolicyMappings(
        [{"issuer_domain_policy": ONE.dotted_string, "subject_domain_policy": OTHER.dotted_string}]
    ).dump()
    mapping = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), mapped)
    wanted = replace(IF_PRESENT, policies=PolicyInputs(frozenset({ONE.dotted_string}), explicit=True))
    verdict = below_anchor(said, [policies(ONE), (mapping, True)], [policies(OTHER)], wanted)
    assert (verdict.status == "valid") == good, verdict.reason


def test_what_an_anchor_says_of_policies_is_not_asked_by_the_suites():
    """RFC 5280 §6 alone takes a name and a key from an anchor."""
    alone = replace(IF_PRESENT, policies=replace(PolicyInputs(), of_anchor=False))
    assert below_anchor([(x509.PolicyConstraints(0, None), True)], None, [], alone).status == "valid"


def test_a_party_that_is_itself_an_anchor(world: World):
    own = Forgery(ca=False)
    certificate = read_certificate(own.der())
    trust = TrustStore((certificate,))
    verdict = validate_path(certificate, NOW, CertificateUse.SIGNING, trust, RevocationData())
    assert verdict.status == "valid"
    assert verdict.path == (certificate,)
    assert verdict.valid_until == certificate.not_after
    late = validate_path(certificate, NOW + 60 * DAY, CertificateUse.SIGNING, trust, RevocationData())
    assert_refused(late, errors.CERTIFICATE_EXPIRED)
    issued = read_certificate(Forgery(subject="Child").der(CertificationAuthority(own.key, certificate)))
    assert_refused(
        validate_path(issued, NOW, CertificateUse.SIGNING, trust, RevocationData()),
        errors.CERTIFICATE_UNTRUSTED,
        "not a CA",
    )


def test_the_good_one_of_two_paths_is_found(world: World):
    root2 = make_authority("Root 2", NOW, path_length=1)
    bridge = Forgery(subject="Bridge", ca=True, key=ec.generate_private_key(ec.SECP256R1()))
    expired = replace_dates(bridge, NOW - 9 * DAY, NOW - DAY).der(world.root)
    crossed = replace_dates(bridge, NOW - DAY, NOW + DAY).der(root2)
    issuers = (read_certificate(expired), read_certificate(crossed))
    party = read_certificate(Forgery().der(CertificationAuthority(bridge.key, issuers[1])))
    trust = TrustStore((world.root.certificate, root2.certificate), issuers, IF_PRESENT)
    verdict = validate_path(party, NOW, CertificateUse.SIGNING, trust, RevocationData())
    assert verdict.status == "valid"
    assert verdict.path[-1] == root2.certificate
    only = TrustStore((world.root.certificate,), issuers, IF_PRESENT)
    assert_refused(
        validate_path(party, NOW, CertificateUse.SIGNING, only, RevocationData()), errors.CERTIFICATE_EXPIRED
    )


def replace_dates(forgery: Forgery, starts: datetime, ends: datetime) -> Forgery:
    return replace(forgery, starts=starts, ends=ends)


def test_what_is_not_known_outweighs_what_is_expired(world: World):
    root2 = make_authority("Root 2", NOW, path_length=1)
    bridge = Forgery(subject="Bridge", ca=True, key=ec.generate_private_key(ec.SECP256R1()))
    expired = read_certificate(replace_dates(bridge, NOW - 9 * DAY, NOW - DAY).der(world.root))
    crossed = read_certificate(bridge.der(root2))
    party = read_certificate(Forgery().der(CertificationAuthority(bridge.key, crossed)))
    trust = TrustStore((world.root.certificate, root2.certificate), (expired, crossed))
    assert_refused(
        validate_path(party, NOW, CertificateUse.SIGNING, trust, RevocationData()), errors.REVOCATION_UNKNOWN
    )


def test_many_issuers_of_one_name_take_no_time(world: World):
    key = ec.generate_private_key(ec.SECP256R1())
    mesh = []
    for serial in range(1, 41):
        forged = Forgery(
            subject="Mesh", ca=True, key=key, serial=serial, without=(x509.AuthorityKeyIdentifier,)
        )
        mesh.append(read_certificate(forged.der()))
    party = read_certificate(Forgery().der(CertificationAuthority(key, mesh[0])))
    trust = TrustStore((world.root.certificate,), tuple(mesh), IF_PRESENT)
    start = time.process_time()
    assert_refused(
        validate_path(party, NOW, CertificateUse.SIGNING, trust, RevocationData()),
        errors.CERTIFICATE_UNTRUSTED,
    )
    assert time.process_time() - start < 20


def test_a_path_longer_than_the_policy_allows(world: World):
    for longest, expected in [(3, "valid"), (2, "invalid")]:
        trust = replace(world.trust, policy=replace(DEFAULT_POLICY, path_most=longest))
        verdict = validate_path(
            world.party.certificate, NOW, CertificateUse.SIGNING, trust, world.revocations
        )
        assert verdict.status == expected


def test_what_a_peer_sends_along(world: World):
    bare = TrustStore((world.root.certificate,))
    assert_refused(
        validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, bare, world.revocations),
        errors.CERTIFICATE_UNTRUSTED,
    )
    helped = bare.with_peers((world.sub.certificate,))
    assert (
        validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, helped, world.revocations).status
        == "valid"
    )
    assert bare.intermediates == ()
    with pytest.raises(GatewayError) as caught:
        bare.with_peers((world.sub.certificate,) * (MAX_PEER_CERTIFICATES + 1))
    assert caught.value.problem is errors.CERTIFICATE_UNTRUSTED


def test_a_store_has_an_end(world: World):
    with pytest.raises(GatewayError):
        TrustStore((world.root.certificate,) * (MAX_STORE_CERTIFICATES + 1))


def test_a_peer_does_not_become_an_anchor(world: World):
    own = Forgery(ca=True, subject="Self")
    anchor = read_certificate(own.der())
    party = read_certificate(Forgery().der(CertificationAuthority(own.key, anchor)))
    trust = world.trust.with_peers((anchor,))
    assert_refused(
        validate_path(party, NOW, CertificateUse.SIGNING, trust, world.revocations),
        errors.CERTIFICATE_UNTRUSTED,
        "no path",
    )


def test_a_running_event_loop_does_not_mind(world: World):
    async def inside() -> Verdict:
        return judge(world, world.party.certificate.der)

    assert asyncio.run(inside()).status == "valid"


def test_weak_keys_read_under_laxer_rules_are_refused(world: World):
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    lax = replace(DEFAULT_RULES, rsa_bits=1024)
    certificate = read_certificate(Forgery(key=key).der(world.sub), lax)
    verdict = validate_path(certificate, NOW, CertificateUse.SIGNING, world.trust, world.revocations)
    assert_refused(verdict, errors.CERTIFICATE_UNTRUSTED, "1024")
    trust = replace(world.trust, policy=replace(DEFAULT_POLICY, certificates=lax))
    assert validate_path(certificate, NOW, CertificateUse.SIGNING, trust, world.revocations).status == "valid"


@pytest.mark.long
@given(st.data())
def test_no_change_of_a_certificate_makes_it_good(world: World, data: st.DataObject):
    octets = bytearray(world.party.certificate.der)
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = read_certificate(bytes(octets))
    except GatewayError:
        return
    verdict = validate_path(changed, NOW, CertificateUse.SIGNING, world.trust, world.revocations)
    assert verdict.status != "valid"
    assert verdict.problem is not None
    assert len(verdict.reason) <= 500


ODD = [
    (x509.ObjectIdentifier("2.5.29.32"), b"\x30\x00"),  # certificate policies
    (x509.ObjectIdentifier("2.5.29.30"), b"\x30\x06\xa0\x00\xa1\x02\x05\x00"),  # name constraints
    (x509.ObjectIdentifier("2.5.29.36"), b"\x05\x00"),  # policy constraints
    (x509.ObjectIdentifier("2.5.29.31"), b"\x30\x03\x0c\x01a"),  # distribution points
    (x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1"), b"\x04\x00"),  # authority information
    (x509.ObjectIdentifier("2.5.29.54"), b"\x02\x00"),  # inhibit any policy
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[0].dotted_string)
@pytest.mark.parametrize("ca", [False, True])
def test_odd_extensions_never_raise(world: World, odd: tuple[x509.ObjectIdentifier, bytes], ca: bool):
    extra: list[Any] = [(x509.UnrecognizedExtension(*odd), False)]
    forged = Forgery(subject="Odd", ca=ca, extra=extra)
    try:
        certificate: Certificate = read_certificate(forged.der(world.root))
    except GatewayError as refused:
        if refused.problem is not errors.CERTIFICATE_UNTRUSTED:
            raise
        return
    leaf = certificate
    if ca:
        leaf = read_certificate(Forgery().der(CertificationAuthority(forged.key, certificate)))
    try:
        trust = TrustStore((world.root.certificate,), (certificate,), IF_PRESENT)
    except GatewayError as refused:
        if refused.problem is not errors.CERTIFICATE_UNTRUSTED:
            raise
        return
    assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status in (
        "valid",
        "invalid",
        "indeterminate",
    )


@pytest.mark.long
def test_the_digest_of_pss_is_looked_at(world: World):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    anchor = Forgery(subject="PSS", ca=True, key=key)
    root = CertificationAuthority(key, read_certificate(anchor.der()))
    trust = TrustStore((root.certificate,), (), IF_PRESENT)
    for digest, good in [(hashes.SHA256(), "valid"), (hashes.SHA224(), "invalid")]:
        leaf = read_certificate(_pss(root, digest))
        assert leaf.signature_algorithm == "1.2.840.113549.1.1.10"
        assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status == good


def _pss(authority: CertificationAuthority, digest: hashes.HashAlgorithm) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.serialization import Encoding

    plain = x509.load_der_x509_certificate(Forgery().der(authority))
    builder = x509.CertificateBuilder().subject_name(plain.subject).issuer_name(plain.issuer)
    builder = builder.public_key(plain.public_key()).serial_number(7)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    for each in plain.extensions:
        builder = builder.add_extension(each.value, each.critical)
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    signed = builder.sign(authority.key, digest, rsa_padding=scheme)
    return signed.public_bytes(Encoding.DER)


def test_the_sandbox_profiles_fit_their_uses(world: World):
    for profile, use in [
        ("signing", CertificateUse.SIGNING),
        ("encryption", CertificateUse.ENCRYPTION),
        ("tls", CertificateUse.TLS),
        ("tls", CertificateUse.TLS_SERVER),
        ("tls", CertificateUse.TLS_CLIENT),
        ("tls-server", CertificateUse.TLS_SERVER),
        ("time-stamping", CertificateUse.TIME_STAMPING),
    ]:
        certificate = issue_certificate(world.sub, "P", NOW, CertificateOrder(profile=profile)).certificate
        assert judge(world, certificate.der, use).status == "valid", profile
