"""Messages that others wrote: ebms-core, the Norwegian health network, templates of the NHS."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.agreements import PModeIndex
from gateway.cli.commands.verify import make_context, verify_message_file, verify_message_octets
from gateway.errors import GatewayError
from gateway.message_model import AckRequest, MemoryBody, Party, PartyId, Payload, Receipt, UserMessage
from gateway.pki import Keyring, read_certificate
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, build_envelope_tree, ebms2
from gateway.wire import read_http_message, serialize_element
from tests.protocols import sample_parties

pytestmark = pytest.mark.vectors
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LIVE = {
    "acknowledgment-signed.http": ("Receipt", None, 1),
    "acknowledgment-signed-sync-response.http": ("Receipt", None, 1),
    "acknowledgment-unsigned.http": ("Receipt", "GW201", 0),
    "error.http": ("ErrorSignal", None, 0),
    "error-sync-response.http": ("ErrorSignal", None, 0),
    "fault-unknown-cpa-response.http": ("Fault", None, 0),
    "message-signed.http": ("UserMessage", None, 2),
    "message-signed-as-sent.raw": ("UserMessage", None, 2),
    "message-signed-sync.http": ("UserMessage", None, 2),
    "message-signed-two-payloads.http": ("UserMessage", None, 3),
    "message-unsigned.http": ("UserMessage", "GW201", 0),
    "message-without-payload.http": ("UserMessage", "GW201", 0),
    "ping.http": ("Ping", None, 0),
    "ping-sync.http": ("Ping", None, 0),
    "pong.http": ("Pong", None, 0),
    "pong-sync-response.http": ("Pong", None, 0),
    "status-request.http": ("StatusRequest", None, 0),
    "status-response.http": ("StatusResponse", None, 0),
    "status-response-sync-response.http": ("StatusResponse", None, 0),
}


@pytest.fixture(scope="module")
def live(vectors: Path) -> Path:
    return vectors / "outside" / "ebms2" / "ebms-core-live"


@pytest.fixture(scope="module")
def messages(vectors: Path) -> Path:
    return vectors / "outside" / "ebms2" / "messages"


def test_every_live_message_is_in_the_table(live: Path) -> None:
    assert {one.name for one in live.iterdir() if one.suffix in (".http", ".raw")} == set(LIVE)


@pytest.mark.parametrize("name", sorted(LIVE))
def test_each_is_judged_exactly(name: str, live: Path) -> None:
    kind, problem, signed = LIVE[name]
    verdict = verify_message_file(live / name, policy="strict", trust=[live / "ca.pem"], now=NOW)
    assert (verdict["kind"], verdict["problem"], verdict["accepted"]) == (kind, problem, problem is None)
    assert len(verdict["signed"]) == signed
    assert verdict["ebms"] == ({"code": "SecurityFailure", "severity": "Error"} if problem else None)
    if signed:
        assert verdict["signed"][0] == ""
        assert verdict["signer"] in ("CN=party-a", "CN=party-b")
    if kind != "Fault":
        found = re.search(rb"<eb:MessageId>([^<]*)", (live / name).read_bytes())
        assert found is not None
        assert verdict["message_id"] == found[1].decode()


def test_no_anchor_no_trust(live: Path) -> None:
    verdict = verify_message_file(live / "message-signed.http", policy="strict", trust=[], now=NOW)
    assert (verdict["problem"], verdict["http"]) == ("GW205", 200)
    late = verify_message_file(
        live / "message-signed.http", trust=[live / "ca.pem"], now=datetime(2040, 1, 1, tzinfo=UTC)
    )
    assert late["problem"] == "GW206"


SIGNED = sorted(name for name, (_, _, signed) in LIVE.items() if signed)


@pytest.mark.parametrize("name", SIGNED)
def test_each_signed_octet_counts(name: str, live: Path) -> None:
    """Of a change in header or payload not one stays unnoticed."""
    raw = (live / name).read_bytes()
    context = make_context([(live / "ca.pem").read_bytes()], NOW)
    changes = [
        (b"<eb:ConversationId>", b"<eb:ConversationId>x"),
        (b"\xea\xb0\x80", b"\xea\xb0\x81"),
        (b"AQAB", b"AQAC"),
    ]
    if name.endswith(".raw"):
        changes = changes[1:]
    for old, new in changes:
        if old not in raw:
            continue
        changed = raw.replace(old, new, 1)
        changed = re.sub(rb"Content-Length: \d+\r\n", b"", changed)
        assert verify_message_octets(changed, context, "strict")["problem"] == "GW202", old


def live_context(live: Path) -> ProtocolContext:
    """Return a context in which the two parties of the live messages have an agreement with us between."""
    kind = "urn:example:party-type"
    a, b = PartyId("party-a", kind), PartyId("party-b", kind)
    modes = [
        sample_parties.pmode(
            name,
            agreement=name,
            from_party=(a,),
            from_role="Buyer",
            to_party=(b,),
            to_role="Seller",
            service="urn:example:service:order",
            action="Order",
            sync_reply_mode="mshSignalsOnly" if name == "sync" else "none",
            security=sample_parties.Security(sign=name in ("async", "sync", "sink")),
        )
        for name in ("async", "sync", "sink", "async-unsigned", "besteffort")
    ]
    owners = {
        read_certificate((live / f"{name}.pem").read_bytes()).sha256: name for name in ("party-a", "party-b")
    }
    alone = make_context([(live / "ca.pem").read_bytes()], NOW)
    return ProtocolContext(
        agreements=PModeIndex(modes),
        validate_certificate=alone.validate_certificate,
        signers=Keyring(dict.fromkeys(owners.values(), sample_parties.issued("hub").signer)),
        now=NOW,
        make_message_id=lambda: "n@x",
        find_certificate_party=owners.get,
        find_party_name={a: "party-a", b: "party-b"}.get,
    )


def opened_file(path: Path, context: ProtocolContext, expecting: SentUnit | None = None) -> OpenedMessage:
    stored = read_http_message(path.read_bytes(), context.limits)
    return ebms2.open_units(Parcel(stored.headers, MemoryBody(stored.body)), context, expecting)


@pytest.mark.parametrize("name", sorted(set(LIVE) - {"fault-unknown-cpa-response.http"}))
def test_each_opens_under_its_agreement(name: str, live: Path) -> None:
    context = live_context(live)
    opened = opened_file(live / name, context)
    assert type(opened.unit).__name__ == LIVE[name][0]
    assert opened.pmode is not None
    assert opened.pmode.agreement == opened.unit.agreement


def test_what_the_units_say(live: Path) -> None:
    context = live_context(live)
    unit = opened_file(live / "message-signed-two-payloads.http", context).unit
    assert isinstance(unit, UserMessage)
    assert unit.sender == Party((PartyId("party-a", "urn:example:party-type"),), "Buyer")
    assert unit.ack_requested == AckRequest(signed=True)
    assert unit.duplicate_elimination
    assert not unit.sync_reply
    assert unit.timestamp == datetime(2026, 11, 20, 7, 3, 49, 609000, tzinfo=UTC)
    assert unit.expires_at == datetime(2026, 11, 20, 7, 13, 52, 609000, tzinfo=UTC)
    assert [(one.media_type, len(one.content)) for one in unit.payloads] == [
        ("application/xml", 96),
        ("application/octet-stream", 256),
    ]
    assert "가".encode() in unit.payloads[0].content
    assert unit.payloads[1].content == bytes(range(256))


def test_a_live_receipt_is_held_against_what_was_sent(live: Path) -> None:
    """The receipt repeats the references of its own message: all of that match, none of another does."""
    context = live_context(live)
    raw = opened_file(live / "acknowledgment-signed.http", context)
    receipt = raw.unit
    assert isinstance(receipt, Receipt)
    sender = Party(receipt.receiver.ids, "Buyer")
    asked = sample_parties.message(
        message_id=receipt.ref_to_message_id,
        sender=sender,
        receiver=receipt.sender,
        agreement="async",
        payloads=(),
    )
    sent = SentUnit(asked, receipt.references)
    assert opened_file(live / "acknowledgment-signed.http", context, sent).units == (receipt,)
    for wrong in (receipt.references[:1], receipt.references[1:]):
        with pytest.raises(GatewayError) as caught:
            opened_file(live / "acknowledgment-signed.http", context, SentUnit(asked, wrong))
        assert caught.value.problem.id == "GW309"


@pytest.mark.parametrize(
    ("name", "strict", "norway"),
    [
        # Its certificate expired in 2024 and its issuer is not at hand: all but the path can be judged.
        ("navikt-riktigsignature.txt", "GW204", "GW205"),
        # Its digests are right, but its value fits neither its certificate nor the key beside it.
        ("navikt-tekkopplysning.txt", "GW204", "GW202"),
        ("navikt-payloadonly.txt", "GW103", "GW103"),
    ],
)
def test_norwegian_messages_need_their_policy(name: str, strict: str, norway: str, messages: Path) -> None:
    then = datetime(2024, 7, 2, tzinfo=UTC)
    assert verify_message_file(messages / name, policy="strict", now=then)["problem"] == strict
    assert verify_message_file(messages / name, policy="legacy-norway", now=then)["problem"] == norway


def test_a_norwegian_signature_is_good_under_its_own_certificate(messages: Path, tmp_path: Path) -> None:
    raw = (messages / "navikt-riktigsignature.txt").read_bytes()
    found = re.search(rb"<X509Certificate>([^<]*)", raw)
    assert found is not None
    anchor = tmp_path / "leaf.pem"
    anchor.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + found[1] + b"\n-----END CERTIFICATE-----\n")
    then = datetime(2024, 7, 2, tzinfo=UTC)
    path = messages / "navikt-riktigsignature.txt"
    assert verify_message_file(path, policy="legacy-norway", trust=[anchor], now=then)["problem"] in (
        None,
        "GW205",
    )
    context = make_context([], then)
    broken = raw.replace(b"<eb:ConversationId>4ea8b846", b"<eb:ConversationId>4ea8b847")
    assert broken != raw
    assert verify_message_octets(broken, context, "legacy-norway")["problem"] == "GW202"


NHS = {
    "nhs-ebxml_request.msg": [b'<hl7:MCCI_IN010000UK13 xmlns:hl7="urn:hl7-org:v3"/>'],
    "nhs-ebxml_request_multibyte_character.msg": ["<xml>¬ ❤️ 🧸</xml>".encode()],
    "nhs-ebxml_request_no_ack_requested.msg": [b'<hl7:MCCI_IN010000UK13 xmlns:hl7="urn:hl7-org:v3"/>'],
    "nhs-ebxml_request_no_sync_reply.msg": [b'<hl7:MCCI_IN010000UK13 xmlns:hl7="urn:hl7-org:v3"/>'],
    "nhs-ebxml_request_no_payload.msg": [],
    "nhs-ebxml_request_no_encoding.msg": [
        None,
        b"This inbound message has no Content-Transfer-Encoding headers.",
    ],
    "nhs-ebxml_request_one_8bit_attachment.msg": [None, b"Some payload"],
    "nhs-ebxml_request_one_attachment_application_xml_content_type.msg": [None, b"Some payload"],
    "nhs-ebxml_request_one_binary_attachment.msg": [None, b"Some payload which has a binary encoding."],
    # base64 with a quotation mark in it; a root that is a picture; a part without the empty line
    "nhs-ebxml_request_one_attachment_text_plain_content_compressed.msg": "GW103",
    "nhs-ebxml_request_invalid_binary_ebxml_header.msg": "GW101",
    "nhs-ebxml_request_payload_defect.msg": "GW103",
}
SPINE = "urn:nhs:names:services:example"


def header_for(template: bytes) -> bytes:
    """Return a header of our own that names the parts of a template."""
    ids = re.findall(rb"(?i)content-id: <([^>]*)>", template)[1:]
    unit = sample_parties.message(
        sender=Party((PartyId("urn:nhs:party:a"),)),
        receiver=Party((PartyId("urn:nhs:party:b"),)),
        agreement="S1001A1630",
        service=SPINE,
        action="MCCI_IN010000UK13",
        sync_reply=b"no_sync_reply" not in template,
        payloads=tuple(Payload(one.decode(), "text/xml", b"") for one in ids),
    )
    header = serialize_element(build_envelope_tree((unit,)))
    return header.replace(b"<eb:Manifest ", b'<eb:Manifest soap:mustUnderstand="1" ')


@pytest.mark.parametrize("name", sorted(NHS))
def test_templates_of_the_nhs(name: str, messages: Path) -> None:
    template = (messages / name).read_bytes()
    kind = 'multipart/related; boundary="--=_MIME-Boundary"; type="text/xml"'
    data = template.replace(b"{{ebxml}}", header_for(template))
    parcel = Parcel({"Content-Type": kind, "SOAPAction": f"{SPINE}/MCCI_IN010000UK13"}, MemoryBody(data))
    mode = sample_parties.pmode(
        agreement="S1001A1630",
        from_party=(PartyId("urn:nhs:party:a"),),
        to_party=(PartyId("urn:nhs:party:b"),),
        from_role=None,
        to_role=None,
        service=SPINE,
        action="MCCI_IN010000UK13",
        security=sample_parties.Security(sign=False),
    )
    keys = Keyring({"urn:nhs:party:b": sample_parties.issued("hub").signer})
    context = sample_parties.context(
        agreements=PModeIndex((mode,)), find_party_name=lambda one: one.value, signers=keys
    )
    expected = NHS[name]
    if isinstance(expected, str):
        with pytest.raises(GatewayError) as caught:
            ebms2.open_units(parcel, context)
        assert caught.value.problem.id == expected
        return
    unit = ebms2.open_units(parcel, context).unit
    assert isinstance(unit, UserMessage)
    assert len(unit.payloads) == len(expected)
    for payload, content in zip(unit.payloads, expected, strict=True):
        assert content is None or payload.content == content


def test_every_template_is_in_the_table(messages: Path) -> None:
    assert {one.name for one in messages.glob("nhs-*.msg")} == set(NHS)
