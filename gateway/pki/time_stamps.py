"""Time stamps of RFC 3161: the request to an authority, and the verification of its response.

This module fetches nothing and reads no clock: the caller supplies the nonce and the time,
and posts the request (``application/timestamp-query``) itself. A token that passes
`verify_time_stamp_response` proves that the digest existed at `TimeStamp.at`: it answers
exactly this request, is signed by the certificate that it names, and that certificate was
valid for time-stamping at that time by our own trust store. Certificates inside the token
are not trusted.

The package rfc3161-client is used only by the tests, for comparison: its requests name no
policy and cannot use a computed digest, it generates the nonce itself, has its own list of
trusted certificates, and does not check how the signature binds its certificate (RFC 5816).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from asn1crypto import cms, core, tsp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    CERTIFICATE_UNTRUSTED,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.pki.certificates import Certificate, read_certificate
from gateway.pki.trust_store import CertificateUse, Verdict

Judge = Callable[[bytes, CertificateUse, datetime], Verdict]

#: Tokens in use have 2 to 8 KB, their certificates included.
_MOST_OCTETS: Final = 64 * 1024
_MOST_CERTIFICATES: Final = 8
_LOCATION: Final = "time-stamp"
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


class _TimeStampResponse(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """TimeStampResp (RFC 3161 §2.4.2); the library's own class requires a token."""

    _fields: Final = [
        ("status", tsp.PKIStatusInfo),
        ("time_stamp_token", cms.ContentInfo, {"optional": True}),
    ]


@dataclass(frozen=True, slots=True)
class TimeStampQuery:
    """A request for a time stamp: the digest that the authority stamps, and the terms of the stamp.

    `digest` is the SHA-256 of the content; `nonce` an unpredictable number of at most 20
    octets; `policy` the OID under which the stamp must be made, any when None; `asked_at` our
    own time.
    """

    digest: bytes
    nonce: int
    policy: str | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """An accepted token: its time, certificate, policy and serial number.

    `path` leads from its certificate to the trust anchor.
    """

    at: datetime
    policy: str
    serial: int
    certificate: Certificate
    token: bytes = field(repr=False)
    path: tuple[Certificate, ...] = field(default=(), repr=False)


def make_time_stamp_request(question: TimeStampQuery) -> bytes:
    """Return the TimeStampReq (DER) of a query; it asks the authority to include its certificate."""
    fields = {
        "version": "v1",
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": question.digest},
        "nonce": question.nonce,
        "cert_req": True,
    }
    if question.policy is not None:
        fields["req_policy"] = question.policy
    return bytes(tsp.TimeStampReq(fields).dump())


def verify_time_stamp_response(
    response: bytes, question: TimeStampQuery, judge: Judge, skew: timedelta
) -> TimeStamp:
    """Return the stamp in a TimeStampResp (DER), checked against the query.

    `skew` is by how much the authority's clock may differ from the hub's clock. Raises GW603 for a response
    that does not answer the query, and the problem of the certificate when that is not valid.
    """
    parsed = _parse_structure(_TimeStampResponse, response)
    status = parsed["status"]["status"].native
    if status != "granted":
        # "Granted with modifications" is a different stamp from the requested one.
        raise _make_rejection_error(f"the authority answered {status}: {_format_status_text(parsed)}")
    token = parsed["time_stamp_token"]
    if not isinstance(token, cms.ContentInfo):
        raise _make_rejection_error("the answer contains no token")
    stamp, nonce = _read_token(token.dump(), question.digest, judge)
    if nonce != question.nonce:
        raise _make_rejection_error("the nonce is not that of the question")
    if question.policy is not None and stamp.policy != question.policy:
        raise _make_rejection_error(f"the policy is {stamp.policy[:80]}, not {question.policy[:80]}")
    if abs(stamp.at - question.asked_at) > skew:
        raise _make_rejection_error(f"the time {stamp.at.isoformat()} differs too much from the local time")
    return stamp


