"""``gateway form`` and ``gateway sign``: from values to a submission that the hub accepts as signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509 import load_der_x509_certificate

from gateway.cli import main
from gateway.wire import parse_xml
from gateway.xmlsec import compute_unsigned_digest, verify_document
from tests.kit.house import signer_named
from tests.kit.paths import ROOT
from tests.kit.softhsm import PIN, SoftHsm, module
from tests.pki.test_npki_keys import older_file

SAMPLE = ROOT / "conformance" / "submissions" / "KFDA-FOOD-IMP" / "valid.xml"


@pytest.fixture
def submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a submission that was read into values and composed again."""
    values, written = tmp_path / "values.json", tmp_path / "submission.xml"
    assert main(["form", "read", str(SAMPLE), "--out", str(values)]) == 0
    assert main(["form", "compose", str(values), "--out", str(written), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["written"] == str(written)
    return written


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return the key of a broker as PKCS#12, with the password ``open``; its certificate is inside."""
    signer = signer_named("broker1")
    certificate = load_der_x509_certificate(signer.certificate.der)
    path = tmp_path / "key.p12"
    sealed = pkcs12.serialize_key_and_certificates(
        b"broker1",
        signer.key,
        certificate,
        None,
        BestAvailableEncryption(b"open"),  # type: ignore[arg-type]
    )
    path.write_bytes(sealed)
    (tmp_path / "password").write_text("open\n")
    return path


def test_the_form_of_two_documents_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["form", "show", "KFDA-FOOD-IMP", "NPQS-PLA-IMP", "--language", "ko"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("h/importer.name" in line for line in lines) == 1
    assert "수입자 상호" in next(line for line in lines if "h/importer.name" in line)
    assert main(["form", "show", "KFDA-FOOD-IMP", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"][0]["document"] == "KFDA-FOOD-IMP"


@pytest.mark.night
def test_what_is_signed_can_be_compared_before_and_after(
    submission: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--pkcs12", str(key), "--password-file", str(tmp_path / "password")]
    assert main(["sign", str(submission), *words]) == 0
    said = capsys.readouterr().out
    signed = parse_xml((tmp_path / "submission.signed.xml").read_bytes())
    assert verify_document(signed).certificate == signer_named("broker1").certificate
    fingerprint = compute_unsigned_digest(parse_xml(submission.read_bytes()))
    assert compute_unsigned_digest(signed) == fingerprint
    assert fingerprint in said
    assert "FOD-2026-001204" in said
    changed = submission.read_bytes().replace(b"FOD-2026-001204", b"FOD-2026-001205")
    assert compute_unsigned_digest(parse_xml(changed)) != fingerprint
    assert main(["sign", str(tmp_path / "submission.signed.xml"), *words]) == 2


@pytest.mark.night
@pytest.mark.hsm
def test_a_submission_is_signed_by_a_token(
    submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = signer_named("broker1")
    hsm = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    hsm.put(signer.key)
    (tmp_path / "broker.pem").write_bytes(signer.certificate.pem)
    words = ["--token", module(), "--token-label", hsm.label, "--token-key", "signing"]
    words += ["--certificate", str(tmp_path / "broker.pem"), "--password-file", str(tmp_path / "pin")]
    # A process keeps its session with a token: what is refused comes first.
    (tmp_path / "pin").write_bytes(b"0000\n")
    assert main(["sign", str(submission), *words]) != 0
    said = capsys.readouterr().err
    assert "GW803" in said
    assert "0000" not in said
    assert not (tmp_path / "submission.signed.xml").exists()
    (tmp_path / "pin").write_bytes(PIN + b"\n")
    assert main(["sign", str(submission), *words]) == 0
    signed = parse_xml((tmp_path / "submission.signed.xml").read_bytes())
    assert verify_document(signed).certificate == signer.certificate


def test_a_submission_is_signed_by_a_korean_key_file(
    submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = signer_named("broker1")
    plain = signer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "signPri.key").write_bytes(older_file(plain, b"open"))
    (tmp_path / "signCert.der").write_bytes(signer.certificate.der)
    (tmp_path / "password").write_text("open\n")
    words = ["--key", str(tmp_path / "signPri.key"), "--certificate", str(tmp_path / "signCert.der")]
    words += ["--password-file", str(tmp_path / "password")]
    assert main(["sign", str(submission), *words]) == 0
    signed = parse_xml((tmp_path / "submission.signed.xml").read_bytes())
    assert verify_document(signed).certificate == signer.certificate
    (tmp_path / "password").write_text("shut\n")
    assert main(["sign", str(submission), "--out", str(tmp_path / "second.xml"), *words]) != 0
    assert "GW803" in capsys.readouterr().err


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one of --key, --pkcs12 and --token"),
        (["--key", "{key}", "--pkcs12", "{key}"], "one of --key, --pkcs12 and --token"),
        (["--pkcs12", "{key}"], "wrong password"),
        (["--token", "/none.so"], "--token-label, --token-key, --certificate"),
    ],
)
def test_what_is_missing_is_named(
    submission: Path, key: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [word.replace("{key}", str(key)) for word in words]
    assert main(["sign", str(submission), *named]) != 0
    assert said in capsys.readouterr().err


def test_values_that_are_not_json_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "values.json"
    path.write_text("{", encoding="utf-8")
    assert main(["form", "compose", str(path), "--out", str(tmp_path / "x.xml")]) != 0
    assert "GW402" in capsys.readouterr().err
    assert not (tmp_path / "x.xml").exists()
