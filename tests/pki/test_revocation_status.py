"""Revocation: only a fresh, complete, well signed list of the very issuer clears a certificate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import (
    DEFAULT_POLICY,
    MAX_CRL_OCTETS,
    MAX_CRLS,
    Certificate,
    CertificateUse,
    RevocationData,
    TrustPolicy,
    TrustStore,
    Verdict,
    read_certificate,
    read_revocation_lists,
    validate_path,
)
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, name, scope, subject_of, usage
from tests.pki.conftest import World

IF_PRESENT = replace(DEFAULT_POLICY, revocation="if_present")
SERIAL = 4711
MARK = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
POINT = x509.UniformResourceIdentifier("http://crl.example/1.crl")
OTHER_POINT = x509.UniformResourceIdentifier("http://crl.example/2.crl")


def ask(
    world: World,
    lists: list[bytes],
    *,
    at: datetime = NOW,
    policy: TrustPolicy = DEFAULT_POLICY,
    certificate: Certificate | None = None,
) -> Verdict:
    """Judge a party below the root; `lists` are all that is known."""
    leaf = certificate or read_certificate(Forgery(serial=SERIAL).der(world.root))
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,), policy)
    return validate_path(leaf, at, CertificateUse.SIGNING, trust, RevocationData(lists))


def outcome(verdict: Verdict) -> str:
    return "valid" if verdict.problem is None else verdict.problem.id


CLEAR, EXPIRED, REVOKED, UNKNOWN = "valid", "GW206", "GW207", "GW208"


def test_a_fresh_list_clears_and_condemns(world: World):
    assert outcome(ask(world, [crl(world.root)])) == CLEAR
    assert outcome(ask(world, [crl(world.root, [entry(1)])])) == CLEAR
    verdict = ask(world, [crl(world.root, [entry(1), entry(SERIAL)])])
    assert outcome(verdict) == REVOKED
    assert verdict.status == "invalid"


@pytest.mark.parametrize(("seconds", "told"), [(20, "valid"), (300, "valid"), (301, "GW208")])
def test_the_clock_of_an_authority_may_be_ahead(world: World, seconds: int, told: str):
    begins = read_revocation_lists(crl(world.root))[0].this_update
    at = begins - timedelta(seconds=seconds)
    assert outcome(ask(world, [crl(world.root)], at=at)) == told
    revoked = ask(world, [crl(world.root, [entry(SERIAL)])], at=at)
    assert outcome(revoked) == ("GW207" if told == "valid" else told)


def test_no_list_is_not_a_clean_list(world: World):
    verdict = ask(world, [])
    assert outcome(verdict) == UNKNOWN
    assert verdict.status == "indeterminate"
    assert outcome(ask(world, [], policy=IF_PRESENT)) == CLEAR


def test_if_a_list_is_present_it_counts(world: World):
    assert outcome(ask(world, [crl(world.root, [entry(SERIAL)])], policy=IF_PRESENT)) == REVOKED
    stale = crl(world.root, starts=NOW - 9 * DAY, ends=NOW - DAY)
    assert outcome(ask(world, [stale], policy=IF_PRESENT)) == UNKNOWN
    forged = crl(world.root, key=ec.generate_private_key(ec.SECP256R1()))
    assert outcome(ask(world, [forged], policy=IF_PRESENT)) == UNKNOWN


def test_each_certificate_of_the_path_is_asked_for(world: World):
    trust, party = world.trust, world.party.certificate

    def of(lists: list[bytes], policy: TrustPolicy = DEFAULT_POLICY) -> str:
        store = replace(trust, policy=policy)
        return outcome(validate_path(party, NOW, CertificateUse.SIGNING, store, RevocationData(lists)))

    assert of([world.root_crl, world.sub_crl]) == CLEAR
    assert of([world.root_crl]) == UNKNOWN
    assert of([world.sub_crl]) == UNKNOWN
    condemned = crl(world.root, [entry(world.sub.certificate.serial)])
    assert of([condemned, world.sub_crl]) == REVOKED
    assert of([world.sub_crl], IF_PRESENT) == CLEAR
    assert of([condemned], IF_PRESENT) == REVOKED
    assert of([condemned, world.sub_crl], IF_PRESENT) == REVOKED
    assert (
        outcome(
            validate_path(world.outcast.certificate, NOW, CertificateUse.SIGNING, trust, world.revocations)
        )
        == REVOKED
    )


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW - HOUR - timedelta(seconds=301), UNKNOWN),
        (NOW - HOUR - timedelta(seconds=300), CLEAR),
        (NOW + 7 * DAY, CLEAR),
        (NOW + 7 * DAY + timedelta(seconds=1), UNKNOWN),
    ],
)
def test_a_list_is_fresh_from_this_update_to_next_update(world: World, at: datetime, expected: str):
    assert outcome(ask(world, [crl(world.root)], at=at)) == expected


def test_a_list_may_be_too_old_before_it_ends(world: World):
    policy = replace(DEFAULT_POLICY, crl_age_most=2 * HOUR)
    made = [crl(world.root)]
    verdict = ask(world, made, at=NOW + HOUR, policy=policy)
    assert outcome(verdict) == CLEAR
    assert verdict.valid_until == NOW + HOUR
    assert outcome(ask(world, made, at=NOW + HOUR + timedelta(seconds=1), policy=policy)) == UNKNOWN


def test_the_newest_list_decides(world: World):
    old = crl(world.root, [entry(SERIAL)], starts=NOW - 2 * HOUR)
    new = crl(world.root, starts=NOW - HOUR)
    assert outcome(ask(world, [old, new])) == CLEAR
    assert outcome(ask(world, [new, old])) == CLEAR
    newest = crl(world.root, [entry(SERIAL)], starts=NOW)
    assert outcome(ask(world, [newest, new])) == REVOKED
    forged = crl(world.root, starts=NOW, key=ec.generate_private_key(ec.SECP256R1()))
    assert outcome(ask(world, [forged, old])) == REVOKED


def test_a_revocation_dated_later_condemns_now(world: World):
    """RFC 5280 §6.3.3 (j) asks whether there is an entry, and not of when."""
    assert outcome(ask(world, [crl(world.root, [entry(SERIAL, NOW + DAY)])])) == REVOKED


def test_a_list_that_names_another_key_than_its_issuer_has(world: World):
    for identifier, expected in ((b"another key", UNKNOWN), (_identifier(world), CLEAR)):
        named = x509.AuthorityKeyIdentifier(identifier, None, None)
        assert outcome(ask(world, [crl(world.root, extra=[(named, False)])])) == expected


def _identifier(world: World) -> bytes:
    found = world.root.certificate.subject_key_identifier
    assert found is not None
    return found


def test_a_list_of_someone_else_says_nothing(world: World):
    other = make_authority("Other", NOW)
    assert outcome(ask(world, [crl(other, [entry(SERIAL)])])) == UNKNOWN
    same_name = make_authority("CN=Root,C=KR", NOW)
    assert outcome(ask(world, [crl(same_name)])) == UNKNOWN


def test_an_authority_does_not_speak_for_its_sister_or_itself(world: World):
    sister = make_authority("Sister", NOW, issuer=world.root)
    trust = TrustStore((world.root.certificate,), (world.sub.certificate, sister.certificate))
    words = [world.sub_crl, crl(sister), crl(sister, extra=[(scope(indirect_crl=True), True)])]
    for entries, expected in (([], UNKNOWN), ([entry(world.sub.certificate.serial)], REVOKED)):
        old = crl(world.root, entries, starts=NOW - 9 * DAY, ends=NOW - DAY)
        verdict = validate_path(
            world.party.certificate, NOW, CertificateUse.SIGNING, trust, RevocationData([old, *words])
        )
        assert outcome(verdict) == expected


@pytest.mark.parametrize(
    ("extra", "entries", "expected"),
    [
        ([(MARK, False)], [], CLEAR),
        ([(MARK, True)], [], UNKNOWN),
        ([], [entry(99, extra=[(MARK, True)])], UNKNOWN),
        ([], [entry(99, extra=[(MARK, False)])], CLEAR),
        ([(scope(indirect_crl=True), True)], [], CLEAR),
        ([(scope(indirect_crl=True), True)], [entry(SERIAL)], REVOKED),
        ([(scope(only_contains_attribute_certs=True), True)], [], UNKNOWN),
        ([(scope(only_contains_ca_certs=True), True)], [], UNKNOWN),
        ([(scope(only_contains_user_certs=True), True)], [], CLEAR),
        ([(scope(only_contains_user_certs=True), True)], [entry(SERIAL)], REVOKED),
        ([(scope(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), True)], [], UNKNOWN),
        (
            [(scope(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), True)],
            [entry(SERIAL)],
            REVOKED,
        ),
        ([(x509.DeltaCRLIndicator(1), True)], [], UNKNOWN),
        ([(x509.DeltaCRLIndicator(1), True)], [entry(SERIAL)], REVOKED),
        ([(scope(full_name=[POINT]), True)], [], UNKNOWN),
    ],
)
def test_lists_that_cover_only_a_part(world: World, extra: Any, entries: Any, expected: str):
    assert outcome(ask(world, [crl(world.root, entries, extra=extra)])) == expected


def test_a_list_of_changes_condemns_beside_a_complete_one(world: World):
    complete = crl(world.root)
    told = [(x509.DeltaCRLIndicator(1), True), (x509.CRLNumber(2), False)]
    changes = crl(world.root, [entry(SERIAL)], starts=NOW, extra=told)
    assert outcome(ask(world, [complete, changes])) == REVOKED
    older = crl(world.root, [entry(SERIAL)], starts=NOW - 2 * HOUR, extra=told)
    assert outcome(ask(world, [complete, older])) == REVOKED
    released = entry(SERIAL, extra=[(x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)])
    nothing = crl(world.root, [released], starts=NOW, extra=told)
    assert outcome(ask(world, [complete, nothing])) == CLEAR


def _with_point(world: World, **words: Any) -> Certificate:
    every = {"full_name": None, "relative_name": None, "reasons": None, "crl_issuer": None, **words}
    points = x509.CRLDistributionPoints([x509.DistributionPoint(**every)])
    return read_certificate(Forgery(serial=SERIAL, extra=[(points, False)]).der(world.root))


def test_distribution_points(world: World):
    certificate = _with_point(world, full_name=[POINT])

    def of(point: x509.GeneralName, *entries: Any) -> str:
        made = crl(world.root, entries, extra=[(scope(full_name=[point]), True)])
        return outcome(ask(world, [made], certificate=certificate))

    assert of(POINT) == CLEAR
    assert of(POINT, entry(SERIAL)) == REVOKED
    assert of(OTHER_POINT) == UNKNOWN
    assert outcome(ask(world, [crl(world.root)], certificate=certificate)) == CLEAR


def test_distribution_points_below_the_issuer(world: World):
    step = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "p1")])
    whole = x509.DirectoryName(x509.Name([*subject_of(world.root).rdns, step]))
    for certificate in (_with_point(world, relative_name=step), _with_point(world, full_name=[whole])):
        for words in ({"relative_name": step}, {"full_name": [whole]}):
            made = crl(world.root, extra=[(scope(**words), True)])
            assert outcome(ask(world, [made], certificate=certificate)) == CLEAR
        elsewhere = crl(world.root, extra=[(scope(full_name=[OTHER_POINT]), True)])
        assert outcome(ask(world, [elsewhere], certificate=certificate)) == UNKNOWN


def test_a_certificate_that_names_another_issuer_of_lists(world: World):
    other = x509.DirectoryName(name("Other"))
    certificate = _with_point(world, full_name=[POINT], crl_issuer=[other])
    assert outcome(ask(world, [crl(world.root)], certificate=certificate)) == UNKNOWN


def _list_signer(world: World, issuer: CertificationAuthority, **words: Any) -> CertificationAuthority:
    """Make a key of the root's name that signs lists only."""
    forged = Forgery(
        serial=800, extra=[(usage("crl_sign"), True)], key=ec.generate_private_key(ec.SECP256R1())
    )
    forged.subject = "List signer"
    root = subject_of(world.root)
    octets = _renamed(forged, issuer, root, **words)
    return CertificationAuthority(forged.key, read_certificate(octets))


