"""A CPA is read into P-Modes: per role, service, action and direction."""

# ruff: noqa: E501  # a table of changes is read by its lines

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.agreements import (
    Encryption,
    PModeIndex,
    check_cpa,
    convert_cpa,
    find_validity_problems,
    is_xml_document,
    read_cpa,
    read_pmodes,
)
from gateway.agreements import write_cpa as write_again
from gateway.agreements.cpa.cpa_values import MAX_CPA_NUMBER, format_duration, parse_duration
from gateway.agreements.pmode_values import SignalChannel, TypedEndpoint
from gateway.errors import GatewayError
from gateway_conformance import DATA_FOLDER
from tests.agreements.cpa.documents import list_real_files
from tests.agreements.cpa.written_cpa import NOW, write_cpa


@pytest.mark.vectors
def test_every_real_agreement_becomes_pmodes_of_both_directions(vectors: Path) -> None:
    for file in list_real_files(vectors):
        document = read_cpa(file.read_bytes(), file.name)
        pmodes = convert_cpa(document)
        PModeIndex(pmodes)
        bindings = [binding for party in document.parties for _, binding, _ in party.list_bindings()]
        assert len(pmodes) * 2 == len(bindings), file.name
        assert {one.from_party for one in pmodes} == {one.to_party for one in pmodes}


def test_everything_that_a_cpa_says_is_in_the_pmodes() -> None:
    order, answer = convert_cpa(read_cpa(write_cpa(), "a.xml"))
    assert (order.id, order.from_role, order.to_role, order.action) == ("a-send", "Buyer", "Seller", "Order")
    assert (order.endpoint, order.reply_endpoint) == ("https://b.example/msh", "https://a.example/msh")
    assert order.reliability.retries == 3
    assert order.reliability.retry_interval == 300
    assert order.reliability.persist_duration == 86_400
    assert order.security.sign
    assert order.security.non_repudiation_of_receipt
    assert order.security.mutual_tls
    assert order.transport.client_certificate == order.security.certificates[0]
    assert order.transport.server_certificate == answer.security.certificates[0]
    assert order.business.process == "Ordering"
    assert order.business.time_to_perform == 86_400
    assert order.conversations.concurrent is None
    assert order.packaging is not None
    assert [part.mime_type for part in order.packaging.parts] == ["text/xml", "application/xml"]
    assert order.encryption is None
    assert (order.signals, order.endpoints, order.alternatives) == ((), (), ())
    assert answer.from_role == "Seller"


def test_channels_endpoints_overrides_limits_and_envelopes_are_read() -> None:
    data = write_cpa(
        ('tp:type="allPurpose"/><!--b-->', 'tp:type="request"/><tp:Endpoint tp:uri="https://b.example/errors" tp:type="error"/>'),
        ("</tp:End>", '</tp:End><tp:ConversationConstraints tp:invocationLimit="9" tp:concurrentConversations="4"/>'),
        ("<!--a-override-->", '<tp:OverrideMshActionBinding tp:action="Ping" tp:channelId="a-signals"/>'),
        ("<tp:ChannelId>a-channel</tp:ChannelId><!--a-send-->", "<tp:ChannelId>a-channel</tp:ChannelId><tp:ChannelId>a-signals</tp:ChannelId>"),
        ('tp:isConfidential="none"', 'tp:isConfidential="persistent"'),
        ("<!--b-decrypt-->", _ENVELOPE),
        ("<!--b-order-->NotGuaranteed", "Guaranteed"),
    )  # fmt: skip
    order, answer = convert_cpa(read_cpa(data, "a.xml"))
    assert order.endpoints == (
        TypedEndpoint("request", "https://b.example/msh"),
        TypedEndpoint("error", "https://b.example/errors"),
    )
    assert (order.conversations.invocations, order.conversations.concurrent) == (9, 4)
    (signal,) = order.signals
    assert signal == SignalChannel("Ping", "https://a.example/msh", "none", order.security.reply_certificates)
    (other,) = order.alternatives
    assert (other.name, other.endpoint, other.reliability.ack_requested) == (
        "a-signals",
        "https://b.example/msh",
        "never",
    )
    assert order.encryption == Encryption(
        "XMLENC",
        ("http://www.w3.org/2009/xmlenc11#aes256-gcm",),
        answer.security.certificates[0],
        "1.0",
    )
    assert answer.reliability.message_order
    assert not order.reliability.message_order


@pytest.mark.parametrize("level", ["none", "transient", "persistent", "transient-and-persistent"])
@pytest.mark.parametrize("attribute", ["isConfidential", "isAuthenticated", "isTamperProof"])
def test_each_level_beyond_the_connection_wants_a_signature_or_encryption(attribute: str, level: str) -> None:
    said = {"isConfidential": "none", "isAuthenticated": "none", "isTamperProof": "none"} | {attribute: level}
    data = write_cpa(
        ('tp:isNonRepudiationRequired="true"', 'tp:isNonRepudiationRequired="false"'),
        (
            'tp:isConfidential="none" tp:isAuthenticated="persistent" tp:isTamperProof="persistent"',
            " ".join(f'tp:{name}="{value}"' for name, value in said.items()),
        ),
        ("<!--b-decrypt-->", _ENVELOPE),
    )
    order, _ = convert_cpa(read_cpa(data, "a.xml"))
    beyond = level.endswith("persistent")
    confidential = attribute == "isConfidential"
    assert (order.encryption is not None) == (beyond and confidential)
    assert order.security.sign == (beyond and not confidential)


