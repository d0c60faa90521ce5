"""`gateway signature verify`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from gateway.cli import main
from gateway.cli import named_files as files
from gateway.wire import read_http_message, read_multipart_related, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance.message_signing import sign_message
from tests.protocols import sample_parties
from tests.xmlsec.sample_messages import ATTACHMENTS, document, message

KEYS = ["file", "verdict", "problem", "reason", "ground", "covered", "excluded", "signer", "certificate"]
AT = "2026-11-20T09:00:00+00:00"


def verify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = main(["signature", "verify", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert list(told) == KEYS
    assert "Traceback" not in printed.err
    assert status == (0 if told["verdict"] == "valid" else 1)
    return status, told


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    root = document()
    sign_document(root, sample_parties.issued("hub").signer, now=sample_parties.NOW)
    path = tmp_path / "signed.xml"
    path.write_bytes(serialize_element(root))
    return path


def test_a_signed_document(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = verify(capsys, signed)
    certificate = sample_parties.issued("hub").certificate
    assert (status, told["verdict"], told["problem"], told["reason"]) == (0, "valid", None, "")
    assert told["covered"][0] == "/"
    assert (told["signer"], told["certificate"]) == ("CN=hub", certificate.sha256)
    signed.write_bytes(signed.read_bytes().replace(b"R-1", b"R-2"))
    status, told = verify(capsys, signed)
    assert (status, told["verdict"], told["problem"], told["covered"]) == (1, "invalid", "GW202", [])
    assert told["signer"] == "CN=hub"


def test_trust_and_time(signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anchor, foreign = tmp_path / "ca.pem", tmp_path / "other.pem"
    anchor.write_bytes(sample_parties.authority().certificate.pem)
    foreign.write_bytes(sample_parties.issued("broker1").certificate.pem)
    assert verify(capsys, signed, "--trust", anchor, "--at", AT)[0] == 0
    for arguments, problem in (
        (("--trust", foreign, "--at", AT), "GW205"),
        (("--trust", anchor, "--at", "2020-01-01T00:00:00Z"), "GW206"),
    ):
        status, told = verify(capsys, signed, *arguments)
        assert (status, told["verdict"], told["problem"]) == (1, "invalid", problem)
    assert verify(capsys, signed, "--trust", foreign, "--trust", anchor, "--at", AT)[0] == 0


def test_parts_by_content_id_or_uri(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = message()
    sign_message(root, ATTACHMENTS, sample_parties.issued("hub").signer)
    path = tmp_path / "envelope.xml"
    path.write_bytes(serialize_element(root))
    files = {}
    for number, (name, content) in enumerate(ATTACHMENTS.items()):
        files[name] = tmp_path / f"part {number}=x"
        files[name].write_bytes(content)
    plain = [word for name, file in files.items() for word in ("--part", f"{name}={file}")]
    uris = [word.replace("certificate 1%@", "cid:certificate%201%25@") for word in plain]
    for words in (plain, uris):
        status, told = verify(capsys, path, *words)
        assert (status, told["verdict"]) == (0, "valid"), told
        assert told["covered"] == [
            "/",
            "cid:declaration@broker.example",
            "cid:certificate%201%25@broker.example",
        ]
        assert told["excluded"] == [
            "/soap:Envelope/soap:Header/eb:SyncReply",
            "/soap:Envelope/soap:Header/eb:AckRequested",
        ]
    status, told = verify(capsys, path, *plain[:2])
    assert (status, told["verdict"], told["problem"]) == (1, "invalid", "GW108")


@pytest.mark.parametrize(
    ("content", "verdict", "problem"),
    [
        (b"<a/>", "invalid", "GW201"),
        (b"<!DOCTYPE a><a/>", "refused by policy", "GW104"),
        (b"\xff\xfe\x00", "refused by policy", "GW104"),
        (b"", "refused by policy", "GW104"),
    ],
)
def test_what_is_not_signed_or_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, verdict: str, problem: str
) -> None:
    path = tmp_path / "x.xml"
    path.write_bytes(content)
    status, told = verify(capsys, path)
    assert (status, told["verdict"], told["problem"]) == (1, verdict, problem)


def test_for_a_person(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signature", "verify", str(signed)]) == 0
    printed = capsys.readouterr().out
    assert "verdict      valid" in printed
    assert "problem" not in printed


@pytest.mark.parametrize(
    "words",
    [
        ["absent.xml"],
        ["{signed}", "--policy", "anything"],
        ["{signed}", "--part", "nothing"],
        ["{signed}", "--part", "a=absent"],
        ["{signed}", "--part", "a={signed}", "--part", "a={signed}"],
        ["{signed}", "--part", "a={signed}", "--part", "cid:a={signed}"],
        ["{signed}", "--trust", "absent.pem"],
        ["{signed}", "--at", "yesterday"],
        ["{signed}", "--at", "2026-11-20T09:00:00"],
        [],
    ],
)
def test_misuse(signed: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["signature", "verify", *(word.format(signed=signed) for word in words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_a_file_without_certificate_is_no_anchor(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signature", "verify", str(signed), "--trust", str(signed)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, "Traceback" in printed.err) == ("", False)


def test_a_file_without_end_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "_LONGEST_FILE", 100_000)
    assert main(["signature", "verify", "/dev/zero"]) == 2
    assert "more than 100,000 octets" in capsys.readouterr().err


# --- messages of others --------------------------------------------------------------------------


def unpacked(path: Path, place: Path) -> list[str]:
    """Write root and parts of a stored message to files; return the words that name them."""
    held = read_http_message(path.read_bytes())
    related = read_multipart_related(held.headers["content-type"], held.body)
    (place / "root.xml").write_bytes(related.root.content)
    words = [str(place / "root.xml")]
    for number, part in enumerate(related.attachments):
        (place / f"{number}").write_bytes(part.content)
        words += ["--part", f"{unquote(part.content_id)}={place / str(number)}"]
    return words


@pytest.mark.vectors
@pytest.mark.parametrize("policy", ["strict", "legacy-norway"])
def test_live_messages_of_ebms_core(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    live = vectors / "outside/ebms2/ebms-core-live"
    for name in ("message-signed", "message-signed-two-payloads", "message-signed-sync"):
        words = unpacked(live / f"{name}.http", tmp_path)
        trust = ("--trust", live / "ca.pem", "--at", AT, "--policy", policy)
        status, told = verify(capsys, *words, *trust)
        assert (status, told["signer"]) == (0, "CN=party-a"), told
        assert len(told["covered"]) == len(words) // 2 + 1


@pytest.mark.vectors
def test_norwegian_messages_verify_under_their_policy_and_only_under_it(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other message there has a value that fits neither its certificate nor the key beside it."""
    words = unpacked(vectors / "outside/ebms2/messages/navikt-riktigsignature.txt", tmp_path)
    status, told = verify(capsys, *words, "--policy", "legacy-norway")
    assert (status, told["verdict"]) == (0, "valid"), told
    assert told["covered"] == ["/", "cid:attachmentId-58464a35-c22c-43fd-8427-51d6d1b64c65"]
    assert "CN=Boots apotek Bj" in told["signer"]
    for arguments in ((), ("--policy", "strict")):
        status, told = verify(capsys, *words, *arguments)
        assert (status, told["verdict"], told["ground"]) == (1, "refused by policy", "algorithm")
    root = tmp_path / "root.xml"
    root.write_bytes(root.read_bytes().replace(b"4ea8b846", b"4ea8b847", 1))
    assert verify(capsys, *words, "--policy", "legacy-norway")[1]["problem"] == "GW202"
    words = unpacked(vectors / "outside/ebms2/messages/navikt-tekkopplysning.txt", tmp_path)
    status, told = verify(capsys, *words, "--policy", "legacy-norway")
    assert (status, told["problem"], told["reason"].split(",")[0]) == (
        1,
        "GW202",
        "the signature value is wrong",
    )
