"""Certificates that cost too much, against a hub as it runs: refused in time, and nobody else is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import register_certificate
from gateway.errors import NO_ROOM, GatewayError
from gateway.hub import Hub, RejectingComposer, build_hub, find_readiness_problem, receive_parcel
from gateway.hub.trust.held_certificates import check_held_certificate
from gateway.hub.trust.message_senders import OpenedDocument, SubmissionTimes, admit_signer
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import CertificateUse, KeySigner, load_signer
from gateway.pki.certificate_examiner import TIME_LIMIT_TEXT, _ExaminerChild
from gateway.protocols import Parcel
from gateway.store import HttpResponse, make_engine, messages, read_transaction, verdicts, write_transaction
from gateway.web.agency_service import build_soap_security
from gateway.xmlsec import sign_document
from gateway_conformance.pki import issue_certificate
from tests.kit.gateway import RunningGateway
from tests.kit.house import EBMS2, START, Clock, Neighbour, authority, signer_named
from tests.kit.live import LiveHouse
from tests.kit.served import is_running, read_process_file
from tests.kit.waiting import until
from tests.pki.certificate_forgery import DAY, costly_pair

#: So many constraints that all names of one certificate are compared with for seconds.
_COSTLY = 400


@dataclass(frozen=True)
class Scene:
    """A home in which an authority that is believed has certified what takes seconds to judge."""

    live: LiveHouse
    broker: Neighbour
    costly: KeySigner
    anew: KeySigner

    def letter(self, signer: KeySigner | None = None) -> Parcel:
        context = self.broker.context()
        keys = {"broker1": signer or signer_named("broker1")}
        unit = self.broker.message()
        pmode = next(one for one in context.agreements.pmodes if one.action == unit.action)
        return EBMS2.seal((unit,), pmode, replace(context, signers=keys))

    def told(self, answer: HttpResponse) -> str:
        """Return "" for a receipt, else what the problem is and why."""
        unit = self.broker.open(answer).unit
        if isinstance(unit, Receipt):
            return ""
        assert isinstance(unit, ErrorSignal)
        return unit.errors[0].description


@pytest.fixture
def scene(tmp_path: Path, sqlite_url: str) -> Scene:
    live = LiveHouse(tmp_path, sqlite_url)
    forged, root = costly_pair(_COSTLY, START + 3000 * DAY)
    forged.key = ec.generate_private_key(ec.SECP256R1())
    key = forged.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    costly = load_signer(key, forged.der(root))
    anew = issue_certificate(authority(), "CN=broker1 anew", START - timedelta(hours=1)).signer
    anchors = live.home / "pki" / "ca.pem"
    anchors.write_bytes(anchors.read_bytes() + root.certificate.pem)
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as conn:
        for each in (costly, anew):
            register_certificate(conn, "broker1", each.certificate.der, live.now)
    engine.dispose()
    return Scene(live, Neighbour("broker1", Clock(live.now), live.agreement), costly, anew)


@pytest.fixture
def hub(scene: Scene) -> Iterator[Hub]:
    """A hub as serving processes build it."""
    hub = build_hub(read_home_settings(scene.live.home), RejectingComposer())
    yield hub
    hub.close()


def says(hub: Hub, scene: Scene, signer: KeySigner | None = None) -> str:
    return scene.told(receive_parcel(hub, EBMS2, scene.letter(signer)))


def child_of(hub: Hub) -> int | None:
    """Return the process that judges for the hub, None when there is none."""
    assert hub._examiner is not None
    process = hub._examiner._children[0]._process
    return process.pid if process is not None and process.poll() is None else None


def test_what_takes_too_long_is_refused_and_the_next_message_passes(hub: Hub, scene: Scene) -> None:
    assert says(hub, scene) == ""
    before = child_of(hub)
    assert before is not None
    refused = says(hub, scene, scene.costly)
    assert refused.startswith("GW205")
    assert TIME_LIMIT_TEXT in refused
    assert not is_running(before)
    # Who is known is not even judged; who is new has a process again.
    assert says(hub, scene) == ""
    assert says(hub, scene, scene.anew) == ""
    assert child_of(hub) not in (None, before)
    with read_transaction(hub.engine) as conn:
        kept = verdicts.list_verdicts(conn)
    assert {(one.status, one.problem) for one in kept} == {("valid", None), ("invalid", "GW205")}


def test_it_is_refused_again_without_another_try(
    hub: Hub, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert says(hub, scene, scene.costly).startswith("GW205")
    monkeypatch.setattr(_ExaminerChild, "request_validation", lambda *_: 1 / 0)
    assert says(hub, scene, scene.costly).startswith("GW205")


def test_certificates_of_strangers_are_not_worth_a_judgement(
    hub: Hub, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come, and whatever they cost: nobody who is registered waits for them."""
    stranger = issue_certificate(authority(), "CN=Stranger", START - timedelta(hours=1)).signer
    document = etree.fromstring("<Submission><a/></Submission>")
    now = hub.clock()
    sign_document(document, stranger, now=now)
    monkeypatch.setattr(hub.judge, "_examine", lambda *_: 1 / 0)
    assert says(hub, scene, stranger).startswith("GW209")
    with pytest.raises(GatewayError, match="GW209"):
        build_soap_security(hub).admit(stranger.certificate, now)
    with pytest.raises(GatewayError, match="GW205"):
        admit_signer(hub, OpenedDocument(document), hub.get_snapshot(), SubmissionTimes(now, now))


