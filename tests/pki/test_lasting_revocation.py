"""A revocation lasts: neither the end of its signer's certificate nor another path takes it back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.ocsp import OCSPCertStatus

from gateway.pki import (
    DEFAULT_POLICY,
    Certificate,
    CertificateUse,
    CertificateValidator,
    RevocationData,
    TrustPolicy,
    TrustStore,
    Verdict,
    read_certificate,
    validate_path,
)
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope, subject_of, usage
from tests.pki.conftest import World
from tests.pki.test_list_succession import EARLIER, INDIRECT, SERIAL, make
from tests.pki.test_ocsp import BAD, GOOD, NO_CHECK, SIGNING, Answer

MINUTE = timedelta(minutes=1)
REVOKED, UNKNOWN = "GW207", "GW208"
# After these a revocation was stated, an hour and two hours before NOW.
ENDED_SIGNER, LIVING_SIGNER = NOW - 30 * MINUTE, NOW + 30 * DAY
ENDED, FRESH = NOW - HOUR, NOW + DAY


def judge(
    world: World,
    lists: list[bytes],
    responses: Sequence[bytes] = (),
    *,
    leaf: bytes | None = None,
    authorities: tuple[Certificate, ...] = (),
    anchors: tuple[Certificate, ...] = (),
    policy: TrustPolicy = DEFAULT_POLICY,
) -> Verdict:
    """Judge a certificate now; what is kept as evidence of the verdict must give the same one again."""
    certificate = read_certificate(leaf or Forgery(serial=SERIAL).der(world.root))
    trust = TrustStore(anchors or (world.root.certificate,), authorities, policy)
    data = RevocationData(lists, responses=responses)
    verdict = validate_path(certificate, NOW, CertificateUse.SIGNING, trust, data)
    kept = RevocationData(_select_kept(lists, verdict), responses=_select_kept(responses, verdict))
    again = validate_path(certificate, NOW, CertificateUse.SIGNING, trust, kept)
    assert (again.status, again.problem, again.path) == (verdict.status, verdict.problem, verdict.path)
    return verdict


def _select_kept(documents: Sequence[bytes], verdict: Verdict) -> list[bytes]:
    return [octets for octets in documents if hashlib.sha256(octets).hexdigest() in verdict.evidence]


def tell(verdict: Verdict) -> str:
    return verdict.problem.id if verdict.problem else verdict.status


def certify(
    issuer: CertificationAuthority,
    key: ec.EllipticCurvePrivateKey,
    ends: datetime,
    *,
    serial: int = 77,
    starts: datetime = NOW - 10 * DAY,
) -> CertificationAuthority:
    """Certify a key that signs the lists of an authority, under the authority's own name."""
    name, key_id = subject_of(issuer), issuer.certificate.subject_key_identifier
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), serial, starts, ends)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(usage("crl_sign"), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier(key_id, None, None), False)
    )
    octets = builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return CertificationAuthority(key, read_certificate(octets))


def certify_again(
    issuer: CertificationAuthority,
    certificate: Certificate,
    starts: datetime = NOW - DAY,
    ends: datetime = NOW + 90 * DAY,
) -> Certificate:
    """Certify the key of an authority that has a certificate already: a renewal, or a cross-certificate."""
    parsed = x509.load_der_x509_certificate(certificate.der)
    key_id = x509.AuthorityKeyIdentifier(issuer.certificate.subject_key_identifier, None, None)
    builder = x509.CertificateBuilder(
        subject_of(issuer), parsed.subject, parsed.public_key(), 501, starts, ends
    ).add_extension(key_id, False)
    for extension in parsed.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    octets = builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return read_certificate(octets)


