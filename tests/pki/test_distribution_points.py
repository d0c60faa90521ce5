"""Lists of others, of some reasons and of changes: they count where the certificate or the list says so."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.pki import (
    DEFAULT_POLICY,
    PATH_RULES,
    Certificate,
    CertificateUse,
    RevocationData,
    TrustStore,
    Verdict,
    read_certificate,
    validate_path,
)
from gateway.pki.certificate_lint import KeyUsageRule
from gateway.pki.certificates import is_in_network
from gateway.pki.revocation_data import ALL_REASONS
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope, subject_of, usage
from tests.pki.conftest import World
from tests.pki.test_ocsp import Answer

SERIAL = 4713
CLEAR, REVOKED, UNKNOWN = "valid", "GW207", "GW208"
POINT = x509.UniformResourceIdentifier("http://crl.example/1.crl")
INDIRECT = [(scope(indirect_crl=True), True)]
HOLD = (x509.CRLReason(x509.ReasonFlags.certificate_hold), False)
RELEASE = (x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)
KEYS = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise})


def outcome(verdict: Verdict) -> str:
    return "valid" if verdict.problem is None else verdict.problem.id


def ask(world: World, leaf: Certificate, *lists: bytes, others: tuple[Certificate, ...] = ()) -> str:
    trust = TrustStore((world.root.certificate,), (world.sub.certificate, *others))
    return outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData(lists)))


def pointing(world: World, *points: dict[str, Any]) -> Certificate:
    empty = {"full_name": None, "relative_name": None, "reasons": None, "crl_issuer": None}
    made = x509.CRLDistributionPoints([x509.DistributionPoint(**{**empty, **point}) for point in points])
    return read_certificate(Forgery(serial=SERIAL, extra=[(made, False)]).der(world.root))


def of(authority: CertificationAuthority) -> x509.DirectoryName:
    return x509.DirectoryName(subject_of(authority))


def naming(authority: CertificationAuthority) -> tuple[x509.ExtensionType, bool]:
    return (x509.CertificateIssuer([of(authority)]), True)


@pytest.fixture(scope="module")
def speaker(world: World) -> CertificationAuthority:
    """A key that only signs lists, certified by the root."""
    forged = Forgery(subject="Speaker", serial=800, extra=[(usage("crl_sign"), True)])
    certificate = read_certificate(forged.der(world.root))
    return CertificationAuthority(forged.key, certificate)


def test_another_speaks_where_the_certificate_names_it_and_its_list_says_so(
    world: World, speaker: CertificationAuthority
):
    root, leaf = world.root, pointing(world, {"full_name": [POINT], "crl_issuer": [of(speaker)]})
    own = crl(root)
    others = (speaker.certificate,)
    plain, indirect = crl(speaker), crl(speaker, extra=INDIRECT)
    assert ask(world, leaf, own, indirect, others=others) == CLEAR
    # Not said to be indirect, not by one who is in hand, or the own list where another is named.
    assert ask(world, leaf, own, plain, others=others) == UNKNOWN
    assert ask(world, leaf, own, indirect) == UNKNOWN
    assert ask(world, leaf, own, others=others) == UNKNOWN
    unnamed = read_certificate(Forgery(serial=SERIAL).der(root))
    assert ask(world, unnamed, indirect, others=others) == UNKNOWN
    # The status of the speaker counts too.
    outcast = crl(root, [entry(800)])
    assert ask(world, leaf, outcast, indirect, others=others) == UNKNOWN


def test_an_entry_is_of_the_issuer_it_names_or_of_the_one_before(
    world: World, speaker: CertificationAuthority
):
    root, leaf = world.root, pointing(world, {"full_name": [POINT], "crl_issuer": [of(speaker)]})

    def of_entries(*entries: x509.RevokedCertificate) -> str:
        made = crl(speaker, entries, extra=INDIRECT)
        return ask(world, leaf, crl(root), made, others=(speaker.certificate,))

    assert of_entries(entry(SERIAL)) == CLEAR
    assert of_entries(entry(SERIAL, extra=[naming(root)])) == REVOKED
    assert of_entries(entry(1, extra=[naming(root)]), entry(SERIAL)) == REVOKED
    assert of_entries(entry(1, extra=[naming(root)]), entry(SERIAL, extra=[naming(world.sub)])) == CLEAR
    nameless = (x509.CertificateIssuer([x509.DNSName("root.example")]), True)
    assert of_entries(entry(1, extra=[nameless])) == UNKNOWN


def test_a_list_that_is_not_indirect_speaks_for_nobody_else(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    assert ask(world, leaf, crl(world.root, [entry(SERIAL, extra=[naming(world.sub)])])) == UNKNOWN
    indirect = crl(world.root, [entry(SERIAL, extra=[naming(world.sub)])], extra=INDIRECT)
    assert ask(world, leaf, indirect) == CLEAR


def test_a_speaker_below_another_anchor(world: World):
    stranger = make_authority("Stranger", NOW - DAY)
    leaf = pointing(world, {"full_name": [POINT], "crl_issuer": [of(stranger)]})
    trust = TrustStore((world.root.certificate, stranger.certificate))
    lists = RevocationData([crl(world.root), crl(stranger, extra=INDIRECT)])
    assert outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, trust, lists)) == UNKNOWN


def test_reasons_add_up(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))

    def part(reasons: frozenset[x509.ReasonFlags], *entries: Any) -> bytes:
        return crl(world.root, entries, extra=[(scope(only_some_reasons=reasons), True)])

    keys, rest = part(KEYS), part(ALL_REASONS - KEYS)
    assert ask(world, leaf, keys) == ask(world, leaf, rest) == UNKNOWN
    assert ask(world, leaf, keys, rest) == ask(world, leaf, rest, keys) == CLEAR
    assert ask(world, leaf, keys, part(ALL_REASONS - KEYS, entry(SERIAL))) == REVOKED
    almost = part(ALL_REASONS - KEYS - {x509.ReasonFlags.superseded})
    assert ask(world, leaf, keys, almost) == UNKNOWN


def test_a_point_may_cover_some_reasons_only(world: World):
    leaf = pointing(world, {"full_name": [POINT], "reasons": KEYS})
    at_point = crl(world.root, extra=[(scope(full_name=[POINT]), True)])
    assert ask(world, leaf, at_point) == UNKNOWN
    assert ask(world, leaf, at_point, crl(world.root)) == CLEAR


def changes(world: World, base: int, number: int, *entries: Any, **words: Any) -> bytes:
    extra = [(x509.DeltaCRLIndicator(base), True), (x509.CRLNumber(number), False)]
    return crl(world.root, entries, extra=[*extra, *words.pop("more", [])], **words)


def complete(world: World, number: int, *entries: Any, **words: Any) -> bytes:
    return crl(world.root, entries, extra=[(x509.CRLNumber(number), False)], **words)


def test_a_change_releases_what_its_list_has_on_hold(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    held, lost = entry(SERIAL, extra=[HOLD]), entry(SERIAL)
    free = entry(SERIAL, extra=[RELEASE])
    assert ask(world, leaf, complete(world, 3, held)) == REVOKED
    assert ask(world, leaf, complete(world, 3, held), changes(world, 3, 4, free)) == CLEAR
    assert ask(world, leaf, complete(world, 3, held), changes(world, 1, 4, free)) == CLEAR
    # Not on hold; changes to a later list; changes it already holds; changes of somebody else.
    assert ask(world, leaf, complete(world, 3, lost), changes(world, 3, 4, free)) == REVOKED
    assert ask(world, leaf, complete(world, 3, held), changes(world, 4, 5, free)) == REVOKED
    assert ask(world, leaf, complete(world, 4, held), changes(world, 3, 4, free)) == REVOKED
    stranger = make_authority("CN=Root,C=KR", NOW - DAY)
    forged = changes(world, 3, 4, free, key=stranger.key)
    assert ask(world, leaf, complete(world, 3, held), forged) == REVOKED
    stale = changes(world, 3, 4, free, starts=NOW - 9 * DAY, ends=NOW - DAY)
    assert ask(world, leaf, complete(world, 3, held), stale) == REVOKED
    other_scope = changes(world, 3, 4, free, more=[(scope(only_contains_user_certs=True), True)])
    assert ask(world, leaf, complete(world, 3, held), other_scope) == REVOKED


def test_a_release_is_good_for_as_long_as_the_change_that_says_it(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    held = complete(world, 3, entry(SERIAL, extra=[HOLD]))
    change = changes(world, 3, 4, entry(SERIAL, extra=[RELEASE]), ends=NOW + HOUR / 2)
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,))
    found = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData([held, change]))
    assert (outcome(found), found.valid_until) == (CLEAR, NOW + HOUR / 2)


def test_changes_condemn_until_a_complete_list_holds_them(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    condemning = changes(world, 0, 4, entry(SERIAL))
    assert ask(world, leaf, complete(world, 3), condemning) == REVOKED
    assert ask(world, leaf, complete(world, 4), condemning) == CLEAR
    stale = complete(world, 4, starts=NOW - 9 * DAY, ends=NOW - DAY)
    assert ask(world, leaf, complete(world, 3, starts=NOW - 2 * HOUR), stale, condemning) == REVOKED
    assert ask(world, leaf, changes(world, 0, 4)) == UNKNOWN


def test_a_verdict_names_what_it_rests_on(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,))
    older, stale = (
        crl(world.root, starts=NOW - 2 * HOUR),
        crl(world.root, starts=NOW - 9 * DAY, ends=NOW - DAY),
    )

    def evidence(*lists: bytes) -> tuple[str, ...]:
        return validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData(lists)).evidence

    def digests(*lists: bytes) -> tuple[str, ...]:
        return tuple(hashlib.sha256(each).hexdigest() for each in lists)

    clean, condemning = crl(world.root), crl(world.root, [entry(SERIAL)])
    assert evidence(older, clean, stale, world.sub_crl) == digests(clean)
    assert evidence(condemning) == digests(condemning)
    assert evidence(stale) == digests(stale)
    assert evidence() == ()
    held, free = (
        complete(world, 3, entry(SERIAL, extra=[HOLD])),
        changes(world, 3, 4, entry(SERIAL, extra=[RELEASE])),
    )
    assert set(evidence(held, free)) == set(digests(held, free))
    keys, rest = (
        crl(world.root, extra=[(scope(only_some_reasons=some), True)]) for some in (KEYS, ALL_REASONS - KEYS)
    )
    assert set(evidence(keys, rest)) == set(digests(keys, rest))
    answer = Answer(leaf, world.root.certificate).der(world.root.certificate, world.root.key)
    verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData(responses=[answer]))
    assert verdict.evidence == digests(answer)


def test_a_list_has_a_number_that_may_be_passed_over(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    assert ask(world, leaf, crl(world.root, number=False)) == UNKNOWN
    assert ask(world, leaf, crl(world.root, extra=[(x509.CRLNumber(1), True)])) == UNKNOWN
    # What it revokes is revoked, whatever an older list says.
    clear = crl(world.root, starts=NOW - DAY)
    for number in ((), ((x509.CRLNumber(9), True),)):
        revoking = crl(world.root, [entry(SERIAL)], extra=number, number=False)
        assert ask(world, leaf, clear, revoking) == ask(world, leaf, revoking) == REVOKED
        assert ask(world, leaf, clear, crl(world.root, extra=number, number=False)) == CLEAR
    held = crl(world.root, [entry(SERIAL, extra=[HOLD])], extra=[(x509.CRLNumber(8), False)])
    numbers = [(x509.CRLNumber(9), True), (x509.DeltaCRLIndicator(8), True)]
    assert ask(world, leaf, held, crl(world.root, [entry(SERIAL, extra=[RELEASE])], extra=numbers)) == REVOKED
    # Path validation alone does not ask for it.
    alone = TrustStore((world.root.certificate,), policy=replace(DEFAULT_POLICY, certificates=PATH_RULES))
    lists = RevocationData([crl(world.root, number=False)], PATH_RULES)
    assert outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, alone, lists)) == CLEAR


def test_many_authorities_of_one_name_hide_none(world: World):
    """More than are tried: only those whose key made the signature are."""
    others = tuple(make_authority("CN=Sub,C=KR", NOW - DAY, issuer=world.root).certificate for _ in range(20))
    leaf = read_certificate(Forgery(without=(x509.AuthorityKeyIdentifier,)).der(world.sub))
    rules = replace(DEFAULT_POLICY.certificates, key_identifiers=False)
    policy = replace(DEFAULT_POLICY, revocation="none", certificates=rules)
    for intermediates in ((*others, world.sub.certificate), (world.sub.certificate, *others)):
        trust = TrustStore((world.root.certificate,), intermediates, policy)
        assert validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData()).status == "valid"
    verdict = validate_path(
        leaf,
        NOW,
        CertificateUse.SIGNING,
        TrustStore((world.root.certificate,), others, policy),
        RevocationData(),
    )
    assert (verdict.status, "signature" in verdict.reason) == ("invalid", True)


def test_a_policy_may_tolerate_what_is_not_known(world: World):
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    lax = KeyUsageRule(frozenset({"digitalSignature"}), frozenset(), accept_indeterminate=True)
    policy = replace(DEFAULT_POLICY, uses={**DEFAULT_POLICY.uses, CertificateUse.SIGNING: lax})
    for rules, tolerated in ((DEFAULT_POLICY, False), (policy, True)):
        trust = TrustStore((world.root.certificate,), policy=rules)
        verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, RevocationData())
        assert (verdict.status, verdict.tolerated) == ("indeterminate", tolerated)
        if tolerated:
            verdict.raise_unless_accepted()
        else:
            with pytest.raises(GatewayError):
                verdict.raise_unless_accepted()
        condemned = validate_path(
            leaf, NOW, CertificateUse.SIGNING, trust, RevocationData([crl(world.root, [entry(SERIAL)])])
        )
        assert (condemned.status, condemned.tolerated) == ("invalid", False)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("*.example.kr", False),
        ("a.example.kr", True),
        ("bad.example.kr", False),
        ("*.other.kr", True),
        ("*.kr", False),
    ],
)
def test_a_wildcard_that_stands_for_an_excluded_name(host: str, good: bool):
    excluded = x509.NameConstraints(None, [x509.DNSName("bad.example.kr")])
    forged = Forgery(subject="Root", ca=True, extra=[(excluded, True)])
    root = forged.der()
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    leaf = Forgery(extra=[(names, False)]).der(CertificationAuthority(forged.key, read_certificate(root)))
    trust = TrustStore((read_certificate(root),), policy=replace(DEFAULT_POLICY, revocation="none"))
    verdict = validate_path(read_certificate(leaf), NOW, CertificateUse.SIGNING, trust, RevocationData())
    assert (verdict.status == "valid") == good


@pytest.mark.long
@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_within_its_networks(address: Any, bits: int):
    assert is_in_network(f"{address}/{bits}", str(address))
    assert not is_in_network(f"{address}/{bits}", "::1")


def test_an_address_outside_a_network():
    assert is_in_network("10.1.0.0/16", "10.1.255.255")
    assert not is_in_network("10.1.0.0/16", "10.2.0.0")
    assert is_in_network("fd00::/8", "fdff::1")
    assert not is_in_network("fd00::/8", "10.1.0.0")


COMPROMISE = (x509.CRLReason(x509.ReasonFlags.key_compromise), False)


@pytest.mark.parametrize(
    "extension",
    [COMPROMISE[0], HOLD[0], x509.InvalidityDate(datetime(2026, 1, 1))],
)
def test_a_critical_reason_or_date_of_an_entry_is_understood(
    world: World, extension: x509.ExtensionType
) -> None:
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    clear = crl(world.root, starts=NOW - DAY)
    revoking = crl(world.root, [entry(SERIAL, extra=[(extension, True)])], extra=[(x509.CRLNumber(9), False)])
    assert ask(world, leaf, clear, revoking) == REVOKED


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("base", [(), ((x509.DeltaCRLIndicator(1), True),)])
def test_a_release_takes_back_no_entry_of_the_same_list(world: World, order: int, base: Any) -> None:
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    extra = [(x509.CRLNumber(9), False), *base]
    entries = [entry(SERIAL, extra=[COMPROMISE]), entry(SERIAL, extra=[RELEASE])][::order]
    clear = crl(world.root, starts=NOW - DAY)
    assert ask(world, leaf, clear, crl(world.root, entries, extra=extra)) == REVOKED


@pytest.mark.parametrize("order", [1, -1])
def test_a_hold_weakens_no_revocation_of_the_same_list(world: World, order: int) -> None:
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    entries = [entry(SERIAL, extra=[COMPROMISE]), entry(SERIAL, extra=[HOLD])][::order]
    release = [(x509.CRLNumber(9), False), (x509.DeltaCRLIndicator(1), True)]
    lists = crl(world.root, entries), crl(world.root, [entry(SERIAL, extra=[RELEASE])], extra=release)
    assert ask(world, leaf, *lists) == REVOKED
