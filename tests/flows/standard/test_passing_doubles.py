"""The requirements of intermediaries against gateways that pass messages on, rightly and wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.client import HttpReply, IncomingRequest, PartnerServer
from gateway_conformance.hostile import HttpRequest, make_endpoint_target
from gateway_conformance.standard import (
    CallbackListener,
    Opponent,
    StandardRunner,
    SuiteProfile,
    read_suite_party,
    select_requirements,
)
from tests.flows.standard.partner_folders import make_partner_folder
from tests.kit.ports import find_free_port

pytestmark = pytest.mark.night
_IDS = ("HOP-01", "HOP-02", "HOP-03", "HOP-04", "HOP-05", "HOP-06", "HOP-12", "HOP-13")


@dataclass
class PassingGateway:
    """Passes every message on, after `change` of its octets; it acknowledges nothing."""

    callback: str
    change: Callable[[bytes], bytes]

    def __call__(self, request: IncomingRequest) -> HttpReply:
        headers = {"Content-Type": request.headers["content-type"], "SOAPAction": '"ebXML"'}
        onward = HttpRequest("ebms2", headers, self.change(request.body))
        threading.Thread(target=self._pass_on, args=(onward,)).start()
        return HttpReply(204)

    def _pass_on(self, request: HttpRequest) -> None:
        make_endpoint_target(f"{self.callback}/suite/behind").send(request)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a partner folder of the suite."""
    return make_partner_folder(tmp_path_factory.mktemp("passing"))


def _find_failed(place: Path, change: Callable[[bytes], bytes], only: tuple[str, ...] = _IDS) -> set[str]:
    port = find_free_port()
    server = PartnerServer(PassingGateway(f"http://127.0.0.1:{port}", change))
    server.start()
    party = read_suite_party(place, "sync", "Store")
    target = make_endpoint_target(f"http://127.0.0.1:{server.port}/msh")
    listener = CallbackListener(party, target.send, f"127.0.0.1:{port}")
    listener.start()
    profile = SuiteProfile("passes on", frozenset({"intermediary", "signed-messages", "signed-signals"}), {})
    rows = [one for one in select_requirements(None) if one.id in only]
    try:
        report = StandardRunner(Opponent(party, target, listener, profile)).run_requirements(rows)
        return {one.id for one in report.cases if one.verdict != "passed"}
    finally:
        listener.close()
        server.close()


def test_a_gateway_that_passes_octets_on_is_right(place: Path) -> None:
    assert _find_failed(place, lambda body: body) == set()


def test_a_changed_header_is_found(place: Path) -> None:
    changed = _find_failed(place, lambda body: body.replace(b">Applicant<", b">Somebody<"))
    assert changed == {"HOP-02", "HOP-03", "HOP-05"}


def test_a_changed_payload_is_found(place: Path) -> None:
    spoilt = _find_failed(place, lambda body: body.replace("튤립".encode(), "장미꽃".encode()))
    assert spoilt == {"HOP-02", "HOP-04"}


def test_who_takes_what_must_not_go_on_is_found(place: Path) -> None:
    refused = tuple(f"HOP-{number}" for number in range(20, 25))
    assert _find_failed(place, lambda body: body, refused) == set(refused)
