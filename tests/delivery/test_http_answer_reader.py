"""One HTTP answer is read alike however it arrives, or refused; two readers never read it differently."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.delivery import HttpAnswer
from gateway.delivery.http_answer_reader import (
    MAX_HEAD_OCTETS,
    ArrivingAnswer,
    _AnswerStream,
    read_http_answer,
)
from gateway.errors import GatewayError

MOST = 10_000
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3;a=b\r\nhel\r\n0002\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN
TO_THE_END = b"HTTP/1.0 200 OK\r\n\r\nhello"


def giving(octets: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Return what gives octets in pieces of these sizes, then the rest, then nothing."""
    left = [octets]
    pieces = iter(sizes)

    def receive(most: int) -> bytes:
        piece = left[0][: min(most, next(pieces, most))]
        left[0] = left[0][len(piece) :]
        return piece

    return receive


def read(octets: bytes, sizes: list[int] | None = None, most: int = MOST) -> object:
    """Return answer and whether the connection lives on, or what was raised."""
    try:
        return read_http_answer(giving(octets, sizes or []), most)
    except GatewayError as problem:
        return problem.problem.id
    except ConnectionError:
        return "ended"


@pytest.mark.long
@pytest.mark.parametrize(
    ("octets", "again"),
    [(PLAIN, True), (CHUNKED, True), (INTERIM, True), (TO_THE_END, False)],
    ids=["length", "chunks", "interim answers", "to the end"],
)
@example(sizes=[1] * 300)
@given(sizes=st.lists(st.integers(1, 9), max_size=200))
@settings(max_examples=100, deadline=None)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    octets: bytes, again: bool, sizes: list[int]
) -> None:
    found = read(octets, sizes)
    assert isinstance(found, tuple)
    assert (found[0].body, found[1]) == (b"hello", again)


@pytest.mark.parametrize(
    ("octets", "again"),
    [
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive, Close\r\n\r\n"), False),
        (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (PLAIN + b"H", False),
        (b"HTTP/1.1 204 No\r\n\r\n", True),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", False),
        (b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_a_connection_is_used_again_only_when_the_answer_ended_cleanly(octets: bytes, again: bool) -> None:
    found = read(octets)
    assert isinstance(found, tuple)
    assert found[1] is again


def test_fields_are_joined_and_trimmed() -> None:
    answer = read(b"HTTP/1.1 200 OK\r\nA:  x \t\r\na: y\r\nB:\r\nContent-Length: 0\r\n\r\n")
    assert answer == (HttpAnswer(200, {"a": "x, y", "b": "", "content-length": "0"}, b""), True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"\r\n", b"\n", "ended"),  # every line ends in a bare line feed: no line has come to its end
        (b"\r\nContent-Length", b"\nContent-Length", "GW603"),
        (b"text/xml", b"text/\r\n xml", "GW603"),
        (b"Content-Length: 5", b"Content-Length:\r\n 5", "GW603"),
        (b"Content-Length: 5", b"Content-Length : 5", "GW603"),
        (b"Content-Length: 5", b"Content-Length: 5, 5", "GW603"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5", "GW603"),
        (b"text/xml", b"text\x7fxml", "GW603"),
        (b"text/xml", b"text\x00xml", "GW603"),
        (b"text/xml", b"text\rxml", "GW603"),
        (b"HTTP/1.1", b"HTTP/1.2", "GW603"),
        (b"HTTP/1.1", b"HTTP/2.0", "GW603"),
        (b"HTTP/1.1", b"\r\nHTTP/1.1", "GW603"),
        (b" 200 ", b" 600 ", "GW603"),
        (b" 200 ", b" 999 ", "GW603"),
        (b"Length: 5", b"Length: 99999", "GW603"),  # said before it is sent: nothing of it is waited for
    ],
)
def test_what_readers_read_differently_is_refused(old: bytes, new: bytes, expected: str) -> None:
    """Other readers take most of these, each in its own way."""
    assert old in PLAIN
    assert read(PLAIN.replace(old, new)) == expected


def test_a_chunk_larger_than_the_bound_is_refused_when_it_is_announced() -> None:
    assert read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\nx") == "GW603"


@pytest.mark.parametrize("length", [MOST, MOST + 1])
def test_the_bound_is_exact_in_every_framing(length: int) -> None:
    body = b"x" * length
    framed = (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, body),
        b"HTTP/1.1 200 OK\r\n\r\n" + body,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (length, body),
    )
    for octets in framed:
        found = read(octets)
        if length > MOST:
            assert found == "GW603"
        else:
            assert isinstance(found, tuple)
            assert found[0].body == body


def test_many_small_chunks_are_no_attack() -> None:
    octets = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * MOST + b"0\r\n\r\n"
    found = read(octets)
    assert isinstance(found, tuple)
    assert len(found[0].body) == MOST


def test_what_is_too_long_is_not_asked_for() -> None:
    asked: list[int] = []

    def receive(most: int) -> bytes:
        asked.append(most)
        return b"HTTP/1.1 200 OK\r\nX: " if len(asked) == 1 else b"y" * most

    with pytest.raises(GatewayError):
        read_http_answer(receive, MOST)
    assert sum(asked) <= MAX_HEAD_OCTETS + 3 * 65536


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from([PLAIN, CHUNKED, INTERIM, TO_THE_END]),
    at=st.integers(0, 120),
    new=st.one_of(
        st.binary(max_size=12), st.sampled_from([b"\r\n", b"-1", b"\r\nContent-Length: 4", b"0\r\n"])
    ),
    cut=st.integers(0, 12),
)
def test_any_octets_are_an_answer_or_a_refusal(start: bytes, at: int, new: bytes, cut: int) -> None:
    octets = start[:at] + new + start[at + cut :]
    found = read(octets)
    assert isinstance(found, tuple) or found in ("GW603", "ended")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_AnswerStream, "find_head", lambda *_: b"")
        assert read(octets) == found, "a head is read alike as a whole and by its lines"