def answer(
    world: World,
    leaf: bytes,
    signer_ends: datetime,
    ends: datetime,
    *,
    no_check: bool = True,
    status: OCSPCertStatus = BAD,
    starts: datetime = EARLIER,
) -> bytes:
    """Make the answer of a delegated responder on `leaf`; by default it revokes."""
    extensions = [SIGNING, NO_CHECK] if no_check else [SIGNING]
    forgery = Forgery(subject="Responder", serial=99, ends=signer_ends, extra=extensions)
    responder = read_certificate(forgery.der(world.root))
    made = Answer(read_certificate(leaf), world.root.certificate, status, starts, ends, along=(responder,))
    return made.der(responder, forgery.key)


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("ends", [ENDED, FRESH])
@pytest.mark.parametrize("signer_ends", [ENDED_SIGNER, LIVING_SIGNER])
def test_the_end_of_a_responder_takes_nothing_back(
    world: World, signer_ends: datetime, ends: datetime
) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    clear = make(world.root, 5, NOW - DAY)
    assert tell(judge(world, [clear], [answer(world, leaf, signer_ends, ends)], leaf=leaf)) == REVOKED
    assert tell(judge(world, [], [answer(world, leaf, signer_ends, ends)], leaf=leaf)) == REVOKED


def test_an_answer_from_after_the_end_of_its_responder_revokes_nothing(world: World) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    clear = make(world.root, 5, NOW - DAY)
    late = answer(world, leaf, EARLIER - MINUTE, FRESH)
    assert tell(judge(world, [clear], [late], leaf=leaf)) == "valid"


@pytest.mark.parametrize("root_ends", [ENDED, FRESH])
@pytest.mark.parametrize("ends", [ENDED, FRESH])
def test_a_responder_of_unknown_status_still_revokes(
    world: World, ends: datetime, root_ends: datetime
) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    clear = make(world.root, 5, NOW - DAY, ends=root_ends)
    response = answer(world, leaf, LIVING_SIGNER, ends, no_check=False)
    assert tell(judge(world, [clear], [response], leaf=leaf)) == REVOKED


@pytest.mark.parametrize("root_ends", [ENDED, FRESH])
@pytest.mark.parametrize("ends", [ENDED, FRESH])
@pytest.mark.parametrize("signer_ends", [ENDED_SIGNER, LIVING_SIGNER])
def test_the_end_of_a_signer_of_lists_takes_nothing_back(
    world: World, signer_ends: datetime, ends: datetime, root_ends: datetime
) -> None:
    signer = certify(world.root, make_key(), signer_ends)
    clear = make(world.root, 5, NOW - DAY, ends=root_ends)
    revoking = make(signer, 9, EARLIER, revoked=True, ends=ends)
    for lists in ([clear, revoking], [revoking]):
        assert tell(judge(world, lists, authorities=(signer.certificate,))) == REVOKED


@pytest.mark.parametrize("root_ends", [ENDED, FRESH])
@pytest.mark.parametrize("ends", [ENDED, FRESH])
def test_an_indirect_list_of_unknown_signer_still_revokes(
    world: World, ends: datetime, root_ends: datetime
) -> None:
    signer = make_authority("CN=Lists,C=KR", NOW - 30 * DAY, issuer=world.root, path_length=0)
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint(None, None, None, [x509.DirectoryName(subject_of(signer))])]
    )
    leaf = Forgery(serial=SERIAL, extra=[(points, False)]).der(world.root)
    holder = x509.CertificateIssuer([x509.DirectoryName(subject_of(world.root))])
    extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.CRLNumber(9), False), (INDIRECT, True)]
    revoking = crl(
        signer, [entry(SERIAL, extra=[(holder, True)])], starts=EARLIER, ends=ends, extra=extensions
    )
    clear = make(world.root, 5, NOW - DAY, ends=root_ends)
    verdict = judge(world, [clear, revoking], leaf=leaf, authorities=(signer.certificate,))
    assert tell(verdict) == REVOKED


def test_a_signer_that_is_revoked_itself_revokes_nothing(world: World) -> None:
    signer = certify(world.root, make_key(), LIVING_SIGNER)
    clear = crl(world.root, [entry(77)], extra=[(x509.CRLNumber(6), False)])
    revoking = make(signer, 9, EARLIER, revoked=True)
    assert tell(judge(world, [clear, revoking], authorities=(signer.certificate,))) == "valid"


