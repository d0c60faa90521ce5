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

ValidateCertificate = Callable[[bytes, CertificateUse, datetime], Verdict]

#: Tokens in use have 2 to 8 KB, their certificates included.
_MAX_TOKEN_OCTETS: Final = 64 * 1024
_MAX_CERTIFICATES: Final = 8
_LOCATION: Final = "time-stamp"
_DIGEST_ALGORITHMS: Final[dict[str, hashes.HashAlgorithm]] = {
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


def make_time_stamp_request(query: TimeStampQuery) -> bytes:
    """Return the TimeStampReq (DER) of a query; it asks the authority to include its certificate."""
    fields = {
        "version": "v1",
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": query.digest},
        "nonce": query.nonce,
        "cert_req": True,
    }
    if query.policy is not None:
        fields["req_policy"] = query.policy
    return bytes(tsp.TimeStampReq(fields).dump())


def verify_time_stamp_response(
    response: bytes,
    query: TimeStampQuery,
    validate_certificate: ValidateCertificate,
    max_clock_difference: timedelta,
) -> TimeStamp:
    """Return the stamp in a TimeStampResp (DER), checked against the query.

    `max_clock_difference` is by how much the authority's clock may differ from the hub's clock. Raises GW603
    for a response that does not answer the query, and the problem of the certificate when that is not valid.
    """
    parsed = _parse_structure(_TimeStampResponse, response)
    status = parsed["status"]["status"].native
    if status != "granted":
        # "Granted with modifications" is a different stamp from the requested one.
        raise _make_rejection_error(f"the authority answered {status}: {_format_status_text(parsed)}")
    token = parsed["time_stamp_token"]
    if not isinstance(token, cms.ContentInfo):
        raise _make_rejection_error("the answer contains no token")
    stamp, nonce = _read_token(token.dump(), query.digest, validate_certificate)
    if nonce != query.nonce:
        raise _make_rejection_error("the nonce is not that of the question")
    if query.policy is not None and stamp.policy != query.policy:
        raise _make_rejection_error(f"the policy is {stamp.policy[:80]}, not {query.policy[:80]}")
    if abs(stamp.at - query.asked_at) > max_clock_difference:
        raise _make_rejection_error(f"the time {stamp.at.isoformat()} differs too much from the local time")
    return stamp


def verify_time_stamp_token(
    token: bytes, digest: bytes, validate_certificate: ValidateCertificate
) -> TimeStamp:
    """Return the stamp of a stored token (DER) over a digest, verified again without its query."""
    return _read_token(token, digest, validate_certificate)[0]


def _read_token(
    token: bytes, digest: bytes, validate_certificate: ValidateCertificate
) -> tuple[TimeStamp, int | None]:
    """Return the stamp of a token, and its nonce."""
    content = _parse_structure(cms.ContentInfo, token)
    if content["content_type"].native != "signed_data":
        raise _make_rejection_error("the token is not signed data")
    try:
        return _verify_signed_data(content["content"], token, digest, validate_certificate)
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise _make_rejection_error(f"the token cannot be read: {describe_exception(problem)}") from None


def _verify_signed_data(
    signed_data: Any, token: bytes, digest: bytes, validate_certificate: ValidateCertificate
) -> tuple[TimeStamp, int | None]:
    """Return the stamp in the SignedData of a token, and its nonce; raise GW603 for an invalid one.

    Raises the problem of the verdict when the certificate of its signer is not accepted.
    """
    encapsulated_content = signed_data["encap_content_info"]
    if encapsulated_content["content_type"].native != "tst_info" or len(signed_data["signer_infos"]) != 1:
        raise _make_rejection_error("the token is not one stamp of one signer")
    stamp_octets = bytes(encapsulated_content["content"])
    stamp_info = tsp.TSTInfo.load(stamp_octets, strict=True)
    imprint = stamp_info["message_imprint"]
    if (
        imprint["hash_algorithm"]["algorithm"].native != "sha256"
        or imprint["hashed_message"].native != digest
    ):
        raise _make_rejection_error("the digest is not that of the question")
    if stamp_info["version"].native != "v1" or not isinstance(stamp_info["extensions"], core.Void):
        raise _make_rejection_error("the time stamp is not of version 1, or has extensions")
    signer = signed_data["signer_infos"][0]
    certificate = _find_signer_certificate(signed_data, signer)
    _verify_signature(signer, stamp_octets, certificate)
    stamped_at = stamp_info["gen_time"].native
    # RFC 3161 §2.4.2: the time ends with Z. For the year 0, the parser does not return a datetime.
    if not isinstance(stamped_at, datetime) or stamped_at.utcoffset() != timedelta(0):
        raise _make_rejection_error("the time is not stated in UTC")
    verdict = validate_certificate(certificate.der, CertificateUse.TIME_STAMPING, stamped_at)
    verdict.raise_unless_accepted(_LOCATION)
    serial = int(stamp_info["serial_number"])
    stamp = TimeStamp(stamped_at, stamp_info["policy"].dotted, serial, certificate, token, verdict.path)
    return stamp, stamp_info["nonce"].native


def _find_signer_certificate(signed_data: Any, signer: Any) -> Certificate:
    """Return the certificate of the signer, which must be in the token."""
    certificates = [each.chosen.dump() for each in signed_data["certificates"] if each.name == "certificate"]
    if len(certificates) > _MAX_CERTIFICATES:
        raise _make_rejection_error(f"{len(certificates)} certificates came with the token")
    digest_name, bound_digest = _read_bound_digest(signer)
    for der in certificates:
        if hashlib.new(digest_name, der, usedforsecurity=False).digest() == bound_digest:
            certificate = read_certificate(der)
            _check_certificate_reference(signer, der)
            return certificate
    raise GatewayError(CERTIFICATE_UNTRUSTED, "the token's certificate is not with it", _LOCATION)


def _check_certificate_reference(signer: Any, der: bytes) -> None:
    """Raise for a certificate that the signer identifier of CMS does not name (RFC 5652 §5.3)."""
    signer_id, certificate = signer["sid"], cms.Certificate.load(der)
    if signer_id.name == "issuer_and_serial_number":
        is_named_certificate = (
            signer_id.chosen["issuer"] == certificate.issuer
            and signer_id.chosen["serial_number"].native == certificate.serial_number
        )
    else:
        is_named_certificate = signer_id.chosen.native == certificate.key_identifier
    if not is_named_certificate:
        raise _make_rejection_error("the token names another certificate than it binds")


def _read_bound_digest(signer: Any) -> tuple[str, bytes]:
    """Return algorithm and digest by which the signature binds its certificate (RFC 5816, RFC 2634 §5.4)."""
    newer_attribute = _get_signed_attribute(signer, "signing_certificate_v2")
    if newer_attribute is not None:
        certificate_id = newer_attribute["certs"][0]
        digest_name = certificate_id["hash_algorithm"]["algorithm"].native
        if digest_name not in _DIGEST_ALGORITHMS:
            raise _make_rejection_error(f"the certificate is bound by {digest_name}")
        return digest_name, certificate_id["cert_hash"].native
    older_attribute = _get_signed_attribute(signer, "signing_certificate")
    if older_attribute is None:
        raise _make_rejection_error("the signature binds no certificate")
    # By RFC 2634 this digest is SHA-1. It only identifies the certificate, which is then validated itself.
    return "sha1", older_attribute["certs"][0]["cert_hash"].native


def _verify_signature(signer: Any, signed_content: bytes, certificate: Certificate) -> None:
    """Raise unless `signer` (CMS) has a valid signature over `signed_content` by the key of `certificate`."""
    digest_name = signer["digest_algorithm"]["algorithm"].native
    digest_algorithm = _DIGEST_ALGORITHMS.get(digest_name)
    if digest_algorithm is None:
        raise _make_rejection_error(f"the digest algorithm {digest_name} is not taken")
    message_digest, content_type = (
        _get_signed_attribute(signer, "message_digest"),
        _get_signed_attribute(signer, "content_type"),
    )
    if message_digest is None or message_digest.native != hashlib.new(digest_name, signed_content).digest():
        raise _make_rejection_error("the signature is over something else")
    if content_type is None or content_type.native != "tst_info":
        raise _make_rejection_error("the signature is not over a stamp")
    # RFC 5652 §5.4: the signature covers the attributes as a SET OF, not under their tag in the message.
    attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
    try:
        _verify_signed_octets(signer, attributes, certificate, digest_algorithm)
    except InvalidSignature:
        raise _make_rejection_error("the signature is invalid") from None


def _verify_signed_octets(
    signer: Any, signed_octets: bytes, certificate: Certificate, digest_algorithm: hashes.HashAlgorithm
) -> None:
    """Raise InvalidSignature for a wrong signature, GatewayError for an algorithm that is not accepted."""
    key, signature, algorithm = (
        certificate.public_key,
        signer["signature"].native,
        signer["signature_algorithm"],
    )
    signature_scheme = algorithm.signature_algo
    # The identifier rsaEncryption, which is common here, names no digest.
    if algorithm["algorithm"].native != "rsassa_pkcs1v15" and algorithm.hash_algo != digest_algorithm.name:
        raise _make_rejection_error("the signature has two digest algorithms")
    if isinstance(key, rsa.RSAPublicKey) and signature_scheme == "rsassa_pkcs1v15":
        key.verify(signature, signed_octets, padding.PKCS1v15(), digest_algorithm)
    elif isinstance(key, rsa.RSAPublicKey) and signature_scheme == "rsassa_pss":
        pss = padding.PSS(padding.MGF1(digest_algorithm), padding.PSS.DIGEST_LENGTH)
        key.verify(signature, signed_octets, pss, digest_algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and signature_scheme == "ecdsa":
        key.verify(signature, signed_octets, ec.ECDSA(digest_algorithm))
    else:
        raise _make_rejection_error("the signature algorithm is not accepted")


def _get_signed_attribute(signer: Any, attribute_name: str) -> Any:
    """Return the one value of a signed attribute, None when it is absent; raise for two."""
    if isinstance(signer["signed_attrs"], core.Void):
        raise _make_rejection_error("the signature covers no attributes")
    values = [each["values"] for each in signer["signed_attrs"] if each["type"].native == attribute_name]
    if not values:
        return None
    if len(values) > 1 or len(values[0]) != 1:
        raise _make_rejection_error(f"the signature says {attribute_name} twice")
    return values[0][0]


def _parse_structure(structure_type: Any, data: bytes) -> Any:
    """Return `data` parsed as an ASN.1 structure; raise GatewayError if it is malformed or too long."""
    if len(data) > _MAX_TOKEN_OCTETS:
        raise _make_rejection_error(f"{len(data)} octets are too many")
    try:
        parsed = structure_type.load(data, strict=True)
        # The parser is lazy: errors must show here, not later.
        _ = parsed.native
    except Exception as problem:
        raise_resource_problem(problem)
        raise _make_rejection_error(f"it cannot be read: {describe_exception(problem)}") from None
    return parsed


def _format_status_text(response: Any) -> str:
    status = response["status"]
    status_text = "; ".join(str(line) for line in status["status_string"].native or ())
    failure_text = ", ".join(sorted(status["fail_info"].native or ()))
    return f"{status_text} {failure_text}".strip()[:200] or "no reason"


def _make_rejection_error(reason: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, reason, _LOCATION)
