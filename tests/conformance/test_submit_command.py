"""``gateway submit`` sends as a broker does, and believes nothing that it cannot verify."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import CaseOutcome, ReportedProblem
from gateway.cli import main
from gateway.client import BrokerClient, SendingState
from gateway.client.http_transport import NotConnectedError
from gateway.client.message_handler import read_signal_error
from gateway.client.sending_outcome import NotTakenError, conclude_sending
from gateway.errors import UNREACHABLE, GatewayError
from gateway.message_model import ErrorEntry
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document
from tests.conformance.hub_messages import PAGES, ReceivingHub
from tests.conformance.simulated_hubs import LABEL, SAMPLE, clock, signer_of
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import until

SAMPLE_FILE = ROOT / "conformance/samples/import-three-items.xml"
LABEL_FILE = ROOT / "conformance/samples/korean-label.pdf"


@dataclass
class Desk:
    """A broker's folder, the hub it sends to, and the verb."""

    hub: ReceivingHub
    folder: Path
    port: int
    capsys: pytest.CaptureFixture[str]

    def submit(self, *words: str, file: Path = SAMPLE_FILE) -> tuple[int, dict[str, Any], str]:
        """Run the verb; return status, its report and the sentences in it, or the problem alone."""
        fixed = ("--partner", str(self.folder), "--retry-interval", "0.05", "--json")
        status = main(["submit", str(file), "--as", "broker", "--to", self.hub.url, *fixed, *words])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        if not captured.out:
            return status, {}, captured.err
        # One object is all that is printed.
        assert captured.err == ""
        told = json.loads(captured.out)
        return status, told, "\n".join([*told["progress"], told.get("problem", "")])

    def afterwards(self, *contents: Callable[[], tuple[str, bytes]]) -> threading.Thread:
        """Let the hub send documents once the submission has come."""

        def send() -> None:
            until(lambda: bool(self.hub.units))
            time.sleep(0.1)
            side = self.hub.side
            assert side is not None
            for make in contents:
                action, content = make()
                unit = side.message(action, content, self.hub.units[0].message_id)
                self.hub.post(f"http://127.0.0.1:{self.port}/msh/ebms2", side.seal(unit))

        thread = threading.Thread(target=send)
        thread.start()
        return thread


