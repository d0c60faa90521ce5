"""A large message is read where it lies: parts, digests, expansion and storage take pieces of it."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.message_model import (
    JoinedBody,
    MemoryBody,
    Payload,
    Receipt,
    SlicedBody,
    compute_body_digest,
    read_octets,
)
from gateway.protocols import Parcel
from gateway.protocols.payload_parts import compress_content, expand_content
from gateway.store import ObjectFolder, get_database_state, messages, read_transaction
from gateway.store.object_folder import ArrivingFile
from gateway.wire import read_multipart_related
from gateway.wire.mime import BodyWindow
from tests.kit.databases import in_turn
from tests.kit.house import AGREEMENT, AS4, House, Neighbour

#: Octets that gzip does not make smaller.
LARGE = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(25_000))
PLAIN = b"\n".join(one for one in AS4.splitlines() if b"compress" not in one)


@pytest.fixture(params=[AGREEMENT, PLAIN, AS4], ids=["ebms2", "as4", "as4-gzip"])
def house(request: Any, engine: Engine, tmp_path: Path) -> House:
    get_database_state(engine).objects = ObjectFolder(tmp_path)
    return House(engine, agreement=request.param)


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock, house.agreement)


def make_message(broker: Neighbour, octets: Any) -> Any:
    unit = broker.message()
    large = Payload("large@broker1", "application/octet-stream", octets)
    return replace(unit, payloads=(*unit.payloads, large))


def arrive(folder: Path, parcel: Parcel) -> tuple[Parcel, ArrivingFile]:
    """Return a parcel as it comes from the server: in a file."""
    file = ObjectFolder(folder).open_arriving_file()
    file.write(parcel.read_octets())
    return replace(parcel, body=file), file


def list_files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob("*") if one.is_file())


@pytest.mark.long
@in_turn
def test_it_is_stored_as_it_would_be_in_memory(house: House, broker: Neighbour, tmp_path: Path) -> None:
    sent = broker.seal(make_message(broker, LARGE))
    parcel, file = arrive(tmp_path, sent)
    answer = house.post(parcel)
    file.close()
    assert isinstance(broker.open(answer, sent).unit, Receipt)
    assert house.post(sent).body == answer.body, "a repeat, this time in memory"
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        headers, whole = messages.open_parcel(conn, row.id)
        small, large = messages.load_payloads(conn, row.id)
        part = messages.load_part(conn, row.id, 2)
    assert not isinstance(whole, bytes)
    assert (headers["Content-Type"], read_octets(whole)) == (
        sent.get_header("Content-Type"),
        sent.read_octets(),
    )
    assert small.content == b"<a/>"
    assert not isinstance(large.octets, bytes)
    assert large.content == LARGE == (part.content if part else b"")
    assert row.parcel_sha256 in list_files(tmp_path)
    assert len(list_files(tmp_path)) == 1 + (b"compress" in house.agreement and house.agreement != PLAIN)


def test_what_is_refused_leaves_nothing(house: House, broker: Neighbour, tmp_path: Path) -> None:
    sent = broker.seal(make_message(broker, LARGE))
    octets = bytearray(sent.read_octets())
    octets[-100_000] ^= 1
    parcel, file = arrive(tmp_path, replace(sent, body=MemoryBody(bytes(octets))))
    answer = house.post(parcel)
    in_memory = house.post(replace(sent, body=MemoryBody(bytes(octets))))
    assert answer.status == in_memory.status
    words = [re.findall(rb"GW202[^<]*", one.body) for one in (answer, in_memory)]
    assert words[0] == words[1] != []
    file.close()
    assert list_files(tmp_path) == []


@pytest.mark.long
def test_a_large_body_is_sealed_to_the_same_octets(house: House, broker: Neighbour) -> None:
    """What is sent depends on the content, not on where it was."""
    made = [
        broker.seal(replace(make_message(broker, one), message_id="m@x"))
        for one in (LARGE, MemoryBody(LARGE))
    ]
    assert isinstance(made[1].body, JoinedBody)
    roots = [read_multipart_related(one.get_header("Content-Type"), one.read_octets()).root for one in made]
    parts = [
        read_multipart_related(one.get_header("Content-Type"), one.read_octets()).attachments for one in made
    ]
    contents = [
        [gzip.decompress(p.content) if p.media_type == "application/gzip" else p.content for p in one]
        for one in parts
    ]
    assert contents[0] == contents[1]
    assert roots[0].media_type == roots[1].media_type
    assert isinstance(broker.open(house.post(made[1]), made[1]).unit, Receipt)


def test_a_changed_object_is_found_when_its_part_is_read(
    house: House, broker: Neighbour, tmp_path: Path
) -> None:
    parcel, file = arrive(tmp_path, broker.seal(make_message(broker, LARGE)))
    house.post(parcel)
    file.close()
    for name in list_files(tmp_path):
        path = tmp_path / name[:2] / name
        octets = bytearray(path.read_bytes())
        octets[-200_000] ^= 1
        path.write_bytes(octets)
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        part = messages.load_payloads(conn, row.id)[1]
        with pytest.raises(GatewayError, match="GW326"):
            compute_body_digest(part.octets)
        with pytest.raises(GatewayError, match="GW326"):
            messages.load_parcel(conn, row.id)


@pytest.mark.long
@pytest.mark.parametrize("octets", [LARGE, MemoryBody(LARGE), JoinedBody([LARGE[:9], MemoryBody(LARGE[9:])])])
def test_expansion_is_the_same_from_a_body(octets: Any) -> None:
    packed = compress_content(octets)
    for form in (packed, MemoryBody(read_octets(packed))):
        assert read_octets(expand_content(form, 10**8, "cid:x")) == LARGE
    for damaged, words in (
        (read_octets(packed)[:-9], "cut off"),
        (read_octets(packed) + b"more", "after the compressed"),
        (b"no gzip", "is not gzip"),
    ):
        for form in (damaged, MemoryBody(damaged)):
            with pytest.raises(GatewayError, match=words):
                expand_content(form, 10**8, "cid:x")


@pytest.mark.long
def test_a_bomb_in_a_file_is_not_expanded() -> None:
    bomb = MemoryBody(gzip.compress(bytes(50_000_000)))
    for most in (10**8, 10**6):
        with pytest.raises(GatewayError, match="GW319 the payload expands to more than"):
            expand_content(bomb, most, "cid:x")


@pytest.mark.long
def test_large_expanded_content_is_a_body_that_goes_back() -> None:
    content = LARGE * 8
    body = expand_content(gzip.compress(content, 1), 10**8, "cid:x")
    assert not isinstance(body, bytes)
    assert (body.octet_count, body.sha256_hex) == (len(content), hashlib.sha256(content).hexdigest())
    with body.open_stream() as stream:
        stream.seek(5_000_000)
        assert stream.read(9) == content[5_000_000:5_000_009]
        stream.seek(3)
        assert stream.read(9) == content[3:12]


def test_a_window_finds_what_bytes_find() -> None:
    """Also what begins in one piece that is read and ends in the next."""
    mebi = 1024**2
    octets = bytearray(3 * mebi)
    for place in (mebi - 3, 2 * mebi - 1, 3 * mebi - 6):
        octets[place : place + 6] = b"\n--end"
    whole = bytes(octets)
    for body in (MemoryBody(whole), JoinedBody([whole[:7], whole[7:mebi], MemoryBody(whole[mebi:])])):
        with body.open_stream() as stream:
            window, start = BodyWindow(body, stream), 0
            while start >= 0:
                found = window.find(b"\n--end", start)
                assert found == whole.find(b"\n--end", start)
                assert window.find(b"\n--end", start, found + 5) == -1
                start = found + 1 if found >= 0 else -1
            assert window[mebi - 3 : mebi + 3] == b"\n--end"
            assert (window[-3:], len(window)) == (b"end", len(whole))


def test_a_slice_is_a_body_of_its_own() -> None:
    body = SlicedBody(MemoryBody(LARGE), 1000, 1_000_000)
    assert read_octets(body) == LARGE[1000:1_001_000]
    assert body.sha256_hex == hashlib.sha256(LARGE[1000:1_001_000]).hexdigest()
    with body.open_stream() as stream:
        stream.seek(999_990)
        assert stream.read(100) == LARGE[1_000_990:1_001_000]
        assert stream.read(1) == b""
