"""``gateway message split`` and ``join``: files in, files and JSON out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.message_model import Payload
from gateway.wire import read_http_message
from tests.protocols import as4_samples, sample_parties
from tests.protocols.test_verify_command import stored

AT = ("--at", "2026-11-20T09:00:00Z")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a message, a key, its certificate, an anchor, and the fragments of the message."""
    folder = tmp_path_factory.mktemp("split")
    (folder / "large.http").write_bytes(stored(as4_samples.seal()))
    issued = sample_parties.issued("broker1")
    (folder / "key.pem").write_bytes(issued.key_pem)
    (folder / "cert.pem").write_bytes(issued.certificate.pem)
    (folder / "ca.pem").write_bytes(sample_parties.authority().certificate.pem)
    assert split(folder, "plain", "--routing-property", "finalRecipient") == 0
    return folder


def split(place: Path, out: str, *words: object) -> int:
    key = ("--key", place / "key.pem", "--certificate", place / "cert.pem")
    return main(
        list(
            map(
                str,
                ("message", "split", place / "large.http", "--size", 900, "--out", place / out, *key, *words),
            )
        )
    )


def join(place: Path, files: list[Path], *words: object) -> int:
    trust = ("--trust", place / "ca.pem", *AT, "--out", place / "joined.http")
    return main(list(map(str, ("message", "join", *files, *trust, *words))))


def read_report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.night
def test_the_joined_file_has_the_octets_and_the_signature_of_the_source(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "joined.http").unlink(missing_ok=True)
    assert split(place, "packed", "--compress", "--json") == 0
    told = read_report(capsys)
    assert (told["verb"], told["group"]) == ("message split", "m-1@broker.example")
    assert told["compressed"] is True
    files = [Path(one["file"]) for one in told["fragments"]]
    assert sorted((place / "packed").iterdir()) == files
    assert len({one["message_id"] for one in told["fragments"]}) == len(files) > 1
    assert join(place, [*reversed(files), files[0]], "--json") == 0
    report = read_report(capsys)
    assert (report["accepted"], report["fragments"], report["repeats"]) == (True, len(files), 1)
    assert (report["message_id"], report["signer"]) == ("m-1@broker.example", "CN=broker1")
    source, joined = (
        read_http_message((place / name).read_bytes()) for name in ("large.http", "joined.http")
    )
    assert joined.body == source.body
    assert report["octets"] == told["octets"] == len(source.body)
    verify = ("verify", place / "joined.http", "--protocol", "as4", "--trust", place / "ca.pem", *AT)
    assert main(list(map(str, verify))) == 0


def test_what_is_missing_or_changed_is_told_with_the_error_of_ebms(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "joined.http").unlink(missing_ok=True)
    first, *rest = sorted((place / "plain").iterdir())
    assert join(place, rest, "--json") == 1
    told = read_report(capsys)
    assert (told["accepted"], told["problem"]) == (False, "GW353")
    assert told["ebms"] == {"code": "EBMS:0051", "severity": "failure"}
    assert join(place, [first, *rest], "--size", 899, "--json") == 1
    told = read_report(capsys)
    assert (told["problem"], told["ebms"]) == ("GW351", {"code": "EBMS:0050", "severity": "warning"})
    assert first.name in told["detail"]
    assert join(place, [first, *rest], "--routing-property", "finalRecipient") == 0
    (place / "joined.http").unlink()
    changed = place / "changed"
    changed.write_bytes(first.read_bytes().replace(b"<mf:FragmentNum>1<", b"<mf:FragmentNum>2<"))
    assert join(place, [changed, *rest]) == 1
    printed = capsys.readouterr().out.split()
    assert {"GW202", "EBMS:0101"} <= set(printed)
    assert not (place / "joined.http").exists()


def test_a_folder_with_fragments_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((place / "plain").iterdir())
    assert split(place, "plain") == 2
    assert "holds fragments already" in capsys.readouterr().err
    assert sorted((place / "plain").iterdir()) == before
    assert split(place, "ca.pem", "--compress") == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.night
def test_a_message_of_more_than_a_mebibyte_is_read_from_its_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("key.pem", "cert.pem", "ca.pem"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    payload = Payload("x@p", "application/octet-stream", bytes(range(256)) * 10_000)
    large = stored(as4_samples.seal(replace(as4_samples.message(), payloads=(payload,))))
    (tmp_path / "large.http").write_bytes(large)
    assert split(tmp_path, "parts", "--size", 1_200_000) == 0
    files = sorted((tmp_path / "parts").iterdir())
    assert len(files) == 3
    assert join(tmp_path, files) == 0
    assert (tmp_path / "joined.http").read_bytes().endswith(large.partition(b"\r\n\r\n")[2])
    capsys.readouterr()
    (tmp_path / "large.http").write_bytes(b"Content-Length: 5\r\n" + large)
    assert split(tmp_path, "more") != 0
    assert "Content-Length" in capsys.readouterr().err
    cut = files[0].read_bytes()[:-9]
    files[0].write_bytes(cut)
    assert join(tmp_path, files) == 1
    assert "GW103" in capsys.readouterr().out
