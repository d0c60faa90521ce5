"""What a partner fetches: large answers are files while they are used, and no memory."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway import USER_AGENT
from gateway.client import HttpPoster, http_transport, message_puller
from gateway.client.message_files import UnnamedFile
from gateway.errors import GatewayError
from gateway.hub.outbox import applicant_messages
from gateway.message_model import (
    MemoryBody,
    Payload,
    SlicedBody,
    UserMessage,
    compute_body_digest,
    read_octets,
)
from gateway_conformance.hostile import make_endpoint_target
from gateway_conformance.hostile.exchange import HttpRequest
from tests.conformance.test_pull_command import Desk, desk

__all__ = ["desk"]

MEBI = 1024**2


@contextmanager
def serve(head: bytes, pieces: Iterable[bytes], requests: list[bytes] | None = None) -> Iterator[str]:
    """Answer one request with these octets, and end the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        line, _ = listener.accept()
        with line:
            held = b""
            while b"\r\n\r\n?" not in held:
                held += line.recv(4096)
            if requests is not None:
                requests.append(held)
            try:
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + head + b"\r\n")
                for one in pieces:
                    line.sendall(one)
            except OSError:
                pass  # The client has read enough.

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        thread.join(10)
        listener.close()


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


PIECE = bytes(range(256)) * 256
COUNT = 24 * MEBI // len(PIECE)
COUNTED = b"Content-Length: %d\r\n" % (24 * MEBI)


@pytest.mark.night
@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (COUNTED, (PIECE for _ in range(COUNT))),
        (b"Transfer-Encoding: chunked\r\n", (chunk(PIECE if n < COUNT else b"") for n in range(COUNT + 1))),
        (b"", (PIECE for _ in range(COUNT))),
    ],
    ids=["counted", "chunked", "until its end"],
)
def test_a_large_answer_is_read_into_a_file(tmp_path: Path, head: bytes, pieces: Iterable[bytes]) -> None:
    with serve(head, pieces) as url, closing(HttpPoster(url)) as poster:
        tracemalloc.start()
        try:
            with poster.fetch({}, b"?", tmp_path, 24 * MEBI) as answer:
                digest = compute_body_digest(answer.body)
                peak = tracemalloc.get_traced_memory()[1]
                tail = SlicedBody(answer.body, 24 * MEBI - 3, 3)
                assert (answer.status, answer.content_type) == (200, "text/plain")
                assert read_octets(tail) == b"\xfd\xfe\xff"
                assert not list(tmp_path.iterdir())
        finally:
            tracemalloc.stop()
    assert digest == sha256(PIECE * COUNT).hexdigest()
    assert peak < 8 * MEBI


def test_the_reference_client_says_who_asks() -> None:
    requests: list[bytes] = []
    with serve(b"Content-Length: 2\r\n", [b"ok"], requests) as url, closing(HttpPoster(url)) as poster:
        poster.post({"Content-Type": "text/plain"}, b"?")
    assert f"\r\nUser-Agent: {USER_AGENT}\r\n".encode() in requests[0]


def test_the_hostile_suite_says_who_asks() -> None:
    requests: list[bytes] = []
    with serve(b"Content-Length: 2\r\n", [b"ok"], requests) as url:
        make_endpoint_target(url).send(HttpRequest("ebms2", {}, b"?"))
    assert f"\r\nUser-Agent: {USER_AGENT}\r\n".encode() in requests[0]


@pytest.mark.parametrize(
    ("head", "count", "said"),
    [
        (COUNTED, COUNT - 1, "GW601"),
        (COUNTED, 1, "GW601"),
        (b"Transfer-Encoding: chunked\r\n", 0, "GW601"),
        (b"Content-Length: %d\r\n" % (24 * MEBI + 1), COUNT + 1, "GW603 .*more than 25165824 octets"),
    ],
)
def test_a_part_of_an_answer_and_one_too_large_are_none(
    tmp_path: Path, head: bytes, count: int, said: str
) -> None:
    with serve(head, (PIECE for _ in range(count))) as url, closing(HttpPoster(url)) as poster:
        with pytest.raises(GatewayError, match=said), poster.fetch({}, b"?", tmp_path, 24 * MEBI):
            raise AssertionError
        assert not list(tmp_path.iterdir())


@contextmanager
def connect(head: bytes, content: bytes) -> Iterator[HttpPoster]:
    with serve(head, [content]) as url, closing(HttpPoster(url)) as poster:
        yield poster


def test_a_reply_in_memory_is_whole_and_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"Content-Length: 9\r\n"
    with connect(head, b"12345") as poster, pytest.raises(GatewayError, match=r"GW601"):
        poster.post({}, b"?")
    monkeypatch.setattr(http_transport, "_MAX_BODY_OCTETS", 8)
    with connect(head, b"123456789") as poster, pytest.raises(GatewayError, match=r"GW603 .*than 8 octets"):
        poster.post({}, b"?")


def test_a_small_answer_needs_no_file(tmp_path: Path) -> None:
    with (
        connect(b"Content-Length: 5\r\n", b"12345") as poster,
        poster.fetch({}, b"?", tmp_path / "none", 5) as answer,
    ):
        assert answer.body == MemoryBody(b"12345")


def test_what_the_disk_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"GW806 .*cannot store: No such file"):
        UnnamedFile(tmp_path / "none")
    with closing(UnnamedFile(tmp_path)) as file, Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), file._file.fileno())
        with pytest.raises(GatewayError, match=r"GW806 .*cannot store: No space left"):
            file.write(b"x")


@pytest.fixture
def attached(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Let every message of the hub to an applicant carry these octets beside its document."""
    make, content = applicant_messages._make_user_message, os.urandom(3 * MEBI)

    def make_with_file(*given: Any) -> UserMessage:
        unit = make(*given)
        part = Payload(f"file.{unit.message_id}", "application/octet-stream", content)
        return replace(unit, payloads=(*unit.payloads, part))

    monkeypatch.setattr(applicant_messages, "_make_user_message", make_with_file)
    return content


@pytest.mark.night
def test_a_large_message_is_pulled_whole(desk: Desk, attached: bytes) -> None:
    assert desk.submit("--wait", "0")[0] == 0
    desk.story.tick(seconds=0.01)
    status, told, problem = desk.pull()
    assert (status, problem) == (0, "")
    assert "Result" in [one["action"] for one in told]
    assert desk.states() == {"DELIVERED"}
    for folder in (desk.folder / "results").glob("[0-9]*"):
        assert attached in {path.read_bytes() for path in folder.iterdir()}
        assert (folder / "message.http").stat().st_size > 3 * MEBI


@pytest.mark.night
def test_a_message_larger_than_what_is_pulled_is_not_read(
    desk: Desk, attached: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_puller, "_MAX_MESSAGE_OCTETS", 2 * MEBI)
    assert desk.submit("--wait", "0")[0] == 0
    desk.story.tick(seconds=0.01)
    status, _, problem = desk.pull()
    assert (status, "GW603" in problem, desk.stored()) == (1, True, [])
    assert len(attached) == 3 * MEBI
