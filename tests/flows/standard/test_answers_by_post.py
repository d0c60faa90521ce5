"""The suite against gateways that answer by POST, and stop to do so."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.client import HttpReply, IncomingRequest, PartnerServer
from gateway_conformance.hostile import HttpRequest, make_endpoint_target
from gateway_conformance.reports import RunReport
from gateway_conformance.standard import (
    CallbackListener,
    Opponent,
    StandardRunner,
    SuiteProfile,
    read_simulated_gateway,
    read_suite_party,
    select_requirements,
)
from gateway_conformance.standard.requirement_player import AnswerPatience
from gateway_conformance.standard.simulated_gateway import SimulatedGateway
from tests.flows.standard.partner_folders import make_partner_folder
from tests.kit.ports import find_free_port

#: Plays whose answer is posted: eleven that are acknowledged, ten that are refused by an ErrorList.
_REFUSED = ("HDR-06", "HDR-07", "HDR-10", "HDR-16", "HDR-19", *(f"SEC-0{number}" for number in range(1, 6)))
_POSTED = ("ACK-0", "ACK-10", "ACK-11", *_REFUSED)

_NEVER = "The gateway never answered by POST what it should refuse."


@dataclass
class PostingGateway:
    """The simulated gateway with its answers by POST; of refusals it posts the first `most`."""

    inner: SimulatedGateway
    callback: str
    most: int
    refusals: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: IncomingRequest) -> HttpReply:
        reply = self.inner(request)
        if not reply.body or (b"ErrorList" not in reply.body and b"Acknowledgment" not in reply.body):
            return reply
        with self._lock:
            self.refusals += b"ErrorList" in reply.body
            silent = b"ErrorList" in reply.body and self.refusals > self.most
        if not silent:
            headers = {"Content-Type": reply.content_type, "SOAPAction": '"ebXML"'}
            posted = HttpRequest("ebms2", headers, reply.body)
            threading.Thread(target=make_endpoint_target(self.callback).send, args=(posted,)).start()
        return HttpReply(204)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a partner folder with the key of the gateway in it."""
    return make_partner_folder(tmp_path_factory.mktemp("posting"))


def _judge_posting(place: Path, most: int, patience: float = 5.0) -> RunReport:
    port = find_free_port()
    inner = read_simulated_gateway(place, place / "gateway.key.pem", place / "gateway.cert.pem", "")
    server = PartnerServer(PostingGateway(inner, f"http://127.0.0.1:{port}/suite/async", most))
    server.start()
    party = read_suite_party(place, "async", "Store")
    target = make_endpoint_target(f"http://127.0.0.1:{server.port}/msh")
    listener = CallbackListener(party, target.send, f"127.0.0.1:{port}")
    listener.start()
    profile = SuiteProfile("posts", frozenset({"signed-messages", "signed-signals"}), {}, {}, patience)
    rows = [one for one in select_requirements(None) if one.id.startswith(_POSTED)]
    try:
        return StandardRunner(Opponent(party, target, listener, profile)).run_requirements(rows)
    finally:
        listener.close()
        server.close()


@pytest.mark.night
def test_a_gateway_that_no_longer_posts_refusals_is_told_of_once(place: Path) -> None:
    report = _judge_posting(place, 3)
    verdicts = {one.id: one.verdict for one in report.cases}
    assert verdicts == (
        dict.fromkeys(verdicts, "passed")
        | dict.fromkeys(_REFUSED[3:8], "failed")
        | dict.fromkeys(_REFUSED[8:], "not_yet")
    )
    (finding,) = report.findings
    assert "what it should refuse 3 times, the last time in HDR-10, and not from HDR-16 on" in finding
    assert report.to_json()["findings"] == [finding]
    assert report.format_summary().startswith(finding)


@pytest.mark.night
def test_a_gateway_that_never_posts_a_refusal_has_failed(place: Path) -> None:
    report = _judge_posting(place, 0)
    assert {one.verdict for one in report.cases if one.id in _REFUSED} == {"failed"}
    assert [one[:57] for one in report.findings] == [_NEVER]


@pytest.mark.night
def test_a_gateway_that_posts_every_answer_meets_all(place: Path) -> None:
    report = _judge_posting(place, 1000, patience=60.0)
    assert {one.verdict for one in report.cases} == {"passed"}
    assert report.findings == ()


def test_an_answer_ends_the_short_waits() -> None:
    patience = AnswerPatience(10.0)
    patience.count_wait("negative", "A-01", answered=True)
    told = [patience.count_wait("negative", f"A-{n:02}", answered=False) for n in range(2, 8)]
    assert told == [False] * 5 + [True]
    assert (patience.get_seconds("negative"), patience.get_seconds("positive")) == (0.5, 10.0)
    patience.count_wait("negative", "A-08", answered=True)
    assert patience.get_seconds("negative") == 10.0
