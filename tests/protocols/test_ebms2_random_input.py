"""What nobody meant: octets at random, and what the field forgives."""

# ruff: noqa: E501  # a table of cases is read by its lines
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, UserMessage
from gateway.protocols import Parcel, ebms2
from gateway.wire import DEFAULT_LIMITS
from tests.protocols import sample_parties
from tests.protocols.message_mutation import Craft, insert_before, swap_octets

CONTEXT = sample_parties.context()
GOOD = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, CONTEXT)
DATA = sample_parties.octets(GOOD)
PLAIN = sample_parties.octets(
    ebms2.seal((sample_parties.message(payloads=()),), sample_parties.SUBMIT, CONTEXT)
)
slow = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(found: UserMessage, good: UserMessage) -> bool:
    """Return whether all that the signature covers is the same: not media types, not SyncReply."""
    kinds = tuple(replace(one, media_type="") for one in good.payloads)
    theirs = tuple(replace(one, media_type="") for one in found.payloads)
    return replace(found, sync_reply=False, payloads=theirs) == replace(
        good, sync_reply=False, payloads=kinds
    )


@pytest.mark.long
@slow
@given(st.integers(0, len(DATA)), st.integers(0, 3), st.binary(max_size=3))
def test_no_octet_of_a_signed_message_can_be_changed(at: int, cut: int, new: bytes) -> None:
    changed = DATA[:at] + new + DATA[at + cut :]
    parcel = Parcel(GOOD.headers, MemoryBody(changed))
    try:
        opened = ebms2.open_units(parcel, CONTEXT)
    except GatewayError as problem:
        answer = ebms2.reject_parcel(problem, parcel, CONTEXT)
        assert answer.http_status in range(200, 600)
        return
    assert isinstance(opened.unit, UserMessage)
    assert same(opened.unit, sample_parties.message())


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=60)
    | st.sampled_from(("text/xml", "multipart/related; boundary=a", "multipart/related")),
    st.binary(max_size=300) | st.just(PLAIN) | st.integers(0, len(PLAIN)).map(lambda cut: PLAIN[:cut]),
    st.text(max_size=20),
)
def test_no_parcel_gives_another_exception(content_type: str, data: bytes, action: str) -> None:
    parcel = sample_parties.parcel(data, content_type, action)
    calls = (
        lambda: ebms2.open_units(parcel, CONTEXT),
        lambda: ebms2.read_sent_unit(parcel, DEFAULT_LIMITS),
        lambda: ebms2.verify_parcel(parcel, "strict", CONTEXT),
    )
    for call in calls:
        try:
            call()
        except GatewayError as problem:
            ebms2.reject_parcel(problem, parcel, CONTEXT)


def test_a_body_beyond_the_limit_is_not_even_read() -> None:
    class Huge:
        octet_count = DEFAULT_LIMITS.body + 1
        sha256_hex = ""

        def open_stream(self) -> object:
            raise AssertionError

    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(Parcel(GOOD.headers, Huge()), CONTEXT)  # type: ignore[arg-type]
    assert caught.value.problem.id == "GW102"