@pytest.fixture
def desk(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hub = ReceivingHub(keys)
    port = find_free_port()
    folder = tmp_path / "broker"
    folder.mkdir()
    for name in ("broker.key.pem", "broker.cert.pem", "ca.pem", "crl.pem", "hub.cert.pem"):
        shutil.copy(keys / name, folder / name)
    (folder / "agreement.yaml").write_bytes(hub.agree(port))
    yield Desk(hub, folder, port, capsys)
    hub.close()


def test_a_submission_is_signed_sent_and_receipted(desk: Desk, keys: Path) -> None:
    status, told, _ = desk.submit("--wait", "0", "--attach", f"korean-label@sample={LABEL_FILE}")
    assert (status, told["receipt_verified"], told["result"]) == (0, True, None)
    (unit,) = desk.hub.units
    assert unit.message_id == told["message_id"]
    assert unit.action == "Submit"
    assert [(one.media_type, one.content_id) for one in unit.payloads[1:]] == [
        ("application/pdf", "korean-label@sample")
    ]
    assert unit.payloads[1].content == LABEL
    signed = verify_document(parse_xml(unit.payloads[0].content))
    assert signed.certificate.sha256 == signer_of(keys, "broker").certificate.sha256


@pytest.mark.night
@pytest.mark.parametrize("order", [("customs", "hub"), ("hub", "customs")], ids=["now", "next"])
def test_a_receipt_by_either_of_two_certificates_of_the_hub_is_believed(
    desk: Desk, keys: Path, tmp_path: Path, order: tuple[str, str]
) -> None:
    both = tmp_path / "hub.pem"
    both.write_bytes(b"".join((keys / f"{name}.cert.pem").read_bytes() for name in order))
    status, told, _ = desk.submit("--wait", "0", "--hub-certificate", str(both))
    assert (status, told["receipt_verified"]) == (0, True)


@pytest.mark.night
def test_a_submission_that_is_signed_is_sent_as_it_is(desk: Desk, tmp_path: Path) -> None:
    desk.submit("--wait", "0")
    signed = tmp_path / "signed.xml"
    signed.write_bytes(desk.hub.units[0].payloads[0].content)
    status, _, _ = desk.submit("--wait", "0", file=signed)
    assert status == 0
    assert desk.hub.units[1].payloads[0].content == signed.read_bytes()


def test_a_supplement_goes_by_its_own_action(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "supplement.xml"
    path.write_bytes(SAMPLE.replace(b"<Function>9<", b"<Function>35<"))
    assert desk.submit("--wait", "0", file=path)[0] == 0
    assert desk.hub.units[0].action == "Supplement"


@pytest.mark.night
@pytest.mark.parametrize("failures", [["silent"], ["busy"], ["gone"], ["silent", "busy", "silent"]])
def test_the_same_octets_are_sent_again_until_there_is_an_answer(desk: Desk, failures: list[str]) -> None:
    desk.hub.script = list(failures)
    status, told, words = desk.submit("--wait", "0")
    assert (status, told["receipt_verified"]) == (0, True)
    assert len(desk.hub.got) == len(failures) + 1
    assert len(set(desk.hub.got)) == 1
    assert "sent again" in words


def test_attempts_end(desk: Desk) -> None:
    desk.hub.script = ["silent"] * 9
    status, told, words = desk.submit("--wait", "0", "--retries", "2")
    assert (status, told["receipt_verified"], len(desk.hub.got)) == (1, False, 3)
    assert "GW601" in words


@pytest.mark.parametrize(("word", "problem"), [("wrong", "GW309"), ("other-signer", "GW")])
def test_a_receipt_that_is_not_good_is_no_receipt(desk: Desk, word: str, problem: str) -> None:
    desk.hub.script = [word]
    status, told, words = desk.submit("--wait", "0")
    assert (status, told["receipt_verified"]) == (1, False)
    assert problem in words
    assert len(desk.hub.got) == 1


@pytest.mark.night
def test_an_answer_without_receipt_and_nobody_listening(desk: Desk) -> None:
    desk.hub.script = ["empty"] * 9
    status, told, words = desk.submit("--wait", "0", "--retries", "1")
    assert (status, told["receipt_verified"]) == (1, False)
    assert "GW308" in words


@pytest.mark.night
def test_a_receipt_may_come_by_a_post_of_its_own(desk: Desk) -> None:
    (desk.folder / "agreement.yaml").write_bytes(desk.hub.agree(desk.port, sync=False))
    desk.hub.script = ["post"]
    status, told, words = desk.submit("--wait", "0.5")
    assert told["receipt_verified"] is True
    assert (status, told["result"]) == (1, None)
    assert "no result within" in words


@pytest.mark.night
def test_a_wrong_receipt_by_a_post_of_its_own_is_none(desk: Desk) -> None:
    (desk.folder / "agreement.yaml").write_bytes(desk.hub.agree(desk.port, sync=False))
    desk.hub.script = ["wrong, by post"]
    status, told, words = desk.submit("--wait", "5")
    assert (status, told["receipt_verified"]) == (1, False)
    assert "GW309" in words


@pytest.mark.night
def test_the_receipt_is_told_before_the_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def wait(*_: object) -> None:
        told.append(desk.capsys.readouterr().out)

    monkeypatch.setattr(BrokerClient, "wait_for_result", wait)
    words = ("--partner", str(desk.folder), "--to", desk.hub.url, "--wait", "1")
    assert main(["submit", str(SAMPLE_FILE), "--as", "broker", *words]) == 1
    assert told[0].splitlines()[1] == "receipt: verified"
    desk.capsys.readouterr()


@pytest.mark.night
@pytest.mark.parametrize(
    ("word", "state", "repeatable", "sentence"),
    [
        ("silent", "unanswered", True, "it is not known whether the hub has stored the message"),
        ("busy", "not taken", True, "not taken: the hub has stored nothing"),
        *((page, "unanswered", True, "it is not known whether the hub has stored") for page in PAGES),
        ("fault", "refused", False, "the same octets would be refused again"),
        ("wrong", "unproven", True, "no proof that the hub has stored"),
        ("empty", "unanswered", True, "it is not known whether the hub has stored the message"),
    ],
)
def test_what_became_of_a_message_without_receipt(
    desk: Desk, word: str, state: str, repeatable: bool, sentence: str
) -> None:
    desk.hub.script = [word]
    status, told, words = desk.submit("--wait", "0", "--retries", "0")
    assert (status, told["sent"], "kept" in told) == (1, state, repeatable)
    assert sentence in f"{words} {told['advice']}"
    assert ("to send the same octets again" in told["advice"][0]) is repeatable


@pytest.mark.night
@pytest.mark.parametrize("page", PAGES)
def test_after_a_page_of_a_proxy_the_same_octets_are_sent_again(desk: Desk, page: str) -> None:
    desk.hub.script = [page]
    status, told, _ = desk.submit("--wait", "0", "--retries", "1")
    assert (status, told["receipt_verified"], len(desk.hub.got)) == (0, True, 2)
    assert desk.hub.got[0] == desk.hub.got[1]
    assert f"HTTP status {PAGES[page].status} without a message" in told["progress"][0]


def test_a_message_that_never_left_is_not_called_sent(desk: Desk) -> None:
    nowhere = f"http://127.0.0.1:{find_free_port()}/msh/ebms2"
    status, told, words = desk.submit("--wait", "0", "--retries", "1", "--to", nowhere)
    assert (status, told["sent"], told["receipt_verified"]) == (1, "not sent", False)
    assert "not sent: no connection to the hub: GW601 Connection refused" in words
    assert "sent again" not in words
    assert "nothing has left this machine" in told["advice"][0]


def test_an_answer_that_is_missing_outlives_a_refused_connection() -> None:
    silent, away = GatewayError(UNREACHABLE, "closed"), NotConnectedError(UNREACHABLE, "refused")
    assert conclude_sending([away]).state is SendingState.NOT_SENT
    assert conclude_sending([silent, away]).state is SendingState.UNANSWERED
    assert conclude_sending([NotTakenError(UNREACHABLE, "503"), away]).state is SendingState.NOT_TAKEN


@pytest.mark.night
@pytest.mark.parametrize("is_receipted", [False, True], ids=["no receipt", "receipted"])
def test_octets_that_may_have_to_be_sent_again_outlive_an_interruption(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_receipted: bool
) -> None:
    """Ctrl-C while the answer is awaited: the hub may have the message, and a new one would be another."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    if is_receipted:
        monkeypatch.setattr(BrokerClient, "wait_for_result", interrupt)
    else:
        monkeypatch.setattr(BrokerClient, "send_submission", interrupt)
    status = main(
        ["submit", str(SAMPLE_FILE), "--as", "broker", "--to", desk.hub.url, "--partner", str(desk.folder)]
    )
    captured = desk.capsys.readouterr()
    kept = list(tmp_path.glob("gateway-submit-*/sent/*.http"))
    assert status != 0
    assert len(kept) == (0 if is_receipted else 1)
    assert ("what has come is in" in captured.err) is not is_receipted


def test_kept_octets_are_sent_again_unchanged(desk: Desk) -> None:
    desk.hub.script = ["silent"]
    _, told, _ = desk.submit("--wait", "0", "--retries", "0", "--attach", f"korean-label@sample={LABEL_FILE}")
    again = shlex.split(told["advice"][1].removeprefix("to repeat: gateway "))
    assert main([*again, "--wait", "0"]) == 0
    assert "receipt: verified" in desk.capsys.readouterr().out
    assert desk.hub.got[0] == desk.hub.got[1]
    assert desk.hub.units[-1].message_id == told["message_id"]


def test_the_printed_commands_name_the_files_for_tls(desk: Desk) -> None:
    certificate, key, ca = (
        str(desk.folder / name) for name in ("broker.cert.pem", "broker.key.pem", "ca.pem")
    )
    options = ["--ca", ca, "--client-certificate", certificate, "--client-key", key]
    desk.hub.script = ["silent"]
    for wait in ("0", "0.1"):
        _, report, _ = desk.submit("--wait", wait, "--retries", "0", *options)
        words = shlex.split(report["advice"][-1])
        assert words[:3] == (["to", "repeat:", "gateway"] if wait == "0" else ["to", "go", "on"])
        assert [words[words.index(option) + 1] for option in options[::2]] == options[1::2]


@pytest.mark.night
def test_a_time_out_tells_case_state_and_open_question(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = desk.hub.side
    assert side is not None

    def wait_for_notice(client: BrokerClient, *_: object) -> None:
        until(lambda: bool(client.handler.list_rows()))

    monkeypatch.setattr(BrokerClient, "wait_for_result", wait_for_notice)
    sender = desk.afterwards(lambda: ("Notice", side.notice()))
    words = ("--partner", str(desk.folder), "--to", desk.hub.url, "--folder", str(tmp_path / "kept"))
    assert main(["submit", str(SAMPLE_FILE), "--as", "broker", *words, "--wait", "2"]) == 1
    sender.join()
    captured = desk.capsys.readouterr()
    deadline = clock().isoformat()[:10]
    assert "case SW1: IN_PROGRESS" in captured.out
    assert f"KFDA asks about application A2, answer until {deadline}" in captured.out
    assert "\n    APP[2]\n" in captured.out
    assert "Function 35" in captured.out
    assert "to go on waiting: gateway listen --as broker --partner" in captured.err


@pytest.mark.night
def test_a_time_out_without_a_notice_says_so(desk: Desk) -> None:
    status, told, _ = desk.submit("--wait", "0.2")
    assert (status, told["sent"], told["case_number"], told["state"], told["questions"]) == (
        1, "sent", None, None, [],
    )  # fmt: skip


@pytest.mark.night
def test_the_result_is_waited_for_and_verified(desk: Desk) -> None:
    side = desk.hub.side
    assert side is not None
    sender = desk.afterwards(lambda: ("Notice", side.notice()), lambda: ("Result", side.result()))
    status, told, words = desk.submit("--wait", "10")
    sender.join()
    assert (status, told["receipt_verified"]) == (0, True)
    result = told["result"]
    assert (result["verified"], result["outcome"], result["case_number"]) == (True, "APPROVED", "SW1")
    assert "INFORMATION_REQUIRED" in words
    assert [status for status, _ in desk.hub.back] == [200, 200]


@pytest.mark.night
def test_what_was_received_is_kept_when_asked(desk: Desk, tmp_path: Path) -> None:
    side = desk.hub.side
    assert side is not None
    sender = desk.afterwards(lambda: ("Result", side.result()))
    status, _, _ = desk.submit("--wait", "10", "--folder", str(tmp_path / "kept"))
    sender.join()
    assert status == 0
    assert [path.name for path in (tmp_path / "kept").glob("*.xml")] == ["0001-Result.xml"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": None}, "not verified"),
        ({"by": "stranger"}, "not verified"),
        ({"spoil": lambda data: data.replace(b"APPROVED</Out", b"REJECTED</Out")}, "not verified"),
        ({"outcome": CaseOutcome.REFUSED, "problems": (ReportedProblem("GW503", "no net mass"),)}, "refused"),
    ],
)
def test_a_result_that_is_not_good_ends_with_status_1(
    desk: Desk, changes: dict[str, Any], words: str
) -> None:
    side = desk.hub.side
    assert side is not None
    sender = desk.afterwards(lambda: ("Result", side.result(**changes)))
    status, told, said = desk.submit("--wait", "10")
    sender.join()
    assert status == 1
    assert words in said
    assert told["result"]["verified"] is ("problems" in changes)


@pytest.mark.night
def test_a_result_about_another_reference_is_not_ours(desk: Desk) -> None:
    side = desk.hub.side
    assert side is not None

    def send() -> None:
        until(lambda: bool(desk.hub.units))
        unit = side.message("Result", side.result(reference="ANOTHER"), "another@message")
        desk.hub.post(f"http://127.0.0.1:{desk.port}/msh/ebms2", side.seal(unit))

    thread = threading.Thread(target=send)
    thread.start()
    status, told, _ = desk.submit("--wait", "3")
    thread.join()
    assert (status, told["result"]) == (1, None)


def test_an_endpoint_that_is_taken_is_said_plainly(desk: Desk) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", desk.port))
        other.listen()
        status, told, words = desk.submit("--wait", "5")
    assert (status, told["receipt_verified"]) == (1, False)
    assert f"cannot listen on 127.0.0.1:{desk.port}" in words
    assert desk.hub.got == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("submit",), 2),
        (("submit", "nowhere.xml", "--as", "broker", "--to", "http://127.0.0.1:1/"), 2),
        (("submit", str(SAMPLE_FILE), "--as", "broker", "--to", "http://127.0.0.1:1/", "--wait", "soon"), 2),
    ],
)
def test_misuse(words: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(words)) == status
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--attach", "nothing"), 2, "cid=FILE"),
        (("--attach", "a=/nowhere/at/all"), 2, "cannot be read"),
        (("--agreement", "/nowhere.yaml"), 2, "cannot be read"),
    ],
)
def test_misuse_with_a_good_folder(desk: Desk, words: tuple[str, ...], status: int, said: str) -> None:
    found, _, err = desk.submit(*words)
    assert (found, said in err) == (status, True)


@pytest.mark.night
@pytest.mark.parametrize(
    "content", [b"", b"no xml", b"<Submission/>", SAMPLE.replace(b"<Function>9<", b"<Function>7<")]
)
def test_a_file_that_is_no_submission(desk: Desk, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.xml"
    path.write_bytes(content)
    status, _, words = desk.submit("--wait", "0", file=path)
    assert status == 1
    assert "GW" in words
    assert desk.hub.got == []


def test_an_error_of_the_hub_is_one_sentence_with_one_id() -> None:
    said = ErrorEntry("SecurityFailure", "Error", "", "GW202 the digest of reference 'cid:a' is wrong")
    signal: Any = SimpleNamespace(errors=(said,))
    told = "GW602 the other side says SecurityFailure: the digest of reference 'cid:a' is wrong"
    assert str(read_signal_error(signal)) == told
