"""OCSP responses (RFC 6960): statements, certificates and responders; nothing is fetched here.

:mod:`gateway.pki.revocation_status` verifies the signer of a response along the path of the
certificate in question: it is the issuer itself, or a responder that this issuer certified
for OCSP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from gateway.errors import REVOCATION_UNKNOWN, GatewayError, describe_exception, raise_resource_problem
from gateway.pki.certificates import (
    DEFAULT_RULES,
    Certificate,
    CertificateRules,
    normalize_name,
    read_certificate,
)

# A response has statements on a few certificates and contains one or two certificates.
MAX_RESPONSE_OCTETS: Final = 128 * 1024
_MAX_STATEMENTS: Final = 256
_MAX_CERTIFICATES: Final = 4
OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"
# RFC 6960 §4.2.2.1: without nextUpdate newer information is always available.
NO_NEXT_UPDATE: Final = timedelta(hours=1)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

_DIGESTS: Final = {
    "sha1": hashlib.sha1,
    "sha224": hashlib.sha224,
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}
_STATUS_NAMES: Final = {
    ocsp.OCSPCertStatus.GOOD: "good",
    ocsp.OCSPCertStatus.REVOKED: "revoked",
    ocsp.OCSPCertStatus.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class SingleResponse:
    """The statement on one certificate, identified by two digests and the serial number."""

    digest_name: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int
    status: str
    this_update: datetime
    next_update: datetime
    revoked_at: datetime | None

    def matches_certificate(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Return whether the statement is about this certificate of this issuer (its name and its key)."""
        digest = _DIGESTS.get(self.digest_name)
        return (
            digest is not None
            and self.serial == certificate.serial
            and self.issuer_name_hash == digest(certificate.issuer_der).digest()
            and self.issuer_key_hash == digest(_read_key_octets(issuer)).digest()
        )

    def compute_expiry(self, max_age: timedelta | None) -> datetime:
        """Return the time when the statement ceases to be fresh; `max_age`: the greatest permitted age."""
        if max_age is None or self.next_update - self.this_update <= max_age:
            return self.next_update
        return self.this_update + max_age


@dataclass(frozen=True, slots=True)
class OcspResponse:
    """One successful response: its statements, and its responder by name or by key."""

    der: bytes = field(repr=False)
    sha256: str
    produced_at: datetime = field(compare=False)
    statements: tuple[SingleResponse, ...] = field(compare=False, repr=False)
    responder_name: str | None = field(compare=False)
    responder_key: bytes | None = field(compare=False, repr=False)
    certificates: tuple[Certificate, ...] = field(compare=False, repr=False)
    nonce: bytes | None = field(compare=False, repr=False)
    basic_response: Any = field(compare=False, repr=False)
    # The result for each certificate; a response is verified more than once.
    signature_checks: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def names_responder(self, certificate: Certificate) -> bool:
        """Return whether the holder of this certificate is the responder that the response names."""
        if self.responder_key is not None:
            return (
                hashlib.sha1(_read_key_octets(certificate), usedforsecurity=False).digest()
                == self.responder_key
            )
        return self.responder_name == normalize_name(certificate.subject_der)

    def is_signed_by(self, certificate: Certificate) -> bool:
        """Return whether the signature of the response verifies with the key of `certificate`."""
        is_verified = self.signature_checks.get(certificate.sha256)
        if is_verified is None:
            is_verified = self.signature_checks[certificate.sha256] = self._verify_response_signature(
                certificate
            )
        return is_verified

    def _verify_response_signature(self, certificate: Certificate) -> bool:
        """Return whether the key of `certificate` verifies the signature of this response."""
        # Imported on use, with the validation library.
        from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator

        try:
            DefaultSignatureValidator().validate_signature(
                signature=self.basic_response["signature"].native,
                signed_data=self.basic_response["tbs_response_data"].dump(),
                public_key_info=asn1_x509.Certificate.load(certificate.der).public_key,
                signature_algorithm=self.basic_response["signature_algorithm"],
            )
        except InvalidSignature:
            return False
        # A key that does not match the algorithm, or unknown parameters.
        except Exception as problem:
            raise_resource_problem(problem)
            return False
        return True


