"""A broker with its key and a CPA alone files: the CPA says where the hub is, and which keys it has."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.agreements import PMode, read_pmodes, write_cpa
from gateway.cli import main
from gateway.client import read_membership
from gateway.errors import GatewayError
from gateway.pki import Certificate
from tests.conformance.hub_messages import ReceivingHub
from tests.conformance.simulated_hubs import signer_of
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"


def name_signers(pmode: PMode, sender: Certificate, receiver: Certificate) -> PMode:
    """Return a P-Mode that names who signs its messages, and the signals about them."""
    pins = {"certificates": (sender.sha256,), "reply_certificates": (receiver.sha256,)}
    return replace(pmode, security=replace(pmode.security, **pins))


@dataclass
class Desk:
    """A broker whose folder has its key and the authorities, and a CPA."""

    hub: ReceivingHub
    keys: Path
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write_cpa(self, *, hub_signer: str = "hub", **changes: Any) -> Path:
        """Write the CPA of the hub's agreement, with `changes` to each P-Mode."""
        broker, hub = (signer_of(self.keys, name).certificate for name in ("broker", hub_signer))
        pmodes = [
            replace(
                name_signers(pmode, *((broker, hub) if pmode.from_role == "Applicant" else (hub, broker))),
                **changes,
            )
            for pmode in read_pmodes(self.hub.agree(find_free_port()), "agreement.yaml")
        ]
        path = self.folder / "agreed.xml"
        path.write_bytes(write_cpa(pmodes, {}, {one.sha256: one.der for one in (broker, hub)}))
        return path

    def run(self, *words: str) -> tuple[int, dict[str, Any], str]:
        status = main([*words, "--as", "broker", "--partner", str(self.folder)])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        report = json.loads(captured.out) if captured.out.startswith("{") else {}
        return status, report, captured.err

    def submit(self, *words: str) -> tuple[int, dict[str, Any], str]:
        return self.run("submit", str(SAMPLE), "--wait", "0", "--retry-interval", "0.05", "--json", *words)


@pytest.fixture
def desk(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hub = ReceivingHub(keys)
    folder = tmp_path / "broker"
    folder.mkdir()
    for name in ("broker.key.pem", "broker.cert.pem", "ca.pem", "crl.pem"):
        shutil.copy(keys / name, folder / name)
    yield Desk(hub, keys, folder, capsys)
    hub.close()


@pytest.mark.night
def test_a_submission_goes_to_the_endpoint_of_the_cpa(desk: Desk) -> None:
    status, report, err = desk.submit("--agreement", str(desk.write_cpa()))
    assert (status, report["sent"], report["receipt_verified"]) == (0, "sent", True), err
    (unit,) = desk.hub.units
    assert (unit.action, unit.message_id) == ("Submit", report["message_id"])


@pytest.mark.night
def test_the_cpa_may_be_in_the_partner_folder(desk: Desk) -> None:
    desk.write_cpa().rename(desk.folder / "agreement.xml")
    assert desk.submit()[0] == 0
    assert desk.submit("--to", desk.hub.url)[0] == 0
    assert len(desk.hub.units) == 2


@pytest.mark.night
def test_a_receipt_by_another_key_than_that_of_the_cpa_is_not_believed(desk: Desk) -> None:
    cpa = desk.write_cpa(hub_signer="customs")
    status, report, _ = desk.submit("--agreement", str(cpa))
    assert (status, report["receipt_verified"]) == (1, False)
    # A file beside it says whose receipts are right for the broker; the CPA does not allow them.
    shutil.copy(desk.keys / "hub.cert.pem", desk.folder)
    assert desk.submit("--agreement", str(cpa))[0] == 1


def test_payloads_are_encrypted_for_the_certificate_in_the_cpa(desk: Desk) -> None:
    certificate = signer_of(desk.keys, "hub").certificate
    identity = read_membership(desk.folder, "broker", desk.write_cpa()).identity
    find = identity.make_encryption_resources().find_certificate
    assert find("hub", certificate.sha256).sha256 == certificate.sha256
    for pin in (None, "0" * 64):
        with pytest.raises(GatewayError, match="does not hold this certificate"):
            find("hub", pin)


@pytest.mark.night
def test_what_the_cpa_lacks_is_told_with_its_remedy(desk: Desk) -> None:
    cpa = desk.write_cpa()
    status, _, err = desk.run("pull", "--folder", str(desk.folder / "in"), "--agreement", str(cpa))
    assert (status, "posts every message: receive them by gateway listen" in err) == (2, True)
    words = cpa.read_text(encoding="utf-8")
    cpa.write_text(
        words.replace(">Submit<", ">Store<").replace('"Submit"', '"Store"').replace("Applicant", "A")
    )
    status, _, err = desk.submit("--agreement", str(cpa))
    assert (status, desk.hub.units) == (2, [])
    assert "no P-Mode of the agreement lets an applicant send Submit; it lets parties send" in err
    assert "in a CPA: CanSend of the applicant and CanReceive of the hub" in err


@pytest.mark.night
def test_a_cpa_without_endpoints_needs_addresses(desk: Desk) -> None:
    cpa = desk.write_cpa(endpoint=None, reply_endpoint=None, sync_reply_mode="mshSignalsOnly")
    status, _, err = desk.submit("--agreement", str(cpa))
    assert (status, "the agreement has no endpoint of the hub: name it by --to" in err) == (2, True)
    assert desk.submit("--agreement", str(cpa), "--to", desk.hub.url)[0] == 0
    status, _, err = desk.run("listen", "--folder", str(desk.folder / "in"), "--agreement", str(cpa))
    assert (status, "the Endpoint of the transport of its delivery channel" in err) == (2, True)


@pytest.mark.night
@pytest.mark.parametrize("content", [b"<tp:CollaborationProtocolAgreement/>", b"<PMode/>", b"{}", b""])
def test_a_file_that_is_no_agreement_is_refused(desk: Desk, content: bytes) -> None:
    path = desk.folder / "agreed.xml"
    path.write_bytes(content)
    status, _, err = desk.submit("--agreement", str(path))
    assert (status != 0, "agreed.xml" in err) == (True, True), err
