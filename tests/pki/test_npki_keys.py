"""Key files of the Korean PKI open with their password, by both schemes, and with nothing else."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import SEED
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import load_signer
from gateway.pki.signing_keys import decrypt_npki_key, is_npki_key
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.pki.certificate_forgery import NOW
from tests.pki.conftest import World
from tests.pki.test_signing_keys import check

PASSWORD = b"npki-\xbe\xcf\xc8\xa3!"  # not UTF-8, as old files have it
# RFC 4269 appendix B: key, plain text, cipher text.
BLOCKS = [
    ("00" * 16, "000102030405060708090a0b0c0d0e0f", "5ebac6e0054e166819aff1cc6d346cdb"),
    ("000102030405060708090a0b0c0d0e0f", "00" * 16, "c11f22f20140505084483597e4370f43"),
    (
        "4706480851e61be85d74bfb3fd956185",
        "83a2f8a288641fb9a4e9a5cc2f131c7d",
        "ee54d13ebcae706d226bc3142cd40d4a",
    ),
    (
        "28dbc3bc49ffd87dcfa509b11d422be7",
        "b41e6be2eba84a148e2eed84593c5ec7",
        "9b9b7bfcd1813cb95d0b3618f40f5122",
    ),
]
# Made by OpenSSL 3.0: pkcs8 -topk8 -v2 seed-cbc -v2prf hmacWithSHA1|hmacWithSHA256 -iter 2048.
BY_OPENSSL = [
    """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHdMEgGCSqGSIb3DQEFDTA7MBsGCSqGSIb3DQEFDDAOBAg96hmrjGgIagICCAAw
HAYIKoMajJpEAQQEEEgOoB8n73+joGOSE7rEhYoEgZDitUahEs/9Ze9/l5dcHdet
dFE1CIVqvb69Pn//KKkswn1lbrhn21cfkDh241NazUcFS0G/O/pN9yPXBGWMdTGz
rq5dlBTRnDtv8AMQymHLu0D10cCF16yo6c9BwDf1LyPsojKXtXMFEFqQPDvnyTf4
maQ3CMcZE0gosetCCAzwTgF1aKQuMSVAJ0aTM04uSHg=
-----END ENCRYPTED PRIVATE KEY-----
""",
    """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHrMFYGCSqGSIb3DQEFDTBJMCkGCSqGSIb3DQEFDDAcBAghOUqa3O7THgICCAAw
