"""CMS envelopes with OpenSSL, both ways."""

from __future__ import annotations

import pytest

from gateway.encryption import decrypt_payload, encrypt_as_cms, read_envelope
from gateway.errors import DECRYPTION_FAILED, ENCRYPTION_ALGORITHM_REFUSED, ENCRYPTION_MISMATCH, GatewayError
from tests.encryption.conftest import agree, draw
from tests.encryption.second_implementation import run_openssl_cms

CONTENT = b"<Declaration/>" * 1000
ENCRYPT = ["-encrypt", "-outform", "DER", "-recip", "cert.pem"]
DECRYPT = ["-decrypt", "-inform", "DER", "-inkey", "key.pem", "-recip", "cert.pem"]
OAEP = [
    *("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256"),
]


def read(octets, receiver, policy="strict"):
    return decrypt_payload(read_envelope(octets, agree(policy)), [receiver.key], CONTENT.__eq__, draw).content


@pytest.mark.long
@pytest.mark.parametrize(
    ("policy", "name", "kind"),
    [
        ("strict", "aes256-gcm", "authEnveloped-data"),
        ("strict", "aes128-gcm", "authEnveloped-data"),
        ("korea-seed", "seed128-cbc", "enveloped-data"),
    ],
)
def test_what_we_encrypt_we_read(receiver, policy, name, kind):
    octets, media_type = encrypt_as_cms(CONTENT, receiver.certificate, agree(policy, name), draw)
    assert media_type == f"application/pkcs7-mime; smime-type={kind}"
    assert read(octets, receiver, policy) == CONTENT


def test_openssl_reads_what_we_encrypt(receiver, tmp_path):
    octets, _ = encrypt_as_cms(CONTENT, receiver.certificate, agree(), draw)
    assert run_openssl_cms(DECRYPT, octets, receiver, tmp_path) == CONTENT


@pytest.mark.parametrize("streamed", [[], ["-stream"]])
@pytest.mark.parametrize("named", [[], ["-keyid"]])
def test_we_read_what_openssl_encrypts(receiver, tmp_path, streamed, named):
    found = run_openssl_cms([*ENCRYPT, *OAEP, "-aes-256-gcm", *named, *streamed], CONTENT, receiver, tmp_path)
    assert read(found, receiver) == CONTENT


@pytest.mark.parametrize("arguments", [["-aes-256-cbc", *OAEP], ["-aes-128-cbc"], ["-des3"]])
def test_older_algorithms_are_read_by_the_legacy_policy_alone(receiver, tmp_path, arguments):
    # The receiver follows -recip, so the options of its padding do too.
    found = run_openssl_cms([*ENCRYPT, *arguments], CONTENT, receiver, tmp_path)
    assert read(found, receiver, "legacy-cbc") == CONTENT
    with pytest.raises(GatewayError) as refused:
        read(found, receiver)
    assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED


@pytest.mark.parametrize(
    "octets", [b"", b"0", b"0\x80", b"\x30\x03\x02\x01\x01", b"<xml/>", b"0\x82\xff\xff" + b"\x00" * 70_000]
)
def test_octets_that_are_no_envelope_are_refused(receiver, octets):
    with pytest.raises(GatewayError) as refused:
        read(octets, receiver)
    assert refused.value.problem is ENCRYPTION_MISMATCH


@pytest.mark.long
def test_every_cut_and_changed_octet_is_refused_or_changes_nothing(receiver):
    """The version and the name of the issuer are covered by nothing; no change has another effect."""
    octets, _ = encrypt_as_cms(CONTENT, receiver.certificate, agree(), draw)
    head = len(octets) - len(CONTENT) - 16
    read_again, problems = 0, set()
    for position in range(0, head, 3):
        changed = bytes([octets[position] ^ 0x21])
        for wrong in (octets[:position], octets[:position] + changed + octets[position + 1 :]):
            try:
                assert read(wrong, receiver) == CONTENT
                read_again += 1
            except GatewayError as refused:
                problems.add(refused.problem.id)
    assert read_again < head / 6
    assert problems == {DECRYPTION_FAILED.id, ENCRYPTION_MISMATCH.id, ENCRYPTION_ALGORITHM_REFUSED.id}
