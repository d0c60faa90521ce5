"""A broker's folder with keys for encryption: it encrypts for the hub and reads what the hub encrypts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.client import (
    RECEIVER_FILE,
    read_membership,
    read_stored_submission,
    seal_submission,
    sign_submission,
    store_submission,
)
from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.protocols import PROTOCOLS
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.flows.test_encryption import ENCRYPTED, ENCRYPTED_AS4
from tests.kit.paths import ROOT

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
    context = broker.build_context()
    pmode = broker.get_outgoing_pmode("Submit", context.now)
    unit = broker.make_user_message(
        "Submit", "m1@b", context.now, payloads=(Payload("p1@b", "application/xml", CONTENT),)
    )
    return EBMS2.seal((unit,), pmode, context)


@pytest.mark.night
def test_a_broker_encrypts_for_the_hub_and_decrypts_with_its_own_key(folders):
    parcel = seal(folders["broker1"])
    assert CONTENT not in parcel.body.content
    hub = read_membership(folders["broker1"], "broker1").identity
    resources = hub.make_encryption_resources()
    assert len(resources.decryption_keys) == 1
    assert resources.find_certificate("hub", None).subject == "CN=hub decrypts"
    assert resources.decryption_keys[0].certificate.subject == "CN=broker1 decrypts"


def test_without_the_certificate_of_the_hub_nothing_is_sent(folders, tmp_path):
    for file in folders["broker1"].iterdir():
        if file.name != RECEIVER_FILE:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(GatewayError, match=RECEIVER_FILE):
        seal(tmp_path)


@pytest.mark.night
@pytest.mark.parametrize("agreement", [ENCRYPTED, ENCRYPTED_AS4], ids=["ebms2", "as4"])
def test_a_kept_message_is_sent_again_although_it_cannot_be_read(folders, tmp_path, agreement):
    """Only the hub can decrypt it: what is sent again are its octets, and its receipt is still known."""
    for file in folders["broker1"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "agreement.yaml").write_bytes(agreement)
    broker = read_membership(tmp_path, "broker1")
    sample = (ROOT / "conformance" / "samples" / "import-three-items.xml").read_bytes()
    url = "http://127.0.0.1:9/msh"
    sealed = seal_submission(sign_submission(sample, broker), {"korean-label@sample": b"%PDF"}, broker, url)
    kept = store_submission(tmp_path / "sent", sealed).read_bytes()
    assert sealed.reference == "HB2026-000123"
    assert b"HB2026-000123" not in kept
    again = read_stored_submission(kept, url, broker)
    assert again.body_octets == sealed.body_octets
    assert again.http_headers == sealed.http_headers
    assert again.unit.message_id == sealed.unit.message_id
    assert again.sent_unit.references == sealed.sent_unit.references
    assert again.sent_unit.references
    assert (again.unit.ack_requested, again.reference) == (sealed.unit.ack_requested, "")