DAYIKoZIhvcNAgkFADAcBggqgxqMmkQBBAQQY39p6YDymvyJLpQOFyfq2gSBkGhS
pvFSPJ24Re5wI8TDgyz3SKJInhV17c407PzN7Xnhpy2KiIxuIEEIbyWj35cJFqG1
YFxUdVYqDbQh5XdmFxzC1eQWDFK9WXJYWXS7IntE98M7aO8bLjg9UjmJJdniEMhZ
gvCLXb6+MZaywZSN+qjq9Fo7GOfNM5G/AeK0Myzcy1prXNziieLIS+9AlpGYTA==
-----END ENCRYPTED PRIVATE KEY-----
""",
]


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    more = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, *([size] if size < 128 else [0x80 + len(more), *more])]) + content


def oid(words: str) -> bytes:
    return tlv(6, bytes.fromhex(words))


def encrypted(plain: bytes, key: bytes, vector: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(SEED(key), modes.CBC(vector)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def older_file(
    plain: bytes, password: bytes = PASSWORD, rounds: int = 2048, scheme: str = "2a831a8c9a44010f"
) -> bytes:
    """Return a file as KCAC.TS.ENC has it, built here by another hand than it is read by."""
    salt = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    chain = hashlib.sha1(password + salt)
    for _ in range(min(rounds, 5000) - 1):
        chain = hashlib.sha1(chain.digest())
    derived = chain.digest()
    vector = hashlib.sha1(derived[16:20]).digest()[:16]
    parameters = tlv(0x30, tlv(4, salt) + tlv(2, rounds.to_bytes(4)))
    algorithm = tlv(0x30, oid(scheme) + parameters)
    return tlv(0x30, algorithm + tlv(4, encrypted(plain, derived[:16], vector)))


@pytest.fixture(scope="module", params=["rsa-2048", "p-256"])
def plain(world: World, request: pytest.FixtureRequest) -> bytes:
    key = issue_certificate(world.sub, "Korean", NOW, CertificateOrder(key_kind=request.param)).key
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def refused(data: bytes, password: bytes = PASSWORD) -> str:
    with pytest.raises(GatewayError) as caught:
        decrypt_npki_key(data, password)
    assert caught.value.problem is KEY_UNAVAILABLE
    return caught.value.detail


@pytest.mark.parametrize(("key", "block", "cipher"), BLOCKS)
def test_the_cipher_is_that_of_the_rfc(key: str, block: str, cipher: str) -> None:
    encryptor = Cipher(SEED(bytes.fromhex(key)), modes.ECB()).encryptor()
    assert encryptor.update(bytes.fromhex(block)).hex() == cipher


def test_a_file_of_the_older_scheme(plain: bytes) -> None:
    assert is_npki_key(older_file(plain))
    assert decrypt_npki_key(older_file(plain), PASSWORD) == plain
    assert decrypt_npki_key(older_file(plain, rounds=1), PASSWORD) == plain


@pytest.mark.parametrize("pem", BY_OPENSSL, ids=["sha1", "sha256"])
def test_a_file_of_the_newer_scheme_made_by_openssl(pem: str) -> None:
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    assert is_npki_key(der)
    key = serialization.load_der_private_key(decrypt_npki_key(der, b"korea"), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert "wrong password" in refused(der, b"Korea")


def test_a_key_with_the_number_that_binds_it_to_its_owner(world: World) -> None:
    """The files carry an attribute behind the key, from which the owner's identity is proved."""
    issued = issue_certificate(world.sub, "Korean", NOW)
    whole = issued.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    number = tlv(0x30, oid("2a831a8c9a440a010103") + tlv(0x31, tlv(3, b"\x00" + bytes(20))))
    head = 2 if whole[1] < 128 else 3 if whole[1] == 0x81 else 4
    plain = tlv(0x30, whole[head:] + tlv(0xA0, number))
    signer = load_signer(older_file(plain), issued.certificate.pem, PASSWORD)
    check(signer, signer.sign(b"data"), b"data")


@pytest.mark.long
@pytest.mark.parametrize("armoured", [False, True])
def test_such_a_key_signs(world: World, armoured: bool) -> None:
    issued = issue_certificate(world.sub, "Korean", NOW, CertificateOrder(key_kind="rsa-2048"))
    plain = issued.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = older_file(plain)
    if armoured:
        body = base64.encodebytes(file).decode()
        file = f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}-----END ENCRYPTED PRIVATE KEY-----\n".encode()
    signer = load_signer(file, issued.certificate.der, PASSWORD)
    check(signer, signer.sign(b"data"), b"data")
    with pytest.raises(GatewayError, match="no password"):
        load_signer(file, issued.certificate.der)


@pytest.mark.long
def test_no_wrong_password_opens_a_file(plain: bytes) -> None:
    """One in 256 leaves what looks like padding, so many are tried."""
    file = older_file(plain, rounds=1)
    for number in range(2000):
        assert "wrong password" in refused(file, f"wrong {number}".encode())


def test_files_that_are_something_else(plain: bytes) -> None:
    good = older_file(plain)
    for other in (b"", b"\x30", plain, good[:-1], good + b"\x00", tlv(0x30, b""), b"-----BEGIN"):
        assert not is_npki_key(other)
        refused(other)
    unknown = older_file(plain, scheme="2a864886f70d010503")
    assert not is_npki_key(unknown)


@pytest.mark.parametrize("rounds", [0, 2_000_000_000])
def test_a_count_of_rounds_that_would_hold_the_process(plain: bytes, rounds: int) -> None:
    assert "rounds" in refused(older_file(plain, rounds=rounds))


def test_no_damage_crashes(plain: bytes) -> None:
    good = older_file(plain, rounds=1)
    # As far as the first block of the key: what is damaged beyond, whoever reads the key finds.
    for place in range(len(good) - len(plain) // 16 * 16):
        bad = bytearray(good)
        bad[place] ^= 0x55
        if bad[place] != good[place] and is_npki_key(bytes(bad)):
            with pytest.raises(GatewayError):
                decrypt_npki_key(bytes(bad), PASSWORD)