def read_ocsp_response(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> OcspResponse:
    """Read one DER response; raise GW208 when it is malformed or has no answer."""
    if len(data) > MAX_RESPONSE_OCTETS:
        _raise_malformed(f"an OCSP response of {len(data)} octets is too large")
    try:
        return _build_response(bytes(data), rules)
    except GatewayError:
        raise
    # For malformed input both parsers raise ValueError, TypeError and types of their own.
    except Exception as problem:
        raise_resource_problem(problem)
        _raise_malformed(f"malformed OCSP response: {describe_exception(problem)}")


def _build_response(data: bytes, rules: CertificateRules) -> OcspResponse:
    """Return a successful OCSP response, its signature not verified yet; raise GatewayError otherwise."""
    parsed = ocsp.load_der_ocsp_response(data)
    if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        _raise_malformed(f"the OCSP responder answers {parsed.response_status.name.lower()}")
    if any(each.critical and not isinstance(each.value, x509.OCSPNonce) for each in parsed.extensions):
        _raise_malformed("a critical extension of the OCSP response is not known here")
    _check_signature_algorithm(parsed, rules)
    basic_response = asn1_ocsp.OCSPResponse.load(data, strict=True).basic_ocsp_response
    _check_extensions(basic_response)
    nonce = next(
        (each.value.nonce for each in parsed.extensions if isinstance(each.value, x509.OCSPNonce)), None
    )
    responder_name = parsed.responder_name
    return OcspResponse(
        der=data,
        sha256=hashlib.sha256(data).hexdigest(),
        produced_at=parsed.produced_at_utc,
        statements=tuple(_read_single_responses(parsed, rules)),
        responder_name=None if responder_name is None else normalize_name(responder_name.public_bytes()),
        responder_key=parsed.responder_key_hash,
        certificates=tuple(_read_responder_certificates(parsed, rules)),
        nonce=nonce,
        basic_response=basic_response,
    )


def _check_extensions(basic_response: Any) -> None:
    """Raise for an unknown critical extension of a statement; the other parser does not expose these."""
    for response in basic_response["tbs_response_data"]["responses"]:
        for each in response["single_extensions"] or ():
            if each["critical"].native:
                _raise_malformed("a critical extension of an OCSP statement is not known here")


def _check_signature_algorithm(parsed: ocsp.OCSPResponse, rules: CertificateRules) -> None:
    """Raise for a signature algorithm or a digest of a response that `rules` do not permit."""
    algorithm = parsed.signature_algorithm_oid.dotted_string
    if rules.profile and algorithm not in rules.signatures:
        _raise_malformed(f"an OCSP response signed with {algorithm} is refused")
    if rules.weak_digests:
        digest = parsed.signature_hash_algorithm
        if digest is not None and digest.name in rules.weak_digests:
            _raise_malformed(f"an OCSP response signed over {digest.name} is refused")


def _read_single_responses(parsed: ocsp.OCSPResponse, rules: CertificateRules) -> Iterator[SingleResponse]:
    """Yield the statements of a response; one without nextUpdate gets the end that `rules` determine."""
    for position, each in enumerate(parsed.responses):
        if position >= _MAX_STATEMENTS:
            _raise_malformed(f"an OCSP response with more than {_MAX_STATEMENTS} statements")
        yield SingleResponse(
            digest_name=each.hash_algorithm.name,
            issuer_name_hash=each.issuer_name_hash,
            issuer_key_hash=each.issuer_key_hash,
            serial=each.serial_number,
            status=_STATUS_NAMES[each.certificate_status],
            this_update=each.this_update_utc,
            next_update=each.next_update_utc or _compute_default_next_update(each.this_update_utc, rules),
            revoked_at=each.revocation_time_utc,
        )


def _compute_default_next_update(this_update: datetime, rules: CertificateRules) -> datetime:
    """Return the end of a statement without nextUpdate; RFC 6960 itself sets none."""
    return this_update + min(NO_NEXT_UPDATE, _NEVER - this_update) if rules.profile else _NEVER


def _read_responder_certificates(parsed: ocsp.OCSPResponse, rules: CertificateRules) -> Iterator[Certificate]:
    """Yield at most a few readable certificates of the response; they are candidates, not proof."""
    for each in parsed.certificates[:_MAX_CERTIFICATES]:
        try:
            yield read_certificate(each.public_bytes(serialization.Encoding.DER), rules)
        except GatewayError as rejection:
            raise_resource_problem(rejection)
            continue


def make_ocsp_request(certificate: Certificate, issuer: Certificate, nonce: bytes | None) -> bytes:
    """Return the DER of a request about `certificate`; `nonce`: 16 to 32 octets (RFC 9654), or None."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(certificate.der),
        x509.load_der_x509_certificate(issuer.der),
        hashes.SHA256(),
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(serialization.Encoding.DER)


def check_nonce(response: OcspResponse, nonce: bytes, *, is_required: bool) -> None:
    """Raise GW208 for the answer to another request, and, if `is_required`, for an answer without nonce."""
    if response.nonce is None:
        if is_required:
            _raise_malformed("the OCSP response has no nonce")
    elif response.nonce != nonce:
        _raise_malformed("the OCSP response answers another request: its nonce is another")


def _read_key_octets(certificate: Certificate) -> bytes:
    """Return the octets of the public key that OCSP hashes: the bit string without its header."""
    key_info = asn1_x509.Certificate.load(certificate.der).public_key
    octets: bytes = key_info["public_key"].contents[1:]
    return octets


def _raise_malformed(detail: str) -> NoReturn:
    raise GatewayError(REVOCATION_UNKNOWN, detail[:300], "OCSP response")
