"""A time stamp is believed when it answers the question and its authority was good at that time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from asn1crypto import algos, cms, core, keys, tsp
from asn1crypto import x509 as asn1_x509
from certomancer.services import TimeStamper
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    GatewayError,
    Problem,
)
from gateway.pki import (
    CertificateValidator,
    RevocationData,
    TimeStamp,
    TimeStampQuery,
    make_time_stamp_request,
    read_certificate,
    verify_time_stamp_response,
    verify_time_stamp_token,
)
from gateway_conformance.pki import (
    CertificateOrder,
    IssuedCertificate,
    issue_certificate,
    make_revocation_list,
)
from tests.pki.certificate_forgery import DAY, NOW, Forgery
from tests.pki.conftest import World

DIGEST = hashlib.sha256(b"the head of the log").digest()
POLICY = "1.3.6.1.4.1.99999.1"
SKEW = timedelta(minutes=5)
QUESTION = TimeStampQuery(DIGEST, 2**150 + 7, POLICY, NOW)


@pytest.fixture(scope="module")
def judge(world: World) -> CertificateValidator:
    """Return a judge whose lists are from the day before."""
    return CertificateValidator(world.trust, lists(world))


@pytest.fixture(scope="module", params=["p-256", "p-384", "rsa-2048"])
def stamper(world: World, request: pytest.FixtureRequest) -> IssuedCertificate:
    return issue_certificate(
        world.sub, "Stamps", NOW - 10 * DAY, CertificateOrder(profile="time-stamping", key_kind=request.param)
    )


@pytest.fixture(scope="module")
def authority(world: World) -> IssuedCertificate:
    return issue_certificate(world.sub, "Stamps", NOW - 10 * DAY, CertificateOrder(profile="time-stamping"))


def lists(world: World, *revoked: int) -> RevocationData:
    return RevocationData(
        [make_revocation_list(world.root, [], NOW - DAY), make_revocation_list(world.sub, revoked, NOW - DAY)]
    )


def answer(
    stamper: IssuedCertificate,
    asked: bytes | None = None,
    change: Callable[[Any], None] = lambda made: None,
    *,
    policy: str = POLICY,
    at: datetime = NOW,
    **words: Any,
) -> bytes:
    """Return what an authority answers; `change` alters it after it was signed."""
    certificate = asn1_x509.Certificate.load(stamper.certificate.der)
    der = stamper.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    tsa = TimeStamper(
        certificate,
        keys.PrivateKeyInfo.load(der),
        fixed_dt=at,
        policy=tsp.ObjectIdentifier(policy),
        **words,
    )
    made = tsa.request_tsa_response(tsp.TimeStampReq.load(asked or make_time_stamp_request(QUESTION)))
    change(made)
    return bytes(made.dump(force=True))


def second_opinion(world: World, response: bytes) -> bool:
    """Return what another reader thinks of an answer to our question."""
    load = x509.load_der_x509_certificate
    verifier = (
        VerifierBuilder()
        .add_root_certificate(load(world.root.certificate.der))
        .add_intermediate_certificate(load(world.sub.certificate.der))
        .nonce(QUESTION.nonce)
        .policy_id(x509.ObjectIdentifier(POLICY))
        .build()
    )
    try:
        return verifier.verify(decode_timestamp_response(response), DIGEST)
    except (VerificationError, ValueError):
        return False


def refused(
    response: bytes, judge: CertificateValidator, question: TimeStampQuery = QUESTION
) -> tuple[Problem, str]:
    with pytest.raises(GatewayError) as caught:
        verify_time_stamp_response(response, question, judge, SKEW)
    return caught.value.problem, caught.value.detail


@pytest.mark.long
def test_a_stamp_is_believed(stamper: IssuedCertificate, judge: CertificateValidator, world: World) -> None:
    response = answer(stamper)
    stamp = verify_time_stamp_response(response, QUESTION, judge, SKEW)
    assert (stamp.at, stamp.policy, stamp.certificate) == (NOW, POLICY, stamper.certificate)
    assert verify_time_stamp_token(stamp.token, DIGEST, judge) == stamp
    assert second_opinion(world, response)


def test_the_question_is_what_others_read(world: World) -> None:
    asked = tsp.TimeStampReq.load(make_time_stamp_request(QUESTION), strict=True).native
    assert asked["message_imprint"]["hashed_message"] == DIGEST
    assert (asked["nonce"], asked["req_policy"], asked["cert_req"]) == (QUESTION.nonce, POLICY, True)
    assert "req_policy" not in [
        name
        for name, value in tsp.TimeStampReq.load(
            make_time_stamp_request(replace(QUESTION, policy=None))
        ).native.items()
        if value is not None
    ]


@pytest.mark.parametrize(
    "asked",
    [
        replace(QUESTION, nonce=QUESTION.nonce + 1),
        replace(QUESTION, digest=hashlib.sha256(b"other").digest()),
    ],
    ids=["nonce", "digest"],
)
def test_an_answer_to_another_question(
    authority: IssuedCertificate, judge: CertificateValidator, world: World, asked: TimeStampQuery
) -> None:
    response = answer(authority, make_time_stamp_request(asked))
    assert refused(response, judge)[0] is ANSWER_NOT_UNDERSTOOD
    assert not second_opinion(world, response)
    assert isinstance(verify_time_stamp_response(response, asked, judge, SKEW), TimeStamp)


def test_an_answer_without_the_nonce(authority: IssuedCertificate, judge: CertificateValidator) -> None:
    asked = tsp.TimeStampReq.load(make_time_stamp_request(QUESTION))
    del asked["nonce"]
    assert "nonce" in refused(answer(authority, asked.dump()), judge)[1]


def test_a_stamp_under_another_policy(
    authority: IssuedCertificate, judge: CertificateValidator, world: World
) -> None:
    response = answer(authority, policy=POLICY + ".1")
    assert "policy" in refused(response, judge)[1]
    assert not second_opinion(world, response)
    assert (
        verify_time_stamp_response(response, replace(QUESTION, policy=None), judge, SKEW).policy
        == POLICY + ".1"
    )


@pytest.mark.parametrize("late", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_a_clock_that_is_wrong(
    authority: IssuedCertificate, judge: CertificateValidator, late: timedelta
) -> None:
    assert "differs too much" in refused(answer(authority, at=NOW + late), judge)[1]
    assert (
        verify_time_stamp_response(answer(authority, at=NOW + late / 2), QUESTION, judge, SKEW).at
        == NOW + late / 2
    )


def test_an_answer_without_a_token(judge: CertificateValidator) -> None:
    status = {"status": "rejection", "status_string": ["no such policy"], "fail_info": {"unaccepted_policy"}}
    response = core.SequenceOf([tsp.PKIStatusInfo(status)], spec=tsp.PKIStatusInfo).dump()
    assert "rejection: no such policy unaccepted_policy" in refused(response, judge)[1]
    granted = core.SequenceOf([tsp.PKIStatusInfo({"status": "granted"})], spec=tsp.PKIStatusInfo).dump()
    assert "no token" in refused(granted, judge)[1]


@pytest.mark.parametrize("status", ["rejection", "granted_with_mods", "waiting"])
def test_what_was_not_granted(authority: IssuedCertificate, judge: CertificateValidator, status: str) -> None:
    def change(made: Any) -> None:
        made["status"] = {"status": status, "status_string": ["busy"]}

    assert status in refused(answer(authority, change=change), judge)[1]


def test_an_authority_whose_certificate_is_not_for_it(world: World, judge: CertificateValidator) -> None:
    stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CLIENT_AUTH])
    other = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    for number, extra in enumerate([[(stamping, False)], [(both, True)], [(other, True)], []]):
        response = answer(forged(world, Forgery(serial=900 + number, extra=extra)))
        assert refused(response, judge)[0] is CERTIFICATE_UNTRUSTED
        assert not second_opinion(world, response)
    good = answer(forged(world, Forgery(serial=950, extra=[(stamping, True)])))
    assert verify_time_stamp_response(good, QUESTION, judge, SKEW).at == NOW


def test_an_authority_that_we_do_not_know_or_that_was_revoked(
    world: World, authority: IssuedCertificate
) -> None:
    nobody = CertificateValidator(replace(world.trust, anchors=()), lists(world))
    assert refused(answer(authority), nobody)[0] is CERTIFICATE_UNTRUSTED
    withdrawn = CertificateValidator(world.trust, lists(world, authority.certificate.serial))
    assert refused(answer(authority), withdrawn)[0] is CERTIFICATE_REVOKED


def test_the_certificate_is_judged_at_the_time_of_the_stamp(
    world: World, judge: CertificateValidator
) -> None:
    stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    over = forged(world, Forgery(serial=960, extra=[(stamping, True)], ends=NOW - timedelta(minutes=2)))
    assert refused(answer(over), judge)[0] is CERTIFICATE_EXPIRED
    earlier = NOW - timedelta(minutes=3)
    assert verify_time_stamp_response(answer(over, at=earlier), QUESTION, judge, SKEW).at == earlier


def forged(world: World, forgery: Forgery) -> IssuedCertificate:
    der = forgery.der(world.sub)
    return IssuedCertificate(forgery.key, read_certificate(der))


def signed(made: Any) -> Any:
    return made["time_stamp_token"]["content"]


def sign_again(made: Any, authority: IssuedCertificate) -> None:
    """Sign the attributes as they are now."""
    signer = signed(made)["signer_infos"][0]
    data = b"\x31" + signer["signed_attrs"].dump(force=True)[1:]
    key = authority.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signer["signature"] = key.sign(data, ec.ECDSA(hashes.SHA256()))


def change_content(made: Any, authority: IssuedCertificate) -> None:
    capsule = signed(made)["encap_content_info"]
    info = tsp.TSTInfo.load(bytes(capsule["content"]))
    info["gen_time"] = NOW - timedelta(minutes=1)
    capsule["content"] = cms.ParsableOctetString(info.dump(force=True))


def change_attribute(made: Any, authority: IssuedCertificate) -> None:
    for each in signed(made)["signer_infos"][0]["signed_attrs"]:
        if each["type"].native == "signing_time":
            each["values"][0] = cms.Time({"utc_time": core.UTCTime(NOW - DAY)})


def drop_attribute(name: str) -> Callable[[Any, IssuedCertificate], None]:
    def change(made: Any, authority: IssuedCertificate) -> None:
        signer = signed(made)["signer_infos"][0]
        kept = [each for each in signer["signed_attrs"] if each["type"].native != name]
        signer["signed_attrs"] = cms.CMSAttributes(kept)
        sign_again(made, authority)

    return change


def drop_attributes(made: Any, authority: IssuedCertificate) -> None:
    signer = signed(made)["signer_infos"][0]
    del signer["signed_attrs"]
    content = bytes(signed(made)["encap_content_info"]["content"])
    key = authority.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signer["signature"] = key.sign(content, ec.ECDSA(hashes.SHA256()))


def two_signers(made: Any, authority: IssuedCertificate) -> None:
    signer = signed(made)["signer_infos"][0]
    signed(made)["signer_infos"] = cms.SignerInfos([signer, signer.copy()])


def no_certificate(made: Any, authority: IssuedCertificate) -> None:
    del signed(made)["certificates"]


def other_name(made: Any, authority: IssuedCertificate) -> None:
    signed(made)["signer_infos"][0]["sid"].chosen["serial_number"] = 1


def other_digest(made: Any, authority: IssuedCertificate) -> None:
    signed(made)["signer_infos"][0]["digest_algorithm"] = algos.DigestAlgorithm({"algorithm": "sha1"})


def extension(made: Any, authority: IssuedCertificate) -> None:
    capsule = signed(made)["encap_content_info"]
    info = tsp.TSTInfo.load(bytes(capsule["content"]))
    info["extensions"] = [{"extn_id": "1.2.3.4", "critical": True, "extn_value": b"\x05\x00"}]
    content = info.dump(force=True)
    capsule["content"] = cms.ParsableOctetString(content)
    sign_content(made, authority, content)


def sign_content(made: Any, authority: IssuedCertificate, content: bytes) -> None:
    """Sign a content in place of the one that the token has."""
    for each in signed(made)["signer_infos"][0]["signed_attrs"]:
        if each["type"].native == "message_digest":
            each["values"][0] = hashlib.sha256(content).digest()
    sign_again(made, authority)


@pytest.mark.parametrize(
    "change",
    [
        change_content,
        change_attribute,
        drop_attribute("content_type"),
        drop_attribute("message_digest"),
        drop_attribute("signing_certificate"),
        drop_attributes,
        two_signers,
        no_certificate,
        other_name,
        other_digest,
        extension,
    ],
    ids=lambda change: getattr(change, "__name__", "") if change.__name__ != "change" else "dropped",
)
def test_what_was_forged(
    authority: IssuedCertificate,
    judge: CertificateValidator,
    change: Callable[[Any, IssuedCertificate], None],
) -> None:
    response = answer(authority, change=lambda made: change(made, authority))
    assert refused(response, judge)[0] in (ANSWER_NOT_UNDERSTOOD, CERTIFICATE_UNTRUSTED)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (b"202611200900.00", "not stated in UTC"),
        (b"2026112018+0900", "not stated in UTC"),
        (b"9999123123-0500", "not stated in UTC"),
        (b"00000101000000Z", "not stated in UTC"),
        (b"99991231235959Z", "expired 2036"),
        (b"00010101000000Z", "not valid until 2026"),
    ],
)
def test_a_time_that_no_authority_states(
    authority: IssuedCertificate, judge: CertificateValidator, stated: bytes, words: str
) -> None:
    written = f"{NOW:%Y%m%d%H%M%SZ}".encode()

    def change(made: Any) -> None:
        content = bytes(signed(made)["encap_content_info"]["content"])
        assert content.count(written) == 1
        sign_content(made, authority, content.replace(written, stated))

    # The library writes only times that it has read.
    response = answer(authority, change=change).replace(written, stated)
    _, detail = refused(response, judge)
    assert words in detail


def test_signing_again_is_no_forgery(authority: IssuedCertificate, judge: CertificateValidator) -> None:
    """The forgeries above are refused for what they changed, not for being signed again."""
    response = answer(authority, change=lambda made: sign_again(made, authority))
    assert verify_time_stamp_response(response, QUESTION, judge, SKEW).at == NOW


def test_the_signature_of_another_key(
    world: World, authority: IssuedCertificate, judge: CertificateValidator
) -> None:
    thief = IssuedCertificate(ec.generate_private_key(ec.SECP256R1()), authority.certificate)
    assert "is invalid" in refused(answer(thief), judge)[1]


def spoil_signature(made: Any) -> None:
    signer = signed(made)["signer_infos"][0]
    octets = bytearray(signer["signature"].native)
    octets[-1] ^= 1
    signer["signature"] = bytes(octets)


def test_a_signature_of_each_kind_is_checked(stamper: IssuedCertificate, judge: CertificateValidator) -> None:
    assert "is invalid" in refused(answer(stamper, change=spoil_signature), judge)[1]


@pytest.mark.long
def test_an_rsa_signature_by_pss(world: World, judge: CertificateValidator) -> None:
    issued = issue_certificate(
        world.sub, "Stamps", NOW - 10 * DAY, CertificateOrder(profile="time-stamping", key_kind="rsa-2048")
    )
    pss = {
        "hash_algorithm": {"algorithm": "sha256"},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
        "salt_length": 32,
    }

    def change(made: Any) -> None:
        signer = signed(made)["signer_infos"][0]
        signer["signature_algorithm"] = {"algorithm": "rsassa_pss", "parameters": pss}
        data = b"\x31" + signer["signed_attrs"].dump(force=True)[1:]
        assert isinstance(issued.key, rsa.RSAPrivateKey)
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signer["signature"] = issued.key.sign(data, scheme, hashes.SHA256())

    def change_and_spoil(made: Any) -> None:
        change(made)
        spoil_signature(made)

    assert verify_time_stamp_response(answer(issued, change=change), QUESTION, judge, SKEW).at == NOW
    assert "is invalid" in refused(answer(issued, change=change_and_spoil), judge)[1]


def test_octets_that_are_no_answer(authority: IssuedCertificate, judge: CertificateValidator) -> None:
    good = answer(authority)
    for bad in (b"", b"0", b"<html/>", good[:-1], good + b"\x00", b"\x30" + good[1:50], b"\x30\x80" * 1000):
        assert refused(bad, judge)[0] is ANSWER_NOT_UNDERSTOOD
    assert "too many" in refused(bytes(70_000), judge)[1]


@pytest.mark.long
def test_no_flipped_bit_is_believed_or_crashes(
    authority: IssuedCertificate, judge: CertificateValidator
) -> None:
    good = answer(authority)
    stamp = verify_time_stamp_response(good, QUESTION, judge, SKEW)
    for place in range(0, len(good), 3):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        try:
            found = verify_time_stamp_response(bytes(bad), QUESTION, judge, SKEW)
        except GatewayError:
            continue
        # What no signature covers may differ: status words, the order of digests, the signer's version.
        assert (found.at, found.serial, found.policy) == (stamp.at, stamp.serial, stamp.policy)
        assert found.certificate == stamp.certificate
