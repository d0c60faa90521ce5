"""``gateway pki key`` and the settings behind it: a file, a PKCS#12 file, a Korean key file, a token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway import cli
from gateway.config import load_settings
from gateway.hub import RejectingComposer, build_hub, warm_up_hub
from gateway.pki import encode_key_pem
from gateway_conformance.pki import (
    IssuedCertificate,
    SandboxParty,
    issue_certificate,
    make_authority,
    make_sandbox,
)
from tests.kit.softhsm import PIN, SoftHsm, module
from tests.pki.test_npki_keys import older_file


@pytest.fixture(scope="module")
def issued() -> IssuedCertificate:
    now = datetime.now(UTC)
    return issue_certificate(make_authority("CN=Authority", now), "Hub", now)


@pytest.fixture
def home(tmp_path: Path, issued: IssuedCertificate) -> Path:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "hub.cert.pem").write_bytes(issued.certificate.pem)
    return tmp_path


def shown(
    home: Path, capsys: pytest.CaptureFixture[str], settings: str = ""
) -> tuple[int, Mapping[str, Any]]:
    """Return how the verb ended, and the one row it printed."""
    (home / "gateway.toml").write_text(f'[hub]\nhome = "."\n[pki]\n{settings}')
    status = cli.main(["pki", "key", "--config", str(home / "gateway.toml"), "--json"])
    out = capsys.readouterr().out
    (row,) = map(json.loads, out.splitlines())
    assert "secret" not in out
    return status, row


def assert_signs(found: tuple[int, Mapping[str, Any]], issued: IssuedCertificate) -> None:
    assert found[1]["problem"] == ""
    assert found[0] == 0
    assert (found[1]["signs"], found[1]["sha256"]) == (True, issued.certificate.sha256)
    assert found[1]["a_second"] > 0


def test_a_key_in_a_file(home: Path, issued: IssuedCertificate, capsys: pytest.CaptureFixture[str]) -> None:
    status, row = shown(home, capsys)
    assert (status, row["signs"]) == (1, False)
    assert row["problem"].startswith("GW803")
    (home / "pki" / "hub.key.pem").write_bytes(issued.key_pem)
    assert_signs(shown(home, capsys), issued)


def test_a_key_under_a_password(
    home: Path, issued: IssuedCertificate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "pki" / "hub.key.pem").write_bytes(encode_key_pem(issued.key, b"secret"))
    settings = 'signing_password = { env = "PASSWORD" }\n'
    monkeypatch.setenv("PASSWORD", "secretly")
    assert shown(home, capsys, settings)[0] == 1
    monkeypatch.setenv("PASSWORD", "secret\n")
    assert_signs(shown(home, capsys, settings), issued)


def test_a_korean_key_file(home: Path, issued: IssuedCertificate, capsys: pytest.CaptureFixture[str]) -> None:
    plain = issued.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (home / "signPri.key").write_bytes(older_file(plain, b"secret"))
    (home / "signCert.der").write_bytes(issued.certificate.der)
    (home / "password").write_bytes(b"secret\r\n")
    settings = (
        'signing_key = { file = "signPri.key" }\n'
        'signing_password = { file = "password" }\n'
        'signing_certificate = "signCert.der"\n'
    )
    assert_signs(shown(home, capsys, settings), issued)


def test_a_pkcs12_file_needs_no_other(
    home: Path, issued: IssuedCertificate, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "hub.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"hub",
            issued.key,  # type: ignore[arg-type]
            x509.load_der_x509_certificate(issued.certificate.der),
            None,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (home / "password").write_bytes(b"secret")
    (home / "pki" / "hub.cert.pem").unlink()
    settings = 'signing_key = { file = "hub.p12" }\nsigning_password = { file = "password" }\n'
    assert_signs(shown(home, capsys, settings), issued)


def test_the_credential_of_a_key_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, row = shown(home, capsys, 'signing_key = { credential = "hub.key" }\n')
    assert row["source"] == "credential hub.key"
    _, row = shown(home, capsys, 'signing_key = { env = "HUB_KEY" }\n')
    assert row["source"] == "variable HUB_KEY"


def test_a_utf8_mark_is_no_part_of_the_password_of_a_new_key(home: Path) -> None:
    (home / "password").write_bytes(b"\xef\xbb\xbfsecret\r\n")
    names = {"--key": "new.pem", "--out": "new.csr", "--password": "password"}
    options = [word for option, name in names.items() for word in (option, str(home / name))]
    assert cli.main(["pki", "request", "CN=new", *options]) == 0
    assert serialization.load_pem_private_key((home / "new.pem").read_bytes(), b"secret")


@pytest.mark.hsm
def test_a_token(
    home: Path, issued: IssuedCertificate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm.make(home / "hsm", monkeypatch)
    hsm.put(issued.key)
    (home / "pin").write_bytes(PIN + b"\n")
    settings = (
        f'[pki.token]\nmodule = "{module()}"\nlabel = "{hsm.label}"\n'
        'key = "signing"\npin = { file = "pin" }\n'
    )
    assert_signs(shown(home, capsys, settings), issued)
    hsm.pull()
    status, row = shown(home, capsys, settings)
    assert (status, row["signs"], row["source"]) == (1, False, f"token {hsm.label}, key signing")
    assert "NoSuchToken" in row["problem"]
    hsm.put_back()
    assert_signs(shown(home, capsys, settings), issued)


@pytest.mark.night
@pytest.mark.hsm
def test_a_token_that_is_away_is_told_of_and_hinders_no_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_sandbox(tmp_path / "pki", [SandboxParty("hub")], datetime.now(UTC))
    hsm = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    hsm.put(made.signers["hub"].key)
    (tmp_path / "pki" / "hub.key.pem").unlink()
    (tmp_path / "pin").write_bytes(PIN)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[pki.token]\nmodule = "{module()}"\nlabel = "{hsm.label}"\n'
        'key = "signing"\npin = { file = "pin" }\n'
    )
    config = ["--config", str(tmp_path / "gateway.toml")]
    assert cli.main(["migrate", "--new", *config]) == 0
    assert cli.main(["check", *config]) == 0
    hsm.pull()
    capsys.readouterr()
    assert cli.main(["check", "--json", *config]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["id"] == "GW803"
    hub = build_hub(load_settings(tmp_path / "gateway.toml"), RejectingComposer())
    warm_up_hub(hub)
    hub.close()


def test_half_a_token_is_a_mistake_of_the_settings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "gateway.toml").write_text('[pki.token]\nmodule = "x.so"\n')
    assert cli.main(["pki", "key", "--config", str(home / "gateway.toml"), "--json"]) != 0
    assert "GW801" in capsys.readouterr().err
