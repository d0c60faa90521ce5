"""Compressed payloads: gzip before the signature, by agreement, with limits on what they expand to."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
import zlib
from dataclasses import replace

import pytest

from gateway.agreements import GZIP, Encryption
from gateway.agreements.pmode_values import PackagedPart, Packaging
from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.protocols import PROTOCOLS
from gateway.wire import WireLimits
from tests.protocols import sample_parties as sample
from tests.protocols.test_ebms2_encrypted_payloads import context, parts_of

EBMS2 = PROTOCOLS["ebms2"]
CONTENT = b"<Declaration>" + b"<item/>" * 5_000 + b"</Declaration>"
NAME = "p1@broker.example"


def packaging(mime_type: str = "application/xml") -> Packaging:
    return Packaging("p", "multipart/related", (PackagedPart("Payload", mime_type, wrapper_types=(GZIP,)),))


COMPRESSED = sample.pmode(packaging=packaging())


def send(content: bytes, media_type: str = GZIP, pmode=None):
    """Return a signed message whose payload is written as it is."""
    sent = sample.message(payloads=(Payload(NAME, media_type, content),))
    pmode = pmode or sample.SUBMIT
    return EBMS2.seal((sent,), pmode, context(pmode))


def refusal(content: bytes, media_type: str = GZIP, limits: WireLimits | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(send(content, media_type), context(COMPRESSED, limits=limits or WireLimits()))
    assert refused.value.problem.id == "GW319"
    assert refused.value.location == f"cid:{NAME}"
    return refused.value


def test_payloads_are_compressed_before_they_are_signed():
    parcel = send(CONTENT, "application/xml", COMPRESSED)
    (part,) = parts_of(parcel)
    assert part.media_type == GZIP
    assert gzip.decompress(part.content) == CONTENT
    assert len(part.content) < len(CONTENT) / 50
    opened = EBMS2.open_units(parcel, context(COMPRESSED))
    assert opened.unit.payloads == (Payload(NAME, "application/xml", CONTENT),)
    assert opened.verified_signature.references[1].digest_value == hashlib.sha256(part.content).digest()
    # what is signed is not the digest of what is stored
    assert opened.payload_digests == {}
    (came,) = opened.unwrapped_parts
    assert (came.compressed, came.cipher) == (True, "")
    assert came.signed_sha256 == hashlib.sha256(part.content).hexdigest()


def test_compressed_then_signed_then_encrypted():
    pmode = replace(COMPRESSED, encryption=Encryption("XMLENC", ("aes256-gcm",)))
    parcel = send(CONTENT, "application/xml", pmode)
    opened = EBMS2.open_units(parcel, context(pmode))
    assert opened.unit.payloads == (Payload(NAME, "application/xml", CONTENT),)
    (came,) = opened.unwrapped_parts
    assert came.compressed
    assert came.cipher.endswith("aes256-gcm")
    assert came.signed_sha256 == opened.verified_signature.references[1].digest_value.hex()


def test_the_media_type_is_that_of_the_packaging_or_is_seen():
    for mime_type, content, expected in (
        ("text/plain", b"<a/>", "text/plain"),
        ("*/*", b"<a/>", "application/xml"),
        ("*/*", b"PK\x03\x04", "application/octet-stream"),
    ):
        pmode = sample.pmode(packaging=packaging(mime_type))
        opened = EBMS2.open_units(send(content, "application/xml", pmode), context(pmode))
        assert opened.unit.payloads[0].media_type == expected


def test_without_agreement_gzip_is_a_payload_like_any_other():
    packed = gzip.compress(CONTENT)
    assert EBMS2.open_units(send(packed), context(sample.SUBMIT)).unit.payloads[0].content == packed


# Without a time: it would be in the names of tests, which all processes must have alike.
PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut off"),
        (b"<a/>", "not gzip"),
        (zlib.compress(CONTENT), "not gzip"),
        (PACKED[:-1], "cut off"),
        (PACKED[:100], "cut off"),
        (PACKED[:-8] + b"\x00" * 8, "damaged"),
        (PACKED + b"x", "after"),
        (PACKED + PACKED, "after"),
    ],
)
def test_what_is_not_one_whole_gzip_is_refused(content, words):
    assert words in refusal(content).detail


def test_a_payload_in_clear_is_refused():
    assert GZIP in refusal(CONTENT, "application/xml").detail


@pytest.mark.long
def test_a_bomb_is_refused_with_little_memory():
    bomb = gzip.compress(bytes(300_000_000), 9)
    parcel, there = send(bomb), context(COMPRESSED)
    tracemalloc.start()
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(parcel, there)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.problem.id == "GW319"
    assert f"more than {100 * len(bomb)} octets" in refused.value.detail
    assert peak < 100 * len(bomb) + 20_000_000 < 100_000_000


def test_all_payloads_together_stay_within_the_limit_of_a_body():
    limits = WireLimits(body=60_000)
    assert "more than" in refusal(gzip.compress(b"x" * 61_000), limits=limits).detail
    two = tuple(Payload(f"p{n}@b", GZIP, gzip.compress(b"x" * 31_000)) for n in (1, 2))
    parcel = EBMS2.seal((sample.message(payloads=two),), sample.SUBMIT, context(sample.SUBMIT))
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(parcel, context(COMPRESSED, limits=limits))
    assert refused.value.location == "cid:p2@b"
    # a small payload may expand more than a hundredfold
    small = b" " * 200_000
    assert len(gzip.compress(small)) < 2_000
    assert EBMS2.open_units(send(gzip.compress(small)), context(COMPRESSED)).unit.payloads[0].content == small