def _renamed(forged: Forgery, issuer: CertificationAuthority, subject: x509.Name, **words: Any) -> bytes:
    plain = x509.load_der_x509_certificate(forged.der(issuer))
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject_of(issuer))
    builder = builder.public_key(forged.key.public_key()).serial_number(forged.serial)
    builder = builder.not_valid_before(words.get("starts", NOW - DAY)).not_valid_after(
        words.get("ends", NOW + DAY)
    )
    for each in plain.extensions:
        builder = builder.add_extension(each.value, each.critical)
    return builder.sign(issuer.key, plain.signature_hash_algorithm).public_bytes(Encoding.DER)


def test_a_key_of_its_own_for_lists(world: World):
    certificate = read_certificate(Forgery(serial=SERIAL).der(world.root))

    def of(signer: CertificationAuthority, *lists: bytes) -> str:
        trust = TrustStore((world.root.certificate,), (signer.certificate,))
        return outcome(validate_path(certificate, NOW, CertificateUse.SIGNING, trust, RevocationData(lists)))

    good = _list_signer(world, world.root)
    by_signer = crl(world.root, key=good.key)
    by_root = crl(world.root, starts=NOW - 2 * HOUR)
    assert of(good, by_signer, by_root) == CLEAR
    trust = TrustStore((world.root.certificate,), (good.certificate,))
    verdict = validate_path(
        certificate, NOW, CertificateUse.SIGNING, trust, RevocationData([by_signer, by_root])
    )
    assert verdict.valid_until == good.certificate.not_after < NOW + 7 * DAY
    condemning = crl(world.root, [entry(SERIAL)], key=good.key)
    assert of(good, condemning, by_root) == REVOKED
    # Who signs lists is asked for in a list too, and not in one it signed itself.
    assert of(good, by_signer) == UNKNOWN
    outcast = crl(world.root, [entry(good.certificate.serial)], starts=NOW - 2 * HOUR)
    # The older list, of the root itself, then decides.
    assert of(good, condemning, outcast) == CLEAR
    late = _list_signer(world, world.root, starts=NOW - 3 * DAY, ends=NOW - 2 * DAY)
    assert of(late, crl(world.root, key=late.key)) == UNKNOWN
    condemned = crl(world.root, [entry(SERIAL)], starts=NOW - 2 * HOUR)
    assert of(late, crl(world.root, key=late.key), condemned) == REVOKED
    stranger = make_authority("CN=Root,C=KR", NOW)
    assert of(stranger, crl(stranger)) == UNKNOWN