HEAD = b"HTTP/1.1 413 Content Too Large\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "is_success", "ends_request"),
    [
        (PLAIN, True, False),
        (INTERIM, True, False),
        (HEAD, False, True),
        (INTERIM[:25] + HEAD + PLAIN, False, True),
        (HEAD[:-1], False, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, False, False),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False, True),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", False, True),
        (HEAD[:20] + b"x" * (MAX_HEAD_OCTETS - 20), False, False),
        (b"HTTP/1", False, False),
        (b"", False, False),
    ],
)
def test_what_arrives_before_the_end_of_a_request_in_whatever_pieces(
    octets: bytes, is_success: bool, ends_request: bool
) -> None:
    for size in (1, 2, 3, 7, len(octets) + 1):
        answer = ArrivingAnswer()
        for start in range(0, len(octets), size):
            answer.add_octets(octets[start : start + size])
        assert (answer.is_success, answer.ends_request) == (is_success, ends_request)
        # Nothing of it is lost for the reader.
        assert (answer.take_octets(), answer.take_octets()) == (octets, b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"no HTTP",
        b"HTTP/2",
        b"HTTP/1.1 OK\r\n\r\n",
        INTERIM[:25] + b"220 mail",
        HEAD[:20] + b"x" * (MAX_HEAD_OCTETS - 19),
    ],
)
def test_what_arrives_before_the_end_of_a_request_and_begins_no_answer(octets: bytes) -> None:
    def add_in_pieces(size: int) -> None:
        answer = ArrivingAnswer()
        for start in range(0, len(octets), size):
            answer.add_octets(octets[start : start + size])

    for size in (1, 7, len(octets)):
        with pytest.raises(GatewayError) as caught:
            add_in_pieces(size)
        assert caught.value.problem.id == "GW603"


@pytest.mark.parametrize(
    ("octets", "problem", "words", "theirs"),
    [
        (HEAD + b"x", "GW608", "its answer did not arrive whole", "HTTP status 413"),
        (HEAD.replace(b"413", b"401"), "GW608", "set `login` for its host", "HTTP status 401"),
        (HEAD.replace(b"413", b"301"), "GW603", "its answer did not arrive whole", "HTTP status 301"),
        (HEAD.replace(b"X: y", b"Content-Length: 99999"), "GW603", "more than", "HTTP status 413"),
        (HEAD.replace(b"X: y", b"Content-Length: 9, 9"), "GW603", "no one length", "HTTP status 413"),
        (HEAD.replace(b"413", b"200").replace(b"X: y", b"Content-Length: 99999"), "GW603", "more than", ""),
    ],
)
def test_the_status_of_an_error_is_told_whatever_is_wrong_behind_its_head(
    octets: bytes, problem: str, words: str, theirs: str
) -> None:
    left = [octets]

    def receive(_most: int) -> bytes:
        if not left:
            raise ConnectionResetError
        return left.pop()

    with pytest.raises(GatewayError) as caught:
        read_http_answer(receive, MOST)
    assert (caught.value.problem.id, caught.value.theirs) == (problem, theirs)
    assert words in caught.value.detail