def test_a_list_from_after_the_end_of_its_signer_revokes_nothing(world: World) -> None:
    signer = certify(world.root, make_key(), EARLIER - MINUTE)
    clear = make(world.root, 5, NOW - DAY)
    revoking = make(signer, 9, EARLIER, revoked=True)
    assert tell(judge(world, [clear, revoking], authorities=(signer.certificate,))) == "valid"


@pytest.mark.parametrize("order", [1, -1])
def test_the_renewed_certificate_of_a_signer_takes_back_what_its_key_stated(world: World, order: int) -> None:
    key = make_key()
    earlier = certify(world.root, key, ENDED_SIGNER)
    renewed = certify(world.root, key, LIVING_SIGNER, serial=78, starts=ENDED_SIGNER)
    authorities = (earlier.certificate, renewed.certificate)[::order]
    clear = make(world.root, 5, NOW - DAY)
    revoking = make(earlier, 9, EARLIER, revoked=True, ends=ENDED)
    assert tell(judge(world, [clear, revoking], authorities=authorities)) == REVOKED
    later = make(renewed, 10, NOW - 10 * MINUTE)
    assert tell(judge(world, [clear, revoking, later], authorities=authorities)) == "valid"


def test_the_renewal_of_an_authority_takes_nothing_back(world: World) -> None:
    root, sub = world.root, world.sub
    renewed = certify_again(root, sub.certificate, NOW - 20 * MINUTE)
    leaf = Forgery(serial=SERIAL).der(sub)
    forgery = Forgery(subject="Responder", serial=99, ends=ENDED_SIGNER, extra=[SIGNING, NO_CHECK])
    responder = read_certificate(forgery.der(sub))
    made = Answer(read_certificate(leaf), sub.certificate, BAD, EARLIER, ENDED, along=(responder,))
    response = made.der(responder, forgery.key)
    lists = [make(root, 5, NOW - DAY), make(sub, 5, NOW - DAY)]
    for authorities in ((renewed,), (sub.certificate,), (sub.certificate, renewed)):
        assert tell(judge(world, lists, [response], leaf=leaf, authorities=authorities)) == REVOKED
        assert tell(judge(world, lists, leaf=leaf, authorities=authorities)) == "valid"


def test_a_path_to_another_anchor_takes_nothing_back(world: World, paths: TwoPaths) -> None:
    anchors = (world.root.certificate, paths.second.certificate)
    issuers = (paths.issuer.certificate, paths.cross)
    for order in (1, -1):
        verdicts = [
            judge(
                world,
                lists,
                leaf=paths.leaf,
                authorities=(*issuers[::order], paths.signer.certificate),
                anchors=roots,
            )
            for roots in (anchors, anchors[::-1])
            for lists in (paths.clear, [*paths.clear, paths.revoking])
        ]
        assert [tell(verdict) for verdict in verdicts] == ["valid", REVOKED] * 2


def test_a_revoked_authority_of_one_path_leaves_the_other_path(world: World) -> None:
    sub = world.sub
    second = make_authority("CN=Second Root,C=KR", NOW - 30 * DAY, path_length=2)
    cross = certify_again(second, sub.certificate)
    revoking = crl(world.root, [entry(sub.certificate.serial)], extra=[(x509.CRLNumber(6), False)])
    lists = [revoking, make(second, 1), make(sub, 5)]
    leaf, anchors = Forgery(serial=SERIAL).der(sub), (world.root.certificate, second.certificate)
    both = judge(world, lists, leaf=leaf, authorities=(sub.certificate, cross), anchors=anchors)
    alone = judge(world, lists, leaf=leaf, authorities=(sub.certificate,), anchors=anchors)
    assert [tell(both), tell(alone)] == ["valid", REVOKED]


