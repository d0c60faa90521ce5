"""Good parcels, each spoilt in one place: the exact problem, its ebMS code, severity and place."""

# ruff: noqa: E501  # a table of cases is read by its lines
from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import PROBLEMS, GatewayError
from gateway.message_model import (
    AckRequest,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Party,
    PartyId,
    Ping,
    Receipt,
    StatusRequest,
    StatusResponse,
)
from gateway.pki import CertificateValidator, Keyring, TrustStore
from gateway.protocols import Parcel, ProtocolContext, ebms2
from gateway.wire import MimePart
from tests.protocols import sample_parties
from tests.protocols.message_mutation import BOUNDARY, Craft, insert_before, swap_octets

PLAIN = sample_parties.message(payloads=())
LOOSE = Craft(sample_parties.message(action="Loose", sync_reply=False), sample_parties.LOOSE, signed=False)
ADDRESS = (
    "s-1@hub.example",
    "c-1",
    sample_parties.FROM_HUB,
    sample_parties.FROM_BROKER,
    "agreement-1",
    sample_parties.NOW,
)
ASKING = (
    "q-1@broker.example",
    "c-1",
    sample_parties.FROM_BROKER,
    sample_parties.FROM_HUB,
    "agreement-1",
    sample_parties.NOW,
)
ACK = Craft(
    Receipt(*ADDRESS, ref_to_message_id="m-1@broker.example", received_at=sample_parties.NOW), signer="hub"
)
FAILURE = Craft(
    ErrorSignal(
        *ADDRESS, ref_to_message_id="m-1@broker.example", errors=(ErrorEntry("Unknown", "Error", "x", "y"),)
    ),
    signed=False,
)
PING = Craft(Ping(*ASKING), signed=False)
QUESTION = Craft(StatusRequest(*ASKING, queried_message_id="m-1@broker.example"), signed=False)
STATUS = Craft(
    StatusResponse(
        *ADDRESS,
        ref_to_message_id="q-1@broker.example",
        queried_message_id="m-1@broker.example",
        status="Received",
    ),
    signed=False,
)
HIDDEN = '<eb:MessageHeader soap:actor="http://schemas.xmlsoap.org/soap/actor/next"/>'
NEXT = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_MSH = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
HOP_RECEIPT = (
    f'<eb:Acknowledgment soap:actor="{NEXT_MSH}" soap:mustUnderstand="1" eb:version="2.0">'
    "<eb:Timestamp>2026-11-20T09:00:00Z</eb:Timestamp><eb:RefToMessageId>m-1@broker.example</eb:RefToMessageId>"
    "</eb:Acknowledgment>"
)
TO_PARTY = "urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"
EXTRA = MimePart({"content-type": "text/plain"}, "extra@x", "text/plain", b"extra")
HEADER = "/soap:Envelope/soap:Header/"
SIGNATURE = f"{HEADER}ds:Signature"


def good(**changes: object) -> Craft:
    return replace(Craft(), **changes)  # type: ignore[arg-type]


def header(old: str, new: str) -> Craft:
    """Spoil the envelope of a business message before it is signed."""
    return good(envelope=swap_octets(old, new))


def tampered(old: str, new: str) -> Craft:
    return good(tampered=swap_octets(old, new))


def without(craft: Craft, start: str, end: str) -> Craft:
    def change(data: bytes) -> bytes:
        first = data.index(start.encode())
        return data[:first] + data[data.index(end.encode(), first) + len(end) :]

    return replace(craft, envelope=change)