def test_a_key_that_may_not_sign_lists(world: World):
    forged = Forgery(
        serial=801, extra=[(usage("digital_signature"), True)], key=ec.generate_private_key(ec.SECP256R1())
    )
    certificate = read_certificate(_renamed(forged, world.root, subject_of(world.root)))
    trust = TrustStore((world.root.certificate,), (certificate,))
    older = crl(world.root, [entry(SERIAL)], starts=NOW - 2 * HOUR)
    lists = RevocationData([crl(world.root, key=forged.key), older])
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    assert outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, trust, lists)) == REVOKED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"words",
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: b"\x30\x03\x02\x01\x00",
        lambda data: b"\x30" + b"\x00" * (2 * MAX_CRL_OCTETS + 1),
        lambda data: b"-----BEGIN X509 CRL-----\nM*==\n-----END X509 CRL-----\n",
        lambda data: b"-----BEGIN X509 CRL-----\nAAAA=\n-----END X509 CRL-----\n",
    ],
)
def test_lists_that_are_none(world: World, spoil: Any):
    with pytest.raises(GatewayError) as caught:
        read_revocation_lists(spoil(world.root_crl))
    assert caught.value.problem is errors.REVOCATION_UNKNOWN


@pytest.mark.long
@pytest.mark.parametrize(("digest", "good"), [(hashes.SHA256(), True), (hashes.SHA224(), False)])
def test_the_digest_of_a_list_is_looked_at(digest: hashes.HashAlgorithm, good: bool):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = x509.CertificateRevocationListBuilder().issuer_name(name("R")).last_update(NOW)
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    made = builder.next_update(NOW + DAY).sign(key, digest, rsa_padding=scheme).public_bytes(Encoding.DER)
    if good:
        assert len(read_revocation_lists(made)) == 1
    else:
        with pytest.raises(GatewayError, match="sha224"):
            read_revocation_lists(made)