def test_the_evidence_of_an_unknown_status_gives_the_same_verdict_again(world: World) -> None:
    ended = make(world.root, 5, NOW - 9 * DAY, ends=ENDED)
    policy = replace(DEFAULT_POLICY, revocation="if_present")
    leaf = Forgery(serial=SERIAL).der(world.root)
    forgery = Forgery(subject="Responder", serial=99, extra=[SIGNING, NO_CHECK])
    responder = read_certificate(forgery.der(world.root))
    stale = Answer(
        read_certificate(leaf), world.root.certificate, starts=EARLIER, ends=ENDED, along=(responder,)
    ).der(responder, forgery.key)
    verdict = judge(world, [ended], [stale], leaf=leaf, policy=policy)
    assert tell(verdict) == UNKNOWN
    assert set(verdict.evidence) == {hashlib.sha256(octets).hexdigest() for octets in (ended, stale)}
    assert tell(judge(world, [], leaf=leaf, policy=policy)) == "valid"


@pytest.mark.parametrize("beginning", [HOUR, 5 * MINUTE + timedelta(seconds=1), timedelta(minutes=5)])
def test_a_verdict_is_not_remembered_beyond_the_beginning_of_a_list(
    world: World, beginning: timedelta
) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    revoking = make(world.root, 10, NOW + beginning, revoked=True)
    for lists, responses in (([revoking], []), ([], [_answer_of_root(world, leaf, NOW + beginning)])):
        data = RevocationData([make(world.root, 9), *lists], responses=responses)
        validator = CertificateValidator(TrustStore((world.root.certificate,)), data)
        verdicts = [
            validator(leaf, CertificateUse.SIGNING, NOW + after)
            for after in (-HOUR, beginning - 10 * MINUTE, beginning)
        ]
        assert [tell(verdict) for verdict in verdicts] == ["valid", "valid", REVOKED]


def _answer_of_root(world: World, leaf: bytes, starts: datetime) -> bytes:
    root = world.root
    made = Answer(read_certificate(leaf), root.certificate, BAD, starts, starts + DAY)
    return made.der(root.certificate, root.key)


def test_a_verdict_that_an_answer_allows_ends_with_the_answer(world: World) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    root = world.root
    good = Answer(read_certificate(leaf), root.certificate, starts=NOW - MINUTE, ends=NOW + HOUR)
    response = good.der(root.certificate, root.key)
    lists = [make(root, 5, NOW - DAY), make(root, 9, EARLIER, revoked=True, ends=ENDED)]
    data = RevocationData(lists, responses=[response])
    validator = CertificateValidator(TrustStore((root.certificate,)), data)
    assert tell(validator(leaf, CertificateUse.SIGNING, NOW)) == "valid"
    assert tell(validator(leaf, CertificateUse.SIGNING, NOW + 2 * HOUR)) == REVOKED


@pytest.mark.parametrize("address", ["http://a.kr/1.crl", "HTTP://A.KR/1.crl", "http://a.kr/1.CRL"])
def test_scheme_and_host_of_a_distribution_point_have_no_case(world: World, address: str) -> None:
    def locate(text: str) -> list[x509.GeneralName]:
        return [x509.UniformResourceIdentifier(text)]

    points = x509.CRLDistributionPoints([x509.DistributionPoint(locate(address), None, None, None)])
    leaf = Forgery(serial=SERIAL, extra=[(points, False)]).der(world.root)
    part = scope(full_name=locate("http://a.kr/1.crl"))
    lists = [make(world.root, 5, NOW - DAY), make(world.root, 9, revoked=True, part=part)]
    expected = "valid" if address.endswith("CRL") else REVOKED
    assert tell(judge(world, lists, leaf=leaf)) == expected


@pytest.mark.parametrize("ends", [ENDED, FRESH])
@pytest.mark.parametrize("number", [(), ((x509.CRLNumber(9), True),)])
def test_a_list_without_a_usable_number_revokes_until_a_later_list(
    world: World, number: tuple[tuple[x509.ExtensionType, bool], ...], ends: datetime
) -> None:
    clear = make(world.root, 5, NOW - DAY)
    revoking = crl(world.root, [entry(SERIAL)], starts=EARLIER, ends=ends, extra=number, number=False)
    assert tell(judge(world, [clear, revoking])) == REVOKED
    assert tell(judge(world, [revoking])) == REVOKED
    assert tell(judge(world, [clear, revoking, make(world.root, 10)])) == "valid"
    unclear = judge(world, [crl(world.root, starts=EARLIER, ends=ends, extra=number, number=False)])
    assert (tell(unclear), "number" in unclear.reason) == (UNKNOWN, ends == FRESH)