CASES: list[tuple[str, Craft, str, str | None]] = [
    # MIME and HTTP: §2.1
    ("media type json", good(content_type=lambda _: "application/json"), "GW101", "Content-Type"),
    ("media type of the root", good(body=swap_octets("Content-Type: text/xml", "Content-Type: application/xml")), "GW101", None),
    ("bare application/xml", good(unit=PLAIN, content_type=lambda _: "application/xml"), "GW101", None),
    ("no boundary parameter", good(content_type=lambda kind: kind.replace("boundary", "border")), "GW103", None),
    ("start names a payload", good(content_type=lambda kind: kind.replace("root@", "p1@")), "GW101", None),
    ("no final boundary", good(body=swap_octets(f"--{BOUNDARY}--", "")), "GW103", None),
    ("part without Content-ID", good(body=swap_octets("Content-ID: <p2@broker.example>\r\n", "")), "GW103", None),
    ("Content-ID twice", good(body=swap_octets("<p2@broker.example>", "<p1@broker.example>")), "GW103", None),
    ("too many parts", good(parts=lambda parts: parts + [replace(EXTRA, content_id=f"{n}@x") for n in range(200)]), "GW102", None),
    # XML
    ("not well-formed", good(tampered=lambda data: data[:-3]), "GW104", None),
    ("document type", good(tampered=insert_before("<soap:Envelope", "<!DOCTYPE a>")), "GW104", None),
    ("processing instruction", good(tampered=insert_before("<eb:Manifest", "<?a b?>")), "GW104", None),
    ("UTF-16", good(tampered=lambda data: data.decode().encode("utf-16")), "GW104", None),
    # SOAP
    ("SOAP 1.2", good(tampered=swap_octets("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope", -1)), "GW105", None),
    ("another root", good(unit=PLAIN, signed=False, envelope=lambda _: b"<a/>"), "GW105", "/a"),
    ("two Bodies", good(tampered=swap_octets("</soap:Body>", "</soap:Body><soap:Body/>")), "GW107", "/soap:Envelope"),
    ("no Header", good(unit=PLAIN, signed=False, envelope=lambda _: b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'), "GW107", "/soap:Envelope"),
    ("block that must be understood", good(envelope=insert_before("<eb:AckRequested", '<x:a xmlns:x="urn:x" soap:mustUnderstand="1"/>')), "GW106", f"{HEADER}x:a"),
    ("the same for the To party", good(envelope=insert_before("<eb:AckRequested", f'<x:a xmlns:x="urn:x" soap:mustUnderstand="true" soap:actor="{TO_PARTY}"/>')), "GW106", f"{HEADER}x:a"),
    # MessageHeader: §3.1
    ("no MessageHeader", without(good(), "<eb:MessageHeader", "</eb:MessageHeader>"), "GW107", HEADER[:-1]),
    ("two MessageHeaders", good(envelope=insert_before("<eb:AckRequested", '<eb:MessageHeader eb:version="2.0" soap:mustUnderstand="1"/>')), "GW107", f"{HEADER}eb:MessageHeader[2]"),
    ("version 1.0", header('<eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0"', '<eb:MessageHeader soap:mustUnderstand="1" eb:version="1.0"'), "GW304", f"{HEADER}eb:MessageHeader/@eb:version"),
    ("no version", header('<eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0"', '<eb:MessageHeader soap:mustUnderstand="1"'), "GW107", f"{HEADER}eb:MessageHeader"),
    ("unprefixed version", header('<eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0"', '<eb:MessageHeader soap:mustUnderstand="1" version="2.0"'), "GW107", f"{HEADER}eb:MessageHeader"),
    ("no mustUnderstand", header('<eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0"', '<eb:MessageHeader eb:version="2.0"'), "GW107", f"{HEADER}eb:MessageHeader"),
    ("mustUnderstand yes", header('<eb:MessageHeader soap:mustUnderstand="1" eb:version="2.0"', '<eb:MessageHeader soap:mustUnderstand="yes" eb:version="2.0"'), "GW107", f"{HEADER}eb:MessageHeader/@mustUnderstand"),
    ("unknown block of ebMS", good(envelope=insert_before("<eb:AckRequested", "<eb:Via/>")), "GW107", f"{HEADER}eb:Via"),
    ("extension element", header("</eb:MessageHeader>", '<x:a xmlns:x="urn:x"/></eb:MessageHeader>'), "GW311", f"{HEADER}eb:MessageHeader/x:a"),
    ("text between elements", header("<eb:CPAId>", "stray<eb:CPAId>"), "GW107", f"{HEADER}eb:MessageHeader"),
    ("text between blocks", header("<eb:AckRequested", "stray<eb:AckRequested"), "GW107", HEADER[:-1]),
    ("order of elements", header("<eb:CPAId>agreement-1</eb:CPAId><eb:ConversationId>c-1</eb:ConversationId>", "<eb:ConversationId>c-1</eb:ConversationId><eb:CPAId>agreement-1</eb:CPAId>"), "GW107", f"{HEADER}eb:MessageHeader"),
    ("element twice", header("<eb:CPAId>agreement-1</eb:CPAId>", "<eb:CPAId>agreement-1</eb:CPAId>" * 2), "GW107", f"{HEADER}eb:MessageHeader"),
    ("no From", without(good(), "<eb:From>", "</eb:From>"), "GW107", f"{HEADER}eb:MessageHeader"),
    ("no PartyId", without(good(), "<eb:PartyId", "</eb:PartyId>"), "GW107", f"{HEADER}eb:MessageHeader/eb:From"),
    ("PartyId without type and no URI", header(f' eb:type="{sample_parties.T}">broker1', ">broker1"), "GW304", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("PartyId with a type of 1,026 octets", header(f'eb:type="{sample_parties.T}">broker1', f'eb:type="{"가" * 342}">broker1'), "GW107", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId/@eb:type"),
    ("CPAId of 1,026 octets", header("<eb:CPAId>agreement-1", f"<eb:CPAId>{'가' * 342}"), "GW107", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("two PartyIds of a type", header("</eb:PartyId>", f'</eb:PartyId><eb:PartyId eb:type="{sample_parties.T}">x</eb:PartyId>'), "GW304", f"{HEADER}eb:MessageHeader/eb:From"),
    ("empty PartyId", header(">broker1<", "><"), "GW107", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("PartyId with white space", header(">broker1<", "> broker1<"), "GW107", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("empty CPAId", header("<eb:CPAId>agreement-1", "<eb:CPAId>"), "GW107", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("element inside a value", header("<eb:CPAId>agreement-1", "<eb:CPAId>agreement-1<x/>"), "GW107", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("attribute on a value", header("<eb:CPAId>", '<eb:CPAId x="1">'), "GW107", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("value too long", header("<eb:CPAId>agreement-1", "<eb:CPAId>" + "a" * 2000), "GW107", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("Service without type and no URI", header(f"<eb:Service>{sample_parties.SERVICE}", "<eb:Service>declaration"), "GW304", f"{HEADER}eb:MessageHeader/eb:Service"),
    ("no MessageId", without(good(), "<eb:MessageId>", "</eb:MessageId>"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData"),
    ("MessageId in brackets", header("<eb:MessageId>m-1@broker.example", "<eb:MessageId>&lt;m-1@broker.example&gt;"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:MessageId"),
    ("Timestamp of other times", header("<eb:Timestamp>2026-11-20T08:59:59.000Z", "<eb:Timestamp>Fri Nov 20 2026"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:Timestamp"),
    ("Timestamp of no calendar", header("<eb:Timestamp>2026-11-20T", "<eb:Timestamp>2026-02-30T"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:Timestamp"),
    ("Timestamp before all time", header("<eb:Timestamp>2026-11-20T08:59:59.000Z", "<eb:Timestamp>0001-01-01T00:00:00+14:00"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:Timestamp"),
    ("Timestamp in a zone that is none", header("<eb:Timestamp>2026-11-20T08:59:59.000Z", "<eb:Timestamp>2026-11-20T08:59:59+14:01"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:Timestamp"),
    ("TimeToLive as a duration", header("<eb:TimeToLive>2026-11-20T10:00:00.000Z", "<eb:TimeToLive>PT1H"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:TimeToLive"),
    ("DuplicateElimination with content", header("<eb:DuplicateElimination/>", "<eb:DuplicateElimination>true</eb:DuplicateElimination>"), "GW107", f"{HEADER}eb:MessageHeader/eb:DuplicateElimination"),
    ("SOAPAction of another", good(action='"urn:other/Action"'), "GW304", "SOAPAction"),
    # agreement
    ("agreement unknown", header("<eb:CPAId>agreement-1", "<eb:CPAId>agreement-9"), "GW301", f"{HEADER}eb:MessageHeader/eb:CPAId"),
    ("party unknown", header(">broker1<", ">broker9<"), "GW302", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("party of another agreement", header(">broker1<", ">broker2<"), "GW304", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("not to us", header(">hub<", ">elsewhere<"), "GW302", f"{HEADER}eb:MessageHeader/eb:To/eb:PartyId"),
    ("service unknown", header(sample_parties.SERVICE, "urn:other"), "GW303", f"{HEADER}eb:MessageHeader/eb:Service"),
    ("action unknown", header("<eb:Action>Submit", "<eb:Action>Summit"), "GW303", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("action of the other side", header("<eb:Action>Submit", "<eb:Action>Result"), "GW304", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("another role", header("<eb:Role>Applicant", "<eb:Role>Hub"), "GW304", f"{HEADER}eb:MessageHeader/eb:From/eb:Role"),
    ("no role", header("<eb:Role>Applicant</eb:Role>", ""), "GW304", f"{HEADER}eb:MessageHeader/eb:From/eb:Role"),
    # quality of service: §6.3, §6.4, §4.3
    ("MessageOrder", good(envelope=insert_before("<eb:AckRequested", '<eb:MessageOrder eb:version="2.0" soap:mustUnderstand="1"><eb:SequenceNumber>0</eb:SequenceNumber></eb:MessageOrder>')), "GW304", f"{HEADER}eb:MessageOrder"),
    ("Acknowledgment of the next handler with a message", good(envelope=insert_before("<eb:AckRequested", HOP_RECEIPT)), "GW311", f"{HEADER}eb:Acknowledgment"),
    ("acknowledgment of anyone", header(f'<eb:AckRequested soap:actor="{TO_PARTY}"', '<eb:AckRequested soap:actor="http://attacker.example"'), "GW304", f"{HEADER}eb:AckRequested/@soap:actor"),
    ("AckRequested without signed", header('eb:signed="true" ', ""), "GW107", f"{HEADER}eb:AckRequested"),
    ("AckRequested signed perhaps", header('eb:signed="true"', 'eb:signed="perhaps"'), "GW107", f"{HEADER}eb:AckRequested/@signed"),
    ("two AckRequested", good(envelope=insert_before("<eb:AckRequested", '<eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true"/>')), "GW107", f"{HEADER}eb:AckRequested[2]"),
    ("SyncReply for another", header(NEXT, "http://attacker.example"), "GW304", f"{HEADER}eb:SyncReply/@soap:actor"),
    ("SyncReply for nobody", header(f' soap:actor="{NEXT}"', ""), "GW107", f"{HEADER}eb:SyncReply"),
    ("SyncReply not agreed", replace(LOOSE, unit=sample_parties.message(action="Loose")), "GW304", f"{HEADER}eb:SyncReply"),
    ("AckRequested not agreed", good(unit=sample_parties.message(action="Never", duplicate_elimination=False)), "GW304", f"{HEADER}eb:AckRequested"),
    ("AckRequested missing", good(unit=sample_parties.message(action="Exact", sync_reply=False, ack_requested=None)), "GW304", f"{HEADER}eb:AckRequested"),
    ("signed AckRequested missing", good(unit=sample_parties.message(action="Exact", ack_requested=AckRequest(False))), "GW304", f"{HEADER}eb:AckRequested/@eb:signed"),
    ("DuplicateElimination missing", good(unit=sample_parties.message(action="Exact", duplicate_elimination=False)), "GW304", f"{HEADER}eb:MessageHeader/eb:DuplicateElimination"),
    ("DuplicateElimination not agreed", good(unit=sample_parties.message(action="Never", ack_requested=None)), "GW304", f"{HEADER}eb:MessageHeader/eb:DuplicateElimination"),
    # Manifest: §3.2
    ("foreign element in the Body", header("<eb:Manifest", '<x:a xmlns:x="urn:x"/><eb:Manifest'), "GW107", "/soap:Envelope/soap:Body/eb:Manifest"),
    ("only a foreign element in the Body", good(unit=PLAIN, envelope=swap_octets("<soap:Body/>", '<soap:Body><x:a xmlns:x="urn:x"/></soap:Body>')), "GW107", "/soap:Envelope/soap:Body/x:a"),
    ("Manifest version", header('<eb:Manifest eb:version="2.0"', '<eb:Manifest eb:version="3.0"'), "GW304", "/soap:Envelope/soap:Body/eb:Manifest/@eb:version"),
    ("empty Manifest", good(unit=PLAIN, envelope=swap_octets("<soap:Body/>", '<soap:Body><eb:Manifest eb:version="2.0"/></soap:Body>')), "GW107", "/soap:Envelope/soap:Body/eb:Manifest"),
    ("Reference without href", header(' xlink:href="cid:p1@broker.example"', ""), "GW107", "/soap:Envelope/soap:Body/eb:Manifest/eb:Reference[1]"),
    ("Reference to the web", header("cid:p1@broker.example", "http://attacker.example/"), "GW108", "/soap:Envelope/soap:Body/eb:Manifest/eb:Reference[1]"),
    ("Reference to a file", header("cid:p1@broker.example", "file:///etc/passwd"), "GW108", "/soap:Envelope/soap:Body/eb:Manifest/eb:Reference[1]"),
    ("Reference to no part", header("cid:p1@broker.example", "cid:p9@broker.example"), "GW108", "cid:p9@broker.example"),
    ("Reference of another link type", header('xlink:type="simple"', 'xlink:type="extended"'), "GW107", "/soap:Envelope/soap:Body/eb:Manifest/eb:Reference[1]/@xlink:type"),
    ("one part named twice", header("cid:p2@broker.example", "cid:p1@broker.example"), "GW304", "/soap:Envelope/soap:Body/eb:Manifest"),
    ("part removed", good(parts=lambda parts: parts[:1]), "GW108", "cid:p2@broker.example"),
    ("actor in the Manifest", tampered("<eb:Manifest", f'<eb:Manifest soap:actor="{NEXT}"'), "GW107", "/soap:Envelope/soap:Body/eb:Manifest"),
    ("unsigned part that nobody names", replace(LOOSE, parts=lambda parts: [*parts, EXTRA]), "GW103", "cid:extra@x"),
    # signature: §4.1.3
    ("no signature", good(signed=False), "GW201", HEADER[:-1]),
    ("signature removed", good(tampered=lambda data: data[: data.index(b"<ds:Signature")] + data[data.index(b"</ds:Signature>") + 15 :]), "GW201", HEADER[:-1]),
    ("two signatures", good(tampered=lambda data: data.replace(b"</ds:Signature>", b"</ds:Signature>" + data[data.index(b"<ds:Signature") : data.index(b"</ds:Signature>") + 15])), "GW107", f"{HEADER}ds:Signature[2]"),
    ("conversation changed", tampered("<eb:ConversationId>c-1", "<eb:ConversationId>c-2"), "GW202", SIGNATURE),
    ("white space changed", tampered("<eb:AckRequested", " <eb:AckRequested"), "GW202", SIGNATURE),
    ("digest changed", tampered("<ds:DigestValue>", "<ds:DigestValue>AAAA"), "GW202", None),
    ("payload changed", good(parts=lambda parts: [replace(parts[0], octets=parts[0].content + b" "), parts[1]]), "GW202", None),
    ("payloads exchanged", good(parts=lambda parts: [replace(parts[0], octets=parts[1].content), replace(parts[1], octets=parts[0].content)]), "GW202", None),
    ("payload not signed", good(signing=lambda contents: {"p1@broker.example": contents["p1@broker.example"]}), "GW203", None),
    ("part added", good(parts=lambda parts: [*parts, EXTRA]), "GW203", None),
    ("header hidden from the signature", good(tampered=insert_before("<ds:Signature>", HIDDEN)), "GW107", f"{HEADER}eb:MessageHeader[2]"),
    ("foreign block hidden from the signature", good(tampered=insert_before("<ds:Signature", f'<x:a xmlns:x="urn:x" soap:actor="{NEXT}"/>')), "GW203", f"{HEADER}x:a"),
    ("comment in a value", tampered("<eb:ConversationId>c-", "<eb:ConversationId>c-<!---->"), "GW107", f"{HEADER}eb:MessageHeader/eb:ConversationId"),
    ("comment in a date", tampered("<eb:Timestamp>2026", "<eb:Timestamp><!---->2026"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData/eb:Timestamp"),
    ("sha1", tampered("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"), "GW204", None),
    ("hmac", tampered("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"), "GW204", None),
    ("signed by another registered party", good(signer="broker2"), "GW209", SIGNATURE),
    ("signed by the receiver", good(signer="hub"), "GW209", SIGNATURE),
    # signals: §4.2, §6.3.2, §7, §8
    ("signal of no known action", replace(PING, envelope=swap_octets("<eb:Action>Ping", "<eb:Action>Sing")), "GW303", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("signal of unknown parties", replace(PING, envelope=swap_octets(">broker1<", ">broker9<")), "GW302", f"{HEADER}eb:MessageHeader/eb:From/eb:PartyId"),
    ("signal to oneself", replace(PING, envelope=swap_octets(">hub<", ">broker1<")), "GW304", f"{HEADER}eb:MessageHeader/eb:To/eb:PartyId"),
    ("Ping that wants a receipt", replace(PING, envelope=swap_octets("</soap:Header>", '<eb:AckRequested eb:version="2.0" soap:mustUnderstand="1" eb:signed="true"/></soap:Header>')), "GW304", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("Ping with a payload", replace(PING, envelope=swap_octets("<soap:Body/>", '<soap:Body><eb:Manifest eb:version="2.0"><eb:Reference xlink:href="cid:a"/></eb:Manifest></soap:Body>')), "GW108", "cid:a"),
    ("Ping with a StatusRequest", replace(QUESTION, envelope=swap_octets("<eb:Action>StatusRequest", "<eb:Action>Ping")), "GW304", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("business message with a StatusRequest", good(unit=PLAIN, envelope=swap_octets("<soap:Body/>", '<soap:Body><eb:StatusRequest eb:version="2.0"><eb:RefToMessageId>a@b</eb:RefToMessageId></eb:StatusRequest></soap:Body>')), "GW304", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("StatusRequest without one", without(QUESTION, "<eb:StatusRequest", "</eb:StatusRequest>"), "GW107", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("StatusRequest about nothing", without(QUESTION, "<eb:RefToMessageId", "</eb:RefToMessageId>"), "GW107", "/soap:Envelope/soap:Body/eb:StatusRequest"),
    ("status of no known name", replace(STATUS, envelope=swap_octets('"Received"', '"Lost"')), "GW107", "/soap:Envelope/soap:Body/eb:StatusResponse/@eb:messageStatus"),
    ("StatusResponse to nothing", without(STATUS, "<eb:RefToMessageId", "</eb:RefToMessageId>"), "GW107", f"{HEADER}eb:MessageHeader/eb:MessageData"),
    ("MessageError without a list", without(FAILURE, "<eb:ErrorList", "</eb:ErrorList>"), "GW107", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("ErrorList without errors", without(FAILURE, "<eb:Error ", "</eb:Error>"), "GW107", f"{HEADER}eb:ErrorList"),
    ("severity unknown", replace(FAILURE, envelope=swap_octets('eb:severity="Error"', 'eb:severity="Fatal"')), "GW107", f"{HEADER}eb:ErrorList/eb:Error/@eb:severity"),
    ("highest severity is another", replace(FAILURE, envelope=swap_octets('eb:highestSeverity="Error"', 'eb:highestSeverity="Warning"')), "GW304", f"{HEADER}eb:ErrorList/@eb:highestSeverity"),
    ("ErrorList with a business message", good(unit=PLAIN, envelope=insert_before("</soap:Header>", '<eb:ErrorList eb:version="2.0" soap:mustUnderstand="1" eb:highestSeverity="Error"><eb:Error eb:errorCode="Unknown" eb:severity="Error"/></eb:ErrorList>')), "GW304", f"{HEADER}eb:ErrorList"),
    ("Acknowledgment of two messages", replace(ACK, envelope=swap_octets("<eb:RefToMessageId>m-1@", "<eb:RefToMessageId>m-2@")), "GW304", f"{HEADER}eb:Acknowledgment/eb:RefToMessageId"),
    ("Acknowledgment of two handlers", replace(ACK, envelope=insert_before("<eb:Acknowledgment", HOP_RECEIPT)), "GW311", f"{HEADER}eb:Acknowledgment[1]"),
    ("Acknowledgment of nobody", replace(ACK, envelope=swap_octets(TO_PARTY, "http://attacker.example")), "GW304", f"{HEADER}eb:Acknowledgment/@soap:actor"),
    ("Acknowledgment missing", without(ACK, "<eb:Acknowledgment ", "</eb:Acknowledgment>"), "GW107", f"{HEADER}eb:MessageHeader/eb:Action"),
    ("Acknowledgment with ErrorList", replace(ACK, envelope=insert_before("</soap:Header>", '<eb:ErrorList eb:version="2.0" soap:mustUnderstand="1" eb:highestSeverity="Error"><eb:Error eb:errorCode="Unknown" eb:severity="Error"/></eb:ErrorList>')), "GW304", f"{HEADER}eb:ErrorList"),
    ("Acknowledgment signed by another", replace(ACK, signer="broker1"), "GW209", SIGNATURE),
]  # fmt: skip


@pytest.fixture(scope="module")
def context() -> ProtocolContext:
    return sample_parties.context()


def test_the_table_is_long_and_what_it_spoils_is_good(context: ProtocolContext) -> None:
    assert len(CASES) >= 100
    assert len({name for name, *_ in CASES}) == len(CASES)
    for craft in (Craft(), LOOSE, ACK, FAILURE, PING, QUESTION, STATUS):
        assert ebms2.open_units(craft.parcel(context), context).units == (craft.unit,)


@pytest.mark.parametrize(
    ("craft", "problem", "location"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_is_refused_for_its_reason(
    craft: Craft, problem: str, location: str | None, context: ProtocolContext
) -> None:
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(craft.parcel(context), context)
    assert caught.value.problem.id == problem, caught.value
    if location is not None:
        assert caught.value.location == location


EBMS = {
    "GW101": "MimeProblem", "GW102": "MimeProblem", "GW103": "MimeProblem", "GW104": "OtherXml", "GW105": None,
    "GW106": "NotSupported", "GW107": "OtherXml", "GW108": "MimeProblem", "GW201": "SecurityFailure",
    "GW202": "SecurityFailure", "GW203": "SecurityFailure", "GW204": "SecurityFailure", "GW209": "SecurityFailure",
    "GW301": "ValueNotRecognized", "GW302": "ValueNotRecognized", "GW303": "ValueNotRecognized",
    "GW304": "Inconsistent", "GW311": "NotSupported",
}  # fmt: skip


@pytest.mark.parametrize("craft", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_each_is_answered_by_the_right_error(craft: Craft, context: ProtocolContext) -> None:
    parcel = craft.parcel(context)
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, context)
    problem = caught.value
    answer, signal = (
        ebms2.reject_parcel(problem, parcel, context),
        ebms2.make_error_signal(problem, parcel, context),
    )
    code = EBMS[problem.problem.id]
    assert PROBLEMS[problem.problem.id].codes.ebms2 == code
    header = ebms2.find_message_header(parcel, context.limits)
    if header is not None and not ebms2.is_answerable(header):
        assert (answer.http_status, answer.parcel, signal) == (204, None, None)
        return
    assert answer.parcel is not None
    if header is None or code is None or problem.problem.id == "GW106":
        assert ebms2.find_fault(answer.parcel, context.limits) is not None
        assert answer.http_status == (problem.problem.codes.http or 500)
        return
    assert answer.http_status == 200
    assert signal is not None
    found = ebms2.read_sent_unit(answer.parcel, context.limits).unit
    assert isinstance(found, ErrorSignal)
    assert found.ref_to_message_id == header.message_id
    assert (found.sender, found.receiver) == (header.receiver, header.sender)
    assert [(one.code, one.severity) for one in found.errors] == [(code, "Error")]
    assert found.errors[0].location == problem.location
    assert found.errors[0].description.startswith(problem.problem.id)


@pytest.mark.long
def test_what_was_read_before_the_refusal_is_what_would_be_read_again(context: ProtocolContext) -> None:
    """A refusal hands on the header it knows; the answer is the one that a second reading gives."""
    known, at_once = 0, set()
    # Where nothing was agreed about replies, the message itself says whether it waits for one.
    later = sample_parties.context(
        agreements=sample_parties.PModeIndex((sample_parties.pmode("later", sync_reply_mode="none"),))
    )
    for _, craft, *_ in CASES:
        parcel = craft.parcel(context)
        with pytest.raises(GatewayError) as caught:
            ebms2.open_units(parcel, context)
        problem = caught.value
        bare = GatewayError(problem.problem, problem.detail, problem.location)
        one, other = (ebms2.reject_parcel(each, parcel, later) for each in (problem, bare))
        at_once.add(one.is_synchronous)
        assert (one.http_status, one.pmode, one.is_synchronous) == (
            other.http_status,
            other.pmode,
            other.is_synchronous,
        )
        told = [one.error_signal and replace(one.error_signal, message_id="") for one in (one, other)]
        assert told[0] == told[1]
        if problem.message_part is not None:
            known += 1
            again = ebms2.reject_parcel(problem, Parcel({}, MemoryBody(b"")), later)
            assert (again.http_status, again.error_signal is None) == (
                one.http_status,
                one.error_signal is None,
            )
    assert known >= 50
    assert at_once == {True, False}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"validate_certificate": sample_parties.judge("broker1")}, "GW207"),
        ({"now": sample_parties.NOW + timedelta(days=400)}, "GW301"),
        ({"find_certificate_party": lambda _: None}, "GW209"),
        ({"find_party_name": lambda _: None}, "GW302"),
        (
            {
                "find_party_name": lambda one: (
                    "hub" if one == PartyId("broker1", sample_parties.T) else "broker1"
                )
            },
            "GW209",
        ),
    ],
)
def test_what_the_registry_says_decides(changes: dict[str, object], problem: str) -> None:
    sealed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(sealed, sample_parties.context(**changes))
    assert caught.value.problem.id == problem


def test_a_message_without_revocation_list_is_not_believed() -> None:
    sealed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    for anchors, problem in (((sample_parties.authority().certificate,), "GW208"), ((), "GW205")):
        with pytest.raises(GatewayError) as caught:
            ebms2.open_units(
                sealed, sample_parties.context(validate_certificate=CertificateValidator(TrustStore(anchors)))
            )
        assert caught.value.problem.id == problem
        assert caught.value.location == SIGNATURE


def test_an_agreement_may_pin_the_certificate() -> None:
    own = sample_parties.issued("broker1").certificate.sha256
    for pins, accepted in (((own,), True), (("0" * 64,), False), (("0" * 64, own), True)):
        mode = sample_parties.pmode(security=sample_parties.Security(certificates=pins))
        book = sample_parties.PModeIndex((mode,))
        sealed = ebms2.seal((sample_parties.message(),), mode, sample_parties.context())
        if accepted:
            ebms2.open_units(sealed, sample_parties.context(agreements=book))
            continue
        with pytest.raises(GatewayError) as caught:
            ebms2.open_units(sealed, sample_parties.context(agreements=book))
        assert caught.value.problem.id == "GW209"


def test_a_message_for_somebody_else_is_not_taken() -> None:
    """Nor is one of ours that somebody sends back to us."""
    result = sample_parties.message(
        sender=sample_parties.FROM_HUB, receiver=sample_parties.FROM_BROKER, action="Result"
    )
    parcel = ebms2.seal((result,), sample_parties.RESULT, sample_parties.context())
    hub = sample_parties.context(signers=Keyring({"hub": sample_parties.issued("hub").signer}))
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, hub)
    assert caught.value.problem.id == "GW302"
    assert caught.value.location == f"{HEADER}eb:MessageHeader/eb:To/eb:PartyId"
    # There is no key to sign the ErrorList with: the sender is told by a fault.
    assert ebms2.reject_parcel(caught.value, parcel, hub).http_status == 500


def test_an_unsigned_message_of_a_suspended_party_is_refused() -> None:
    parcel = LOOSE.parcel(sample_parties.context())
    without = {one: name for one, name in sample_parties.OWNERS.items() if one != sample_parties.BROKER}
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, sample_parties.context(find_party_name=without.get))
    assert caught.value.problem.id == "GW302"


def test_the_ids_of_one_header_belong_to_one_party() -> None:
    two = Party((sample_parties.BROKER, PartyId("urn:broker:1")), "Applicant")
    mode = sample_parties.pmode(from_party=two.ids)
    everyone = sample_parties.context(find_party_name=lambda _: "broker1")
    sealed = ebms2.seal((sample_parties.message(sender=two),), mode, everyone)
    book = sample_parties.PModeIndex((mode,))
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(sealed, sample_parties.context(agreements=book))
    assert caught.value.problem.id == "GW302"