def verify_time_stamp_token(token: bytes, digest: bytes, judge: Judge) -> TimeStamp:
    """Return the stamp of a stored token (DER) over a digest, verified again without its query."""
    return _read_token(token, digest, judge)[0]


def _read_token(token: bytes, digest: bytes, judge: Judge) -> tuple[TimeStamp, int | None]:
    """Return the stamp of a token, and its nonce."""
    content = _parse_structure(cms.ContentInfo, token)
    if content["content_type"].native != "signed_data":
        raise _make_rejection_error("the token is not signed data")
    try:
        return _verify_signed_data(content["content"], token, digest, judge)
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise _make_rejection_error(f"the token cannot be read: {describe_exception(problem)}") from None


def _verify_signed_data(
    signed: Any, token: bytes, digest: bytes, judge: Judge
) -> tuple[TimeStamp, int | None]:
    capsule = signed["encap_content_info"]
    if capsule["content_type"].native != "tst_info" or len(signed["signer_infos"]) != 1:
        raise _make_rejection_error("the token is not one stamp of one signer")
    octets = bytes(capsule["content"])
    info = tsp.TSTInfo.load(octets, strict=True)
    imprint = info["message_imprint"]
    if (
        imprint["hash_algorithm"]["algorithm"].native != "sha256"
        or imprint["hashed_message"].native != digest
    ):
        raise _make_rejection_error("the digest is not that of the question")
    if info["version"].native != "v1" or not isinstance(info["extensions"], core.Void):
        raise _make_rejection_error("the time stamp is not of version 1, or has extensions")
    signer = signed["signer_infos"][0]
    certificate = _find_signer_certificate(signed, signer)
    _verify_signature(signer, octets, certificate)
    at = info["gen_time"].native
    # RFC 3161 §2.4.2: the time ends with Z. For the year 0, the parser does not return a datetime.
    if not isinstance(at, datetime) or at.utcoffset() != timedelta(0):
        raise _make_rejection_error("the time is not stated in UTC")
    verdict = judge(certificate.der, CertificateUse.TIME_STAMPING, at)
    verdict.raise_unless_accepted(_LOCATION)
    serial = int(info["serial_number"])
    stamp = TimeStamp(at, info["policy"].dotted, serial, certificate, token, verdict.path)
    return stamp, info["nonce"].native


def _find_signer_certificate(signed: Any, signer: Any) -> Certificate:
    """Return the certificate of the signer, which must be in the token."""
    certificates = [each.chosen.dump() for each in signed["certificates"] if each.name == "certificate"]
    if len(certificates) > _MOST_CERTIFICATES:
        raise _make_rejection_error(f"{len(certificates)} certificates came with the token")
    bound = _read_bound_digest(signer)
    for der in certificates:
        if hashlib.new(bound[0], der, usedforsecurity=False).digest() == bound[1]:
            certificate = read_certificate(der)
            _check_certificate_reference(signer, der)
            return certificate
    raise GatewayError(CERTIFICATE_UNTRUSTED, "the token's certificate is not with it", _LOCATION)


def _check_certificate_reference(signer: Any, der: bytes) -> None:
    """Raise for a certificate that the signer identifier of CMS does not name (RFC 5652 §5.3)."""
    signer_id, certificate = signer["sid"], cms.Certificate.load(der)
    if signer_id.name == "issuer_and_serial_number":
        right = (
            signer_id.chosen["issuer"] == certificate.issuer
            and signer_id.chosen["serial_number"].native == certificate.serial_number
        )
    else:
        right = signer_id.chosen.native == certificate.key_identifier
    if not right:
        raise _make_rejection_error("the token names another certificate than it binds")