def test_of_several_channels_the_first_over_http_is_used_and_the_others_are_kept() -> None:
    """A product that prefers mail names its channel over mail first."""
    transport = (
        '<tp:Transport tp:transportId="a-post"><tp:TransportSender><tp:TransportProtocol>SMTP</tp:TransportProtocol>'
        "</tp:TransportSender><tp:TransportReceiver><tp:TransportProtocol>SMTP</tp:TransportProtocol>"
        '<tp:Endpoint tp:uri="mailto:a@a.example"/></tp:TransportReceiver></tp:Transport>'
    )
    channel = (
        '<tp:DeliveryChannel tp:channelId="a-mail" tp:transportId="a-post" tp:docExchangeId="a-exchange">'
        '<tp:MessagingCharacteristics tp:ackRequested="always" tp:ackSignatureRequested="always" '
        'tp:duplicateElimination="always"/></tp:DeliveryChannel>'
    )
    both = "<tp:ChannelId>a-mail</tp:ChannelId><tp:ChannelId>a-channel</tp:ChannelId>"
    data = write_cpa(
        ("<!--a-transports-->", transport),
        ("<!--a-channels-->", channel),
        *((f"<tp:ChannelId>a-channel</tp:ChannelId><!--a-{way}-->", both) for way in ("send", "receive")),
    )
    judged = check_cpa(data, "a.xml", NOW)
    assert {(one.rule, one.severity) for one in judged.findings} == {("channels-several", "note")}
    assert "a-channel is used, the first over HTTP" in judged.findings[0].text
    order, answer = convert_cpa(read_cpa(data, "a.xml"))
    assert (order.channel, [one.name for one in order.alternatives]) == ("a-channel", ["a-mail"])
    assert (answer.endpoint, [one.endpoint for one in answer.alternatives]) == (
        "https://a.example/msh",
        [None],
    )
    again = convert_cpa(read_cpa(write_again((order, answer), {}, {}), "again.xml"))
    assert set(again) == {order, answer}


_ENVELOPE = (
    "<tp:ReceiverDigitalEnvelope>"
    '<tp:DigitalEnvelopeProtocol tp:version="1.0">XMLENC</tp:DigitalEnvelopeProtocol>'
    "<tp:EncryptionAlgorithm>http://www.w3.org/2009/xmlenc11#aes256-gcm</tp:EncryptionAlgorithm>"
    '<tp:EncryptionCertificateRef tp:certId="b-cert"/></tp:ReceiverDigitalEnvelope>'
)


def test_a_nested_response_answers_on_the_connection() -> None:
    order, answer = convert_cpa(read_cpa(write_cpa(nested=True), "a.xml"))
    assert order.answered_by == ("b-send",)
    assert answer.answers == "a-send"
    assert (order.answers, answer.answered_by) == (None, ())


@pytest.mark.night
@pytest.mark.parametrize(
    ("old", "new", "place", "expected"),
    [
        ("</tp:Start>", "</tp:Start><tp:Sart/>", "/tp:CollaborationProtocolAgreement", "expected is End"),
        ("<tp:Retries>3", "<tp:Retries>many", "tp:Retries", "expected is a whole number"),
        ("PT5M", "5 minutes", "tp:RetryInterval", "expected is a duration"),
        ("cpp-cpa-2_0.xsd", "cpp-cpa-2_1.xsd", "/", "expected is CollaborationProtocolAgreement of"),
        ("<tp:End>", "<tp:End", "/", ""),
        ('encoding="UTF-8"?>', 'encoding="UTF-8"?><!DOCTYPE a [<!ENTITY b "c">]>', "/", ""),
    ],
)
def test_a_bad_cpa_is_refused_with_line_and_path_and_what_was_expected(
    old: str, new: str, place: str, expected: str
) -> None:
    text = write_cpa().decode().replace(old, new)
    assert text != write_cpa().decode()
    (first, *_) = find_validity_problems(text.encode(), "a.xml")
    assert first.message
    with pytest.raises(GatewayError) as caught:
        read_cpa(text.encode(), "bad.xml")
    assert caught.value.problem.id == "GW313"
    assert caught.value.location.startswith("bad.xml:")
    assert place in caught.value.location
    assert expected in caught.value.detail


def test_a_cpa_has_a_limit() -> None:
    document = write_cpa()
    for octets in (4 << 20, (4 << 20) + 1):
        data = document + b" " * (octets - len(document))
        if octets == 4 << 20:
            assert read_cpa(data, "a.xml").parties
        else:
            with pytest.raises(GatewayError, match="a CPA may have at most 4 MB"):
                read_cpa(data, "a.xml")


def test_a_file_of_xml_is_told_from_yaml_by_its_first_character() -> None:
    yaml = DATA_FOLDER.joinpath("agreements", "example.yaml").read_bytes()
    assert read_pmodes(yaml, "x.yaml")
    assert not is_xml_document(yaml)
    assert all(is_xml_document(one) for one in (b" \n<a/>", b"\xef\xbb\xbf<a/>", b"\xff\xfe<\x00"))
    assert not is_xml_document(b"")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT5M", 300),
        ("P1DT2H3M4.5S", 93_785),
        ("P1Y2M", 425 * 86_400),
        ("-PT1S", -1),
        ("PT0.000001S", 1),
        ("P99999999999999999999Y", MAX_CPA_NUMBER),
        (" PT10S\n", 10),
    ],
)
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    if 0 <= seconds < MAX_CPA_NUMBER:
        assert parse_duration(format_duration(seconds)) == seconds
