"""Keys and certificates that no gateway may accept: weak, untrusted, with false statements, or not DER.

`gateway.pki` would make none of them. A signature uses only their octets, and the signature
over a message is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from asn1crypto.keys import (
    ECDomainParameters,
    ECPointBitString,
    PublicKeyInfo,
    RSAPublicKey,
    SpecifiedECDomain,
)
from asn1crypto.x509 import Certificate as Parsed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from gateway.pki import ECDSA_SHA256, RSA_SHA256, KeySigner, Signer
from gateway.wire import DS
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.exchange import NotOfferedError
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
)

#: Makes the signer of an attack from a kit.
SignerMaker = Callable[[AttackerKit], Signer]
#: Changes the octets of a certificate.
CertificateMutation = Callable[[bytes], bytes]

_DSA_PRIME: Final = (
    "B10B8F96A080E01DDE92DE5EAE5D54EC52C99FBCFB06A3C69A6A9DCA52D23B616073E28675A23D189838EF1E2EE652C0"
    "13ECB4AEA906112324975C3CD49B83BFACCBDD7D90C4BD7098488E9C219A73724EFFD6FAE5644738FAA31A4FF55BCCC0"
    "A151AF5F0DC8B4BD45BF37DF365C1A65E68CFDA76D4DA708DF1FB2BC2E4A4371"
)
_DSA_ORDER: Final = "F518AA8781A8DF278ABA4E7D64B7CB9D49462353"
_YEAR: Final = timedelta(days=365)
_P256_PRIME: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1


@dataclass(frozen=True, slots=True)
class _UnverifiedCertificate:
    """A certificate that was not checked; a signature uses only its octets."""

    der: bytes


@dataclass(frozen=True, slots=True)
class _UnverifiedSigner:
    """A signer with any octets as certificate and with any key."""

    certificate: _UnverifiedCertificate
    algorithm: str
    sign_octets: Callable[[bytes], bytes]

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature."""
        return self.sign_octets(data)


def _make_unverified_signer(der: bytes, algorithm: str, sign: Callable[[bytes], bytes]) -> Signer:
    return cast("Signer", _UnverifiedSigner(_UnverifiedCertificate(der), algorithm, sign))


def _make_rsa_key_generator(bits: int, exponent: int = 65537) -> Callable[[], Any]:
    return lambda: rsa.generate_private_key(public_exponent=exponent, key_size=bits)  # meant


def _make_dsa_key() -> Any:
    # RFC 5114 §2.1: a group of 1024 bits; to make one takes seconds.
    p, q = int(_DSA_PRIME, 16), int(_DSA_ORDER, 16)
    numbers = dsa.DSAParameterNumbers(p, q, pow(2, (p - 1) // q, p))
    return numbers.parameters().generate_private_key()


#: The kinds of weak keys, each with its algorithm.
_WEAK_KEY_KINDS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "rsa-1024": (RSA_SHA256, _make_rsa_key_generator(1024)),
    "rsa-exponent-3": (RSA_SHA256, _make_rsa_key_generator(2048, 3)),
    "p-192": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP192R1())),
    "p-224": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP224R1())),
    "secp256k1": (ECDSA_SHA256, lambda: ec.generate_private_key(ec.SECP256K1())),
    "dsa": (f"{DS}dsa-sha1", _make_dsa_key),
}


@cache
def _get_weak_key(key_kind: str) -> Any:
    return _WEAK_KEY_KINDS[key_kind][1]()


