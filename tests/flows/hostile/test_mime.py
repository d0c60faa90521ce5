"""The riddles are riddles: readers in use see another message in them than the one that was signed."""

from __future__ import annotations

import gzip
import zlib
from email import message_from_bytes
from email.message import Message

import pytest

from gateway.errors import GatewayError
from gateway.wire import read_multipart_related
from gateway_conformance.hostile import HttpRequest, content_mutations, mime_attacks
from tests.flows.hostile.sample_kit import SAMPLE_KIT

BENCH = SAMPLE_KIT
CASES = {case.id: case for case in mime_attacks.CASES}


def post_of(name: str) -> HttpRequest:
    post = next(CASES[name].scenario(BENCH)).step
    assert isinstance(post, HttpRequest)
    return post


def as_others_read(post: HttpRequest) -> list[Message]:
    """Return the parts that the reader of the standard library sees."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {post.headers['Content-Type']}\r\n\r\n"
    read = message_from_bytes(head.encode() + post.body)
    return list(read.walk())[1:] if read.is_multipart() else []


def test_the_honest_message_has_three_parts_for_everybody() -> None:
    post = BENCH.build_message()
    assert len(as_others_read(post)) == 3
    assert len(read_multipart_related(post.headers["Content-Type"], post.body).attachments) == 2


#: How many parts the standard library sees where we refuse.
RIDDLES = {
    "DOS-09.final-missing": 3,
    "DOS-09.final-in-data": 3,
    "DOS-09.line-feed-boundary": 4,
    "DOS-09.preamble-part": 3,
    "DOS-09.epilogue-part": 3,
    "DOS-09.nested": 4,
    "DOS-09.id-twice": 5,
    "DOS-09.id-case": 5,
    "DOS-09.id-percent": 5,
    "DOS-09.type-twice": 3,
    "DOS-09.boundary-continued": 3,
    "DOS-09.boundary-charset": 3,
    "DOS-09.start-extended": 3,
    "DOS-09.start-twice": 3,
    "DOS-09.type-extended": 3,
    "DOS-09.root-charset-extended": 3,
    "DOS-09.part-coded": 3,
    "DOS-09.part-in-chunks": 3,
    "DOS-09.base64-garbage": 3,
    "DOS-08.parts-101": 101,
    "DOS-08.fields": 3,
}


@pytest.mark.parametrize("name", RIDDLES)
def test_others_read_what_we_refuse(name: str) -> None:
    post = post_of(name)
    assert len(as_others_read(post)) == RIDDLES[name]
    with pytest.raises(GatewayError) as caught:
        read_multipart_related(post.headers["Content-Type"], post.body)
    assert caught.value.problem.id in ("GW102", "GW103")


def test_what_is_right_says_the_same_to_everybody() -> None:
    names = [name for name in CASES if ".right-" in name]
    assert len(names) >= 6
    for name in names:
        post = post_of(name)
        ours = read_multipart_related(post.headers["Content-Type"], post.body)
        parts = as_others_read(post)
        assert len(parts) == 3
        assert [part.content for part in ours.attachments] == [
            part.get_payload(decode=True) for part in parts[1:]
        ]


def test_the_bombs_inflate() -> None:
    bomb = post_of("DOS-10.gzip-bomb").body
    assert len(bomb) < 200_000
    inflating = zlib.decompressobj(zlib.MAX_WBITS | 16)
    total = 0
    while not inflating.eof:
        total += len(inflating.decompress(inflating.unconsumed_tail or bomb, 1 << 24))
    assert total == 100 * 1024 * 1024
    assert gzip.decompress(post_of("DOS-10.gzip-nested").body) == bomb
    honest = gzip.decompress(post_of("DOS-10.gzip-honest").body)
    assert read_multipart_related(BENCH.build_message().headers["Content-Type"], honest).attachments


def test_a_change_that_finds_nothing_is_no_attack() -> None:
    for change in (
        content_mutations.insert_parts(bytes),
        content_mutations.add_part_headers(b"X: y"),
        content_mutations.encode_part_content(bytes),
    ):
        with pytest.raises(LookupError):
            change(b"nothing")
    with pytest.raises(LookupError):
        content_mutations.replace_in_content_type("boundary", "x")("text/xml")
