"""The verb ``gateway verify``: options, exit status, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.commands import verify as verify_module
from gateway.protocols import Parcel, ebms2
from tests.evidence.second_verifier import compute_identity, split_message
from tests.protocols import as4_samples, sample_parties

AT = ("--at", "2026-11-20T09:00:00Z")
KEYS = {"accepted", "message_id", "kind", "problem", "location", "ebms", "http", "signed", "signer"}


def stored(parcel: Parcel) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in parcel.headers.items())
    return head.encode() + b"\r\n" + sample_parties.octets(parcel)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    context = sample_parties.context()
    sealed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, context)
    (tmp_path / "good").write_bytes(stored(sealed))
    (tmp_path / "bad").write_bytes(stored(sample_parties.replaced(sealed, "가".encode(), "나".encode())))
    (tmp_path / "ca.pem").write_bytes(sample_parties.authority().certificate.pem)
    return tmp_path


def verify(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_module, "read_home_context", lambda _home: sample_parties.context())
        return main(["verify", *map(str, words)])


def test_a_good_message(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(files / "good", "--policy", "strict", "--trust", files / "ca.pem", *AT, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert set(verdict) >= KEYS
    assert verdict["file"] == str(files / "good")
    assert (verdict["accepted"], verdict["kind"], verdict["http"]) == (True, "UserMessage", 200)
    assert verdict["message_id"] == "m-1@broker.example"
    assert verdict["signed"] == ["", "cid:p1@broker.example", "cid:p2@broker.example"]
    assert verdict["signer"] == "CN=broker1"
    # What a leaf of evidence has as its digest: it does not depend on the framing of MIME.
    envelope, parts = split_message((files / "good").read_bytes().partition(b"\r\n\r\n")[2])
    assert verdict["identity"] == compute_identity(envelope, parts)
    assert verdict["problem"] is verdict["ebms"] is verdict["location"] is None


def test_a_bad_one(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(files / "bad", "--trust", files / "ca.pem", *AT, "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert set(verdict) >= KEYS
    assert (verdict["accepted"], verdict["problem"], verdict["http"]) == (False, "GW202", 200)
    assert verdict["ebms"] == {"code": "SecurityFailure", "severity": "Error"}
    assert (verdict["message_id"], verdict["kind"]) == ("m-1@broker.example", "UserMessage")
    assert verdict["signed"] == []


def test_words_for_people(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(files / "bad", "--trust", files / "ca.pem", *AT) == 1
    told = capsys.readouterr().out
    assert "problem      GW202" in told
    assert "accepted     no\n" in told
    assert "ebms         SecurityFailure (Error)\n" in told
    assert "http         200\n" in told


def test_a_message_without_a_header_is_answered_with_the_status_of_its_fault(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "none").write_bytes(b"Content-Type: text/xml\r\n\r\n<no/>")
    assert verify(files / "none", "--trust", files / "ca.pem", *AT, "--json") == 1
    assert json.loads(capsys.readouterr().out)["http"] >= 400


def test_a_home_brings_its_agreements(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(files / "good", "--home", files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["accepted"]
    sealed = ebms2.seal(
        (sample_parties.message(action="Other"),), sample_parties.SUBMIT, sample_parties.context()
    )
    (files / "other").write_bytes(stored(sealed))
    assert verify(files / "other", "--home", files, "--json") == 1
    assert json.loads(capsys.readouterr().out)["problem"] == "GW303"
    assert verify(files / "other", "--trust", files / "ca.pem", *AT, "--json") == 0


@pytest.mark.parametrize("line", ["nowhere", "good --trust nowhere", "good --trust good"])
def test_misuse_is_no_verdict(line: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(*[files / word if not word.startswith("--") else word for word in line.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("gateway: GW808 ")


ODD = (b"", b"\r\n", b"\r\n\r\n", b"a: b\r\n\r\nc", b"\x00" * 100, b"Content-Type: text/xml\n\n<a/>")


@pytest.mark.parametrize("data", ODD)
def test_what_is_odd_is_judged_too(data: bytes, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "odd").write_bytes(data)
    assert verify(files / "odd", "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["problem"].startswith("GW1")
    assert verdict["kind"] is None


@pytest.fixture(scope="module")
def as4_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("as4")
    (folder / "good").write_bytes(stored(as4_samples.seal()))
    (folder / "error").write_bytes(stored(as4_samples.seal(as4_samples.ERROR)))
    (folder / "bad").write_bytes(
        stored(sample_parties.replaced(as4_samples.seal(), "가".encode(), "나".encode()))
    )
    (folder / "ca.pem").write_bytes(sample_parties.authority().certificate.pem)
    (folder / "signer.pem").write_bytes(sample_parties.issued("broker1").certificate.pem)
    return folder


def test_a_message_of_as4(as4_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--protocol", "as4", "--trust", as4_files / "ca.pem", *AT, "--json")
    assert verify(as4_files / "good", *words, "--signer", as4_files / "signer.pem") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert set(verdict) >= KEYS
    assert (verdict["kind"], verdict["signer"], verdict["mpc"]) == (
        "UserMessage", "CN=broker1", "urn:example:mpc",
    )  # fmt: skip
    assert verdict["properties"][1] == {"name": "finalRecipient", "value": "C4", "type": "urn:t"}
    assert [one.partition(":")[0] for one in verdict["signed"][2:]] == ["cid"] * 3
    assert verify(as4_files / "error", *words) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "ErrorSignal"


def test_a_bad_message_of_as4_is_told_with_its_error(
    as4_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--protocol", "as4", "--trust", as4_files / "ca.pem", *AT, "--json")
    assert verify(as4_files / "bad", *words) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ebms"] == {"code": "EBMS:0101", "severity": "failure"}
    assert (verdict["kind"], verdict["http"], verdict["problem"]) == ("UserMessage", 200, "GW202")
    for data in ODD:
        (as4_files / "odd").write_bytes(data)
        assert verify(as4_files / "odd", *words) == 1
        assert json.loads(capsys.readouterr().out)["problem"].startswith("GW1")
    # The agreement of that home is one of ebMS 2.0.
    assert verify(as4_files / "good", "--home", as4_files, "--protocol", "as4", "--json") == 1
    assert json.loads(capsys.readouterr().out)["problem"] == "GW303"
