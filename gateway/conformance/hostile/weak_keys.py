"""Keys that no gateway may take, with certificates for them: too weak, of an old kind, or nobody's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki.certificate_authority import CertificationAuthority
from gateway.pki.signing_keys import ECDSA_SHA256, RSA_SHA256, Signer
from gateway.wire.namespaces import DS

__all__ = ["make_weak_signer"]

_PRIME: Final = (
    "B10B8F96A080E01DDE92DE5EAE5D54EC52C99FBCFB06A3C69A6A9DCA52D23B616073E28675A23D189838EF1E2EE652C0"
    "13ECB4AEA906112324975C3CD49B83BFACCBDD7D90C4BD7098488E9C219A73724EFFD6FAE5644738FAA31A4FF55BCCC0"
    "A151AF5F0DC8B4BD45BF37DF365C1A65E68CFDA76D4DA708DF1FB2BC2E4A4371"
)
_ORDER: Final = "F518AA8781A8DF278ABA4E7D64B7CB9D49462353"
_YEAR: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class _EncodedCertificate:
    """A certificate that nobody has judged: its octets are all that a signature takes of it."""

    der: bytes


@dataclass(frozen=True, slots=True)
class _WeakSigner:
    """A signer whose key is of no kind that `gateway.pki` would make."""

    certificate: _EncodedCertificate
    algorithm: str
    key: Any

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            pair = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
            width = (self.key.curve.key_size + 7) // 8
        else:
            pair = decode_dss_signature(self.key.sign(data, hashes.SHA1()))  # noqa: S303  # what DSA had
            width = 20
        return b"".join(one.to_bytes(width) for one in pair)


def _make_rsa_key(bits: int, exponent: int = 65537) -> Callable[[], Any]:
    return lambda: rsa.generate_private_key(public_exponent=exponent, key_size=bits)  # meant


def _make_dsa_key() -> Any:
    # RFC 5114 §2.1: a group of 1024 bits; to make one takes seconds.
    p, q = int(_PRIME, 16), int(_ORDER, 16)
    numbers = dsa.DSAParameterNumbers(p, q, pow(2, (p - 1) // q, p))
    return numbers.parameters().generate_private_key()


_KINDS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "rsa-1024": (RSA_SHA256, _make_rsa_key(1024)),
    "rsa-exponent-3": (RSA_SHA256, _make_rsa_key(2048, 3)),
    "p-192": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP192R1())),
    "p-224": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP224R1())),
    "secp256k1": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP256K1())),
    "dsa": (f"{DS}dsa-sha1", _make_dsa_key),
}


@cache
def _get_weak_key(kind: str) -> Any:
    return _KINDS[kind][1]()


def make_weak_signer(kind: str, authority: CertificationAuthority, subject: str, at: datetime) -> Signer:
    """Return a signer with a key of that kind and a certificate of `authority` for it."""
    key = _get_weak_key(kind)
    name = x509.Name.from_rfc4514_string(subject)
    issuer = x509.load_der_x509_certificate(authority.certificate.der)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(minutes=5))
        .not_valid_after(at + _YEAR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return cast(
        "Signer", _WeakSigner(_EncodedCertificate(built.public_bytes(Encoding.DER)), _KINDS[kind][0], key)
    )