def list_certificate(authority: CertificationAuthority, serial: int) -> bytes:
    return crl(authority, [entry(serial)], extra=[(x509.CRLNumber(6), False)])


@pytest.mark.parametrize("signer_ends", [ENDED_SIGNER, LIVING_SIGNER])
@pytest.mark.parametrize("ends", [ENDED, FRESH])
def test_what_a_revoked_signer_stated_counts_for_nothing(
    world: World, ends: datetime, signer_ends: datetime
) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    response = answer(world, leaf, signer_ends, ends, no_check=False)
    assert tell(judge(world, [list_certificate(world.root, 99)], [response], leaf=leaf)) == "valid"
    signer = certify(world.root, make_key(), signer_ends)
    lists = [list_certificate(world.root, 77), make(signer, 9, EARLIER, revoked=True, ends=ends)]
    assert tell(judge(world, lists, authorities=(signer.certificate,))) == "valid"


def test_a_responder_that_is_not_valid_now_clears_nothing(world: World) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    ended = answer(world, leaf, ENDED_SIGNER, FRESH, status=GOOD)
    stale = make(world.root, 5, NOW - DAY, ends=ENDED)
    unknown = answer(world, leaf, LIVING_SIGNER, FRESH, status=GOOD, no_check=False)
    for lists, response in (([], ended), ([stale], ended), ([stale], unknown)):
        assert tell(judge(world, lists, [response], leaf=leaf)) == UNKNOWN


@pytest.mark.parametrize("signer_ends", [ENDED_SIGNER, LIVING_SIGNER])
@pytest.mark.parametrize("ends", [ENDED, FRESH])
def test_a_signer_takes_back_what_it_stated_before_it_ended(
    world: World, ends: datetime, signer_ends: datetime
) -> None:
    signer = certify(world.root, make_key(), signer_ends)
    clear = make(world.root, 5, NOW - DAY)
    held = make(signer, 9, NOW - 3 * HOUR, revoked=True, ends=ends)
    released = make(signer, 10, EARLIER, ends=ends)
    authorities = (signer.certificate,)
    assert tell(judge(world, [clear, held], authorities=authorities)) == REVOKED
    # Of a signer that is good now, only a list that is proof now takes something back.
    expected = REVOKED if (signer_ends, ends) == (LIVING_SIGNER, ENDED) else "valid"
    assert tell(judge(world, [clear, held, released], authorities=authorities)) == expected
    again = make(signer, 11, EARLIER + MINUTE, revoked=True, ends=ends)
    assert tell(judge(world, [clear, held, released, again], authorities=authorities)) == REVOKED


@pytest.mark.parametrize("is_hold", [True, False])
def test_a_list_of_changes_by_a_signer_that_has_ended_releases_a_hold_alone(
    world: World, *, is_hold: bool
) -> None:
    signer = certify(world.root, make_key(), ENDED_SIGNER)
    clear = make(world.root, 5, NOW - DAY)
    reasons = x509.ReasonFlags
    reason = reasons.certificate_hold if is_hold else reasons.key_compromise

    def list_entry(reason: x509.ReasonFlags, at: datetime, *extra: tuple[x509.ExtensionType, bool]) -> bytes:
        key_id = x509.AuthorityKeyIdentifier(signer.certificate.subject_key_identifier, None, None)
        revoked = [entry(SERIAL, extra=[(x509.CRLReason(reason), False)])]
        return crl(signer, revoked, starts=at, ends=ENDED, extra=[*extra, (key_id, False)])

    held = list_entry(reason, NOW - 3 * HOUR, (x509.CRLNumber(9), False))
    number = [(x509.CRLNumber(10), False), (x509.DeltaCRLIndicator(9), True)]
    released = list_entry(reasons.remove_from_crl, EARLIER, *number)
    verdict = judge(world, [clear, held, released], authorities=(signer.certificate,))
    assert tell(verdict) == ("valid" if is_hold else REVOKED)


