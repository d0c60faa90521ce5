"""Keys that are the same at every run: EC keys from a number, RSA keys from primes found from a seed."""

from __future__ import annotations

import hashlib
import random
from functools import cache, cached_property

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.pki.chains import asn1

_ECDSA = asn1.seq(asn1.oid("1.2.840.10045.4.3.2"))
_RSA = asn1.seq(asn1.oid("1.2.840.113549.1.1.11"), b"\x05\x00")
_SMALL = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


class Key:
    """The key of a number; small numbers that four divides are RSA keys of 1024 bits."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._rsa = number < 12 and number % 4 == 0
        self._key = _rsa_key(number) if self._rsa else _ec_key(number)

    @property
    def algorithm(self) -> bytes:
        """The AlgorithmIdentifier of its signatures."""
        return _RSA if self._rsa else _ECDSA

    @cached_property
    def info(self) -> bytes:
        """The SubjectPublicKeyInfo."""
        public = self._key.public_key()
        return public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def bits(self) -> bytes:
        """The key itself, as it stands in the bit string of its info."""
        form = serialization.PublicFormat
        public = self._key.public_key()
        if self._rsa:
            return public.public_bytes(serialization.Encoding.DER, form.PKCS1)
        return public.public_bytes(serialization.Encoding.X962, form.UncompressedPoint)

    @cached_property
    def identifier(self) -> bytes:
        """The SHA-1 of the key's bits (RFC 5280 §4.2.1.2)."""
        return hashlib.sha1(self.bits, usedforsecurity=False).digest()

    def sign(self, data: bytes) -> bytes:
        """Return the signature, the same at every run."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


@cache
def key(number: int) -> Key:
    """Return the key of a number."""
    return Key(number)


def _ec_key(number: int) -> ec.EllipticCurvePrivateKey:
    curve = ec.SECP384R1() if number % 7 == 6 else ec.SECP256R1()
    secret = int.from_bytes(hashlib.sha256(b"chain %d" % number).digest(), "big") >> 8
    return ec.derive_private_key(secret, curve)


def _rsa_key(number: int) -> rsa.RSAPrivateKey:
    chance = random.Random(number)
    p, q = _prime(chance), _prime(chance)
    public = rsa.RSAPublicNumbers(65537, p * q)
    secret = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(p, q, secret, secret % (p - 1), secret % (q - 1), pow(q, -1, p), public)
    return numbers.private_key()


def _prime(chance: random.Random) -> int:
    while True:
        found = chance.getrandbits(512) | 1 | 3 << 510
        if found % 65537 != 1 and all(found % each for each in _SMALL) and _seems_prime(found, chance):
            return found


def _seems_prime(number: int, chance: random.Random) -> bool:
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_witness(pow(chance.randrange(2, number - 1), odd, number), twos, number) for _ in range(24))


def _witness(value: int, twos: int, number: int) -> bool:
    if value in (1, number - 1):
        return True
    for _ in range(twos - 1):
        value = value * value % number
        if value == number - 1:
            return True
    return False
