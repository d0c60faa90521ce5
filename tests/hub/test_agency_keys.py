"""The keys that the hub keeps for agencies at the console: files, and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from gateway.config import Settings, load_settings
from gateway.errors import GatewayError
from gateway.hub import AgencyKeys, load_agency_signer
from gateway_conformance.pki import issue_certificate
from tests.kit.house import START, authority
from tests.kit.softhsm import PIN, SoftHsm


def written(folder: Path) -> Settings:
    issued = issue_certificate(authority(), "CN=A", START)
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "a.key.pem").write_bytes(key)
    (folder / "a.cert.pem").write_bytes(issued.certificate.pem)
    (folder / "gateway.toml").write_text(
        '[hub]\nhome = "."\n[agency.A]\nconsole = true\n[agency.A.pki]\n'
        'signing_key = { file = "a.key.pem" }\nsigning_certificate = "a.cert.pem"\n'
        '[agency.B]\nendpoint = "https://b.example/"\n',
        encoding="utf-8",
    )
    return load_settings(folder / "gateway.toml")


def test_a_key_file_signs_for_its_agency(tmp_path: Path) -> None:
    settings = written(tmp_path)
    keys = AgencyKeys(lambda: settings)
    assert keys.get_signer("A").certificate.subject == "CN=A"
    assert keys.get_signer("A") is keys.get_signer("A")
    for agency in ("B", "C"):
        with pytest.raises(GatewayError, match=rf"GW803.*agency\.{agency}\.pki"):
            load_agency_signer(settings, agency)


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"console": True}, "needs signing_key or token"),
        ({"console": True, "endpoint": "https://a.example/"}, "has no endpoint"),
        ({}, "needs an endpoint or console"),
        ({"console": True, "confirm": []}, "confirm"),
    ],
)
def test_settings_of_an_agency_at_the_console(section: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(agency={"A": section})


@pytest.mark.long
@pytest.mark.parametrize("form", ["pkcs12", "token"])
@pytest.mark.hsm
def test_a_key_in_a_pkcs12_file_or_a_token_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    issued = issue_certificate(authority(), "CN=A", START)
    (tmp_path / "pin").write_bytes(PIN)
    if form == "token":
        hsm = SoftHsm.make(tmp_path / "hsm", monkeypatch)
        hsm.put(issued.key)
        (tmp_path / "a.cert.pem").write_bytes(issued.certificate.pem)
        lines = (
            f'signing_certificate = "a.cert.pem"\n[agency.A.pki.token]\nmodule = "{hsm.key().module_path}"\n'
            f'label = "{hsm.label}"\nkey = "signing"\npin = {{ file = "pin" }}\n'
        )
    else:
        kept = pkcs12.serialize_key_and_certificates(
            b"A", issued.key, load_pem_x509_certificate(issued.certificate.pem), None,
            BestAvailableEncryption(PIN),
        )  # fmt: skip
        (tmp_path / "a.p12").write_bytes(kept)
        lines = 'signing_key = { file = "a.p12" }\nsigning_password = { file = "pin" }\n'
    text = f'[hub]\nhome = "."\n[agency.A]\nconsole = true\n[agency.A.pki]\n{lines}'
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
    signer = AgencyKeys(lambda: load_settings(tmp_path / "gateway.toml")).get_signer("A")
    assert signer.certificate.der == issued.certificate.der
    assert signer.sign(b"an act")