def test_a_list_without_end_is_refused(world: World):
    data = crl(world.root, [entry(serial) for serial in range(1, 31)])
    ends = b"\x17\x0d" + (NOW + 7 * DAY).strftime("%y%m%d%H%M%SZ").encode()
    assert data.count(ends) == 1
    # nextUpdate is taken out of the signed part; reading looks at that before any signature.
    shorter = _shorten(_shorten(data.replace(ends, b""), 0, len(ends)), 4, len(ends))
    with pytest.raises(GatewayError) as caught:
        read_revocation_lists(shorter)
    assert "nextUpdate" in caught.value.detail


def _shorten(data: bytes, place: int, by: int) -> bytes:
    assert data[place + 1] == 0x82
    length = int.from_bytes(data[place + 2 : place + 4]) - by
    assert length > 255
    return data[: place + 2] + length.to_bytes(2) + data[place + 4 :]


def test_a_file_of_lists(world: World):
    pem = b"".join(
        x509.load_der_x509_crl(each).public_bytes(Encoding.PEM) for each in (world.root_crl, world.sub_crl)
    )
    assert len(RevocationData([pem])) == 2
    assert [each.issuer for each in read_revocation_lists(pem)] == ["CN=Root,C=KR", "CN=Sub,C=KR"]
    with pytest.raises(GatewayError):
        RevocationData([world.root_crl] * (MAX_CRLS + 1))


