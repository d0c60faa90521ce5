"""HTTP messages kept in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.wire import DEFAULT_LIMITS, read_http_message
from tests.wire.refusal_capture import refusal

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "start_line", "body"),
    [
        (b"POST /msh HTTP/1.1\r\nA: b\r\n\r\nbody", "POST /msh HTTP/1.1", b"body"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK", b""),
        (b"HTTP/1.1 200\r\nA: b\r\n\r\n", "HTTP/1.1 200", b""),
        (b"HTTP/1.1 200 \r\nA: b\r\n\r\nx", "HTTP/1.1 200 ", b"x"),
        (b"HTTP/2 204\r\nA: b\r\n\r\n", "HTTP/2 204", b""),
        (b"A: b\r\n\r\nbody", "", b"body"),
        (b"A: b\n\nbody\n", "", b"body\n"),
        (b"A: b\r\nContent-Length: 4\r\n\r\nbody", "", b"body"),
    ],
)
def test_messages_with_and_without_start_line(raw: bytes, start_line: str, body: bytes) -> None:
    message = read_http_message(raw)
    assert (message.start_line, message.headers["a"], message.body) == (start_line, "b", body)


@pytest.mark.parametrize(
    "framed",
    [
        b"4\r\nbody\r\n0\r\n\r\n",
        b"1\r\nb\r\n3\r\nody\r\n0\r\n\r\n",
        b"004;name=value\r\nbody\r\n00\r\n\r\n",
        b"4\r\nbody\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n",
    ],
)
def test_chunks_are_joined(framed: bytes) -> None:
    assert read_http_message(CHUNKED + framed).body == b"body"


@pytest.mark.parametrize(
    "framed",
    [
        b"",
        b"4\r\nbody\r\n",
        b"4\r\nbody\r\n0\r\n",
        b"4\r\nbodyX\r\n0\r\n\r\n",
        b"4\r\nbodyXX0\r\n\r\n",
        b"5\r\nbody\r\n0\r\n\r\n",
        b"-4\r\nbody\r\n0\r\n\r\n",
        b"0x4\r\nbody\r\n0\r\n\r\n",
        b" 4\r\nbody\r\n0\r\n\r\n",
        b"4\nbody\n0\n\n",
        b"FFFFFFFFF\r\nbody\r\n0\r\n\r\n",
        b"4;" + b"x" * 300 + b"\r\nbody\r\n0\r\n\r\n",
        b"4\r\nbody\r\n0\r\n\r\nmore",
        b"4\r\nbody\r\n0\r\nno colon\r\n\r\n",
    ],
)
def test_broken_chunks_are_refused(framed: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_http_message(CHUNKED + framed)
    assert caught.value.problem.id == "GW103"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"POST / HTTP/1.1\r\n",
        b"POST /a b HTTP/1.1\r\nA: b\r\n\r\n",
        b"post / HTTP/1.1\r\nA: b\r\n\r\n",
        b"A: b\r\n folded\x00\r\n\r\n",
        b"A : b\r\n\r\n",
        b"A: b\r\nContent-Length: 5\r\n\r\nbody",
        b"A: b\r\nContent-Length: 3\r\n\r\nbody",
        b"A: b\r\nContent-Length: 04\r\n\r\nbody",
        b"A: b\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"A: " + b"b" * 20_000 + b"\r\n\r\n",
    ],
)
def test_other_messages_are_refused(raw: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_http_message(raw)
    assert caught.value.problem.id == "GW103"


@pytest.mark.parametrize("change", [{"body": 3}, {"chunks": 1}])
def test_limits(change: dict[str, int]) -> None:
    with pytest.raises(GatewayError) as caught:
        read_http_message(CHUNKED + b"4\r\nbody\r\n0\r\n\r\n", replace(DEFAULT_LIMITS, **change))
    assert caught.value.problem.id == "GW102"


@pytest.mark.long
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_whatever_is_chunked_is_read_whole(chunks: list[bytes]) -> None:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert read_http_message(CHUNKED + framed).body == b"".join(chunks)


@given(st.binary(max_size=100), st.sampled_from([b"", b"A: b\r\n\r\n", CHUNKED, CHUNKED + b"4\r\n"]))
def test_garbage_gives_a_message_or_a_gateway_error(data: bytes, before: bytes) -> None:
    error = refusal(lambda: read_http_message(before + data))
    assert error is None or error.problem.id in ("GW102", "GW103")


@pytest.mark.vectors
def test_the_octets_as_sent_are_the_same_message_in_chunks(vectors: Path) -> None:
    place = vectors / "outside/ebms2/ebms-core-live"
    sent = read_http_message((place / "message-signed-as-sent.raw").read_bytes())
    assert sent.headers["transfer-encoding"] == "chunked"
    assert sent.start_line == "POST /ebms HTTP/1.1"
    assert sent.body.startswith(b"---=")
    assert sent.body.rstrip().endswith(b"=---")
    for file in sorted(place.glob("*.http")):
        message = read_http_message(file.read_bytes())
        assert len(message.body) == int(message.headers["content-length"]), file.name
