"""Messages that others encrypted: Phaos, libxmlsec, the interoperability set of XML Encryption 1.1."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, pkcs12
from lxml import etree

from gateway.encryption import decrypt_payload, read_encrypted_data
from gateway.encryption.content_ciphers import CIPHERS, CipherText
from gateway.errors import DECRYPTION_FAILED, ENCRYPTION_ALGORITHM_REFUSED, ENCRYPTION_MISMATCH, GatewayError
from gateway.pki import KeyPadding, RsaDecryptionKey
from tests.encryption.conftest import agree, draw

pytestmark = pytest.mark.vectors

FOLDER = "vectors/xmldsig-xmlsec"
DATA = "{http://www.w3.org/2001/04/xmlenc#}EncryptedData"


@dataclass(frozen=True)
class AnyCertificate:
    """Fits what a vector says of its receiver."""

    sha256: str = ""
    serial: int = 0
    subject_key_identifier: bytes = b""


class FittingKey(RsaDecryptionKey):
    """A key whose certificate the vectors name in ways of their own."""


def read(document: bytes, key, policy: str = "legacy-cbc") -> bytes:
    root = etree.fromstring(document)
    (data,) = root.iter(DATA)
    data.tail = None
    payload = read_encrypted_data(etree.tostring(data), agree(policy))
    keys = [FittingKey(AnyCertificate(), key)]
    for one in payload.transported_keys:
        hints = one.hints
        keys += [FittingKey(AnyCertificate(sha256=value), key) for value in hints.certificates]
        keys += [FittingKey(AnyCertificate(serial=value), key) for value in hints.serials]
        keys += [FittingKey(AnyCertificate(subject_key_identifier=value), key) for value in hints.key_ids]
    return decrypt_payload(payload, keys, lambda _: True, draw).content


PHAOS = [
    "enc-element-aes128-kt-rsa1_5",
    "enc-text-aes256-kt-rsa_oaep_sha1",
    "enc-element-3des-kt-rsa_oaep_sha1",
    "enc-element-3des-kt-rsa_oaep_sha256",
    "enc-element-3des-kt-rsa_oaep_sha512",
    "enc-element-aes192-kt-rsa_oaep_sha1",
    "enc-element-aes128-kt-rsa_oaep_sha1",
    "enc-element-3des-kt-rsa1_5",
    "enc-text-aes192-kt-rsa1_5",
]


@pytest.mark.parametrize("name", PHAOS)
def test_phaos(vectors, name):
    folder = vectors / FOLDER / "01-phaos-xmlenc-3"
    key = load_der_private_key((folder / "rsa-priv-key.der").read_bytes(), None)
    found = read((folder / f"{name}.xml").read_bytes(), key)
    original = etree.fromstring((folder / "payment.xml").read_bytes())
    texts = ["".join(one.itertext()).split() for one in original.iter()]
    shown = etree.fromstring(b"<x xmlns='http://example.org/paymentv2'>" + found + b"</x>")
    assert "".join(shown.itertext()).split() in texts


LIBXMLSEC = [
    "enc-aes256-kt-rsa_oaep_enc11_sha512_mgf1_sha512",
    "enc-aes256-kt-rsa_oaep_sha1",
    "enc-aes256-kt-rsa_oaep_sha256",
    "enc-aes256-kt-rsa_oaep_sha512",
    "enc_rsa_1_5_x509_issuer_name_serial",
    "enc_rsa_1_5_x509_ski",
]
REFUSED = {
    "enc-aes256-kt-rsa_oaep_md5": ENCRYPTION_ALGORITHM_REFUSED,
    "enc-aes256-kt-rsa_oaep_ripemd160": ENCRYPTION_ALGORITHM_REFUSED,
    "enc-aes256-kt-rsa_oaep_sha3_256": ENCRYPTION_ALGORITHM_REFUSED,
    "enc-camellia128cbc-keyname": ENCRYPTION_ALGORITHM_REFUSED,
    "enc-chacha20poly1305-keyname": ENCRYPTION_ALGORITHM_REFUSED,
    "enc_ecdh_p256_hkdf_sha384_kw_aes256_aes128gcm": ENCRYPTION_ALGORITHM_REFUSED,
    "enc-aes256-em-ml-kem-768": ENCRYPTION_MISMATCH,
    "enc-aes256gcm-em-ml-kem-1024": ENCRYPTION_MISMATCH,
    # MGF has its place in xmlenc11#rsa-oaep alone
    "enc-aes256-kt-rsa_oaep_sha384_mgf1_sha384": ENCRYPTION_MISMATCH,
    "enc-aes128gcm-keyname": ENCRYPTION_MISMATCH,
}


@pytest.mark.parametrize("name", LIBXMLSEC)
def test_libxmlsec(vectors, name):
    folder = vectors / FOLDER / "aleksey-xmlenc-01"
    key = load_pem_private_key((vectors / FOLDER / "keys/rsa/rsa-4096-key.pem").read_bytes(), None)
    document = (folder / f"{name}.xml").read_bytes()
    content = read(document, key)
    whole = (folder / f"{name}.data").read_bytes()
    assert content in whole.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_profile_has_not_is_refused(vectors, name):
    document = (vectors / FOLDER / "aleksey-xmlenc-01" / f"{name}.xml").read_bytes()
    key = load_pem_private_key((vectors / FOLDER / "keys/rsa/rsa-2048-key.pem").read_bytes(), None)
    with pytest.raises(GatewayError) as refused:
        read(document, key, "legacy-cbc")
    assert refused.value.problem is REFUSED[name]


INTEROP = "vectors/xmldsig-santuario/org/w3c/www/interop/xmlenc-core-11"


@pytest.mark.parametrize(
    "name",
    [
        "RSA-2048__aes128-gcm__rsa-oaep-mgf1p",
        "RSA-3072__aes192-gcm__rsa-oaep-mgf1p__Sha256",
        "RSA-3072__aes256-gcm__rsa-oaep__Sha384-MGF_Sha1",
        "RSA-4096__aes256-gcm__rsa-oaep__Sha512-MGF_Sha1_PSource",
    ],
)
def test_xml_encryption_1_1_interoperability(vectors, name):
    folder = vectors / INTEROP
    store = (folder / f"{name.split('__')[0]}_SHA256WithRSA.p12").read_bytes()
    key = pkcs12.load_key_and_certificates(store, b"passwd")[0]
    found = read((folder / f"cipherText__{name}.xml").read_bytes(), key)
    plain = re.sub(rb"^<\?xml[^>]*\?>\s*", b"", (folder / "plaintext.xml").read_bytes()).strip()
    assert etree.tostring(etree.fromstring(found), method="c14n") == etree.tostring(
        etree.fromstring(plain), method="c14n"
    )


def test_wycheproof_gcm(vectors):
    """Every vector of 96-bit IV and 128-bit tag; the others are refused by their lengths."""
    suite = json.loads((vectors / "vectors/wycheproof/aes_gcm_test.json").read_text())
    by_bits = {8 * one.key_octets: one for one in CIPHERS.values() if one.authenticates}
    judged = 0
    for group in suite["testGroups"]:
        for case in group["tests"]:
            octets = {name: bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")}
            text = CipherText(octets["iv"], octets["ct"], octets["tag"], octets["aad"])
            opened = by_bits[group["keySize"]].decrypt(octets["key"], text)
            good = case["result"] == "valid" and (group["ivSize"], group["tagSize"]) == (96, 128)
            assert opened.is_sound is good, case["tcId"]
            assert not good or opened.content == octets["msg"]
            judged += 1
    assert judged == suite["numberOfTests"]


def test_wycheproof_oaep(vectors):
    suite = json.loads((vectors / "vectors/wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json").read_text())
    for group in suite["testGroups"]:
        key = load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
        for case in group["tests"]:
            padding = KeyPadding("sha256", "sha256", bytes.fromhex(case["label"]))
            found = RsaDecryptionKey(AnyCertificate(), key).decrypt_key(bytes.fromhex(case["ct"]), padding)
            assert found == (bytes.fromhex(case["msg"]) if case["result"] != "invalid" else None), case[
                "tcId"
            ]


def read_often(document: bytes, key) -> None:
    # A key drawn for it has a good padding in one of sixteen tries, and no digest is asked here.
    for _ in range(99):
        read(document, key)


def test_a_vector_under_another_key_is_the_one_failure(vectors):
    document = (vectors / FOLDER / "01-phaos-xmlenc-3/enc-element-aes128-kt-rsa1_5.xml").read_bytes()
    key = load_pem_private_key((vectors / FOLDER / "keys/rsa/rsa-2048-key.pem").read_bytes(), None)
    with pytest.raises(GatewayError) as refused:
        read_often(document, key)
    assert refused.value.problem is DECRYPTION_FAILED