def _read_bound_digest(signer: Any) -> tuple[str, bytes]:
    """Return algorithm and digest by which the signature binds its certificate (RFC 5816, RFC 2634 §5.4)."""
    newer = _get_signed_attribute(signer, "signing_certificate_v2")
    if newer is not None:
        first = newer["certs"][0]
        name = first["hash_algorithm"]["algorithm"].native
        if name not in _DIGESTS:
            raise _make_rejection_error(f"the certificate is bound by {name}")
        return name, first["cert_hash"].native
    older = _get_signed_attribute(signer, "signing_certificate")
    if older is None:
        raise _make_rejection_error("the signature binds no certificate")
    # By RFC 2634 this digest is SHA-1. It only identifies the certificate, which is then validated itself.
    return "sha1", older["certs"][0]["cert_hash"].native


def _verify_signature(signer: Any, content: bytes, certificate: Certificate) -> None:
    name = signer["digest_algorithm"]["algorithm"].native
    digest = _DIGESTS.get(name)
    if digest is None:
        raise _make_rejection_error(f"the digest algorithm {name} is not taken")
    message_digest, kind = (
        _get_signed_attribute(signer, "message_digest"),
        _get_signed_attribute(signer, "content_type"),
    )
    if message_digest is None or message_digest.native != hashlib.new(name, content).digest():
        raise _make_rejection_error("the signature is over something else")
    if kind is None or kind.native != "tst_info":
        raise _make_rejection_error("the signature is not over a stamp")
    # RFC 5652 §5.4: the signature covers the attributes as a SET OF, not under their tag in the message.
    attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
    try:
        _verify_signed_octets(signer, attributes, certificate, digest)
    except InvalidSignature:
        raise _make_rejection_error("the signature is invalid") from None


def _verify_signed_octets(
    signer: Any, data: bytes, certificate: Certificate, digest: hashes.HashAlgorithm
) -> None:
    key, signature, algorithm = (
        certificate.public_key,
        signer["signature"].native,
        signer["signature_algorithm"],
    )
    kind = algorithm.signature_algo
    # The identifier rsaEncryption, which is common here, names no digest.
    if algorithm["algorithm"].native != "rsassa_pkcs1v15" and algorithm.hash_algo != digest.name:
        raise _make_rejection_error("the signature has two digest algorithms")
    if isinstance(key, rsa.RSAPublicKey) and kind == "rsassa_pkcs1v15":
        key.verify(signature, data, padding.PKCS1v15(), digest)
    elif isinstance(key, rsa.RSAPublicKey) and kind == "rsassa_pss":
        pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        key.verify(signature, data, pss, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa":
        key.verify(signature, data, ec.ECDSA(digest))
    else:
        raise _make_rejection_error("the signature algorithm is not accepted")


def _get_signed_attribute(signer: Any, name: str) -> Any:
    """Return the one value of a signed attribute, None when it is absent; raise for two."""
    if isinstance(signer["signed_attrs"], core.Void):
        raise _make_rejection_error("the signature covers no attributes")
    values = [each["values"] for each in signer["signed_attrs"] if each["type"].native == name]
    if not values:
        return None
    if len(values) > 1 or len(values[0]) != 1:
        raise _make_rejection_error(f"the signature says {name} twice")
    return values[0][0]


def _parse_structure(kind: Any, data: bytes) -> Any:
    if len(data) > _MOST_OCTETS:
        raise _make_rejection_error(f"{len(data)} octets are too many")
    try:
        parsed = kind.load(data, strict=True)
        # The parser is lazy: errors must show here, not later.
        _ = parsed.native
    except Exception as problem:
        raise_resource_problem(problem)
        raise _make_rejection_error(f"it cannot be read: {describe_exception(problem)}") from None
    return parsed


def _format_status_text(response: Any) -> str:
    status = response["status"]
    text = "; ".join(str(line) for line in status["status_string"].native or ())
    failure = ", ".join(sorted(status["fail_info"].native or ()))
    return f"{text} {failure}".strip()[:200] or "no reason"


def _make_rejection_error(reason: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, reason, _LOCATION)
