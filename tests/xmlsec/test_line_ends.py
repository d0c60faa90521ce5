"""Text is digested with CR LF at each line end, whatever its pieces are, and in little memory."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message_model import JoinedBody, MemoryBody
from gateway.xmlsec.swa_signature import iterate_crlf_lines

_TEXT = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b""])).map(b"".join)


@pytest.mark.long
@given(st.lists(_TEXT))
def test_pieces_have_the_line_ends_of_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", whole)
    assert b"".join(iterate_crlf_lines(whole)) == expected
    body = JoinedBody([MemoryBody(piece) for piece in pieces])
    assert b"".join(iterate_crlf_lines(body)) == expected


def test_a_line_end_may_lie_on_the_border_of_two_pieces() -> None:
    step = 1024**2
    for before in (step - 1, step):
        whole = b"a" * before + b"\r\nb\r\r\n\n"
        assert b"".join(iterate_crlf_lines(whole)) == b"a" * before + b"\r\nb\r\n\r\n\r\n"


def test_short_lines_cost_no_memory_of_their_own() -> None:
    content = b"a\n" * 5_000_000
    tracemalloc.start()
    try:
        octets = sum(map(len, iterate_crlf_lines(content)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert octets == 15_000_000
    assert peak < 8 * 1024**2
