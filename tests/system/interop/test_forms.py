"""The forms of signed request that the peer's probe makes, tried on our service; differences are argued."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gateway.wire import SERVICE_AGENCY
from tests.kit.paths import ROOT
from tests.system.interop.conftest import Hub
from tests.system.interop.peer import Peer

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

ACTION = f"{SERVICE_AGENCY}:Acknowledge"
BODY = (
    f'<Acknowledge xmlns="{SERVICE_AGENCY}"><ApplicationNumber>A-1</ApplicationNumber>'
    "<ReceiptNumber>R-1</ReceiptNumber></Acknowledge>"
)
# Forms on which our verdict is not CXF's, with the problem that we name; the manual says why.
DIFFERENCES = {
    "KeyIdentifier ThumbprintSHA1, BST beside it": "GW202",
    "Id instead of wsu:Id": "GW202",
    "addressing of 2004/08, signed": "GW107",
    "To names another address": "GW304",
    "Content-Type application/xml": "GW101",
}


def load_probe(file: Path, url: str, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the probe with our operation in place of the sample's."""
    keys = peer.keys.folder
    monkeypatch.setattr(
        sys, "argv", ["probe", url, f"{keys}/agency-rsa.key.pem", f"{keys}/agency-rsa.cert.pem"]
    )
    spec = importlib.util.spec_from_file_location("peer_probe", file)
    assert spec is not None
    assert spec.loader is not None
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)
    sample = probe.ACTION
    probe.BODY, probe.ACTION = BODY, ACTION
    for _, options, _ in probe.FORMS:
        if options.get("soap_action") == sample:
            options["soap_action"] = ACTION
    return probe


@pytest.mark.night
def test_our_verdict_is_that_of_cxf_but_for_the_forms_that_are_argued(
    peer: Peer, hub: Hub, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = load_probe(vectors / "peers" / "cxf-agency" / "sample" / "probe.py", hub.url, peer, monkeypatch)
    found, known = {}, set()
    for name, options, taken_by_cxf in probe.FORMS:
        known.add(name)
        taken, status, fault = probe.send(options)
        assert taken == (status == 200)
        assert taken or re.search(r"GW\d{3}", fault), f"{name}: {status} {fault}"
        if taken != taken_by_cxf:
            match = re.search(r"GW\d{3}", fault)
            found[name] = match[0] if match else "taken"
    assert len(known) >= 56
    assert found == DIFFERENCES


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_argued_in_the_manual(name: str) -> None:
    page = (ROOT / "gateway" / "manual" / "interop-cxf.md").read_text("utf-8")
    [row] = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    assert DIFFERENCES[name] in row
