"""AS4: what is sealed is verified and read again, and the published schema accepts what is written."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import AGREEMENT_UNREAD, NO_ROOM, OCTETS_PURGED, SIGNATURE_INVALID, GatewayError
from gateway.message_model import UNNAMED_PARTY, MessageProperty, Payload, Receipt, Unit, UserMessage
from gateway.protocols import Parcel, SentUnit, as4
from tests.protocols import as4_samples, sample_parties
from tests.protocols.test_ebms2_round_trip import ID, TEXT

TOKEN = st.text("abcXYZ019._=-", min_size=1, max_size=12)
PAYLOAD = st.builds(
    Payload,
    content_id=TOKEN.map(lambda left: f"{left}@part"),
    media_type=st.sampled_from(("application/octet-stream", "application/pdf; v=1", "image/png")),
    octets=st.binary(max_size=200),
    properties=st.sampled_from(((), (("CharacterSet", "utf-8"),), (("a", "two words"), ("b", "é"))))
)  # fmt: skip
USER = st.builds(
    UserMessage,
    message_id=ID,
    conversation_id=TEXT | st.just(""),
    agreement=st.just("agreement-1") | st.just(""),
    timestamp=st.just(sample_parties.NOW),
    sender=st.just(sample_parties.FROM_BROKER),
    receiver=st.just(sample_parties.FROM_HUB),
    service=TOKEN,
    service_type=st.just("urn:example:type"),
    action=TOKEN,
    ref_to_message_id=st.none() | ID,
    payloads=st.lists(PAYLOAD, max_size=4, unique_by=lambda one: one.content_id.casefold()).map(tuple),
    mpc=st.none() | st.just("urn:example:mpc"),
    properties=st.lists(st.builds(MessageProperty, TEXT, TEXT, st.none() | TEXT), max_size=3).map(tuple),
)


def read_again(parcel: Parcel) -> SentUnit:
    """Return what is read of a sealed parcel, without the payloads."""
    found = as4.read_sent_unit(parcel, sample_parties.context().limits)
    unit = replace(found.unit, payloads=()) if isinstance(found.unit, UserMessage) else found.unit
    return replace(found, unit=unit)


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.long
@quick
@given(USER)
def test_business_messages_survive(unit: UserMessage) -> None:
    parcel = as4_samples.seal(unit)
    opened = as4_samples.verify(parcel)
    assert opened.units == (unit,)
    assert opened.verified_signature is not None
    assert len(opened.verified_signature.references) == 2 + len(unit.payloads)
    assert parcel.sent_unit == read_again(parcel)


@pytest.mark.parametrize("unit", [as4_samples.RECEIPT, as4_samples.ERROR, as4_samples.PULL])
def test_signals_survive_without_the_names_of_their_parties(unit: Unit) -> None:
    opened = as4_samples.verify(as4_samples.seal(unit))  # type: ignore[arg-type]
    assert opened.units == (replace(unit, sender=UNNAMED_PARTY),)
    assert opened.verified_signature is not None
    assert len(opened.verified_signature.references) == 2
    parcel = as4_samples.seal(unit)  # type: ignore[arg-type]
    assert parcel.sent_unit is not None
    # A signal does not name its parties: they are those of what it answers.
    known = replace(parcel.sent_unit.unit, sender=UNNAMED_PARTY)
    assert replace(parcel.sent_unit, unit=known) == read_again(parcel)


def test_both_kinds_of_key_sign() -> None:
    for sender, algorithm in ((sample_parties.FROM_BROKER, "rsa"), (sample_parties.FROM_HUB, "ecdsa")):
        unit = replace(as4_samples.message(), sender=sender)
        signed = as4_samples.verify(as4_samples.seal(unit)).verified_signature
        assert signed is not None
        assert algorithm in signed.signature_algorithm


def test_the_published_schema_accepts_every_unit(vectors: Path) -> None:
    schema = load_published_schema(vectors)
    for unit in (as4_samples.message(), as4_samples.RECEIPT, as4_samples.ERROR, as4_samples.PULL):
        root = as4_samples.read_root(as4_samples.seal(unit))
        block = etree.fromstring(etree.tostring(as4_samples.find(root, ".//eb3:Messaging"), with_tail=False))
        schema.assertValid(block)


def load_published_schema(vectors: Path) -> etree.XMLSchema:
    """Return the published schema with the imports that it needs, from our own copies."""
    folder = vectors / "outside" / "xsd"
    text = (folder / "ebms-header-3_0-200704.xsd").read_text("utf-8")
    for name, place in (
        ('schemaLocation="soap11.xsd"', f'schemaLocation="{folder / "soap11-envelope.xsd"}"'),
        ('schemaLocation="soap12.xsd"', f'schemaLocation="{folder / "soap12-envelope.xsd"}"'),
        ('namespace="http://www.w3.org/XML/1998/namespace"',
         f'namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="{folder / "xml.xsd"}"'),
    ):  # fmt: skip
        assert name in text
        text = text.replace(name, place)
    return etree.XMLSchema(etree.fromstring(text.encode(), etree.XMLParser(no_network=True)))


def test_compressed_payloads_are_expanded_after_the_signature_is_verified() -> None:
    pmode = sample_parties.pmode("z", packaging=as4_samples.COMPRESSED, **as4_samples.TERMS)
    unit = as4_samples.message()
    parcel = as4.seal((unit,), pmode, sample_parties.context())
    assert parcel.sent_unit == read_again(parcel)
    assert b"CompressionType" in sample_parties.octets(parcel)
    assert b"three" not in sample_parties.octets(parcel)
    opened = as4_samples.verify(parcel)
    # AS4 §3.1 recommends to name the encoding of XML before compression; nobody has named it.
    document, *others = unit.payloads
    document = replace(document, properties=(("CharacterSet", "UTF-8"),))
    assert opened.units == (replace(unit, payloads=(document, *others)),)
    assert [one.content_id for one in opened.unwrapped_parts if one.compressed] == [
        one.content_id for one in unit.payloads
    ]


def test_what_expands_too_far_is_refused() -> None:
    pmode = sample_parties.pmode("z", packaging=as4_samples.COMPRESSED, **as4_samples.TERMS)
    unit = replace(as4_samples.message(), payloads=(Payload("p@x", "text/plain", bytes(3_000_000)),))
    parcel = as4.seal((unit,), pmode, sample_parties.context())
    with pytest.raises(GatewayError, match="GW319 the payload expands to more than"):
        as4_samples.verify(parcel)


def test_text_of_short_lines_costs_no_memory_for_each_line() -> None:
    octets = b"a\n" * 1_000_000
    parcel = as4_samples.seal(
        replace(as4_samples.message(), payloads=(Payload("p@x", "text/plain", octets),))
    )
    tracemalloc.start()
    try:
        opened = as4_samples.verify(parcel)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert opened.unit.payloads[0].octets == octets  # type: ignore[union-attr]
    assert peak < 5 * len(octets)


def test_an_unsigned_error_is_read_and_an_unsigned_receipt_is_not() -> None:
    def unsign(root: etree._Element) -> None:
        header = as4_samples.find(root, "soap12:Header")
        header.remove(as4_samples.find(header, "wsse:Security"))

    opened = as4_samples.verify(as4_samples.change_tree(as4_samples.seal(as4_samples.ERROR), unsign))
    assert opened.verified_signature is None
    assert opened.unit.errors[0].title == "FailedAuthentication"  # type: ignore[union-attr]
    for unit in (as4_samples.RECEIPT, as4_samples.message()):
        with pytest.raises(GatewayError, match="GW201"):
            as4_samples.verify(as4_samples.change_tree(as4_samples.seal(unit), unsign))


def test_a_receipt_may_hold_marks_of_others_and_the_message_instead_of_digests() -> None:
    def unsign_and_mark(root: etree._Element) -> None:
        receipt = as4_samples.find(root, ".//eb3:Receipt")
        receipt.append(etree.fromstring('<m xmlns="urn:other"/>'))

    parcel = as4_samples.change_tree(as4_samples.seal(as4_samples.RECEIPT), unsign_and_mark)
    header = as4.find_refused_message(parcel, sample_parties.context().limits)
    assert header is not None
    assert (header.message_kind, header.is_answerable) == (Receipt.__name__, False)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"<a/>", "UTF-8"),
        (b"<?xml version=\"1.0\" encoding='EUC-KR'?><a/>", "EUC-KR"),
        ("<a/>".encode("utf-16"), "UTF-16"),
    ],
)
def test_the_encoding_of_a_compressed_document_is_named(content: bytes, name: str) -> None:
    pmode = sample_parties.pmode("z", packaging=as4_samples.COMPRESSED, **as4_samples.TERMS)
    unit = replace(as4_samples.message(), payloads=(Payload("p@x", "application/xml", content),))
    opened = as4_samples.verify(as4.seal((unit,), pmode, sample_parties.context())).unit
    assert isinstance(opened, UserMessage)
    assert opened.payloads[0].properties == (("CharacterSet", name),)


def test_a_character_set_that_is_no_name_is_refused() -> None:
    pmode = sample_parties.pmode("z", packaging=as4_samples.COMPRESSED, **as4_samples.TERMS)
    payload = Payload("p@x", "application/xml", b"<a/>", (("CharacterSet", "!utf*"),))
    parcel = as4.seal((replace(as4_samples.message(), payloads=(payload,)),), pmode, sample_parties.context())
    with pytest.raises(GatewayError, match="GW304 CharacterSet must be the name of an encoding"):
        as4_samples.verify(parcel)


def test_an_error_that_is_refused_is_answered_by_a_status_alone() -> None:
    """Status 204 says that it was taken: one that a fault of ours keeps out is asked for again."""
    parcel, context = as4_samples.seal(as4_samples.ERROR), sample_parties.context()
    for problem, status in (
        (NO_ROOM, 503),
        (AGREEMENT_UNREAD, 503),
        (OCTETS_PURGED, 204),
        (SIGNATURE_INVALID, 204),
    ):
        refused = as4.reject_parcel(GatewayError(problem), parcel, context)
        assert (refused.http_status, refused.parcel, refused.error_signal) == (status, None, None)