def test_a_responder_takes_back_what_it_stated_before_it_ended(world: World) -> None:
    leaf = Forgery(serial=SERIAL).der(world.root)
    clear = make(world.root, 5, NOW - DAY)
    forgery = Forgery(subject="Responder", serial=99, ends=ENDED_SIGNER, extra=[SIGNING, NO_CHECK])
    responder = read_certificate(forgery.der(world.root))

    def state(status: OCSPCertStatus, starts: datetime) -> bytes:
        made = Answer(
            read_certificate(leaf), world.root.certificate, status, starts, ENDED, along=(responder,)
        )
        return made.der(responder, forgery.key)

    held, released = state(BAD, NOW - 4 * HOUR), state(GOOD, NOW - 3 * HOUR)
    again = state(BAD, EARLIER)
    verdicts = [
        judge(world, [clear], responses, leaf=leaf)
        for responses in ([held], [held, released], [released, held], [held, released, again])
    ]
    assert [tell(verdict) for verdict in verdicts] == [REVOKED, "valid", "valid", REVOKED]


def test_a_signer_whose_certificate_begins_later_revokes_nothing(world: World) -> None:
    signer = certify(world.root, make_key(), LIVING_SIGNER, starts=NOW + HOUR)
    lists = [make(world.root, 5, NOW - DAY), make(signer, 9, EARLIER, revoked=True)]
    assert tell(judge(world, lists, authorities=(signer.certificate,))) == "valid"


@dataclass(frozen=True)
class TwoPaths:
    """A certificate with a path to each of two anchors; a key below the first one alone revokes it."""

    leaf: bytes
    second: CertificationAuthority
    issuer: CertificationAuthority
    cross: Certificate
    signer: CertificationAuthority
    clear: list[bytes]
    revoking: bytes


@pytest.fixture
def paths(world: World) -> TwoPaths:
    second = make_authority("CN=Second Root,C=KR", NOW - 30 * DAY, path_length=2)
    issuer, signer = (
        make_authority("CN=Sub,C=KR", NOW - 30 * DAY, issuer=world.root, path_length=0) for _ in range(2)
    )
    clear = [make(world.root, 1), make(second, 1), make(issuer, 5, NOW - DAY)]
    leaf, cross = Forgery(serial=SERIAL).der(issuer), certify_again(second, issuer.certificate)
    return TwoPaths(leaf, second, issuer, cross, signer, clear, make(signer, 9, revoked=True))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("event", ["revoked", "ended"])
def test_the_end_of_an_authority_on_one_path_hides_no_revocation(
    world: World, paths: TwoPaths, event: str, order: int
) -> None:
    root, issuer = world.root, paths.issuer.certificate
    lists, anchors = [*paths.clear, paths.revoking], (root.certificate, paths.second.certificate)
    if event == "revoked":
        lists[0] = list_certificate(root, issuer.serial)
    else:
        issuer = certify_again(root, issuer, NOW - 30 * DAY, NOW - 30 * MINUTE)
    authorities = (issuer, paths.cross)[::order]
    for in_hand, expected in ((lists, REVOKED), (lists[:-1], "valid")):
        verdict = judge(
            world,
            in_hand,
            leaf=paths.leaf,
            authorities=(*authorities, paths.signer.certificate),
            anchors=anchors,
        )
        assert tell(verdict) == expected


def test_a_release_counts_on_a_path_of_unknown_status_too(world: World, paths: TwoPaths) -> None:
    signer = certify(paths.issuer, make_key(), LIVING_SIGNER)
    held, released = make(signer, 9, NOW - 3 * HOUR, revoked=True), make(signer, 10, NOW - HOUR)
    lists = [make(world.root, 1), make(paths.issuer, 5, NOW - DAY), held]
    verdicts = [
        judge(
            world,
            in_hand,
            leaf=paths.leaf,
            authorities=(paths.issuer.certificate, paths.cross, signer.certificate),
            anchors=(world.root.certificate, paths.second.certificate),
        )
        for in_hand in (lists, [*lists, released])
    ]
    assert [tell(verdict) for verdict in verdicts] == [REVOKED, "valid"]