def test_of_many_who_bring_the_same_certificate_one_has_it_judged(
    hub: Hub, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert says(hub, scene) == ""
    asked, ask = [], _ExaminerChild.request_validation

    def counted(child: _ExaminerChild, store: Any, leaf: bytes, *words: Any) -> dict[str, Any]:
        asked.append(leaf)
        return ask(child, store, leaf, *words)

    monkeypatch.setattr(_ExaminerChild, "request_validation", counted)
    letters = [scene.letter(scene.costly) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: scene.told(receive_parcel(hub, EBMS2, one)), letters))
    assert {one[:5] for one in answers} == {"GW205"}
    # A refusal is judged once more before it is remembered.
    assert asked == [scene.costly.certificate.der] * 2


def test_a_hub_goes_on_when_what_judges_for_it_dies(hub: Hub, scene: Scene) -> None:
    assert says(hub, scene) == ""
    child = child_of(hub)
    assert child is not None
    os.kill(child, signal.SIGKILL)
    assert says(hub, scene) == ""
    assert says(hub, scene, scene.anew) == ""
    assert child_of(hub) not in (None, child)


def test_who_cannot_be_judged_now_is_told_of_our_shortage_and_believed_afterwards(
    hub: Hub, scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No partner may take a shortage of ours for a refusal: his software would give the message up."""
    assert says(hub, scene) == ""
    assert find_readiness_problem(hub) is None
    child = child_of(hub)
    assert child is not None
    os.kill(child, signal.SIGKILL)
    until(lambda: not is_running(child))
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    answers = [receive_parcel(hub, EBMS2, scene.letter(scene.anew)) for _ in range(3)]
    assert {answer.status for answer in answers} == {503}
    assert all(b"GW806" in answer.body for answer in answers)
    unready = find_readiness_problem(hub)
    assert unready is not None
    assert (unready.problem, unready.public_text) == (NO_ROOM, "certificates cannot be validated")
    assert says(hub, scene) == "", "who is known is not judged"
    assert caplog.text.count("/nowhere/python") == 1, "said once"
    monkeypatch.undo()
    until(lambda: find_readiness_problem(hub) is None)
    assert says(hub, scene, scene.anew) == ""
    assert caplog.text.count("certificates are judged again") == 1


def test_a_certificate_that_cannot_be_judged_is_refused_at_no_door(
    hub: Hub, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, now = scene.anew.certificate, hub.clock()
    document = etree.fromstring("<Submission><a/></Submission>")
    sign_document(document, scene.anew, now=now)
    stored, context = SubmissionTimes(now, now), hub.make_protocol_context(hub.refresh_snapshot())
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    for shown in (
        lambda: admit_signer(hub, OpenedDocument(document), hub.get_snapshot(), stored),
        lambda: build_soap_security(hub).admit(certificate, now),
        lambda: context.check_signing_certificate(certificate, "here"),
        lambda: check_held_certificate(hub, certificate.der, CertificateUse.SIGNING, "here"),
    ):
        with pytest.raises(GatewayError) as refused:
            shown()
        assert refused.value.problem is NO_ROOM


@pytest.mark.parametrize("name", ["run", "serve", "work", "console", "api"])
def test_nothing_starts_that_could_judge_nobody(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert main([name, "--home", str(scene.live.home)]) == 1
    told = capsys.readouterr().err
    assert "GW806 the process that judges certificates has ended or cannot be started" in told
    assert "Traceback" not in told


def test_nothing_is_left_of_a_hub_that_is_closed(scene: Scene) -> None:
    hub = build_hub(read_home_settings(scene.live.home), RejectingComposer())
    hub.start_examiner()
    child = child_of(hub)
    assert child is not None
    hub.close()
    assert not is_running(child)


def test_verbs_that_only_look_start_no_process(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ExaminerChild, "begin_process", lambda *_: 1 / 0)
    home = str(scene.live.home)
    assert main(["check", "--home", home]) == 0
    letter = scene.letter()
    file = scene.live.home / "letter.http"
    head = "".join(f"{name}: {value}\r\n" for name, value in letter.headers.items())
    file.write_bytes(head.encode() + b"\r\n" + letter.body.open_stream().read())
    assert main(["verify", str(file), "--home", home]) == 0
    engine = make_engine(scene.live.database_url)
    with read_transaction(engine) as conn:
        assert verdicts.list_verdicts(conn) == []
    engine.dispose()


@pytest.mark.long
def test_a_serving_process_judges_so_and_leaves_nobody_behind(scene: Scene) -> None:
    with RunningGateway(scene.live.home, "serve") as serving:
        answers = [
            serving.post(scene.live.url, scene.letter(one)) for one in (scene.costly, None, scene.anew)
        ]
        (child,) = judging(serving.process.pid)
        serving.end(kill=True)
    assert all(answers)
    told = [scene.told(answer) for answer in answers if answer is not None]
    assert [one[:5] for one in told] == ["GW205", "", ""]
    until(lambda: not is_running(child), problem=lambda: "it outlives its hub")


@pytest.mark.long
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_killed_while_a_verdict_is_kept_it_keeps_it_once_and_before_the_message(
    scene: Scene, side: str
) -> None:
    letter = scene.letter()
    with RunningGateway(scene.live.home, "serve", failpoint=f"verdicts.kept.{side}") as serving:
        assert serving.post(scene.live.url, letter) is None
        assert serving.ended_by() == signal.SIGKILL
    assert counted(scene) == (side == "after_commit", 0)
    with RunningGateway(scene.live.home, "serve") as serving:
        answer = serving.post(scene.live.url, letter)
    assert answer is not None
    assert scene.told(answer) == ""
    assert counted(scene) == (1, 1)


def counted(scene: Scene) -> tuple[int, int]:
    """Return how many verdicts and messages are stored."""
    engine = make_engine(scene.live.database_url)
    with read_transaction(engine) as conn:
        found = len(verdicts.list_verdicts(conn)), len(messages.list_messages(conn))
    engine.dispose()
    return found


def judging(serving: int) -> list[int]:
    """Return the processes below `serving` that judge certificates."""
    parents = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below = [pid for pid in parents if is_running(pid) and _stands_below(pid, serving, parents)]
    return [pid for pid in below if b"gateway.pki.examiner_process" in read_process_file(pid, "cmdline")]


def _stands_below(pid: int, above: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == above:
            return True
    return False
