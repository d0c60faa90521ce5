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

from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.certificates import odd_cases, spelt

__all__ = ["CASES"]

#: Makes other octets of those of a certificate.
_Form = Callable[[bytes], bytes]

_PRIME: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_MOMENT: Final = re.compile(rb"\x17\x0d[0-9]{12}Z")
#: The first attribute of a name, commonName: its identifier, tag, length and value.
_COMMON_NAME: Final = re.compile(rb"(\x06\x03\x55\x04\x03)\x0c(.)", re.DOTALL)
_ECDSA_SHA256: Final = bytes.fromhex("06082a8648ce3d040302")


def _swap(old: bytes, new: bytes) -> _Form:
    def change(der: bytes) -> bytes:
        if old not in der:
            raise LookupError(f"not in the certificate: {old.hex()}")
        return der.replace(old, new)

    return change


def _pattern(pattern: re.Pattern[bytes], new: Callable[[re.Match[bytes]], bytes]) -> _Form:
    """Return the change of the last place that fits: the subject stands behind the issuer."""

    def change(der: bytes) -> bytes:
        found = list(pattern.finditer(der))[-1]
        return der[: found.start()] + new(found) + der[found.end() :]

    return change


def _with_key(info: PublicKeyInfo) -> _Form:
    def change(der: bytes) -> bytes:
        parsed = Parsed.load(der)
        parsed["tbs_certificate"]["subject_public_key_info"] = info
        return bytes(parsed.dump(force=True))

    return change


def _info(key: ec.EllipticCurvePublicKey | x25519.X25519PublicKey | ed448.Ed448PublicKey) -> PublicKeyInfo:
    return PublicKeyInfo.load(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _point() -> PublicKeyInfo:
    return _info(ec.derive_private_key(7, ec.SECP256R1()).public_key())


def _off_curve() -> PublicKeyInfo:
    octets = bytearray(_point().dump())
    octets[-1] ^= 1
    return PublicKeyInfo.load(bytes(octets))


def _at_infinity() -> PublicKeyInfo:
    info = _point()
    info["public_key"] = ECPointBitString(b"\x00")
    return info


def _own_curve() -> PublicKeyInfo:
    """Return a key on a curve of its own, whose numbers the sender chose (CVE-2020-0601, CVE-2022-0778)."""
    info = _point()
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


def _rsa(bits: int, exponent: int) -> PublicKeyInfo:
    key = RSAPublicKey({"modulus": (1 << (bits - 1)) | 0x10001, "public_exponent": exponent})
    return PublicKeyInfo.wrap(key, "rsa")


_KEYS: Final[dict[str, tuple[str, PublicKeyInfo]]] = {
    "key-agreement": (
        "a key for key agreement alone",
        _info(x25519.X25519PublicKey.from_public_bytes(bytes(range(32)))),
    ),
    "key-ed448": ("a key of Ed448", _info(ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key())),
    "key-other-curve": (
        "a key on a curve nobody agreed on",
        _info(ec.derive_private_key(7, ec.BrainpoolP256R1()).public_key()),
    ),
    "key-own-curve": ("a key on a curve of the sender's own", _own_curve()),
    "key-off-curve": ("a point that is not on its curve", _off_curve()),
    "key-infinity": ("the point at infinity", _at_infinity()),
    "key-long": ("an RSA key of 16,384 bits with an exponent as long", _rsa(16_384, (1 << 16_000) | 1)),
    "key-exponent-1": ("an RSA key with the exponent 1", _rsa(2048, 1)),
    "key-exponent-even": ("an RSA key with an even exponent", _rsa(2048, 65_536)),
}

_FORMS: Final[dict[str, tuple[str, _Form]]] = {
    "month-13": ("a moment in the month 13", _pattern(_MOMENT, lambda _: b"\x17\x0d261301000000Z")),
    "day-30": (
        "a moment on the thirtieth of February",
        _pattern(_MOMENT, lambda _: b"\x17\x0d260230000000Z"),
    ),
    "moment-nul": ("a moment of thirteen NUL", _pattern(_MOMENT, lambda _: b"\x17\x0d" + bytes(13))),
    "name-number": ("a number as name", _pattern(_COMMON_NAME, lambda found: found[1] + b"\x02" + found[2])),
    "name-bits": ("bits as name", _pattern(_COMMON_NAME, lambda found: found[1] + b"\x03" + found[2])),
    "name-sequence": (
        "a name in a name",
        _pattern(_COMMON_NAME, lambda found: found[1] + b"\x30" + found[2]),
    ),
    "identifier-open": (
        "an identifier that does not end",
        _swap(b"\x06\x03\x55\x04\x03", b"\x06\x03\xff\xff\xff"),
    ),
    "identifier-padded": (
        "an identifier that is padded",
        _swap(b"\x06\x03\x55\x04\x03", b"\x06\x03\x80\x80\x03"),
    ),
    "version-10": ("a version that there is not", _swap(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")),
    "algorithms": (
        "two signature algorithms",
        _pattern(re.compile(re.escape(_ECDSA_SHA256)), lambda _: _ECDSA_SHA256[:-1] + b"\x03"),
    ),
    "algorithm-unknown": (
        "an unknown signature algorithm",
        _swap(_ECDSA_SHA256, _ECDSA_SHA256[:-1] + b"\x99"),
    ),
    "length-2-gb": ("a length of two gigabytes", lambda der: b"\x30\x84\x7f\xff\xff\xff" + der[4:]),
    "length-wraps": ("a length of 64 bits", lambda der: b"\x30\x88" + b"\xff" * 8 + der[4:]),
    "length-open": ("no length at all (BER)", lambda der: b"\x30\x80" + der[4:] + b"\x00\x00"),
}

CASES: Final[tuple[Case, ...]] = odd_cases(
    {
        **{f"PKI-11.{name}": (title, spelt(_with_key(info))) for name, (title, info) in _KEYS.items()},
        **{f"PKI-11.{name}": (title, spelt(form)) for name, (title, form) in _FORMS.items()},
    }
)
