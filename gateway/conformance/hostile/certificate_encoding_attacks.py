"""Certificates whose octets are wrong: keys, names, moments and lengths that are none (PKI-11).

Nobody vouches for any of them; what counts is that reading them ends in a refusal, at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from asn1crypto.keys import (
    ECDomainParameters,
    ECPointBitString,
    PublicKeyInfo,
    RSAPublicKey,
    SpecifiedECDomain,
)
from asn1crypto.x509 import Certificate as Parsed
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.certificate_attacks import make_certificate_cases, mutate_certificate

__all__ = ["CASES"]

#: Makes other octets of those of a certificate.
_CertificateMutation = Callable[[bytes], bytes]

_PRIME: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_MOMENT: Final = re.compile(rb"\x17\x0d[0-9]{12}Z")
#: The first attribute of a name, commonName: its identifier, tag, length and value.
_COMMON_NAME: Final = re.compile(rb"(\x06\x03\x55\x04\x03)\x0c(.)", re.DOTALL)
_ECDSA_SHA256: Final = bytes.fromhex("06082a8648ce3d040302")


def _swap_octets(old: bytes, new: bytes) -> _CertificateMutation:
    def mutate_octets(der: bytes) -> bytes:
        if old not in der:
            raise LookupError(f"not in the certificate: {old.hex()}")
        return der.replace(old, new)

    return mutate_octets


def _replace_last_match(
    pattern: re.Pattern[bytes], new: Callable[[re.Match[bytes]], bytes]
) -> _CertificateMutation:
    """Return the change of the last place that fits: the subject stands behind the issuer."""

    def mutate_octets(der: bytes) -> bytes:
        found = list(pattern.finditer(der))[-1]
        return der[: found.start()] + new(found) + der[found.end() :]

    return mutate_octets


def _replace_public_key(info: PublicKeyInfo) -> _CertificateMutation:
    def mutate_octets(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["subject_public_key_info"] = info
        return bytes(parsed.dump(force=True))

    return mutate_octets


def _build_key_info(
    key: ec.EllipticCurvePublicKey | x25519.X25519PublicKey | ed448.Ed448PublicKey,
) -> PublicKeyInfo:
    return PublicKeyInfo.load(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _build_p256_key() -> PublicKeyInfo:
    return _build_key_info(ec.derive_private_key(7, ec.SECP256R1()).public_key())


def _build_off_curve_key() -> PublicKeyInfo:
    octets = bytearray(_build_p256_key().dump())
    octets[-1] ^= 1
    return PublicKeyInfo.load(bytes(octets))


def _build_infinity_key() -> PublicKeyInfo:
    info = _build_p256_key()
    info["public_key"] = ECPointBitString(b"\x00")
    return info


def _build_own_curve_key() -> PublicKeyInfo:
    """Return a key on a curve of its own, whose numbers the sender chose (CVE-2020-0601, CVE-2022-0778)."""
    info = _build_p256_key()
    curve = SpecifiedECDomain(
        {
            "version": 1,
            "field_id": {"field_type": "prime_field", "parameters": _PRIME},
            "curve": {"a": (3).to_bytes(32, "big"), "b": (5).to_bytes(32, "big")},
            "base": b"\x02" + (5).to_bytes(32, "big"),
            "order": _PRIME,
            "cofactor": 1,
        }
    )
    info["algorithm"]["parameters"] = ECDomainParameters(name="specified", value=curve)
    return info


def _build_rsa_key(bits: int, exponent: int) -> PublicKeyInfo:
    key = RSAPublicKey({"modulus": (1 << (bits - 1)) | 0x10001, "public_exponent": exponent})
    return PublicKeyInfo.wrap(key, "rsa")


_KEYS: Final[dict[str, tuple[str, PublicKeyInfo]]] = {
    "key-agreement": (
        "a key for key agreement alone",
        _build_key_info(x25519.X25519PublicKey.from_public_bytes(bytes(range(32)))),
    ),
    "key-ed448": (
        "a key of Ed448",
        _build_key_info(ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key()),
    ),
    "key-other-curve": (
        "a key on a curve nobody agreed on",
        _build_key_info(ec.derive_private_key(7, ec.BrainpoolP256R1()).public_key()),
    ),
    "key-own-curve": ("a key on a curve of the sender's own", _build_own_curve_key()),
    "key-off-curve": ("a point that is not on its curve", _build_off_curve_key()),
    "key-infinity": ("the point at infinity", _build_infinity_key()),
    "key-long": (
        "an RSA key of 16,384 bits with an exponent as long",
        _build_rsa_key(16_384, (1 << 16_000) | 1),
    ),
    "key-exponent-1": ("an RSA key with the exponent 1", _build_rsa_key(2048, 1)),
    "key-exponent-even": ("an RSA key with an even exponent", _build_rsa_key(2048, 65_536)),
}

_FORMS: Final[dict[str, tuple[str, _CertificateMutation]]] = {
    "month-13": (
        "a moment in the month 13",
        _replace_last_match(_MOMENT, lambda _: b"\x17\x0d261301000000Z"),
    ),
    "day-30": (
        "a moment on the thirtieth of February",
        _replace_last_match(_MOMENT, lambda _: b"\x17\x0d260230000000Z"),
    ),
    "moment-nul": (
        "a moment of thirteen NUL",
        _replace_last_match(_MOMENT, lambda _: b"\x17\x0d" + bytes(13)),
    ),
    "name-number": (
        "a number as name",
        _replace_last_match(_COMMON_NAME, lambda found: found[1] + b"\x02" + found[2]),
    ),
    "name-bits": (
        "bits as name",
        _replace_last_match(_COMMON_NAME, lambda found: found[1] + b"\x03" + found[2]),
    ),
    "name-sequence": (
        "a name in a name",
        _replace_last_match(_COMMON_NAME, lambda found: found[1] + b"\x30" + found[2]),
    ),
    "identifier-open": (
        "an identifier that does not end",
        _swap_octets(b"\x06\x03\x55\x04\x03", b"\x06\x03\xff\xff\xff"),
    ),
    "identifier-padded": (
        "an identifier that is padded",
        _swap_octets(b"\x06\x03\x55\x04\x03", b"\x06\x03\x80\x80\x03"),
    ),
    "version-10": (
        "a version that there is not",
        _swap_octets(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"),
    ),
    "algorithms": (
        "two signature algorithms",
        _replace_last_match(re.compile(re.escape(_ECDSA_SHA256)), lambda _: _ECDSA_SHA256[:-1] + b"\x03"),
    ),
    "algorithm-unknown": (
        "an unknown signature algorithm",
        _swap_octets(_ECDSA_SHA256, _ECDSA_SHA256[:-1] + b"\x99"),
    ),
    "length-2-gb": ("a length of two gigabytes", lambda der: b"\x30\x84\x7f\xff\xff\xff" + der[4:]),
    "length-wraps": ("a length of 64 bits", lambda der: b"\x30\x88" + b"\xff" * 8 + der[4:]),
    "length-open": ("no length at all (BER)", lambda der: b"\x30\x80" + der[4:] + b"\x00\x00"),
}

CASES: Final[tuple[AttackCase, ...]] = make_certificate_cases(
    {
        **{
            f"PKI-11.{name}": (title, mutate_certificate(_replace_public_key(info)))
            for name, (title, info) in _KEYS.items()
        },
        **{f"PKI-11.{name}": (title, mutate_certificate(form)) for name, (title, form) in _FORMS.items()},
    }
)
