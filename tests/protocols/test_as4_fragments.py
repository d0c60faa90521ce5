"""Split and join (ebMS 3.0 part 2 §4): what is split is joined again, and no contradiction is."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Payload, UserMessage, read_octets
from gateway.protocols import Parcel, as4
from gateway.protocols.as4 import message_splitting
from gateway.protocols.as4.fragment_header import FragmentHeader
from gateway.wire import DEFAULT_LIMITS, parse_media_type
from gateway.xmlsec import write_swa_security
from tests.protocols import as4_samples, sample_parties

ROUTED = ("originalSender",)
FRAGMENT = "/soap12:Envelope/soap12:Header/mf:MessageFragment"


def plan(size: int = 900, *, compressed: bool = False, unit: UserMessage | None = None) -> as4.SplitPlan:
    terms = as4.SplitTerms(size, ROUTED, compressed)
    return as4.plan_split(as4_samples.seal(unit), terms, DEFAULT_LIMITS)


def sealed(found: as4.SplitPlan, number: int, message_id: str = "", signer: str = "broker1") -> Parcel:
    keys = sample_parties.context().signers
    return as4.seal_fragment(found, number, message_id or f"f-{number}@broker.example", keys[signer])


def opened(parcel: Parcel) -> as4.Fragment:
    return as4.open_fragment(parcel, "strict", sample_parties.context())


def fragments(found: as4.SplitPlan) -> list[as4.Fragment]:
    return [opened(sealed(found, number)) for number in range(1, found.fragment_count + 1)]


def joined(given_: list[as4.Fragment], terms: as4.JoinTerms | None = None) -> as4.JoinedMessage:
    group = as4.FragmentGroup(DEFAULT_LIMITS, terms)
    for one in given_:
        group.add_fragment(one)
    return group.join()


def refused(deed: Callable[[], Any]) -> tuple[str, str | None, str]:
    with pytest.raises(GatewayError) as caught:
        deed()
    return caught.value.problem.id, caught.value.code, caught.value.location


@pytest.mark.long
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(700, 9000),
    st.booleans(),
    st.binary(min_size=1, max_size=4000),
    st.randoms(use_true_random=False),
)
def test_joined_octets_are_those_that_were_split_in_any_order_with_repeats(
    size: int, compressed: bool, content: bytes, order: random.Random
) -> None:
    unit = replace(as4_samples.message(), payloads=(Payload("x@p", "application/octet-stream", content),))
    source = as4_samples.seal(unit)
    found = as4.plan_split(source, as4.SplitTerms(size, ROUTED, compressed), DEFAULT_LIMITS)
    came = fragments(found)
    assert len(came) == found.fragment_count
    assert all(len(read_octets(one.octets)) <= size for one in came)
    came += order.choices(came, k=2)
    order.shuffle(came)
    whole = joined(came)
    assert read_octets(whole.parcel.body) == sample_parties.octets(source)
    assert whole.unit.message_id == "m-1@broker.example"
    assert as4_samples.verify(whole.parcel).units == as4_samples.verify(source).units


def test_a_fragment_has_the_header_of_its_message_and_only_the_first_one_the_facts() -> None:
    found = plan()
    first, second, *_ = fragments(found)
    assert first.header.group == second.header.group == "m-1@broker.example"
    assert (first.header.count, first.header.message_size) == (found.fragment_count, found.message_size)
    assert first.header.source == found.source
    assert second.header == FragmentHeader(second.header.content_id, "m-1@broker.example", 2)
    assert first.unit.message_id == "f-1@broker.example"
    assert [one.name for one in first.unit.properties] == ["originalSender"]
    assert (first.unit.payloads, first.unit.action) == ((), found.unit.action)
    assert "#fragment-" in " ".join(one.uri for one in first.verified_signature.references)
    assert len(first.verified_signature.references) == 4


def test_the_mime_header_of_the_source_is_joined_again() -> None:
    source = as4_samples.seal()
    kind = f'{source.get_header("Content-Type")}; start-info="application/xop+xml"; action="urn:a b"'
    described = Parcel({"Content-Type": kind, "Content-Description": "two words"}, source.body)
    found = as4.plan_split(described, as4.SplitTerms(900), DEFAULT_LIMITS)
    whole = joined(fragments(found))
    assert whole.action == "urn:a b"
    assert whole.parcel.headers["Content-Description"] == "two words"
    read = [parse_media_type(one) for one in (whole.parcel.get_header("Content-Type"), kind)]
    assert read[0] == read[1]
    quoted = Parcel({"Content-Type": f"{kind}; x=1", "Content-Description": 'a "b'}, source.body)
    place = refused(lambda: as4.plan_split(quoted, as4.SplitTerms(900), DEFAULT_LIMITS))
    assert place == ("GW107", "EBMS:0009", "Content-Type")


@pytest.mark.long
def test_thousands_of_fragments_are_taken() -> None:
    group = as4.FragmentGroup(DEFAULT_LIMITS)
    for number in range(8192, 1, -1):
        unit = replace(TWO.unit, message_id=f"{number}@broker.example")
        group.add_fragment(replace(TWO, header=replace(TWO.header, number=number), unit=unit))
    assert group.list_missing_numbers() == (1,)


def test_a_fragment_is_refused_as_a_message_by_itself() -> None:
    problem, _, _ = refused(lambda: as4_samples.verify(sealed(plan(), 1)))
    assert problem == "GW106"


def with_header(fragment: as4.Fragment, **changes: Any) -> as4.Fragment:
    """Return a fragment as if its sender had signed another header."""
    changes.setdefault("number", fragment.header.number)
    number = changes["number"]
    unit = replace(fragment.unit, message_id=f"g-{number}-{len(changes)}@broker.example")
    return replace(fragment, header=replace(fragment.header, **changes), unit=unit)


CAME = fragments(plan(compressed=False))
PACKED = fragments(plan(700, compressed=True))
ONE, TWO = CAME[0], CAME[1]
COUNT = len(CAME)

CONTRADICTIONS = {
    "another MessageSize": ([ONE, with_header(TWO, message_size=5)], "EBMS:0041", "/mf:MessageSize"),
    "another count": ([ONE, with_header(TWO, count=COUNT)], "EBMS:0042", "/mf:FragmentCount"),
    "another MessageHeader": (
        [ONE, with_header(TWO, source=ONE.header.source)], "EBMS:0043", "/mf:MessageHeader",
    ),
    "another Action": (
        [with_header(ONE, action="a"), with_header(TWO, action="a")], "EBMS:0044", "/mf:Action",
    ),
    "compressed twice": (
        [PACKED[0], with_header(PACKED[1], compressed_size=7)], "EBMS:0045", "/mf:CompressedMessageSize",
    ),
    "one number twice": ([ONE, TWO, with_header(TWO)], "EBMS:0046", "/mf:FragmentNum"),
    "a number above the count": ([ONE, with_header(TWO, number=COUNT + 1)], "EBMS:0048", "/mf:FragmentNum"),
    "a number above its own count": ([with_header(ONE, number=9, count=8)], "EBMS:0048", "/mf:FragmentNum"),
    "a number far too large": ([with_header(TWO, number=10**14)], "EBMS:0048", "/mf:FragmentNum"),
    "a count below a number": ([CAME[2], with_header(ONE, count=2)], "EBMS:0049", "/mf:FragmentCount"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_error_and_the_group_with_it(name: str) -> None:
    came, code, place = CONTRADICTIONS[name]
    group = as4.FragmentGroup(DEFAULT_LIMITS)
    for one in came[:-1]:
        assert group.add_fragment(one)
    assert refused(lambda: group.add_fragment(came[-1])) == ("GW351", code, FRAGMENT + place)
    assert group.fragments == ()
    assert refused(lambda: group.add_fragment(CAME[-1])) == ("GW351", "EBMS:0040", FRAGMENT)


def test_what_is_not_agreed_is_refused() -> None:
    small = as4.JoinTerms(fragment_size=899)
    assert refused(lambda: joined(CAME, small))[:2] == ("GW351", "EBMS:0050")
    assert refused(lambda: joined(CAME, as4.JoinTerms(routing_properties=("other",))))[:2] == (
        "GW351",
        "EBMS:0052",
    )
    assert joined(CAME, as4.JoinTerms(900, ROUTED)).unit.message_id == "m-1@broker.example"


def test_what_is_of_another_group_or_signer_is_refused_and_the_group_remains() -> None:
    group = as4.FragmentGroup(DEFAULT_LIMITS)
    for one in CAME:
        group.add_fragment(one)
    stranger = opened(sealed(plan(), 2, signer="hub"))
    assert refused(lambda: group.add_fragment(with_header(TWO, group="other")))[:2] == ("GW351", "EBMS:0003")
    assert refused(lambda: group.add_fragment(stranger))[0] == "GW209"
    assert group.join().unit.message_id == "m-1@broker.example"


def test_another_fragment_with_a_known_message_id_is_refused() -> None:
    other = opened(sealed(plan(800), 2))
    assert refused(lambda: joined([*CAME[:2], other]))[:2] == ("GW312", "EBMS:0003")


def test_the_header_must_be_that_of_the_source_message() -> None:
    changed = [replace(one, unit=replace(one.unit, action="Other")) for one in CAME]
    assert refused(lambda: joined([*CAME[:1], *changed[1:]]))[:2] == ("GW351", "EBMS:0053")
    assert refused(lambda: joined(changed))[:2] == ("GW352", "EBMS:0053")
    bare = [replace(one, unit=replace(one.unit, properties=())) for one in CAME]
    assert joined(bare).unit.message_id == "m-1@broker.example"


@pytest.mark.parametrize(
    ("left_out", "told"), [([0], "GW353"), ([1], "GW353"), ([0, 1], "GW353"), (range(COUNT), "GW353")]
)
def test_what_is_missing_is_named(left_out: list[int], told: str) -> None:
    came = [one for place, one in enumerate(CAME) if place not in left_out]
    assert refused(lambda: joined(came))[:2] == (told, "EBMS:0051")


def test_wrong_sizes_and_damaged_gzip_are_refused() -> None:
    wrong = with_header(ONE, message_size=17)
    assert refused(lambda: joined([wrong, *CAME[1:]])) == ("GW352", "EBMS:0003", f"{FRAGMENT}/mf:MessageSize")
    short = with_header(PACKED[0], compressed_size=17)
    assert refused(lambda: joined([short, *PACKED[1:]]))[:2] == ("GW352", "EBMS:0003")
    bad = replace(PACKED[1], octets=bytes(len(read_octets(PACKED[1].octets))))
    assert refused(lambda: joined([PACKED[0], bad, *PACKED[2:]]))[:2] == ("GW352", "EBMS:0055")
    without = with_header(ONE, source=None)
    assert refused(lambda: joined([without, *CAME[1:]]))[:2] == ("GW352", "EBMS:0047")


@pytest.mark.long
def test_a_bomb_of_gzip_is_not_expanded() -> None:
    packed = gzip.compress(bytes(60_000_000))
    header = replace(PACKED[0].header, count=1, compressed_size=len(packed), message_size=60_000_000)
    bomb = replace(PACKED[0], header=header, octets=packed)
    tracemalloc.start()
    assert refused(lambda: joined([bomb]))[:2] == ("GW352", "EBMS:0055")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


def test_what_would_expand_like_a_bomb_is_split_as_it_is() -> None:
    zeros = replace(
        as4_samples.message(), payloads=(Payload("x@p", "application/octet-stream", bytes(2_000_000)),)
    )
    found = plan(900_000, compressed=True, unit=zeros)
    assert (found.terms.compressed, found.fragment_count) == (False, 3)
    came = fragments(found)
    assert came[0].header.compressed_size is None
    assert joined(came).parcel.body.octet_count == found.message_size


STRUCTURES = {
    "no MessageFragment": (b"mf:MessageFragment ", b"mf:NoFragment ", None),
    "another part": (b'href="cid:fragment.f-1', b'href="cid:other.f-1', ("GW350", "EBMS:0047")),
    "no cid": (b'href="cid:', b'href="http:', ("GW350", "EBMS:0047")),
    "a Body with content": (b"></soap12:Body>", b"><a/></soap12:Body>", ("GW350", "EBMS:0047")),
    "another type": (b"pe: application/octet-stream", b"pe: image/png", ("GW350", "EBMS:0047")),
    "not to be understood": (b'mustUnderstand="true"><mf', b'mustUnderstand="0"><mf', ("GW107", "EBMS:0009")),
    "a number with zeros": (b"<mf:FragmentNum>1", b"<mf:FragmentNum>01", ("GW107", "EBMS:0009")),
    "no number": (b"<mf:FragmentNum>1</mf:FragmentNum>", b"", ("GW107", "EBMS:0009")),
    "another order": (
        b"<mf:GroupId>m-1@broker.example</mf:GroupId>", b"<mf:Action>1</mf:Action>", ("GW107", "EBMS:0009"),
    ),
    "SOAP 1.1": (b"<mf:Type>application/soap+xml", b"<mf:Type>text/xml", ("GW311", "EBMS:0008")),
    "a line break in the MIME header": (
        b"<mf:Start>", b"<mf:Start>a&#13;&#10;X: ", ("GW107", "EBMS:0009"),
    ),
    "an Action that ends its quotes": (
        b"</mf:MessageHeader>", b"</mf:MessageHeader><mf:Action>a&quot;b</mf:Action>", ("GW107", "EBMS:0009"),
    ),
    "a description of two lines": (
        b"</mf:MessageHeader>",
        b"<mf:Content-Description>a&#10;X: b</mf:Content-Description></mf:MessageHeader>",
        ("GW107", "EBMS:0009"),
    ),
    "a changed group": (b"<mf:GroupId>m-1", b"<mf:GroupId>m-2", ("GW202", "EBMS:0101")),
    "a changed part": (b"one\ntwo", b"two\none", ("GW202", "EBMS:0101")),
    "a changed header": (b"</eb3:Action>", b"x</eb3:Action>", ("GW202", "EBMS:0101")),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_fragment_that_is_none_is_refused(name: str) -> None:
    old, new, told = STRUCTURES[name]
    parcel = sealed(plan(9000), 1)
    octets = sample_parties.octets(parcel)
    assert old in octets
    changed = octets.replace(old, new)
    if name == "no MessageFragment":
        changed = changed.replace(b"</mf:MessageFragment>", b"</mf:NoFragment>")
    found = refused(lambda: opened(Parcel(dict(parcel.headers), MemoryBody(changed))))
    assert found[2]
    assert told is None or found[:2] == told
    assert told is not None or found[0] in {"GW106", "GW350", "GW203", "GW202"}


@pytest.mark.parametrize("unsigned", ["fragment-", "messaging-", "body-", "cid"])
def test_what_the_signature_does_not_cover_is_refused(unsigned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sign_less(blocks: dict[str, bytes], attachments: dict[str, Any], *rest: Any) -> Any:
        kept = {name: octets for name, octets in blocks.items() if not name.startswith(unsigned)}
        return write_swa_security(kept, {} if unsigned == "cid" else attachments, *rest)

    monkeypatch.setattr(message_splitting, "write_swa_security", sign_less)
    assert refused(lambda: opened(sealed(plan(), 1)))[:2] == ("GW203", "EBMS:0103")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (as4_samples.RECEIPT, "GW101"),
        (as4_samples.PULL, "GW101"),
        (replace(as4_samples.message(), payloads=()), "GW101"),
    ],
)
def test_only_a_message_with_parts_is_split(source: Any, told: str) -> None:
    assert refused(lambda: plan(unit=source))[0] == told


def test_so_many_fragments_are_refused() -> None:
    big = replace(as4_samples.message(), payloads=(Payload("x@p", "application/octet-stream", bytes(9000)),))
    assert refused(lambda: plan(1, unit=big))[0] == "GW102"


class _Blocks:
    """A large body that nobody holds: a message around octets that are made when they are read."""

    def __init__(self, head: bytes, count: int, tail: bytes) -> None:
        self.head, self.count, self.tail = head, count, tail
        self.octet_count = len(head) + count + len(tail)
        self.sha256_hex = ""

    def open_stream(self) -> BinaryIO:
        return cast("BinaryIO", _BlockStream(self))


class _BlockStream(io.RawIOBase):
    def __init__(self, body: _Blocks) -> None:
        self.body, self.at = body, 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        self.at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        body, at = self.body, self.at
        middle = len(body.head) + body.count
        if at < len(body.head):
            piece = body.head[at : at + len(buffer)]
        elif at < middle:
            piece = b"\x07" * min(len(buffer), middle - at)
        else:
            piece = body.tail[at - middle : at - middle + len(buffer)]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


@pytest.mark.long
def test_memory_does_not_grow_with_the_message() -> None:
    mark = b"HERE-IS-THE-PAYLOAD"
    unit = replace(as4_samples.message(), payloads=(Payload("x@p", "application/octet-stream", mark),))
    small = as4_samples.seal(unit)
    head, tail = sample_parties.octets(small).split(mark)
    count = 28 * 1024**2
    source = Parcel(small.headers, _Blocks(head, count, tail))
    tracemalloc.start()
    found = as4.plan_split(source, as4.SplitTerms(8 * 1024**2), DEFAULT_LIMITS)
    whole = joined(fragments(found))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole.parcel.body.octet_count == len(head) + count + len(tail)
    assert found.fragment_count == 4
    assert peak < 12 * 1024**2, peak