def _sign_with_weak_key(key: Any, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        pair = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        width = (key.curve.key_size + 7) // 8
    else:
        pair = decode_dss_signature(key.sign(data, hashes.SHA1()))  # noqa: S303  # what DSA had
        width = 20
    return b"".join(number.to_bytes(width) for number in pair)


def make_weak_signer(key_kind: str, authority: CertificationAuthority, subject: str, at: datetime) -> Signer:
    """Return a signer with a key of that kind and a certificate of `authority` for it."""
    key = _get_weak_key(key_kind)
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
    return _make_unverified_signer(
        built.public_bytes(Encoding.DER),
        _WEAK_KEY_KINDS[key_kind][0],
        lambda data: _sign_with_weak_key(key, data),
    )


def use_weak_key(key_kind: str) -> SignerMaker:
    """Return the signer with a key of that kind and A's subject, certified by the strangers' authority."""
    return lambda kit: make_weak_signer(
        key_kind, kit.stranger_authority, kit.get_signer("a").certificate.subject, kit.get_current_time()
    )


def use_signer(name: str) -> SignerMaker:
    """Return the function that gets the signer of that name from the kit."""
    return lambda kit: kit.get_signer(name)


def use_authority_key(kit: AttackerKit) -> Signer:
    """Return the strangers' authority as a signer, with its own key."""
    signer = issue_certificate(
        kit.stranger_authority, "CN=leaf", kit.get_current_time(), CertificateOrder()
    ).signer
    return replace(signer, certificate=kit.stranger_authority.certificate, key=kit.stranger_authority.key)


def copy_serial_by_stranger(kit: AttackerKit) -> Signer:
    """Return a signer with A's subject and serial number, by the strangers' authority."""
    honest = kit.get_signer("a").certificate
    order = CertificateOrder(serial=honest.serial)
    return issue_certificate(kit.stranger_authority, honest.subject, kit.get_current_time(), order).signer


def issue_by_leaf(holder_name: str, subject_owner: str) -> SignerMaker:
    """Return the maker of a signer certified with the key of `holder_name`, which is not an authority."""

    def make_signer(kit: AttackerKit) -> Signer:
        holder = kit.get_signer(holder_name)
        if not isinstance(holder, KeySigner):
            raise NotOfferedError(f"the key {holder_name!r} signs only through its token")
        subject_name = kit.get_signer(subject_owner).certificate.subject
        authority = CertificationAuthority(holder.key, holder.certificate)
        return issue_certificate(authority, subject_name, kit.get_current_time(), CertificateOrder()).signer

    return make_signer


def copy_serial(owner_name: str) -> SignerMaker:
    """Return the maker of a signer with subject, issuer and serial number of the signer `owner_name`."""

    def make_signer(kit: AttackerKit) -> Signer:
        original = kit.get_signer(owner_name).certificate
        authority = make_authority(original.issuer, kit.get_current_time())
        return issue_certificate(
            authority, original.subject, kit.get_current_time(), CertificateOrder(serial=original.serial)
        ).signer

    return make_signer


def _issue_stranger(kit: AttackerKit) -> IssuedCertificate:
    return issue_certificate(
        kit.stranger_authority,
        kit.get_signer("a").certificate.subject,
        kit.get_current_time(),
        CertificateOrder(),
    )


def issue_with_extensions(*extensions: tuple[x509.ExtensionType, bool], subject: str = "") -> SignerMaker:
    """Return a stranger's signer with further (critical) extensions or another subject."""

    def make_signer(kit: AttackerKit) -> Signer:
        issued = _issue_stranger(kit)
        plain = x509.load_der_x509_certificate(issued.certificate.der)
        subject_name = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]) if subject else plain.subject
        )
        builder = x509.CertificateBuilder(
            issuer_name=plain.issuer,
            subject_name=subject_name,
            public_key=plain.public_key(),
            serial_number=plain.serial_number,
            not_valid_before=plain.not_valid_before_utc.replace(tzinfo=None),
            not_valid_after=plain.not_valid_after_utc.replace(tzinfo=None),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(kit.stranger_authority.key, hashes.SHA256())
        return _make_unverified_signer(
            certificate.public_bytes(Encoding.DER), issued.signer.algorithm, issued.signer.sign
        )

    return make_signer


def mutate_certificate(change: CertificateMutation) -> SignerMaker:
    """Return a stranger's signer whose certificate octets are changed."""

    def make_signer(kit: AttackerKit) -> Signer:
        issued = _issue_stranger(kit)
        signer = issued.signer
        return _make_unverified_signer(change(issued.certificate.der), signer.algorithm, signer.sign)

    return make_signer


def set_serial(value: int) -> CertificateMutation:
    """Return the change of the serial number."""

    def mutate_octets(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["serial_number"] = value
        return bytes(parsed.dump(force=True))

    return mutate_octets


def duplicate_extension(der: bytes) -> bytes:
    """Return a certificate that has its first extension twice."""
    parsed = Parsed.load(der)
    extensions = parsed["tbs_certificate"]["extensions"]
    extensions.append(extensions[0])
    return bytes(parsed.dump(force=True))


def swap_der(old: bytes, new: bytes) -> CertificateMutation:
    """Return the change that replaces octets; they must be present."""

    def mutate_octets(der: bytes) -> bytes:
        if old not in der:
            raise LookupError(f"not in the certificate: {old.hex()}")
        return der.replace(old, new)

    return mutate_octets


def replace_last_match(
    pattern: re.Pattern[bytes], make_replacement: Callable[[re.Match[bytes]], bytes]
) -> CertificateMutation:
    """Return the change of the last match, because the subject follows the issuer."""

    def mutate_octets(der: bytes) -> bytes:
        match = list(pattern.finditer(der))[-1]
        return der[: match.start()] + make_replacement(match) + der[match.end() :]

    return mutate_octets


def replace_public_key(info: PublicKeyInfo) -> CertificateMutation:
    """Return the change of the key that a certificate is for."""

    def mutate_octets(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["subject_public_key_info"] = info
        return bytes(parsed.dump(force=True))

    return mutate_octets


def build_key_info(
    key: ec.EllipticCurvePublicKey | x25519.X25519PublicKey | ed448.Ed448PublicKey,
) -> PublicKeyInfo:
    """Return a public key as certificates hold it."""
    return PublicKeyInfo.load(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _build_p256_key() -> PublicKeyInfo:
    return build_key_info(ec.derive_private_key(7, ec.SECP256R1()).public_key())


def build_off_curve_key() -> PublicKeyInfo:
    """Return a key whose point is not on its curve."""
    octets = bytearray(_build_p256_key().dump())
    octets[-1] ^= 1
    return PublicKeyInfo.load(bytes(octets))


def build_infinity_key() -> PublicKeyInfo:
    """Return a key whose point is the one at infinity."""
    info = _build_p256_key()
    info["public_key"] = ECPointBitString(b"\x00")
    return info


def build_own_curve_key() -> PublicKeyInfo:
    """Return a key on a curve with parameters that the sender chose (CVE-2020-0601, CVE-2022-0778)."""
    info = _build_p256_key()
    curve = SpecifiedECDomain(
        {
            "version": 1,
            "field_id": {"field_type": "prime_field", "parameters": _P256_PRIME},
            "curve": {"a": (3).to_bytes(32, "big"), "b": (5).to_bytes(32, "big")},
            "base": b"\x02" + (5).to_bytes(32, "big"),
            "order": _P256_PRIME,
            "cofactor": 1,
        }
    )
    info["algorithm"]["parameters"] = ECDomainParameters(name="specified", value=curve)
    return info


def build_rsa_key(bits: int, exponent: int) -> PublicKeyInfo:
    """Return an RSA key with unsuitable numbers."""
    key = RSAPublicKey({"modulus": (1 << (bits - 1)) | 0x10001, "public_exponent": exponent})
    return PublicKeyInfo.wrap(key, "rsa")
