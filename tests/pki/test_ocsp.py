"""OCSP: who may answer, of whom, how fresh; an answer clears or condemns, and anything else says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import (
    DEFAULT_POLICY,
    PATH_RULES,
    Certificate,
    CertificateUse,
    RevocationData,
    TrustPolicy,
    TrustStore,
    Verdict,
    read_certificate,
    validate_path,
)
from gateway.pki.ocsp import check_nonce, make_ocsp_request, read_ocsp_response
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry
from tests.pki.conftest import World

SERIAL = 4712
CLEAR, REVOKED, UNKNOWN = "valid", "GW207", "GW208"
GOOD, BAD, WHO = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
SIGNING = (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)
MARK = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@dataclass
class Answer:
    """A response to be; it differs from a good one of the root in what is given."""

    leaf: Certificate
    issuer: Certificate
    status: ocsp.OCSPCertStatus = GOOD
    starts: datetime = NOW - HOUR
    ends: datetime | None = NOW + DAY
    revoked_at: datetime = NOW - DAY
    by_name: bool = False
    along: tuple[Certificate, ...] = ()
    digest: Any = field(default_factory=hashes.SHA256)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    def der(self, signer: Certificate, key: Any) -> bytes:
        revoked = self.status is BAD
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=x509.load_der_x509_certificate(self.leaf.der),
            issuer=x509.load_der_x509_certificate(self.issuer.der),
            algorithm=self.digest,
            cert_status=self.status,
            this_update=self.starts,
            next_update=self.ends,
            revocation_time=self.revoked_at if revoked else None,
            revocation_reason=None,
        )
        encoding = ocsp.OCSPResponderEncoding.NAME if self.by_name else ocsp.OCSPResponderEncoding.HASH
        builder = builder.responder_id(encoding, x509.load_der_x509_certificate(signer.der))
        if self.along:
            builder = builder.certificates([x509.load_der_x509_certificate(each.der) for each in self.along])
        for value, critical in self.extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def leaf(world: World) -> Certificate:
    return read_certificate(Forgery(serial=SERIAL).der(world.root))


def ask(
    world: World,
    leaf: Certificate,
    responses: list[bytes],
    *,
    lists: tuple[bytes, ...] = (),
    at: datetime = NOW,
    policy: TrustPolicy = DEFAULT_POLICY,
    others: tuple[Certificate, ...] = (),
) -> Verdict:
    trust = TrustStore((world.root.certificate,), (world.sub.certificate, *others), policy)
    return validate_path(leaf, at, CertificateUse.SIGNING, trust, RevocationData(lists, responses=responses))


def outcome(verdict: Verdict) -> str:
    return "valid" if verdict.problem is None else verdict.problem.id


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA512()])
@pytest.mark.parametrize(("status", "expected"), [(GOOD, CLEAR), (BAD, REVOKED), (WHO, UNKNOWN)])
def test_the_issuer_answers(
    world: World, leaf: Certificate, by_name: bool, digest: Any, status: Any, expected: str
):
    root = world.root
    made = Answer(leaf, root.certificate, status=status, by_name=by_name, digest=digest)
    verdict = ask(world, leaf, [made.der(root.certificate, root.key)])
    assert outcome(verdict) == expected
    if expected == CLEAR:
        assert verdict.valid_until == NOW + DAY


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW - HOUR - timedelta(seconds=301), UNKNOWN),
        (NOW - HOUR - timedelta(seconds=300), CLEAR),
        (NOW + DAY, CLEAR),
        (NOW + DAY + timedelta(seconds=1), UNKNOWN),
    ],
)
def test_an_answer_is_fresh_from_this_update_to_next_update(
    world: World, leaf: Certificate, at: datetime, expected: str
):
    made = Answer(leaf, world.root.certificate).der(world.root.certificate, world.root.key)
    assert outcome(ask(world, leaf, [made], at=at)) == expected


def test_an_answer_of_the_last_hour_of_the_calendar_ends_with_it(world: World, leaf: Certificate):
    last = datetime(9999, 12, 31, 23, 30)
    made = Answer(leaf, world.root.certificate, starts=last, ends=None).der(
        world.root.certificate, world.root.key
    )
    (statement,) = read_ocsp_response(made).statements
    assert statement.next_update == datetime.max.replace(tzinfo=UTC)
    assert outcome(ask(world, leaf, [made])) == UNKNOWN


def test_an_answer_may_be_too_old_before_it_ends(world: World, leaf: Certificate):
    root = world.root
    policy = replace(DEFAULT_POLICY, crl_age_most=2 * HOUR)
    made = Answer(leaf, root.certificate).der(root.certificate, root.key)
    assert outcome(ask(world, leaf, [made], at=NOW + HOUR, policy=policy)) == CLEAR
    assert outcome(ask(world, leaf, [made], at=NOW + HOUR + timedelta(seconds=1), policy=policy)) == UNKNOWN
    endless = Answer(leaf, root.certificate, ends=None).der(root.certificate, root.key)
    assert outcome(ask(world, leaf, [endless])) == CLEAR
    assert outcome(ask(world, leaf, [endless], at=NOW + timedelta(seconds=1))) == UNKNOWN
    # The standard itself sets no end.
    alone = TrustStore((root.certificate,), policy=replace(DEFAULT_POLICY, certificates=PATH_RULES))
    words = RevocationData(rules=PATH_RULES, responses=[endless])
    assert outcome(validate_path(leaf, NOW + DAY, CertificateUse.SIGNING, alone, words)) == CLEAR


def test_a_responder_in_the_register_need_not_come_along(world: World, leaf: Certificate):
    certificate, key = responder(world.root, SIGNING, NO_CHECK)
    for by_name in (False, True):
        made = Answer(leaf, world.root.certificate, by_name=by_name).der(certificate, key)
        assert outcome(ask(world, leaf, [made], others=(certificate,))) == CLEAR
        assert outcome(ask(world, leaf, [made])) == UNKNOWN


def test_a_revocation_dated_later_condemns_now(world: World, leaf: Certificate):
    root = world.root
    made = Answer(leaf, root.certificate, status=BAD, revoked_at=NOW + HOUR).der(root.certificate, root.key)
    assert outcome(ask(world, leaf, [made])) == REVOKED


def test_whoever_condemns_is_believed(world: World, leaf: Certificate):
    root = world.root
    good, bad = (
        Answer(leaf, root.certificate, status=status).der(root.certificate, root.key)
        for status in (GOOD, BAD)
    )
    clean, listed = crl(root), crl(root, [entry(SERIAL)])
    assert outcome(ask(world, leaf, [good, bad])) == outcome(ask(world, leaf, [bad, good])) == REVOKED
    assert outcome(ask(world, leaf, [good], lists=(listed,))) == REVOKED
    assert outcome(ask(world, leaf, [bad], lists=(clean,))) == REVOKED
    assert outcome(ask(world, leaf, [good], lists=(clean,))) == CLEAR
    stale = crl(root, starts=NOW - 9 * DAY, ends=NOW - DAY)
    assert outcome(ask(world, leaf, [good], lists=(stale,))) == CLEAR
    who = Answer(leaf, root.certificate, status=WHO).der(root.certificate, root.key)
    assert outcome(ask(world, leaf, [who], lists=(clean,))) == CLEAR
    assert (
        outcome(ask(world, leaf, [who], policy=replace(DEFAULT_POLICY, revocation="if_present"))) == UNKNOWN
    )
    assert outcome(ask(world, leaf, [bad], policy=replace(DEFAULT_POLICY, revocation="none"))) == CLEAR


def test_an_answer_about_someone_else_says_nothing(world: World, leaf: Certificate):
    root = world.root
    other = read_certificate(Forgery(serial=SERIAL + 1).der(root))
    stranger = make_authority("CN=Root,C=KR", NOW - DAY)
    for made in (
        Answer(other, root.certificate).der(root.certificate, root.key),
        # The same name and number, but the key of another issuer.
        Answer(leaf, stranger.certificate).der(root.certificate, root.key),
        Answer(leaf, world.sub.certificate).der(root.certificate, root.key),
    ):
        assert outcome(ask(world, leaf, [made])) == UNKNOWN


def test_a_signature_of_someone_else_says_nothing(world: World, leaf: Certificate):
    root, answer = world.root, Answer(leaf, world.root.certificate)
    # The name of the root over the key of another; the key of the root is asked first.
    stranger = make_authority("CN=Root,C=KR", NOW - DAY)
    for along in ((), (stranger.certificate,)):
        named = replace(answer, by_name=True, along=along).der(stranger.certificate, stranger.key)
        assert outcome(ask(world, leaf, [named])) == UNKNOWN
    # A sister authority answers for itself only, whether or not it comes along.
    for along in ((), (world.sub.certificate,)):
        made = replace(answer, along=along).der(world.sub.certificate, world.sub.key)
        assert outcome(ask(world, leaf, [made])) == UNKNOWN
    octets = bytearray(answer.der(root.certificate, root.key))
    octets[-1] ^= 1
    assert outcome(ask(world, leaf, [bytes(octets)])) == UNKNOWN


def responder(authority: CertificationAuthority, *extra: Any, **words: Any) -> tuple[Certificate, Any]:
    forged = Forgery(subject="Responder", serial=900, extra=list(extra), **words)
    made = read_certificate(forged.der(authority))
    return made, forged.key


def test_a_delegate_of_the_issuer_answers(world: World, leaf: Certificate):
    certificate, key = responder(world.root, SIGNING, NO_CHECK)
    for by_name in (False, True):
        along = Answer(leaf, world.root.certificate, by_name=by_name, along=(certificate,))
        assert outcome(ask(world, leaf, [along.der(certificate, key)])) == CLEAR
        condemning = replace(along, status=BAD)
        assert outcome(ask(world, leaf, [condemning.der(certificate, key)])) == REVOKED
    absent = Answer(leaf, world.root.certificate).der(certificate, key)
    assert outcome(ask(world, leaf, [absent])) == UNKNOWN


def test_of_two_certificates_with_one_key_the_one_that_may_answer_counts(world: World, leaf: Certificate):
    certificate, key = responder(world.root, SIGNING, NO_CHECK)
    powerless, _ = responder(world.root, NO_CHECK, key=key)
    for along in ((powerless, certificate), (certificate, powerless)):
        made = Answer(leaf, world.root.certificate, along=along).der(certificate, key)
        assert outcome(ask(world, leaf, [made])) == CLEAR


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ((NO_CHECK,), {}),
        (((x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), False), NO_CHECK), {}),
        (
            ((x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False), NO_CHECK),
            {},
        ),
        ((SIGNING, NO_CHECK), {"starts": NOW - 9 * DAY, "ends": NOW - DAY}),
        ((SIGNING, NO_CHECK), {"starts": NOW + DAY}),
        ((SIGNING, NO_CHECK, (MARK, True)), {}),
    ],
)
def test_a_delegate_that_may_not(world: World, leaf: Certificate, extra: Any, words: Any):
    try:
        certificate, key = responder(world.root, *extra, **words)
    except GatewayError:
        return
    made = Answer(leaf, world.root.certificate, along=(certificate,)).der(certificate, key)
    assert outcome(ask(world, leaf, [made])) == UNKNOWN


def test_a_delegate_of_another_authority(world: World, leaf: Certificate):
    for authority in (
        world.sub,
        make_authority("CN=Root,C=KR", NOW - DAY),
        make_authority("Other", NOW - DAY),
    ):
        certificate, key = responder(authority, SIGNING, NO_CHECK)
        made = Answer(leaf, world.root.certificate, along=(certificate,)).der(certificate, key)
        assert outcome(ask(world, leaf, [made], others=(certificate,))) == UNKNOWN


def test_a_delegate_that_was_revoked(world: World, leaf: Certificate):
    listed = crl(world.root, [entry(900)])
    certificate, key = responder(world.root, SIGNING)
    made = Answer(leaf, world.root.certificate, along=(certificate,), status=BAD).der(certificate, key)
    # Its word is worth nothing, so that the list decides of the party.
    assert outcome(ask(world, leaf, [made], lists=(listed,))) == CLEAR
    assert outcome(ask(world, leaf, [made], lists=(crl(world.root),))) == REVOKED
    assert outcome(ask(world, leaf, [made])) == REVOKED
    marked, marked_key = responder(world.root, SIGNING, NO_CHECK)
    spared = Answer(leaf, world.root.certificate, along=(marked,), status=BAD).der(marked, marked_key)
    assert outcome(ask(world, leaf, [spared], lists=(listed,))) == REVOKED


def test_each_certificate_of_the_path_is_asked_for(world: World):
    party, sub, root = world.party.certificate, world.sub, world.root
    of_party = Answer(party, sub.certificate).der(sub.certificate, sub.key)
    of_sub = Answer(sub.certificate, root.certificate).der(root.certificate, root.key)
    assert outcome(ask(world, party, [of_party, of_sub])) == CLEAR
    assert outcome(ask(world, party, [of_party])) == UNKNOWN
    assert outcome(ask(world, party, [of_party], lists=(world.root_crl,))) == CLEAR


def test_a_critical_extension_that_nobody_knows(world: World, leaf: Certificate):
    root = world.root
    made = Answer(leaf, root.certificate, extra=((MARK, True),)).der(root.certificate, root.key)
    with pytest.raises(GatewayError, match="critical") as caught:
        read_ocsp_response(made)
    assert caught.value.problem is errors.REVOCATION_UNKNOWN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words",
        b"\x30\x03\x0a\x01\x00",
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            Encoding.DER
        ),
        b"\x30" * (128 * 1024 + 1),
    ],
)
def test_responses_that_are_none(data: bytes):
    with pytest.raises(GatewayError) as caught:
        read_ocsp_response(data)
    assert caught.value.problem is errors.REVOCATION_UNKNOWN


def test_the_nonce_ties_an_answer_to_its_request(world: World, leaf: Certificate):
    root, nonce = world.root, bytes(range(32))
    asked = ocsp.load_der_ocsp_request(make_ocsp_request(leaf, root.certificate, nonce))
    assert asked.serial_number == SERIAL
    assert asked.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce

    def answer(*extra: tuple[x509.ExtensionType, bool]) -> Any:
        return read_ocsp_response(Answer(leaf, root.certificate, extra=extra).der(root.certificate, root.key))

    check_nonce(answer((x509.OCSPNonce(nonce), False)), nonce, is_required=True)
    check_nonce(answer(), nonce, is_required=False)
    for wrong, required in ((answer((x509.OCSPNonce(nonce[:16]), False)), False), (answer(), True)):
        with pytest.raises(GatewayError, match="nonce"):
            check_nonce(wrong, nonce, is_required=required)


@pytest.mark.long
@pytest.mark.parametrize("place", range(0, 400, 7))
def test_no_change_of_an_answer_clears(world: World, leaf: Certificate, place: int):
    octets = bytearray(
        Answer(leaf, world.root.certificate, status=BAD).der(world.root.certificate, world.root.key)
    )
    octets[place % len(octets)] ^= 1 << (place % 8)
    try:
        verdict = ask(world, leaf, [bytes(octets)])
    except GatewayError as refused:
        if refused.problem is not errors.REVOCATION_UNKNOWN:
            raise
        return
    assert outcome(verdict) in (REVOKED, UNKNOWN)
