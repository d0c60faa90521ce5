"""The keys that the hub keeps for agencies at the console: files, and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config import Settings, load_settings
from gateway.errors import GatewayError
from gateway.hub import AgencyKeys, load_agency_signer
from gateway.pki.certificate_authority import issue_certificate
from tests.kit.house import START, authority


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
