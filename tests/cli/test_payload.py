"""`gateway payload encrypt | decrypt`, and `gateway verify` of an encrypted message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.encryption.conftest import NOW
from tests.protocols import sample_parties as sample
from tests.protocols.test_ebms2_encrypted_payloads import XML, agreed, receiver, send

CONTENT = b"<Declaration>secret</Declaration>"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    authority = make_authority("CN=Root", NOW)
    for name, kind in (("rsa", "rsa-2048"), ("other", "rsa-2048"), ("ec", "p-256")):
        order = CertificateOrder(profile="encryption", key_kind=kind)
        issued = issue_certificate(authority, f"CN={name}", NOW, order)
        (folder / f"{name}.key.pem").write_bytes(issued.key_pem)
        (folder / f"{name}.cert.pem").write_bytes(issued.certificate.pem)
    (folder / "payload.xml").write_bytes(CONTENT)
    return folder


def run(capsys: pytest.CaptureFixture[str], words: str, files: Path) -> tuple[int, str, str]:
    status = main(words.replace("D/", f"{files}/").split())
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.night
@pytest.mark.parametrize("form", ["xml", "cms"])
def test_a_payload_is_encrypted_and_decrypted(form, files, capsys):
    encrypt = f"payload encrypt D/payload.xml --for D/rsa.cert.pem --as {form} --out D/sealed --json"
    status, out, _ = run(capsys, encrypt, files)
    told = json.loads(out)
    assert (status, told["cipher"].rpartition("#")[2]) == (0, "aes256-gcm")
    assert CONTENT not in (files / "sealed").read_bytes()
    decrypt = "payload decrypt D/sealed --out D/opened --decryption-certificate D/rsa.cert.pem"
    status, out, _ = run(capsys, f"{decrypt} --decryption-key D/rsa.key.pem --json", files)
    assert (status, json.loads(out)["receiver"]) == (0, told["receiver"])
    assert (files / "opened").read_bytes() == CONTENT
    wrong = decrypt.replace("rsa", "other").replace("opened", "never")
    status, _, err = run(capsys, f"{wrong} --decryption-key D/other.key.pem", files)
    assert (status, "GW210" in err) == (1, True)
    assert not (files / "never").exists()


def test_what_cannot_be_done_is_said(files, capsys):
    for words, problem in (
        ("encrypt D/payload.xml --for D/ec.cert.pem --out D/x", "GW803"),
        ("encrypt D/payload.xml --for D/rsa.cert.pem --algorithm aes128-cbc --out D/x", "GW216"),
        ("encrypt D/payload.xml --for D/rsa.cert.pem --encryption-policy loose --out D/x", "GW801"),
        (
            ("decrypt D/payload.xml --decryption-key D/ec.key.pem --out D/x", "GW"),
            "GW",
        ),
        ("decrypt D/payload.xml --decryption-key D/rsa.key.pem --out D/x", "GW"),
    ):
        status, _, err = run(capsys, f"payload {words}", files)
        assert status in (1, 2)
        assert problem in err


@pytest.mark.night
def test_an_encrypted_message_is_verified_with_the_key(files, capsys):
    parcel = send(agreed(XML))
    head = "".join(f"{name}: {value}\r\n" for name, value in parcel.headers.items())
    (files / "message.http").write_bytes(head.encode() + b"\r\n" + sample.octets(parcel))
    (files / "root.pem").write_bytes(sample.authority().certificate.pem)
    (files / "hub.key").write_bytes(receiver("hub").pem)
    (files / "hub.cert").write_bytes(receiver("hub").certificate.pem)
    words = f"verify D/message.http --trust D/root.pem --at {sample.NOW.isoformat()} --json"
    status, out, _ = run(capsys, words, files)
    assert (status, json.loads(out)["problem"]) == (1, "GW202")
    status, out, _ = run(
        capsys, f"{words} --decryption-key D/hub.key --decryption-certificate D/hub.cert", files
    )
    verdict = json.loads(out)
    assert (status, verdict["accepted"]) == (0, True)
    assert [one["key"] for one in verdict["unwrapped"]] == [receiver("hub").certificate.sha256] * 2
