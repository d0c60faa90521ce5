"""A broker's folder with keys for encryption: it encrypts for the hub and reads what the hub encrypts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.conformance.partners.partner_identity import RECEIVER_FILE, read_membership
from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.pki import CertificateOrder, issue_certificate, make_authority
from gateway.protocols import PROTOCOLS
from tests.flows.test_encryption import ENCRYPTED

EBMS2 = PROTOCOLS["ebms2"]
CONTENT = b"<Declaration/>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of the broker and, as if it were one, that of the hub."""
    authority = make_authority("CN=CA", datetime.now(UTC) - timedelta(days=1))
    at, found = datetime.now(UTC), {}
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    signing = {name: issue_certificate(authority, f"CN={name}", at) for name in ("broker1", "hub")}
    secret = {name: issue_certificate(authority, f"CN={name} decrypts", at, order) for name in signing}
    for name, other in (("broker1", "hub"), ("hub", "broker1")):
        found[name] = folder = tmp_path_factory.mktemp(name)
        (folder / "ca.pem").write_bytes(authority.certificate.pem)
        (folder / "agreement.yaml").write_bytes(ENCRYPTED)
        (folder / "hub.cert.pem").write_bytes(signing[other].certificate.pem)
        for kind, keys in (("", signing), ("decryption.", secret)):
            (folder / f"{name}.{kind}key.pem").write_bytes(keys[name].key_pem)
            (folder / f"{name}.{kind}cert.pem").write_bytes(keys[name].certificate.pem)
        (folder / RECEIVER_FILE).write_bytes(secret[other].certificate.pem)
    return found


def seal(folder: Path):
    broker = read_membership(folder, "broker1")
    pmode = broker.get_outgoing_pmode("Submit")
    unit = broker.make_user_message(
        "Submit", "m1@b", datetime.now(UTC), payloads=(Payload("p1@b", "application/xml", CONTENT),)
    )
    return EBMS2.seal((unit,), pmode, broker.build_context())


def test_a_broker_encrypts_for_the_hub_and_decrypts_with_its_own_key(folders):
    parcel = seal(folders["broker1"])
    assert CONTENT not in parcel.body.content
    hub = read_membership(folders["broker1"], "broker1").identity
    resources = hub.make_encryption_resources()
    assert len(resources.keys) == 1
    assert resources.find_certificate("hub", None).subject == "CN=hub decrypts"
    assert resources.keys[0].certificate.subject == "CN=broker1 decrypts"


def test_without_the_certificate_of_the_hub_nothing_is_sent(folders, tmp_path):
    for file in folders["broker1"].iterdir():
        if file.name != RECEIVER_FILE:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(GatewayError, match=RECEIVER_FILE):
        seal(tmp_path)