@pytest.fixture(scope="module")
def condemning(world: World) -> bytes:
    return crl(world.root, [entry(SERIAL)])


@pytest.mark.long
@given(st.data())
def test_no_change_of_a_list_clears(world: World, condemning: bytes, data: st.DataObject):
    octets = bytearray(condemning)
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    try:
        RevocationData([bytes(octets)])
    except GatewayError as refused:
        if refused.problem is not errors.REVOCATION_UNKNOWN:
            raise
        return
    assert outcome(ask(world, [bytes(octets)])) in (REVOKED, UNKNOWN)


def test_a_long_list_is_hashed_once(world: World):
    entries = [entry(serial) for serial in range(10_000, 13_000)]
    lists = RevocationData([crl(world.root, entries)])
    trust = TrustStore((world.root.certificate,))
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    assert outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, trust, lists)) == CLEAR
    assert lists.lists[0].signature_checks == {world.root.certificate.sha256: True}
    assert outcome(validate_path(leaf, NOW, CertificateUse.SIGNING, trust, lists)) == CLEAR


def test_a_wrong_signature_of_a_list_is_remembered_only_when_it_is_found_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    made = RevocationData([crl(world.root, [])]).lists[0]
    answers = [False, True]
    monkeypatch.setattr(type(made), "_verify_list_signature", lambda *_: answers.pop(0))
    assert made.is_signed_by(world.root.certificate)
    assert made.is_signed_by(world.root.certificate)
    assert answers == []