FORGIVEN = [
    ("comment between blocks, unsigned", Craft(sample_parties.message(action="Loose", sync_reply=False), sample_parties.LOOSE, False, envelope=insert_before("<eb:AckRequested", "<!-- x -->"))),
    ("schemaLocation on the Envelope", Craft(envelope=swap_octets("<soap:Envelope ", '<soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b" '))),
    ("foreign attribute on a block", Craft(envelope=swap_octets("<eb:MessageHeader ", '<eb:MessageHeader xmlns:x="urn:x" x:a="1" '))),
    ("mustUnderstand true", Craft(envelope=swap_octets('<eb:MessageHeader soap:mustUnderstand="1"', '<eb:MessageHeader soap:mustUnderstand="true"'))),
    ("mustUnderstand on the Manifest", Craft(envelope=swap_octets("<eb:Manifest ", '<eb:Manifest soap:mustUnderstand="1" '))),
    ("id on a block", Craft(envelope=swap_octets("<eb:MessageHeader ", '<eb:MessageHeader eb:id="a" '))),
    ("optional block of others", Craft(envelope=insert_before("<eb:AckRequested", '<x:a xmlns:x="urn:x">y</x:a>'))),
    ("mandatory block for someone else", Craft(envelope=insert_before("<eb:AckRequested", '<x:a xmlns:x="urn:x" soap:mustUnderstand="1" soap:actor="urn:other"/>'))),
    ("AckRequested without actor", Craft(envelope=swap_octets(' soap:actor="urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"', ""))),
    ("white space everywhere", Craft(envelope=lambda data: data.replace(b"><", b">\r\n\t<").replace(b"<eb:DuplicateElimination>\r\n\t</", b"<eb:DuplicateElimination></"))),
    ("times with offset", Craft(envelope=swap_octets("2026-11-20T08:59:59.000Z", "2026-11-20T17:59:59+09:00"))),
    ("times without zone", Craft(envelope=swap_octets("2026-11-20T08:59:59.000Z", "2026-11-20T08:59:59"))),
    ("nanoseconds", Craft(envelope=swap_octets("2026-11-20T08:59:59.000Z", "2026-11-20T08:59:59.000000000Z"))),
    ("Manifest with a Schema", Craft(envelope=swap_octets('xlink:href="cid:p1@broker.example" xlink:type="simple"/>', 'xlink:href="cid:p1@broker.example"><eb:Schema eb:location="urn:x" eb:version="1"/></eb:Reference>'))),
    ("percent-encoded cid", Craft(envelope=swap_octets('href="cid:p1@', 'href="cid:p1%40'))),
    ("SOAPAction absent", Craft(action="")),
    ("SOAPAction without quotes", Craft(action="ebXML")),
    ("SOAPAction of service and action", Craft(action=f'"{sample_parties.SERVICE}/Submit"')),
    ("no type parameter", Craft(content_type=lambda kind: kind.replace('type="text/xml"; ', ""))),
    ("no start parameter", Craft(content_type=lambda kind: kind.replace('start="<root@broker.example>"; ', ""))),
    ("byte order mark", Craft(tampered=lambda data: b"\xef\xbb\xbf" + data)),
    ("XML declaration", Craft(tampered=lambda data: b'<?xml version="1.0" encoding="UTF-8"?>\n' + data)),
]  # fmt: skip


@pytest.mark.parametrize("craft", [case[1] for case in FORGIVEN], ids=[case[0] for case in FORGIVEN])
def test_what_the_field_forgives_is_forgiven(craft: Craft) -> None:
    opened = ebms2.open_units(craft.parcel(CONTEXT), CONTEXT)
    assert isinstance(opened.unit, UserMessage)
    assert opened.units == (craft.unit,)


def test_a_signed_part_outside_the_manifest_is_ignored() -> None:
    """The sender vouches for it, nobody asks for it: it is no payload."""
    unit = sample_parties.message()
    extra = replace(unit.payloads[0], content_id="extra@broker.example")
    whole = replace(unit, payloads=(*unit.payloads, extra))
    craft = Craft(
        whole,
        envelope=swap_octets('<eb:Reference xlink:href="cid:extra@broker.example" xlink:type="simple"/>', ""),
    )
    assert ebms2.open_units(craft.parcel(CONTEXT), CONTEXT).units == (unit,)


def test_only_sync_reply_may_change_under_a_signature() -> None:
    """It is for the next node (ebMS 2.0 §4.1.3); an intermediary may add it, and gains nothing."""
    craft = Craft(sample_parties.message(sync_reply=False))
    block = (
        '<eb:SyncReply eb:version="2.0" soap:mustUnderstand="1" '
        'soap:actor="http://schemas.xmlsoap.org/soap/actor/next"/>'
    )
    opened = ebms2.open_units(
        replace(craft, tampered=insert_before("<ds:Signature>", block)).parcel(CONTEXT), CONTEXT
    )
    assert opened.unit == sample_parties.message()
    assert opened.identity == ebms2.open_units(craft.parcel(CONTEXT), CONTEXT).identity
