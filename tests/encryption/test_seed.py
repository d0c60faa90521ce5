"""SEED for Korean partners: the vectors of RFC 4269, CBC, and the key wrap of RFC 4010."""

from __future__ import annotations

import base64
import os

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import SEED
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from gateway.encryption import decrypt_payload, encrypt_as_xml, read_encrypted_data
from gateway.encryption.content_ciphers import CIPHERS, unwrap_seed_key, unwrap_with_cipher
from gateway.encryption.encryption_policies import SEED_128_CBC, SEED_128_WRAP
from gateway.errors import DECRYPTION_FAILED, ENCRYPTION_ALGORITHM_REFUSED, GatewayError
from gateway.pki import KeyPadding, encrypt_key
from tests.encryption.conftest import agree, draw
from tests.encryption.templates import DS, XENC

CONTENT = b"<Declaration/>" * 99
# RFC 4269 appendix B.1 to B.4: key, plaintext, ciphertext.
RFC_4269 = [
    ("00" * 16, "000102030405060708090A0B0C0D0E0F", "5EBAC6E0054E166819AFF1CC6D346CDB"),
    ("000102030405060708090A0B0C0D0E0F", "00" * 16, "C11F22F20140505084483597E4370F43"),
    (
        "4706480851E61BE85D74BFB3FD956185",
        "83A2F8A288641FB9A4E9A5CC2F131C7D",
        "EE54D13EBCAE706D226BC3142CD40D4A",
    ),
    (
        "28DBC3BC49FFD87DCFA509B11D422BE7",
        "B41E6BE2EBA84A148E2EED84593C5EC7",
        "9B9B7BFCD1813CB95D0B3618F40F5122",
    ),
]


@pytest.mark.parametrize(("key", "plain", "sealed"), RFC_4269)
def test_the_cipher_is_that_of_rfc_4269(key, plain, sealed):
    work = Cipher(SEED(bytes.fromhex(key)), ECB()).encryptor()
    assert work.update(bytes.fromhex(plain)) == bytes.fromhex(sealed)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_cbc_gives_back_what_was_encrypted(size):
    cipher, key, content = CIPHERS[SEED_128_CBC], os.urandom(16), os.urandom(size)
    opened = cipher.decrypt(key, cipher.encrypt(key, os.urandom(16), content))
    assert (opened.content, opened.is_sound) == (content, True)


def wrap_with(algorithm, key: bytes) -> bytes:
    """RFC 3394 §2.2.1, the other direction, written from the standard."""
    work = Cipher(algorithm, ECB()).encryptor()
    head, parts = bytes.fromhex("A6" * 8), [key[start : start + 8] for start in range(0, len(key), 8)]
    for turn in range(6):
        for index, part in enumerate(parts):
            block = work.update(head + part)
            step = len(parts) * turn + index + 1
            head, parts[index] = (int.from_bytes(block[:8]) ^ step).to_bytes(8), block[8:]
    return head + b"".join(parts)


@pytest.mark.parametrize("size", [16, 24, 32])
def test_the_steps_of_the_key_wrap_are_those_of_the_library_for_aes(size):
    wrapping, key = os.urandom(16), os.urandom(size)
    assert unwrap_with_cipher(AES(wrapping), aes_key_wrap(wrapping, key)) == key
    assert wrap_with(AES(wrapping), key) == aes_key_wrap(wrapping, key)


def test_a_key_wrapped_by_another_key_or_changed_is_none():
    wrapping, key = os.urandom(16), os.urandom(16)
    wrapped = wrap_with(SEED(wrapping), key)
    assert unwrap_seed_key(wrapping, wrapped) == key
    assert unwrap_seed_key(os.urandom(16), wrapped) is None
    assert unwrap_seed_key(wrapping, wrapped[:-1] + bytes([wrapped[-1] ^ 1])) is None
    assert unwrap_seed_key(wrapping, wrapped[:-8]) is None


def test_it_is_read_and_written_by_the_korean_policy_alone(receiver):
    document = encrypt_as_xml(CONTENT, "text/xml", receiver.certificate, agree("korea-seed", "seed"), draw)
    assert SEED_128_CBC.encode() in document
    payload = read_encrypted_data(document, agree("korea-seed"))
    assert decrypt_payload(payload, [receiver.key], CONTENT.__eq__, draw).content == CONTENT
    for policy in ("strict", "legacy-cbc"):
        with pytest.raises(GatewayError) as refused:
            read_encrypted_data(document, agree(policy))
        assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED


def write_wrapped(receiver, wrapping: bytes, key: bytes) -> bytes:
    sealed = CIPHERS[SEED_128_CBC].encrypt(key, os.urandom(16), CONTENT)
    transported = encrypt_key(receiver.certificate, wrapping, KeyPadding("sha256", "sha1"))

    def value(octets: bytes) -> str:
        text = base64.b64encode(octets).decode()
        return f"<x:CipherData><x:CipherValue>{text}</x:CipherValue></x:CipherData>"

    inner = (
        f'<x:EncryptedKey><x:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p">'
        f'<d:DigestMethod Algorithm="{XENC}sha256"/></x:EncryptionMethod>'
        f"{value(transported)}</x:EncryptedKey>"
    )
    return (
        f'<x:EncryptedData xmlns:x="{XENC}" xmlns:d="{DS}"><x:EncryptionMethod Algorithm="{SEED_128_CBC}"/>'
        f'<d:KeyInfo><x:EncryptedKey><x:EncryptionMethod Algorithm="{SEED_128_WRAP}"/><d:KeyInfo>{inner}'
        f"</d:KeyInfo>{value(wrap_with(SEED(wrapping), key))}</x:EncryptedKey></d:KeyInfo>"
        f"{value(sealed.vector + sealed.octets)}</x:EncryptedData>"
    ).encode()


def test_a_key_may_be_wrapped_by_a_seed_key_that_rsa_transports(receiver):
    document = write_wrapped(receiver, os.urandom(16), os.urandom(16))
    payload = read_encrypted_data(document, agree("korea-seed"))
    assert decrypt_payload(payload, [receiver.key], CONTENT.__eq__, draw).content == CONTENT


def test_a_wrapping_key_of_another_length_is_one_more_failure(receiver):
    document = write_wrapped(receiver, os.urandom(16), os.urandom(16))
    payload = read_encrypted_data(document, agree("korea-seed"))

    class Short:
        certificate = receiver.certificate

        def decrypt_key(self, data, scheme):
            return b"short"

    with pytest.raises(GatewayError) as refused:
        decrypt_payload(payload, [Short()], CONTENT.__eq__, draw)
    assert refused.value.problem is DECRYPTION_FAILED
