"""The keys that decrypt, from the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from cryptography.x509 import load_der_x509_certificate

from gateway.config import load_settings
from gateway.errors import GatewayError
from gateway.hub.trust.configured_secrets import load_decryption_keys
from tests.encryption.conftest import make_receiver


def write_settings(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


@pytest.mark.long
def test_keys_are_files_or_pkcs12_each_under_a_name(tmp_path):
    first, second = make_receiver("First"), make_receiver("Second")
    (tmp_path / "a.pem").write_bytes(first.pem)
    (tmp_path / "a.crt").write_bytes(first.certificate.pem)
    leaf = load_der_x509_certificate(second.certificate.der)
    store = pkcs12.serialize_key_and_certificates(b"x", second.key.key, leaf, None, NoEncryption())
    (tmp_path / "b.p12").write_bytes(store)
    text = (
        f'[decryption.old]\nkey = {{ file = "{tmp_path}/a.pem" }}\ncertificate = "{tmp_path}/a.crt"\n'
        f'[decryption.new]\nkey = {{ file = "{tmp_path}/b.p12" }}\n'
    )
    keys = load_decryption_keys(load_settings(write_settings(tmp_path, text), environ={}))
    assert [one.certificate.sha256 for one in keys] == [first.certificate.sha256, second.certificate.sha256]


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[decryption.a]\nkey = { file = "PLACE/none" }\n', "decryption.a.key"),
        ('[decryption.a]\nkey = { file = "PLACE/a.pem" }\n', "decryption.a.key"),
        (
            '[decryption.a]\nkey = { file = "PLACE/a.pem" }\ncertificate = "PLACE/none"\n',
            "decryption.a.certificate",
        ),
        ("[decryption.a]\n", "decryption.a"),
        ('[decryption.a]\nkeys = "x"\n', "decryption.a"),
    ],
)
def test_a_key_that_cannot_be_read_names_its_section(tmp_path, text, place):
    (tmp_path / "a.pem").write_bytes(make_receiver("A").pem)
    path = write_settings(tmp_path, text.replace("PLACE", str(tmp_path)))
    with pytest.raises(GatewayError) as refused:
        load_decryption_keys(load_settings(path, environ={}))
    assert place in f"{refused.value} at {refused.value.location}"
